"""The engine: loops that resume, optimisation that stays finite, logs, labels and health.

A method's ``fit`` is plain Python that asks the trainer for services. See ``docs/design.md`` for
how a killed run comes back to where it was. What a task adds - models, metrics, labels - is in
``trainer`` (classes), ``pixel_trainer`` and ``box_trainer``.
"""

from __future__ import annotations

import copy
import logging
import time
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import torch
from accelerate.utils import gather, reduce
from torch import Tensor, nn

from leaven.data import Data, ImageSet, Stream
from leaven.data.dataset import T
from leaven.draws import Draws
from leaven.errors import RunError
from leaven.labels import LabelStore
from leaven.models.compilation import compile_network
from leaven.models.files import WEIGHTS
from leaven.models.weights import read_weights
from leaven.quality import Health
from leaven.train.batch import Batch
from leaven.train.checkpoint import Checkpoints
from leaven.train.curves import step_curves
from leaven.train.guard import BufferGuard
from leaven.train.journal import Bar, Journal
from leaven.train.keep import Keep
from leaven.train.memory import keep_freed_memory
from leaven.train.meter import Meter
from leaven.train.optimizer import Optimizer, Recipe
from leaven.train.settings import Budget, Settings, find_precision, find_processes
from leaven.train.statistics import channel_statistics
from leaven.train.threads import fastest_here

log = logging.getLogger(__name__)

M = TypeVar("M", bound=nn.Module)


class Stateful(Protocol):
    """Anything that can be saved and restored."""

    def state_dict(self) -> Any: ...

    def load_state_dict(self, state: Any) -> Any: ...


