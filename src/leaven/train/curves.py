"""The curves of a step: how much is accepted, how right it is, who agrees."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


def step_curves(
    weight: Tensor | None,
    proposed: Tensor | None,
    student: Tensor | None,
    truth: Tensor | None,
    others: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """0-d values by name, of tensors of one shape; nothing is copied from the device.

    ``accepted_share``; ``label_accuracy`` of what is accepted and of known truth; ``agreement`` of
    the student with the proposals; ``NAME_accuracy`` of each of the ``others``. Pixels of which
    nothing is proposed show no picture and count nowhere. 0 / 0 is not a number, which the meter
    leaves out.

    Args:
        weight: trust in each proposal, in [0, 1].
        proposed, student: classes; of pixels -1 beside the picture.
        truth: classes, -1 where unknown.
        others: further opinions of the classes, by name.
    """
    values = {}
    shown = None if proposed is None or proposed.dim() == 1 else proposed >= 0
    if weight is not None:
        accepted = weight.detach() > 0
        values["accepted_share"] = _share(accepted, shown)
        if proposed is not None and truth is not None:
            judged = (accepted & (truth >= 0)).float()
            values["label_accuracy"] = ((proposed == truth) * judged).sum() / judged.sum()
    if student is not None and proposed is not None:
        values["agreement"] = _share(student == proposed, shown)
    if truth is not None:
        known = (truth >= 0).float()
        for name, classes in others.items():
            values[f"{name}_accuracy"] = ((classes == truth) * known).sum() / known.sum()
    return values


def _share(flags: Tensor, among: Tensor | None) -> Tensor:
    """0-d, the share of ``flags`` that are set, of all or ``among`` some."""
    return flags.float().mean() if among is None else (flags & among).sum() / among.sum()
