"""The health of a run: what goes wrong silently, said in plain words with what to do.

``Health.observe`` is fed at every step with tensors where they are and never waits for the device.
``Health.check`` reads the sums once per window of steps and judges them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from leaven.quality import judge
from leaven.quality.judge import Verdict

Level = Literal["info", "warning", "error"]
LEVELS: tuple[Level, ...] = ("info", "warning", "error")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something people should know about a run.

    Attributes:
        level: "info", "warning" or "error".
        code: stable name of the kind of finding.
        text: what was seen, what it means, what to do.
        step: the step at which it was first seen.
        recovered: the step from which it was no longer seen, or None.
    """

    level: Level
    code: str
    text: str
    step: int
    recovered: int | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Sums:
    """The sums of one window, on the device of what is observed.

    ``counts[i, k + 1]`` are the proposals of class k, accepted (i = 1) or not (i = 0); column 0 is
    for proposals without a class.
    """

    def __init__(self, num_classes: int, device: torch.device | str = "cpu") -> None:
        self.counts = torch.zeros(2, num_classes + 1, dtype=torch.long, device=device)
        self.agreed = torch.zeros((), dtype=torch.long, device=device)
        self.highest = torch.zeros((), device=device)
        self.dead: dict[str, Tensor] = {}
        self.threshold: Tensor | float | None = None
        self.steps = self.weighed = self.compared = self.skipped = 0

    @property
    def proposed(self) -> Tensor:
        """(K,) proposals of each class."""
        return self.counts.sum(0)[1:]

    @property
    def accepted(self) -> Tensor:
        """(K,) accepted proposals of each class."""
        return self.counts[1, 1:]

    @property
    def trusted(self) -> int:
        """How many proposals were accepted."""
        return int(self.counts[1].sum())

    def count(self, proposed: Tensor, weight: Tensor | None) -> None:
        """Adds the proposals of one step; unlike ``bincount`` this needs no wait."""
        place = proposed + 1
        if weight is not None:
            place = place + (weight > 0) * self.counts.shape[1]
        self.counts.view(-1).scatter_add_(0, place, torch.ones_like(place))

    def to(self, device: torch.device | str) -> Sums:
        """A copy of the sums on ``device``."""
        moved = Sums(self.counts.shape[1] - 1, device)
        moved.load_state_dict(self.state_dict(), device)
        return moved

    def state_dict(self) -> dict[str, Any]:
        return dict(vars(self))

    def load_state_dict(
        self, state: Mapping[str, Any], device: torch.device | str | None = None
    ) -> None:
        device = self.counts.device if device is None else device
        for name, value in state.items():
            if name == "dead":
                value = {key: tensor.to(device, copy=True) for key, tensor in value.items()}
            elif isinstance(value, Tensor):
                value = value.to(device, copy=True)
            setattr(self, name, value)


