"""The thresholds of the FixMatch family side by side on the digits."""

from typing import Any

from claims.harness import Claim, Gain
from claims.sources import digits
from leaven.methods.classification.adamatch import AdaMatch
from leaven.methods.classification.dash import Dash
from leaven.methods.classification.defixmatch import DeFixMatch
from leaven.methods.classification.fixmatch import FixMatch
from leaven.methods.classification.flexmatch import FlexMatch
from leaven.methods.classification.freematch import FreeMatch
from leaven.methods.classification.pseudo_label import PseudoLabel
from leaven.methods.classification.refixmatch import ReFixMatch
from leaven.methods.classification.sequencematch import SequenceMatch
from leaven.methods.classification.softmatch import SoftMatch
from leaven.methods.classification.supervised import Supervised
from leaven.methods.classification.uda import UDA
from leaven.methods.classification.weak_strong import WeakStrong
from leaven.train import Budget

SAME: dict[str, Any] = {"batch": 16, "ratio": 4, "ema": 0.99}

KINDS: tuple[type[WeakStrong], ...] = (
    PseudoLabel,
    UDA,
    FixMatch,
    FlexMatch,
    Dash,
    AdaMatch,
    FreeMatch,
    SoftMatch,
    SequenceMatch,
    ReFixMatch,
    DeFixMatch,
)

METHODS = {kind.card.name: kind(**SAME) for kind in KINDS}

CLAIM = Claim(
    method="fixmatch",
    statement="Every method of the family gains from the unlabelled pictures.",
    setting="scikit-learn digits, 4 labels per class, cnn-small of width 16, 600 steps of 16 "
    "labelled and 64 unlabelled pictures; every method with the defaults of its paper, but for 4 "
    "unlabelled pictures per labelled one (by default 1 of pseudo-label, 3 of AdaMatch, 7 of the others) and "
    "averaged weights with a decay of 0.99 (0.999); none tuned",
    data=digits(4),
    variants={"supervised": Supervised(batch=16, ema=0.99), **METHODS},
    expect=tuple(Gain(name, "supervised", 3.0) for name in METHODS),
    budget=Budget(steps=600),
    model="cnn-small",
    options={"width": 16},
)
