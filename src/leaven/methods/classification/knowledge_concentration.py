"""Knowledge Concentration: one network learns from a specialist per vertical."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from leaven.data import Data, Stream
from leaven.errors import ConfigError, DataError
from leaven.learn import (
    TeacherPacing,
    block_cross_entropy,
    block_distillation,
    cross_entropy,
)
from leaven.methods.base import Card, Fitted
from leaven.methods.classification.few_labels import FewLabels
from leaven.models import StructuredHead, build_model, structured
from leaven.models.classifier import Classifier
from leaven.propose import predict
from leaven.train import EMA, Recipe, Trainer

OTHER = "other"
"""What a specialist calls a picture of another vertical."""


class KnowledgeConcentration(FewLabels):
    """Knowledge Concentration (Gao et al., 2017).

    The classes fall into verticals (cars, birds, plants, ...): by ``verticals``, class name ->
    vertical, or by the part of the class names in front of ``separator``, as in ``birds/owl``.

    **Specialists.** For each vertical v a network of its own, ``T_v``, learns the pictures of v by
    cross entropy over the classes ``Y_v``, and with ``other`` pictures of other verticals as one
    further output, so that it can stay silent. Then it is frozen.

    **The student** has logits ``s`` over all C classes. In every step, on pictures x of class y and
    vertical v(x), with ``s^v`` and ``t^v`` the logits of the classes ``Y_v``:

        loss = CE(s, y) + mean_x lambda_v(x) tau^2 CE(softmax(s^v / tau), softmax(t^v(x) / tau))

    Each teacher is left when the student has caught up with it (``TeacherPacing``): lambda_v =
    ``distillation_weight`` * clip(d_v / d_v(start), 0, 1), or 1[d_v > slack], where d_v is the
    running cross entropy within the block of the student less that of the teacher. A vertical's
    teacher comes back if the student falls behind. ``pacing="constant"`` listens to all, always.

    Unlabelled pictures, where there are any, are taught by the specialist that is most confident of
    one of its own classes, by the same block loss with the lambda of that specialist; who that is
    is said once, on the pictures as they are.

    The student's output layer is structured (``StructuredHead``): a shared bottleneck and a private
    block of units per vertical. ``layer="local"`` has private units alone, ``"dense"`` is linear.

    Inference: the student alone, over all C classes; no picture is told its vertical.

    The layer is not scaled to the size of a linear one: with few features it can have more weights
    (``shared`` and ``private`` set it). Several labels per picture, and labels that specialists
    correct, are not here.

    The paper has no code, and its equations were not at hand: what is certain is many teachers to
    one student, self-paced teaching and structurally connected layers. The losses, the gap and the
    layer are this package's reading of them.
    """

    card: ClassVar[Card] = Card(
        name="knowledge-concentration",
        title="Knowledge Concentration: Learning 100K Object Classifiers in a Single CNN",
        summary="A specialist per group of classes teaches one network, until it has caught up.",
        task="classification",
        evidence="labels of classes in verticals",
        year=2017,
        venue="arXiv",
        paper="https://arxiv.org/abs/1711.07607",
        number=113,
        parts=(
            "models.StructuredHead",
            "learn.TeacherPacing",
            "learn.block_distillation",
            "learn.block_cross_entropy",
            "learn.cross_entropy",
            "train.EMA",
        ),
        claim="With dozens of specialists, better than a generalist on OpenImages and on 100,000 "
        "classes, at nearly the cost of one network.",
        measured="30 classes in three verticals, 3,000 steps, 3 seeds, not shown: specialists 1.9 points "
        "better in their verticals; the student with a linear layer 1.1 worse with constant weights and "
        "0.4 worse with self-paced ones than without specialists, with the structured layer (the "
        "default) 2.3 worse; temperature 1 (the default of 3 was worse). No teacher was ever left. With harder "
        "verticals (digits on photos) and 240 unlabelled pictures per class, 3 seeds: generalist 69.7 %, constant "
        "weights 73.6, self-paced ones 71.2.",
    )

    needs_unlabelled: ClassVar[bool] = False

    verticals: dict[str, str] = Field(
        default_factory=dict, description="vertical of each class, by names; by prefix when empty"
    )
    separator: str = Field(
        "/", min_length=1, description="between the vertical and the rest of a class name"
    )
    ratio: int = Field(1, ge=1, description="unlabelled pictures per labelled one in a step")
    ema: float = Field(0.999, ge=0, lt=1, description="decay of the averaged weights")
    other: bool = Field(True, description="specialists learn to say that a picture is not theirs")
    other_share: float = Field(
        0.5, gt=0, lt=1, description="share of other verticals in a specialist's batch"
    )
    specialist_options: dict[str, Any] = Field(
        default_factory=dict, description="options of the specialists' network, such as its width"
    )
    specialist_share: float = Field(
        0.5, gt=0, lt=1, description="share of the run in which the specialists learn, all together"
    )
    specialist_recipe: Recipe = Field(
        default_factory=Recipe, description="how the weights of specialists are moved"
    )
    temperature: float = Field(3.0, gt=0, description="tau, of student and teacher")
    distillation_weight: float = Field(1.0, ge=0, description="lambda_0, of the teachers' losses")
    pacing: Literal["soft", "hard", "constant"] = Field(
        "soft", description="how teachers are left by a student that catches up"
    )
    slack: float = Field(0.02, ge=0, description="gap in nats at which the hard rule stops")
    pacing_momentum: float = Field(0.99, ge=0, lt=1, description="of the running gaps")
    skip_wrong: bool = Field(False, description="no distillation where the teacher errs")
    layer: Literal["structured", "local", "dense"] = Field(
        "structured", description="the student's output layer"
    )
    shared: float = Field(0.5, gt=0, description="shared units per feature of the encoder")
    private: float = Field(0.125, gt=0, description="private units per feature and vertical")

    def fit(self, data: Data, trainer: Trainer) -> Fitted:
        names, verticals = self.vertical_of(data.classes)
        self._check_labels(data, names, verticals)
        student = self._student(trainer, verticals)
        specialists = nn.ModuleList(
            self._specialist(student, data, verticals, number, trainer)
            for number in range(len(names))
        )
        trainer.register(specialists=specialists)
        for number, specialist in enumerate(specialists):
            self._learn_specialist(specialist, number, verticals, data, trainer)
        specialists.requires_grad_(False).eval()
        average = self._learn_student(
            student, Teachers(specialists, verticals.to(trainer.device)), data, trainer
        )
        return self.fitted(trainer, average.module)

    def vertical_of(self, classes: tuple[str, ...]) -> tuple[tuple[str, ...], Tensor]:
        """The names of the V verticals and (C,) the number of each class's vertical.

        Raises:
            ConfigError: a class without a vertical, a vertical for a class that there is not, or one
                with a single class whose specialist would have nothing to tell apart.
        """
        given = self.verticals or {
            name: name.split(self.separator)[0] for name in classes if self.separator in name
        }
        if missing := [name for name in classes if name not in given]:
            raise ConfigError(
                f"The class {missing[0]!r} has no vertical.",
                f"classes named like 'vertical{self.separator}class', or verticals for all",
                "set verticals to a mapping of class names to verticals",
            )
        if unknown := sorted(set(given) - set(classes)):
            raise ConfigError(
                f"The vertical of the class {unknown[0]!r} is given, which the data do not have.",
                f"classes among {', '.join(classes[:10])}",
                "take it out of verticals",
            )
        names = tuple(dict.fromkeys(given[name] for name in classes))
        numbers = torch.tensor([names.index(given[name]) for name in classes])
        counts = torch.bincount(numbers)
        silent = self.other and len(names) > 1
        if not silent and int(counts.min()) < 2:
            raise ConfigError(
                f"The vertical {names[int(counts.argmin())]!r} has a single class.",
                "two classes or more in each vertical, or specialists with other=true",
                "join verticals, or set other to true",
            )
        return names, numbers

    @staticmethod
    def _check_labels(data: Data, names: tuple[str, ...], verticals: Tensor) -> None:
        labels = data.labelled.labels.cpu()
        counts = torch.bincount(verticals[labels], minlength=len(names))
        if int(counts.min()) == 0:
            raise DataError(
                f"No picture of the vertical {names[int(counts.argmin())]!r} is labelled.",
                "a labelled picture or more in each vertical, for its specialist to learn from",
                "label some, or join it with another vertical",
            )

    # -- networks ---------------------------------------------------------------------------------

    def _student(self, trainer: Trainer, verticals: Tensor) -> Classifier:
        student = trainer.model()
        if self.layer == "dense":
            return student
        width = student.num_features
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(trainer.settings.seed)
            head = StructuredHead(
                width,
                verticals.tolist(),
                shared=max(1, round(self.shared * width)) if self.layer == "structured" else 0,
                private=max(1, round(self.private * width)),
            )
        return structured(student, head)

    def _specialist(
        self, student: Classifier, data: Data, verticals: Tensor, number: int, trainer: Trainer
    ) -> Classifier:
        spec = student.spec
        own = (verticals == number).nonzero().flatten().tolist()
        classes = [data.classes[label] for label in own]
        if self.other and len(own) < len(verticals):
            classes.append(OTHER)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(trainer.settings.seed * 7919 + 1_000_003 * (number + 1))
            specialist = build_model(
                spec.name,
                classes,
                spec.shape,
                mean=spec.mean,
                std=spec.std,
                options={**spec.options, **self.specialist_options},
            )
        specialist.to(trainer.device).to(memory_format=torch.channels_last)
        specialist.precision = student.precision
        return specialist

    # -- stage 1 ----------------------------------------------------------------------------------

    def _learn_specialist(
        self, specialist: nn.Module, number: int, verticals: Tensor, data: Data, trainer: Trainer
    ) -> None:
        """``specialist`` ends with the averaged weights of its training."""
        learner = specialist.train()
        average = EMA(learner, self.ema)
        optimizer = trainer.optimizer(learner, self.specialist_recipe)
        trainer.register(specialist_average=average, specialist_optimizer=optimizer)
        weak, _ = data.views()

        # Own classes by their place in the block, all others as the last output.
        own = verticals == number
        place = torch.where(own, own.cumsum(0) - 1, own.sum())
        labels = data.labelled.labels.cpu()
        targets, mine = place[labels], own[labels]
        silent = self.other and not bool(mine.all())
        others = max(1, round(self.other_share * self.batch)) if silent else 0
        streams: dict[str, Any] = {
            "own": Stream(
                data.labelled,
                max(1, self.batch - others),
                targets=targets,
                index=mine.nonzero().flatten(),
            )
        }
        if silent:
            index = (~mine).nonzero().flatten()
            streams["others"] = Stream(data.labelled, others, targets=targets, index=index)
        share = self.specialist_share / (int(verticals.max()) + 1)
        for batch in trainer.steps(share=share, name="specialist", **streams):
            samples = [batch.streams[name] for name in streams]
            images = weak(torch.cat([sample.images for sample in samples]), trainer.draws)
            loss = cross_entropy(learner(images), torch.cat([s.targets for s in samples]))
            trainer.observe(losses={"specialist": loss})
            if trainer.update(loss, optimizer):
                average.update(learner)
        specialist.load_state_dict(average.module.state_dict())

    # -- stage 2 ----------------------------------------------------------------------------------

    def _learn_student(
        self, student: Classifier, teachers: Teachers, data: Data, trainer: Trainer
    ) -> EMA[Classifier]:
        verticals = teachers.verticals
        average = EMA(student, self.ema)
        optimizer = trainer.optimizer(student, self.recipe)
        pacing = TeacherPacing(
            len(teachers.specialists),
            rule="hard" if self.pacing == "hard" else "soft",
            slack=self.slack,
            momentum=self.pacing_momentum,
            reduce=trainer.mean,
        ).to(trainer.device)
        # Who teaches an unlabelled picture; restored in a resumed run, like what it comes from.
        routes = trainer.keep("routes", teacher=teachers.route(data.unlabelled.pixels))
        trainer.register(student=student, average=average, optimizer=optimizer, pacing=pacing)
        weak, _ = data.views()
        streams: dict[str, Any] = {"labelled": data.labelled.batches(self.batch)}
        if len(data.unlabelled):
            streams["unlabelled"] = data.unlabelled.batches(self.batch * self.ratio)

        for batch in trainer.steps(
            share=1 - self.specialist_share, watch=average.module, **streams
        ):
            samples = [batch.streams[name] for name in streams]
            images = weak(torch.cat([sample.images for sample in samples]), trainer.draws)
            targets = batch.labelled.targets
            known, own = len(targets), verticals[targets]
            blocks = own
            if "unlabelled" in streams:
                route = routes.teacher.to(trainer.device)
                blocks = torch.cat([own, route[batch.unlabelled.items]])

            taught = teachers(images, blocks)
            logits = student(images)
            supervised = cross_entropy(logits[:known], targets)
            behind = block_cross_entropy(logits[:known].detach(), targets, own, verticals)
            ahead = block_cross_entropy(taught[:known], targets, own, verticals)
            pacing.update(behind, ahead, own)
            pace = torch.ones_like(pacing.mass) if self.pacing == "constant" else pacing()
            weight = self.distillation_weight * pace[blocks]
            if self.skip_wrong:
                right = taught[:known].argmax(1) == targets
                weight = torch.cat([weight[:known] * right, weight[known:]])
            distilled = block_distillation(
                logits, taught, blocks, verticals, self.temperature, weight
            )
            trainer.observe(
                losses={"supervised": supervised, "distillation": distilled},
                **{f"pace_{number}": value for number, value in enumerate(pace.unbind())},
            )
            if trainer.update(supervised + distilled, optimizer):
                average.update(student)
        return average


class Teachers:
    """The frozen specialists as one: each picture is looked at by the one of its vertical.

    Args:
        specialists: V classifiers; their outputs are the classes of the vertical, in order, and
            maybe one for other verticals.
        verticals: (C,) int64, the vertical of each class.
    """

    def __init__(self, specialists: nn.ModuleList, verticals: Tensor) -> None:
        self.specialists, self.verticals = specialists, verticals
        order = verticals.argsort(stable=True)
        self.members = order.split(torch.bincount(verticals).tolist())

    @torch.no_grad()
    def __call__(self, images: Tensor, blocks: Tensor) -> Tensor:
        """(B, C) logits of the specialist of ``blocks`` (B,) at its own classes, else -inf."""
        order = blocks.argsort(stable=True)
        # The one wait for the device of a step: how many pictures each specialist looks at.
        sizes = torch.bincount(blocks, minlength=len(self.specialists)).tolist()
        logits = images.new_full((len(images), len(self.verticals)), -torch.inf, dtype=torch.float)
        for specialist, members, rows in zip(
            self.specialists, self.members, order.split(sizes), strict=True
        ):
            if len(rows):
                own = specialist(images[rows])[:, : len(members)]
                logits[rows.unsqueeze(1), members] = own
        return logits

    def route(self, pixels: Any) -> Tensor:
        """(n,) the specialist that is most confident of one of its own classes."""
        best = [
            predict(specialist, pixels)[:, : len(members)].max(1).values
            for specialist, members in zip(self.specialists, self.members, strict=True)
        ]
        return torch.stack(best, 1).argmax(1)