class Health:
    """Watches a run and says what is wrong with it.

    Codes: ``nothing-accepted``, ``few-accepted``, ``class-spread``, ``collapse``,
    ``disagreement``, ``dead-unlabelled-loss``, ``non-finite-loss``, ``over-confident``,
    ``no-held-out``. Limits and their reasons: ``leaven.quality.judge``.

    Args:
        num_classes: K.
        prior: (K,) how often each class occurs among the labelled items (counts or shares), or
            None when it is not known; then the spread of classes is not judged.
        class_names: for the texts; numbers when None.
        window: steps per judgement.
    """

    def __init__(
        self,
        num_classes: int,
        prior: Tensor | None = None,
        class_names: Sequence[str] | None = None,
        window: int = 200,
    ) -> None:
        if num_classes < 1 or window < 1:
            raise ValueError(f"num_classes {num_classes} and window {window} must be positive")
        self.num_classes, self.window = num_classes, window
        self.class_names = list(class_names or map(str, range(num_classes)))
        self.prior = None if prior is None else prior.detach().double().cpu() / float(prior.sum())
        self._sums = Sums(num_classes)
        self._found: dict[str, Finding] = {}
        self._news: list[Finding] = []
        self._windows = 0
        self._barren_steps = 0
        self._skips: dict[str, int] = {}
        self._skipped_steps = 0

    @torch.no_grad()
    def observe(
        self,
        *,
        weight: Tensor | None = None,
        proposed: Tensor | None = None,
        confidence: Tensor | None = None,
        student: Tensor | None = None,
        losses: Mapping[str, Tensor] | None = None,
        threshold: Tensor | float | None = None,
    ) -> None:
        """Adds one step to the sums, without waiting for the device.

        Args:
            weight: (B,) trust in the proposals, in [0, 1]; accepted above 0.
            proposed: (B,) proposed classes (the teacher's), -1 for none.
            confidence: (B,) confidence of the proposals, in [0, 1].
            student: (B,) the student's classes on the same items.
            losses: 0-d tensors by name; "supervised" is the loss of the labelled items, every
                other one is taken as a loss of the unlabelled items.
            threshold: what the confidence is compared with, where there is such a thing.
        """
        seen = next((t for t in (weight, proposed, confidence, student) if t is not None), None)
        sums = self._sums_on(seen, losses)
        sums.steps += 1
        if threshold is not None:
            sums.threshold = threshold.detach() if isinstance(threshold, Tensor) else threshold
        if weight is not None:
            sums.weighed += len(weight)
        if proposed is None and weight is not None:
            sums.count(torch.full_like(weight, -1, dtype=torch.long), weight)
        elif proposed is not None:
            sums.count(proposed, weight)
        if proposed is not None and student is not None:
            sums.compared += len(student)
            sums.agreed += (student == proposed).sum()
        if confidence is not None and len(confidence):
            sums.highest = torch.fmax(sums.highest, confidence.detach().float().max())
        for name, loss in (losses or {}).items():
            if name != "supervised":
                sums.dead[name] = sums.dead.get(name, 0) + (loss.detach().abs() <= judge.DEAD_LOSS)

    def skipped(self, step: int, names: Sequence[str]) -> None:
        """Counts a step that was not taken because ``names`` (losses, gradients) were not finite."""
        self._skipped_steps += 1
        self._sums.skipped += 1
        for name in names or ["loss"]:
            self._skips[name] = self._skips.get(name, 0) + 1
        verdict = judge.non_finite(
            self._skipped_steps, self._skips, self._sums.skipped, max(self._sums.steps, self.window)
        )
        self._settle(step, {"non-finite-loss": verdict})

    def calibration(self, metrics: Mapping[str, float] | None, step: int = 0) -> None:
        """Judges confidence on held-out labels: ``accuracy``, ``confidence`` and ``ece`` of
        ``classification_metrics``; None or empty when there are no held-out labels."""
        self._settle(
            step,
            {
                "no-held-out": None if metrics else judge.no_held_out(),
                "over-confident": judge.over_confident(metrics) if metrics else None,
            },
        )

    def check(
        self, step: int, *, progress: float | None = None, final: bool = False
    ) -> list[Finding]:
        """The news since the last check: findings that are new, graver than before, or over.

        Free of cost between the ends of windows. A finding that is over has ``recovered`` set.

        Args:
            step: of the run.
            progress: the share of the budget that is spent, in [0, 1], where it is known.
            final: judge the window as it is, because the run ends.
        """
        if self._sums.steps >= self.window or (final and self._sums.steps > 0):
            self._settle(step, self._judge(progress, final))
        news, self._news = self._news, []
        return news

    def findings(self) -> list[Finding]:
        """One finding per code, gravest first; one that recovered counts as "info"."""
        return sorted(self._found.values(), key=lambda f: (-LEVELS.index(f.level), f.step, f.code))

    def state_dict(self) -> dict[str, Any]:
        return {
            "sums": self._sums.to("cpu").state_dict(),
            "found": [finding.as_dict() for finding in self._found.values()],
            "news": [finding.as_dict() for finding in self._news],
            "windows": self._windows,
            "barren_steps": self._barren_steps,
            "skips": dict(self._skips),
            "skipped_steps": self._skipped_steps,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._sums = Sums(self.num_classes)
        self._sums.load_state_dict(state["sums"])
        self._found = {entry["code"]: Finding(**entry) for entry in state["found"]}
        self._news = [Finding(**entry) for entry in state["news"]]
        self._windows = state["windows"]
        self._barren_steps = state["barren_steps"]
        self._skips = dict(state["skips"])
        self._skipped_steps = state["skipped_steps"]

    def _sums_on(self, seen: Tensor | None, losses: Mapping[str, Tensor] | None) -> Sums:
        """The sums, on the device of what is observed."""
        tensor = next(iter((losses or {}).values()), None) if seen is None else seen
        if tensor is not None and tensor.device != self._sums.counts.device:
            self._sums = self._sums.to(tensor.device)
        return self._sums

    def _judge(self, progress: float | None, final: bool) -> dict[str, Verdict | None]:
        """The verdict of every code that this window allows to judge; None is "all is well"."""
        device = self._sums.counts.device
        sums, self._sums = self._sums.to("cpu"), Sums(self.num_classes, device)
        self._windows += 1
        warm = final or self._windows > judge.WARM_UP
        verdicts = dict(self._judge_accepted(sums, warm))
        if warm:
            verdicts.update(self._judge_classes(sums))
        late = self._windows >= judge.LATE_WINDOWS if progress is None else progress >= judge.LATE
        if sums.compared and late:
            verdicts["disagreement"] = judge.disagreement(int(sums.agreed) / sums.compared)
        if sums.dead:
            accepted = sums.trusted if sums.weighed else None
            silent = {name: int(count) for name, count in sums.dead.items()}
            verdicts["dead-unlabelled-loss"] = judge.dead_loss(silent, sums.steps, accepted)
        if not sums.skipped:
            verdicts["non-finite-loss"] = None
        return verdicts

    def _judge_accepted(self, sums: Sums, warm: bool) -> Iterator[tuple[str, Verdict | None]]:
        if not sums.weighed:
            return
        share = sums.trusted / sums.weighed
        highest = float(sums.highest)
        threshold = (
            None if sums.threshold is None else float(torch.as_tensor(sums.threshold).mean())
        )
        self._barren_steps = 0 if share > 0 else self._barren_steps + sums.steps
        barren = self._barren_steps
        grave = barren > self.window
        nothing = judge.nothing_accepted(barren, highest, threshold, grave) if barren else None
        yield "nothing-accepted", nothing
        if nothing is not None:
            yield "few-accepted", None
        elif warm:
            yield "few-accepted", judge.few_accepted(share, sums.steps, threshold)

    def _judge_classes(self, sums: Sums) -> Iterator[tuple[str, Verdict | None]]:
        collapse = judge.collapse(sums.proposed, self.prior, self.class_names)
        if int(sums.proposed.sum()):
            yield "collapse", collapse
        if collapse is None and self.prior is not None and int(sums.accepted.sum()):
            yield "class-spread", judge.class_spread(sums.accepted, self.prior, self.class_names)

    def _settle(self, step: int, verdicts: Mapping[str, Verdict | None]) -> None:
        """Writes verdicts down; what is new, graver or over becomes news."""
        for code, verdict in verdicts.items():
            before = self._found.get(code)
            active = before is not None and before.recovered is None
            if verdict is None:
                if before is not None and active:
                    text = f"Over since step {step}. Before: {before.text}"
                    over = replace(before, level="info", text=text, recovered=step)
                    self._found[code] = over
                    self._news.append(over)
                continue
            level, text = verdict
            first = before.step if before is not None and active else step
            finding = Finding(level, code, text, first)
            self._found[code] = finding
            if before is None or not active or LEVELS.index(level) > LEVELS.index(before.level):
                self._news.append(finding)
