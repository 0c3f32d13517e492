"""FST: the teacher sees where the student is about to go."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any, ClassVar, Literal, cast

from pydantic import Field
from torch import Tensor, nn

from leaven.data import Data
from leaven.data.dataset import T
from leaven.data.pixel_maps import PixelMaps
from leaven.data.transforms import Seen
from leaven.errors import ConfigError
from leaven.methods.base import Card
from leaven.methods.loop import Run
from leaven.methods.segmentation.few_maps import FewMaps, FittedPixels, PixelRun
from leaven.models.segmentation import Segmenter
from leaven.train import EMA, Optimizer, WeightAverage
from leaven.train.batch import Batch
from leaven.train.pixel_trainer import PixelTrainer
from leaven.train.rollback import Rollback


class FutureSteps(FewMaps):
    """What FST-D and FST-W share: a host, whose steps are first made on trial.

    Virtual steps move the student down the loss of the host, the teacher takes in what became of
    it, and the student goes back to where it was; the real step is made under the better teacher.
    The teacher is not rolled back. In step i its decay is what the host's average has after i
    updates, however many were made, or after as many as there were passes. The rate of the optimiser
    goes by real steps.

    With ``restore="params"`` the weights alone go back, as in the authors' code: moments of the
    optimiser, batch statistics and the state of the host's parts keep what virtual steps did.

    The authors count updates in two ways while the decay rises: real steps with few labels, all
    passes from one domain to another; see ``counted``. They begin with one plain step, or copy the
    student in the first epoch; here that is up to the host.

    Fields of the family that are set here hold for the host too, before ``base_set``.
    """

    base: str = Field("entropy-teacher", description="the host: the method whose steps are made")
    base_set: dict[str, Any] = Field(
        default_factory=dict, description="hyperparameters of the host, by name"
    )
    restore: Literal["params", "all"] = Field(
        "params", description="what goes back after virtual steps: weights, or optimiser and all"
    )
    start: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of the run in plain steps, before there are virtual ones",
    )
    counted: Literal["steps", "passes"] = Field(
        "steps",
        description="what the rise of the teacher's decay goes by: real steps, or all passes, as the "
        "authors do from one domain to another",
    )

    @property
    @abstractmethod
    def gradients(self) -> int:
        """Backward passes per real step."""

    @abstractmethod
    def foresee(self, run: PixelRun, start: Rollback) -> PixelRun | None:
        """Makes the virtual steps, and leaves the student where it was.

        Returns what the real step works with; None where a virtual step has failed.
        """

    @cached_property
    def host(self) -> FewMaps:
        """The host.

        Raises:
            ConfigError: ``base`` has no loss per step, or gathers gradients over several.
        """
        from leaven.methods import find_method

        kind = find_method(self.base, "segmentation")
        own_loop = any(
            getattr(kind, name) is not getattr(FewMaps, name) for name in ("fit", "train", "step")
        )
        if own_loop or not issubclass(kind, FewMaps):
            raise ConfigError(
                f"{self.card.name} cannot be put on {self.base}.",
                "a method of one loop of steps with a loss each",
                "choose another base, such as entropy-teacher",
            )
        shared = self.model_fields_set & FewMaps.model_fields.keys()
        values = {name: getattr(self, name) for name in shared} | self.base_set
        host = _with_recall(kind).configured(values)
        if host.recipe.accumulate > 1:
            raise ConfigError(
                f"{self.base} gathers the gradients of {host.recipe.accumulate} batches.",
                "a step for each batch, which can be made on trial",
                "set recipe.accumulate=1 and a larger batch",
            )
        return host

    # -- the host's -------------------------------------------------------------------------------

    def student(self, trainer: PixelTrainer) -> Segmenter:
        return self.host.student(trainer)

    def parts(self, trainer: PixelTrainer, student: Segmenter) -> dict[str, nn.Module]:
        return self.host.parts(trainer, student)

    def average(self, student: Segmenter) -> EMA[Segmenter]:
        return self.host.average(student)

    def optimizer(self, trainer: PixelTrainer, models: nn.ModuleList) -> Optimizer:
        return self.host.optimizer(trainer, models)

    def streams(self, data: Data[T]) -> dict[str, Any]:
        return self.host.streams(data)

    def loss(self, run: PixelRun) -> Tensor:
        return self.host.loss(run)

    def final(self, run: PixelRun) -> Segmenter:
        return self.host.final(run)

    # -- the loop ---------------------------------------------------------------------------------

    def step(self, run: PixelRun) -> bool:
        if run.progress < self.start:
            return self.host.step(run)
        ahead = self.foresee(run, Rollback(run.optimizer, everything=self.restore == "all"))
        return ahead is not None and run.trainer.update(self.host.loss(ahead), run.optimizer)

    def after(self, run: PixelRun) -> None:
        run.average.updates = self.updates(run, self.gradients)
        self.host.after(run)

    def virtual(self, run: PixelRun) -> bool:
        """One virtual step, of which no curve and no finding knows."""
        unseen = replace(run, trainer=cast("PixelTrainer", _Unobserved(run.trainer)))
        return run.trainer.update(self.host.loss(unseen), run.optimizer)

    def follow(self, run: PixelRun, student: nn.Module, passes: int) -> None:
        """The teacher takes in a student, after so many passes of this real step."""
        run.average.updates = self.updates(run, passes)
        run.average.update(student)

    def updates(self, run: PixelRun, passes: int) -> int:
        """After how many updates the decay is taken, so many passes into this real step."""
        step = run.batch.step
        if self.counted == "steps" or run.progress < self.start:
            return step
        plain = round(self.start * step / run.progress) if self.start else 0
        return plain + (step - plain) * self.gradients + passes

    def fit(self, data: Data[PixelMaps], trainer: PixelTrainer) -> FittedPixels:
        run = self.train(trainer)
        fitted = self.host.fitted(trainer, self.final(run))
        note = f"Every real step took {self.gradients} gradients, {self.gradients - 1} of them on trial."
        return replace(fitted, note=" ".join(filter(None, (fitted.note, note))))


class FSTDeep(FutureSteps):
    """FST-D: several virtual steps one after the other (Du et al., NeurIPS 2022).

    ::

        s0 = s
        virtual times:   t <- EMA(t, s);  s <- step(s, loss(s, t; batch))
        t <- EMA(t, s);  s <- s0
        s <- step(s, loss(s, t; batch));  t <- EMA(t, s)

    All steps see the same weak views of the batch; what the host mixes or recolours is drawn anew.
    """

    card: ClassVar[Card] = Card(
        name="fst",
        title="Learning from Future, deep (FST-D)",
        summary="Steps on trial show the teacher where the student goes; then the real one is made.",
        task="segmentation",
        evidence="label maps",
        year=2022,
        venue="NeurIPS",
        paper="https://arxiv.org/abs/2209.06993",
        code="https://github.com/usr922/FST",
        number=93,
        parts=("train.Rollback", "train.EMA", "select.keep_certain", "learn.half_rectangle"),
        claim="GTA5 to Cityscapes 59.9 % mIoU with ResNet-101; VOC, DeepLabV3+, 1/16 of the labels: "
        "73.9 %.",
        measured="CamVid at 72x96 from day to dusk, DACS as the host, 250 steps from random weights, 3 "
        "seeds, mean IoU: 17.4 %, DACS 15.6 %, DACS with as many gradients (1,000 steps) 24.2 %. At 120x160 with "
        "a U-Net, 1,200 steps: 37.2 %, DACS 30.8 %, DACS with as many gradients 38.8 %.",
    )

    steps: int = Field(3, ge=0, description="K, virtual steps per real step")
    closing: bool = Field(
        True,
        description="the teacher follows the real step too; false, as in domain adaptation, where "
        "the next step begins with that",
    )

    @property
    def gradients(self) -> int:
        return self.steps + 1

    def after(self, run: PixelRun) -> None:
        if self.closing or run.progress < self.start:
            super().after(run)

    def foresee(self, run: PixelRun, start: Rollback) -> PixelRun | None:
        seen: list[Seen] = []
        moved = True
        for passes in range(self.steps):
            self.follow(run, run.student, passes)
            if not (moved := self.virtual(_again(run, seen))):
                break
        else:
            self.follow(run, run.student, self.steps)
        start.restore()
        return _again(run, seen) if moved else None


class FSTWide(FutureSteps):
    """FST-W: virtual steps side by side, each on a batch of its own (Du et al., NeurIPS 2022).

    ::

        s0 = s
        for each future batch n:   s_n <- step(s0, loss(s0, t; batch n))
        t <- EMA(t, mean of all s_n);  s <- s0
        s <- step(s, loss(s, t; batch));  t <- EMA(t, s)
    """

    card: ClassVar[Card] = Card(
        name="fst-wide",
        title="Learning from Future, wide (FST-W)",
        summary="The teacher takes in the mean of students that went ahead on batches of their own.",
        task="segmentation",
        evidence="label maps",
        year=2022,
        venue="NeurIPS",
        paper="https://arxiv.org/abs/2209.06993",
        code="https://github.com/usr922/FST",
        number=93,
        parts=("train.Rollback", "train.WeightAverage", "train.EMA", "select.keep_certain"),
        claim="Better than plain self-training at equal steps; FST-D gains more.",
        measured="CamVid at 72x96 from day to dusk, DACS as the host, 250 steps from random weights, 3 "
        "seeds, mean IoU: 17.0 %, DACS 15.6 %, FST-D 17.4 %.",
    )

    branches: int = Field(3, ge=1, description="N, future batches per real step")

    @property
    def gradients(self) -> int:
        return self.branches + 1

    def streams(self, data: Data[T]) -> dict[str, Any]:
        now = self.host.streams(data)
        for number in range(self.branches):
            now |= {_future(name, number): s for name, s in self.host.streams(data).items()}
        return now

    def foresee(self, run: PixelRun, start: Rollback) -> PixelRun | None:
        mean = WeightAverage(run.student)
        moved = True
        for number in range(self.branches):
            if not (moved := self.virtual(_ahead(run, number))):
                break
            mean.update(run.student)
            start.restore()
        else:
            self.follow(run, mean.module, self.branches)
        start.restore()
        return run if moved else None


@dataclass
class SameViews(Run[PixelTrainer, Segmenter]):
    """A run whose weak views are those of an earlier pass over the same batch.

    Attributes:
        seen: the views made so far, in the order in which the host asks for them.
        asked: for how many it has asked in this pass.
    """

    seen: list[Seen] = field(default_factory=list)
    asked: int = 0

    def recall(self, make: Callable[[], Seen]) -> Seen:
        """The next view: that of the earlier passes, or one that ``make`` gives."""
        if self.asked == len(self.seen):
            self.seen.append(make())
        self.asked += 1
        return self.seen[self.asked - 1]


@cache
def _with_recall(kind: type[FewMaps]) -> type[FewMaps]:
    """The host, with the same weak views in every pass of a step."""

    class Recalling(kind):  # type: ignore[valid-type, misc]
        def weak(self, run: PixelRun, images: Tensor) -> Seen:
            def make() -> Seen:
                return cast("Seen", super(Recalling, self).weak(run, images))

            return run.recall(make) if isinstance(run, SameViews) else make()

    return cast("type[FewMaps]", Recalling)


class _Unobserved:
    """A trainer that takes no note of a step."""

    def __init__(self, trainer: PixelTrainer) -> None:
        self._trainer = trainer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trainer, name)

    def observe(self, **_: Any) -> None:
        """Nothing is observed."""


def _again(run: PixelRun, seen: list[Seen]) -> PixelRun:
    """The run for one more pass over its batch."""
    return SameViews(
        run.trainer, run.student, run.average, run.parts, run.optimizer, run.batch, seen
    )


def _ahead(run: PixelRun, number: int) -> PixelRun:
    """The run with the batch of branch ``number`` in the place of its own."""
    batch = run.batch
    own = [name for name in batch.streams if "/" not in name]
    streams = {name: batch.streams[_future(name, number)] for name in own}
    return replace(run, batch=Batch(batch.step, batch.progress, streams))


def _future(name: str, number: int) -> str:
    return f"{name}/{number}"
