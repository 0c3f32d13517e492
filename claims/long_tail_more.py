"""More methods for unequal classes against FixMatch, in the setting of long-tail."""

from dataclasses import replace

from claims import long_tail
from claims.harness import Gain
from claims.long_tail import SAME, SETTING
from leaven.methods.classification.adsh import Adsh
from leaven.methods.classification.darp import DARP
from leaven.methods.classification.fixmatch import FixMatch
from leaven.methods.classification.saw import SAW
from leaven.methods.classification.tras import TRAS

EPOCH = 50
"""Steps in the place of the papers' epochs of about 500, in a run that is far shorter than theirs."""

CLAIM = replace(
    long_tail.CLAIM,
    method="tras",
    statement="DARP, SAW, TRAS and Adsh gain over FixMatch where both sets are a long tail.",
    setting=f"{SETTING}; what Adsh and SAW do once per epoch is done every {EPOCH} steps",
    variants={
        "fixmatch": FixMatch(**SAME),
        "darp": DARP(**SAME),
        "saw": SAW(every=EPOCH, **SAME),
        "tras": TRAS(**SAME),
        "adsh": Adsh(every=EPOCH, **SAME),
    },
    expect=tuple(
        Gain(name, "fixmatch", 1.0, metric="balanced_accuracy")
        for name in ("darp", "saw", "tras", "adsh")
    ),
)
