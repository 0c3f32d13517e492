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
from leaven.quality.sums import Sums

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


class Health:
    """Watches a run and says what is wrong with it.

    Codes: ``nothing-accepted``, ``few-accepted``, ``class-spread``, ``collapse``,
    ``disagreement``, ``dead-unlabelled-loss``, ``non-finite-loss``, ``non-finite-outputs``,
    ``slow-teacher``, ``over-confident``, ``no-held-out``; of pixels and boxes ``vanished-class``; of boxes, in place of
    the first two, ``no-pseudo-boxes``, ``empty-teacher``, ``box-avalanche``; of generators with a
    critic ``one-sided-critic``. Limits and their reasons: ``leaven.quality.judge``.

    Args:
        num_classes: K.
        prior: (K,) how often each class occurs among the labelled items, pixels or boxes (counts
            or shares), or None when it is not known; then the spread of classes is not judged.
        class_names: for the texts; numbers when None.
        window: steps per judgement.
        boxes_per_picture: mean of the labelled pictures, or None when it is not known; then an
            avalanche of boxes is not judged.
    """

    def __init__(
        self,
        num_classes: int,
        prior: Tensor | None = None,
        class_names: Sequence[str] | None = None,
        window: int = 200,
        boxes_per_picture: float | None = None,
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
        self.boxes_per_picture = boxes_per_picture
        self._seen = torch.zeros(num_classes, dtype=torch.bool)

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
        boxes: Tensor | None = None,
        detections: Tensor | None = None,
        told: Tensor | None = None,
    ) -> None:
        """Adds one step to the sums, without waiting for the device.

        What is proposed are items (B,), pixels (B, H, W) or the boxes of all pictures (m,).

        Args:
            weight: (...) trust in the proposals, in [0, 1]; accepted above 0.
            proposed: (...) proposed classes (the teacher's), -1 for none.
            confidence: (...) confidence of the proposals, in [0, 1].
            student: (...) the student's classes on the same items.
            losses: 0-d tensors by name; "supervised" is the loss of the labelled items, every
                other one is taken as a loss of the unlabelled items.
            threshold: what the confidence is compared with, where there is such a thing.
            boxes: (B,) pseudo-boxes of each picture, those that the student learns from.
            detections: (B,) what the teacher proposed for each picture, before any threshold.
            told: 0-d, the share of patches, half of them real, that a critic told right.
        """
        observed = (weight, proposed, confidence, student, boxes, detections, told)
        seen = next((t for t in observed if t is not None), None)
        sums = self._sums_on(seen, losses)
        sums.steps += 1
        if threshold is not None:
            sums.threshold = threshold.detach() if isinstance(threshold, Tensor) else threshold
        if weight is not None:
            sums.weighed += weight.numel()
        if any(one is not None for one in (weight, proposed, boxes, detections)):
            sums.judged += 1
        if proposed is None and weight is not None:
            sums.count(torch.full_like(weight, -1, dtype=torch.long), weight)
        elif proposed is not None:
            sums.count(proposed, weight)
        if proposed is not None and student is not None:
            sums.compare(student, proposed)
        sums.count_boxes(boxes, detections)
        if told is not None:
            sums.told += told.detach()
            sums.contests += 1
        if confidence is not None and confidence.numel():
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

    def decay(self, decay: float, steps: int, step: int = 0, *, predicts: bool = True) -> None:
        """Judges the ``decay`` that a teacher has in the end, in a loop of ``steps`` that starts at
        ``step``; ``predicts``: it is also what is used after the run."""
        self._settle(step, {"slow-teacher": judge.slow_teacher(decay, steps, predicts)})

    def lost(self, items: int, of: int, step: int = 0) -> None:
        """Takes note that the model says nothing that is a number of so many of its items."""
        self._settle(step, {"non-finite-outputs": judge.non_finite_outputs(items, of)})

    def calibration(self, metrics: Mapping[str, float] | None, step: int = 0) -> None:
        """Judges confidence on held-out labels, None or empty when there are none.

        Args:
            metrics: ``accuracy`` (or ``pixel_accuracy``), ``confidence`` and ``ece``, as
                ``classification_metrics`` or ``SegmentationMeter`` give them.
            step: of the run.
        """
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
            "seen": self._seen.clone(),
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
        self._seen = state["seen"].clone()

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
        late = self._windows >= judge.LATE_WINDOWS if progress is None else progress >= judge.LATE
        find = self._judge_boxes if sums.pictures else self._judge_accepted
        verdicts = dict(find(sums, warm))
        if warm:
            verdicts.update(self._judge_classes(sums))
        verdicts.update(self._judge_vanished(sums, warm, late))
        if int(sums.compared) and late:
            verdicts["disagreement"] = judge.disagreement(int(sums.agreed) / int(sums.compared))
        if sums.dead:
            accepted = sums.trusted if sums.weighed else None
            accepted = int(sums.boxes) if sums.pictures else accepted
            silent = {name: int(count) for name, count in sums.dead.items()}
            code = "no-pseudo-boxes" if sums.pictures else "nothing-accepted"
            verdicts["dead-unlabelled-loss"] = judge.dead_loss(silent, sums.steps, accepted, code)
        if sums.contests and late:
            share = float(sums.told) / sums.contests
            verdicts["one-sided-critic"] = judge.one_sided(share, sums.steps)
        if not sums.skipped:
            verdicts["non-finite-loss"] = None
        return verdicts

    def _judge_accepted(self, sums: Sums, warm: bool) -> Iterator[tuple[str, Verdict | None]]:
        if not sums.weighed:
            return
        share = sums.accepted_share
        barren = self._barren(sums, sums.trusted)
        nothing = None
        if barren:
            grave = barren > self.window
            nothing = judge.nothing_accepted(barren, float(sums.highest), sums.limit, grave)
        yield "nothing-accepted", nothing
        if nothing is not None:
            yield "few-accepted", None
        elif warm:
            yield "few-accepted", judge.few_accepted(share, sums.judged, sums.limit)

    def _judge_boxes(self, sums: Sums, warm: bool) -> Iterator[tuple[str, Verdict | None]]:
        barren = self._barren(sums, int(sums.boxes))
        empty = sums.looked > 0 and int(sums.detections) == 0
        if sums.looked:
            yield "empty-teacher", judge.empty_teacher(sums.judged, warm) if empty else None
        none = None
        if barren:
            highest = None if empty else float(sums.highest)
            none = judge.no_boxes(barren, highest, sums.limit, grave=barren > self.window)
        yield "no-pseudo-boxes", none
        if warm and self.boxes_per_picture is not None:
            found = int(sums.boxes) / sums.pictures
            yield "box-avalanche", judge.avalanche(found, self.boxes_per_picture)

    def _barren(self, sums: Sums, accepted: int) -> int:
        """Steps without anything accepted up to now."""
        self._barren_steps = 0 if accepted else self._barren_steps + sums.judged
        return self._barren_steps

    def _judge_vanished(
        self, sums: Sums, warm: bool, late: bool
    ) -> Iterator[tuple[str, Verdict | None]]:
        if self.prior is None or not (sums.by_pixel or sums.pictures):
            return
        accepted = sums.accepted if sums.weighed else sums.proposed
        if not int(accepted.sum()):
            return
        gone = judge.vanished(accepted, self.prior, sums.by_pixel)
        # What has not been seen yet may still come while the model is young.
        judged = gone & (self._seen | late)
        self._seen |= accepted > 0
        if warm:
            names, steps = self.class_names, sums.judged
            verdict = judge.vanished_class(judged, accepted, self.prior, names, steps)
            yield "vanished-class", verdict

    def _judge_classes(self, sums: Sums) -> Iterator[tuple[str, Verdict | None]]:
        collapse = judge.collapse(sums.proposed, self.prior, self.class_names, sums.by_pixel)
        if int(sums.proposed.sum()):
            yield "collapse", collapse
        if collapse is None and self.prior is not None and int(sums.accepted.sum()):
            names, steps = self.class_names, sums.judged
            yield "class-spread", judge.class_spread(sums.accepted, self.prior, names, steps)

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
