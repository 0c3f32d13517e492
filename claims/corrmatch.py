"""CorrMatch on street photos: regions of the correlation map, and what they do to trust."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from claims.harness import Also, Claim, Gain, Level
from claims.street_photos import ON_STREET, PLAIN, TEXT
from leaven.learn import mix
from leaven.methods import Fitted
from leaven.methods.segmentation.corrmatch import CorrMatch
from leaven.methods.segmentation.weak_strong import Step
from leaven.train import PixelTrainer

COUNTS: WeakKeyDictionary[PixelTrainer, Tensor] = WeakKeyDictionary()
"""Of each run: pixels over the threshold and those of them that are right, the same with the
regions, and all pixels of known truth."""


class Counted(CorrMatch):
    """CorrMatch that counts, in the second half of a run, how right its trusted pixels are."""

    def observe(self, step: Step, losses: dict[str, Tensor]) -> None:
        super().observe(step, losses)
        if step.run.progress < 0.5:
            return
        view = step.strong[0]
        truth = step.truth(view)
        known = (truth >= 0) & view.aim.valid
        voted = mix(view.pasted, step.proposed.classes, step.partners.classes)
        rows = [known]
        for weight, classes in (
            (step.further["certain"], voted),
            (view.aim.weight, view.aim.classes),
        ):
            trusted = (weight > 0) & known
            rows += [trusted, trusted & (classes == truth)]
        counts = COUNTS.setdefault(step.run.trainer, torch.zeros(5, dtype=torch.long))
        counts += torch.stack([row.sum() for row in rows]).cpu()


def regions(trainer: PixelTrainer, fitted: Fitted) -> dict[str, float]:
    """``recall``: the share of all pixels that are trusted with their class; ``precision``: the
    share of the trusted ones that are right. ``certain`` are over the threshold, ``grown`` those
    with the regions."""
    known, certain, right, grown, grown_right = COUNTS.pop(trainer).tolist()
    values = {
        "recall_certain": right / known,
        "recall_grown": grown_right / known,
        "precision_certain": right / max(1, certain),
        "precision_grown": grown_right / max(1, grown),
    }
    return values | {
        "recall_gain": values["recall_grown"] - values["recall_certain"],
        "precision_loss": values["precision_certain"] - values["precision_grown"],
    }


CLAIM = Claim(
    method="corrmatch",
    statement="Regions of the learned correlation map find more right pixels at hardly less "
    "precision, and the network gains over UniMatch's fixed threshold.",
    setting=f"{TEXT}; 32 regions per photo; trust counted on the unlabelled photos of the second half "
    "of a run",
    variants={
        **PLAIN,
        "corrmatch": Also(Counted(regions=32), regions),
    },
    expect=(
        Level("corrmatch", 1.0, metric="recall_gain"),
        Level("corrmatch", 0.3, metric="precision_loss", at_most=True),
        Gain("corrmatch", "unimatch", 0.5, metric="miou"),
        Gain("corrmatch", "supervised", 2.0, metric="miou"),
    ),
    **ON_STREET,
)