class Engine(ABC, Generic[T]):
    """Services for one run of one method on one set of data; what a task adds is in a subclass.

    Args:
        data: what to learn from; moved to the device where it is in memory and fits.
        folder: the run folder; None keeps nothing on disk.
        settings: how to compute.
        resume: go on from the newest whole checkpoint in ``folder``, if there is one.
        drawn: (n,) bool, the labelled items of ``data.train`` that tell how frequent the classes
            are; all of them when None. Labels that people gave to the most doubtful items do not.

    Attributes:
        data: ``data`` where the computing is done; give this to the method.
        draws: the randomness of views and parts.
        drawn: the labelled items that tell how frequent the classes are.
        prior: (K,) the share of each class in ``drawn``; equal shares without labels.
        step: steps so far, over all loops.
        last_round: the number of the newest round of labels, -1 before the first.
        first_round: what these numbers are counted from in the store.
        started: whether a network began with the weights that ``start_from`` gave.
        available: the share of the budget that the shares of ``steps`` divide; less than 1 once a
            pilot has spent some.
        health: what is watched; its findings tell people what went wrong.
    """

    def __init__(
        self,
        data: Data[T],
        folder: Path | None = None,
        settings: Settings | None = None,
        *,
        resume: bool = False,
        drawn: Tensor | None = None,
    ) -> None:
        self.settings = settings = settings or Settings()
        self.folder = folder
        processes, self.device = find_processes(settings.device)
        self.wait = processes.wait_for_everyone
        self.rank, self.world = processes.process_index, processes.num_processes
        self.is_main = processes.is_main_process
        self.precision = find_precision(settings.precision, self.device)
        self.data = data.to(self.device)
        self.drawn = self.data.labelled
        if drawn is not None and bool(drawn.any()):
            self.drawn = self.data.train.subset(drawn)
        self.draws = Draws(settings.seed, self.device, self.rank, self.world)
        self.step, self.seconds, self.images_seen = 0, 0.0, 0
        self.threads = settings.threads
        counts = self.count_classes()
        known = bool(counts.sum() > 0)
        counts = counts if known else torch.ones_like(counts)
        self.prior = (counts / counts.sum()).to(self.device)
        self.health = self.watch(self.prior if known else None)
        self.journal = Journal(folder if self.is_main else None)
        self.label_store = LabelStore(folder / "labels") if folder and self.is_main else None
        self.checkpoints = Checkpoints(folder / "checkpoints") if folder else None
        self.last_round, self.first_round = -1, 0
        self.available = 1.0
        self._registered: dict[str, Stateful] = {"health": self.health}
        self._scope: tuple[str, ...] = ()
        self._entered: dict[tuple[str, ...], int] = {}
        self._models_built = 0
        self._start: dict[str, Tensor] | None = None
        self.started = False
        self._progress = 0.0
        self._loop_began = time.monotonic()
        self._last_checkpoint = time.monotonic()
        self._meter = Meter()
        self._guard = BufferGuard(())
        self._statistics: tuple[tuple[float, ...], tuple[float, ...]] | None = None
        self._truths: dict[str, Any] = {}
        self._checkpoint = self.checkpoints.newest() if resume and self.checkpoints else None
        if self._checkpoint is not None:
            self.threads = self._checkpoint["engine"]["threads"]
            log.info("resuming at step %d", self._checkpoint["engine"]["step"])
        if self.threads:
            torch.set_num_threads(self.threads)
        # The global generator serves dropout and the like; each process needs its own numbers.
        torch.manual_seed(settings.seed * 1_000_003 + self.rank)

    @property
    def replaying(self) -> bool:
        """True while a resumed run is on its way to the loop of its checkpoint."""
        return self._checkpoint is not None

    @property
    def begins_trained(self) -> bool:
        """Whether the weights of a network are not random when its training begins."""
        return self.settings.weights is not None or self.started

    looked_at: ClassVar[int | None] = None
    """So many of the held-out pictures are measured for the curves; all when None."""

    # -- what a task says -------------------------------------------------------------------------

    @abstractmethod
    def count_classes(self) -> Tensor:
        """(K,) float32, how often each class occurs in ``drawn``."""

    def watch(self, prior: Tensor | None) -> Health:
        """What watches the run; ``prior`` (K,) are the shares of the classes, where known."""
        classes = self.data.classes
        return Health(len(classes), prior=prior, class_names=classes)

    @abstractmethod
    def model(self) -> nn.Module:
        """A fresh model for the data, on the device; every call draws new first weights."""

    @abstractmethod
    def measure(self, model: Any, images: ImageSet[T] | None) -> dict[str, float]:
        """The metrics of ``model`` on labelled items; empty without items."""

    # -- building ---------------------------------------------------------------------------------

    def built(self, build: Callable[[tuple[float, ...], tuple[float, ...]], M]) -> M:
        """A fresh model on the device: ``build`` gets mean and spread of the channels; every call
        draws new first weights."""
        if self._statistics is None:
            self._statistics = channel_statistics(self.data.train)
        self._models_built += 1
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.settings.seed * 7919 + self._models_built)
            model = build(*self._statistics)
        self._begin(model)
        return self.placed(model).train()

    def start_from(self, folder: Path, first_round: int) -> None:
        """Goes on where an earlier round of the same run ended.

        The first network of the kind of the model in ``folder`` that the method builds begins with
        its weights; further ones begin anew, for two networks of one method are to differ. Rounds
        of labels are numbered from ``first_round``.
        """
        self.first_round = first_round
        file = folder / WEIGHTS
        self._start = read_weights(file) if file.is_file() else None

    def _begin(self, model: nn.Module) -> None:
        """Gives ``model`` the weights to start from, where it is the one that they are of."""
        if self._start is None:
            return
        own = model.state_dict()
        shapes = {name: value.shape for name, value in self._start.items()}
        if shapes == {name: value.shape for name, value in own.items()}:
            model.load_state_dict(self._start)
            self._start, self.started = None, True

    def placed(self, model: M) -> M:
        """A model on the device, in the precision of the run, compiled where the settings say so."""
        model.to(self.device).to(memory_format=torch.channels_last)
        model.precision = self.precision  # type: ignore[assignment]
        if self.settings.compile:
            compile_network(model)
            log.info("the network is compiled in the first steps, which takes up to minutes")
        if not self.threads:
            self._choose_threads(model)
        return model

    def optimizer(self, models: nn.Module | list[nn.Module], recipe: Recipe) -> Optimizer:
        """An optimiser of one or more models; its rate follows the progress of the loop.

        On a CPU the memory of the steps that follow stays with the process (``keep_freed_memory``).
        """
        if self.device.type == "cpu":
            keep_freed_memory()
        return Optimizer([models] if isinstance(models, nn.Module) else models, recipe)

    def register(self, **parts: Stateful) -> None:
        """Puts parts (anything with ``state_dict``) into the checkpoints, by name.

        A name that is registered again takes the place of what was there.
        """
        self._registered.update(parts)

    def keep(self, name: str, **values: Any) -> Keep:
        """Registers plain values under ``name`` and gives the object that holds them."""
        kept = Keep(**values)
        self.register(**{name: kept})
        return kept

    def once(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Plain values that loops of their own find out, before others build on them.

        ``make`` runs its loops and gives the values, which are kept; what it registers is not. A run
        that is resumed after them is given what was found, and ``make`` is not called.
        """
        if self._checkpoint is not None and name in self._checkpoint["registered"]:
            found = dict(self._checkpoint["registered"][name])
        else:
            before, start = dict(self._registered), self._start
            self._start = None  # what is found out beforehand must not know the labels already
            found = make()
            self._registered, self._start = before, start
        self.keep(name, **found)
        return found

    # -- loops ------------------------------------------------------------------------------------

    def steps(
        self,
        *,
        share: float = 1.0,
        count: int | None = None,
        most: int | None = None,
        name: str = "train",
        watch: nn.Module | None = None,
        streams: Mapping[str, Stream[Any]] | None = None,
        **named: Stream[Any],
    ) -> Iterator[Batch]:
        """Yields batches until ``share`` of the run's budget is spent.

        Args:
            share: of the whole budget, in (0, 1].
            count: this number of steps in place of a share.
            most: end after this number of steps, also where the share lasts longer.
            name: for people, in logs and the progress bar.
            watch: a model to measure on held-out items now and then, for the curves only.
            streams: what each batch holds, by name; where the names are not known beforehand.
            named: what each batch holds, by name.
        """
        streams = {**(streams or {}), **named}
        budget = self.settings.budget.share(share * self.available)
        budget = budget if count is None else Budget(steps=count)
        if most is not None and budget.steps is not None:
            budget = Budget(steps=min(budget.steps, most))
        place = self._enter(name)
        for key, stream in streams.items():
            seed = zlib.crc32("/".join((*place, key)).encode()) + self.settings.seed * 2**32
            stream.start(seed, self.device, self.rank, self.world)
        step, spent = 0, 0.0
        if self._checkpoint is not None:
            if tuple(self._checkpoint["place"]) != place:
                return
            step, spent = self._restore_loop(streams)
        self._truths = {key: stream.truth for key, stream in streams.items()}
        self._guard = BufferGuard(self._registered.values())
        self._meter.start()
        self._loop_began = time.monotonic() - spent
        # As the step before left it, so that a resumed run measures at the same steps.
        evaluated = int(budget.progress(max(0, step - 1), spent) * self.settings.evaluations)
        with Bar(name, self.settings.show and self.is_main) as bar:
            while (progress := self._spent(budget, step, most)) < 1:
                self._progress = progress
                self._guard.remember()
                yield Batch(step, progress, {key: s.next() for key, s in streams.items()})
                step += 1
                self.step += 1
                images = sum(stream.size for stream in streams.values())
                self.images_seen += images
                self._meter.count(images)
                if self._meter.due(step, budget):
                    self._write_metrics(name, bar, progress)
                if watch is not None and progress * self.settings.evaluations >= evaluated + 1:
                    evaluated = int(progress * self.settings.evaluations)
                    self._evaluate(watch, name)
                if self._checkpoint_due():
                    self._save(place, streams, step)
        self._write_metrics(name, None, 1.0)
        self.seconds += time.monotonic() - self._loop_began

    def rounds(self, count: int, *, name: str = "round") -> Iterator[int]:
        """Yields 0, 1, ..., count - 1; a resumed run starts in the round of its checkpoint.

        Loops inside a round take their share of the budget as they ask.
        """
        place = self._enter(name)
        first = 0
        if self._checkpoint is not None:
            saved = tuple(self._checkpoint["place"])
            if saved[: len(place)] != place:
                return
            first = int(saved[len(place)])
            self._restore(strict=False)
        outer = self._scope
        for number in range(first, count):
            self._scope = (*place, str(number))
            yield number
        self._scope = outer

    # -- a step -----------------------------------------------------------------------------------

    def update(self, loss: Tensor, optimizer: Optimizer) -> bool:
        """Moves the weights down the gradient of ``loss``; True when they have moved.

        False in two cases: the gradients of ``recipe.accumulate`` batches are still being gathered,
        or the loss or a gradient is not finite. Then nothing moves, the buffers of all registered
        modules (batch statistics, running means) go back to where they were before the step, and
        the event is counted in the health of the run.
        """
        recipe = optimizer.recipe
        if not self._finite(loss.detach()):
            return self._skip(optimizer)
        (loss if recipe.accumulate == 1 else loss / recipe.accumulate).backward()
        optimizer.pending += 1
        if optimizer.pending < recipe.accumulate:
            return False
        gradients = [p.grad for p in optimizer.parameters if p.grad is not None]
        self._average(gradients)
        norm = nn.utils.get_total_norm(gradients)
        if not bool(torch.isfinite(norm)):
            return self._skip(optimizer)
        if recipe.clip is not None:
            nn.utils.clip_grads_with_norm_(optimizer.parameters, recipe.clip, norm)
        optimizer.set_progress(self._progress)
        optimizer.torch.step()
        optimizer.zero_grad()
        self._average([b for m in optimizer.models for b in m.buffers() if b.is_floating_point()])
        return True

    def observe(
        self,
        *,
        losses: dict[str, Tensor] | None = None,
        weight: Tensor | None = None,
        proposed: Tensor | None = None,
        confidence: Tensor | None = None,
        student: Tensor | None = None,
        items: Tensor | None = None,
        stream: str = "unlabelled",
        threshold: float | None = None,
        truth: Tensor | None = None,
        others: dict[str, Tensor] | None = None,
        boxes: Tensor | None = None,
        detections: Tensor | None = None,
        told: Tensor | None = None,
        **scalars: Tensor,
    ) -> None:
        """Takes note of a step for logs and health; nothing is copied from the device here.

        Args:
            losses: the parts of the loss by name, 0-d tensors.
            weight: (B,) or (B, H, W), trust in each proposal, in [0, 1].
            proposed: of that shape, proposed classes.
            confidence: of the proposals.
            student: the classes that the student gives the same items or pixels.
            items: (B,) positions in the image set of ``stream``, to compare with a known truth.
            truth: the truth itself, -1 where unknown, where it was moved as the proposals were.
            threshold: the confidence that a proposal must reach, if there is one.
            others: by name, (B,) further opinions of the classes of ``items``; only compared with
                a known truth, as a curve.
            boxes: (B,) pseudo-boxes of each picture that the student learns from.
            detections: (B,) what the teacher found in each picture, before any threshold.
            told: 0-d, the share of patches, half of them real, that a critic told right.
            scalars: 0-d tensors, anything else worth a curve.
        """
        if truth is None and items is not None:
            truth = self._truths[stream][items]
        values = {f"loss/{name}": loss for name, loss in (losses or {}).items()} | scalars
        values |= step_curves(weight, proposed, student, truth, others or {})
        if boxes is not None:
            values["boxes_per_picture"] = boxes.detach().float().mean()
        if told is not None:
            values["critic_right"] = told.detach().float()
        self._meter.add(values)
        observed = (weight, proposed, confidence, student, losses, boxes, detections, told)
        if any(part is not None for part in observed):
            self.health.observe(
                weight=weight,
                proposed=proposed,
                confidence=confidence,
                student=student,
                losses=losses,
                threshold=threshold,
                boxes=boxes,
                detections=detections,
                told=told,
            )

    def truth(self, items: Tensor, stream: str = "unlabelled") -> Any:
        """What is true of the ``items`` (b,) of a stream of this loop: for curves, never to train."""
        return self._truths[stream][items]

    def mean(self, value: Tensor) -> Tensor:
        """The mean of ``value`` over processes."""
        return reduce(value, reduction="mean") if self.world > 1 else value

    def gather(self, value: Tensor) -> Tensor:
        """The rows of ``value`` (B, ...) of all processes, one process after the other."""
        return gather(value) if self.world > 1 else value

    def log(self, **values: float | int | str | None) -> None:
        """Adds a line to the metrics of the run."""
        if not self.replaying:
            self.journal.write(self.step, **values)

    # -- inside -----------------------------------------------------------------------------------

    def _enter(self, name: str) -> tuple[str, ...]:
        """The path of a loop that starts now: the loops around it, its name and its number."""
        key = (*self._scope, name)
        number = self._entered.get(key, 0)
        self._entered[key] = number + 1
        return (*self._scope, f"{name}#{number}")

    def trial(self, model: nn.Module) -> Callable[[], None]:
        """A training step of a copy of ``model``, to be timed."""
        images = self.data.train.pixels.batch(torch.arange(min(64, len(self.data.train))))
        twin = copy.deepcopy(model).train()
        return lambda: twin(images).square().mean().backward()

    def _choose_threads(self, model: nn.Module) -> None:
        if self.device.type != "cpu" or self.world > 1:
            self.threads = torch.get_num_threads()
            return
        self.threads = fastest_here(self.trial(model))
        torch.set_num_threads(self.threads)
        log.info("computing with %d thread(s), the fastest here", self.threads)

    def _spent(self, budget: Budget, step: int, most: int | None) -> float:
        """The spent share; the same on all processes, so that they leave a loop together."""
        progress = budget.progress(step, time.monotonic() - self._loop_began)
        if self.world > 1 and budget.seconds is not None:
            progress = float(self.mean(torch.tensor(progress, device=self.device)))
        return progress if most is None else min(1.0, max(progress, step / most))

    def _finite(self, loss: Tensor) -> bool:
        """Whether the loss is finite on every process."""
        return bool(torch.isfinite(self.mean(loss)))

    def _skip(self, optimizer: Optimizer) -> bool:
        optimizer.zero_grad()
        self._guard.take_back()
        self.health.skipped(self.step, self._meter.not_finite())
        return False

    def _average(self, tensors: list[Tensor]) -> None:
        """Replaces tensors by their means over processes, in one message."""
        if self.world == 1 or not tensors:
            return
        flat = self.mean(torch.cat([tensor.flatten() for tensor in tensors]))
        for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def _write_metrics(self, name: str, bar: Bar | None, progress: float) -> None:
        values, rate = self._meter.flush()
        if bar is not None:
            share = values.get("accepted_share")
            bar.show(progress, rate, "" if share is None else f"accepted {share:.0%}")
        if values:
            seconds = self.seconds + time.monotonic() - self._loop_began
            self.journal.write(
                self.step, phase=name, seconds=seconds, images_per_second=rate, **values
            )
        for finding in self.health.check(self.step, progress=progress):
            level = logging.WARNING if finding.recovered is None else logging.INFO
            log.log(level, "%s: %s", finding.code, finding.text)

    def _evaluate(self, model: nn.Module, name: str) -> None:
        held_out = self.data.held_out
        if held_out is not None and self.looked_at is not None:
            held_out = held_out.subset(torch.arange(min(self.looked_at, len(held_out))))
        if self.is_main and held_out is not None:
            self.journal.write(self.step, phase=name, **self.measure(model, held_out))

    # -- checkpoints ------------------------------------------------------------------------------

    def _checkpoint_due(self) -> bool:
        if self.checkpoints is None:
            return False
        if self.settings.checkpoint_steps is not None:
            return self.step % self.settings.checkpoint_steps == 0
        return time.monotonic() - self._last_checkpoint >= self.settings.checkpoint_seconds

    def _save(self, place: tuple[str, ...], streams: dict[str, Stream[Any]], step: int) -> None:
        self._last_checkpoint = time.monotonic()
        if not self.is_main or self.checkpoints is None:
            return
        self.checkpoints.write(
            self.step,
            {
                "place": list(place),
                "loop": {"step": step, "spent": time.monotonic() - self._loop_began},
                "engine": {
                    "step": self.step,
                    "seconds": self.seconds,
                    "images_seen": self.images_seen,
                    "models_built": self._models_built,
                    "threads": self.threads,
                    "world": self.world,
                    "journal": self.journal.state_dict(),
                },
                "streams": {name: stream.state_dict() for name, stream in streams.items()},
                "registered": {name: part.state_dict() for name, part in self._registered.items()},
                "draws": self.draws.state_dict(),
                "torch": torch.get_rng_state(),
                "cuda": torch.cuda.get_rng_state_all() if self.device.type == "cuda" else [],
            },
        )

    def _restore(self, *, strict: bool) -> None:
        """Puts back what is registered and in the checkpoint; ``strict``: these are the same."""
        saved = self._checkpoint
        assert saved is not None
        names, wanted = set(saved["registered"]), set(self._registered)
        if strict and names != wanted:
            raise RunError(
                f"The checkpoint holds {sorted(names)}, the method registers {sorted(wanted)}.",
                "a checkpoint of the same method",
                "start a new run in another folder, or use the version that wrote the checkpoint",
            )
        for name in names & wanted:
            self._registered[name].load_state_dict(saved["registered"][name])
        engine = saved["engine"]
        if engine["world"] != self.world:
            raise RunError(
                f"The checkpoint was made by {engine['world']} process(es), now there are {self.world}.",
                "the same number of processes",
                f"start with {engine['world']} process(es)",
            )
        self.step, self.seconds = engine["step"], engine["seconds"]
        self.images_seen, self._models_built = engine["images_seen"], engine["models_built"]
        self.draws.load_state_dict(saved["draws"])
        if self.rank == 0:
            torch.set_rng_state(saved["torch"])
        else:
            torch.manual_seed(self.settings.seed * 1_000_003 + self.rank + self.step * 31)
        if saved["cuda"] and self.device.type == "cuda":
            torch.cuda.set_rng_state_all(saved["cuda"])

    def _restore_loop(self, streams: dict[str, Stream[Any]]) -> tuple[int, float]:
        """Restores everything for the loop of the checkpoint; its step and the seconds in it."""
        self._restore(strict=True)
        saved = self._checkpoint
        assert saved is not None
        for name, stream in streams.items():
            stream.load_state_dict(saved["streams"][name])
        self.journal.load_state_dict(saved["engine"]["journal"])
        self._checkpoint = None
        self._last_checkpoint = time.monotonic()
        return int(saved["loop"]["step"]), float(saved["loop"]["spent"])
