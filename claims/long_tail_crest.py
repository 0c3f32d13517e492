"""CReST and CReST+ against FixMatch in as many steps, in the setting of long-tail."""

from dataclasses import replace

from claims import long_tail
from claims.harness import Gain
from claims.long_tail import SAME, SETTING
from leaven.methods.classification.crest import CReST, CReSTPlus
from leaven.methods.classification.fixmatch import FixMatch
from leaven.train import Budget

GENERATIONS = 3

CLAIM = replace(
    long_tail.CLAIM,
    method="crest-plus",
    statement="Self-training in generations gains over FixMatch where both sets are a long tail.",
    setting=f"{SETTING}, in each of {GENERATIONS} generations of CReST; FixMatch "
    "in as many steps as all of them together",
    variants={
        "fixmatch": FixMatch(**SAME),
        "crest": CReST(generations=GENERATIONS, **SAME),
        "crest-plus": CReSTPlus(generations=GENERATIONS, **SAME),
    },
    expect=tuple(
        Gain(name, "fixmatch", 1.0, metric="balanced_accuracy") for name in ("crest", "crest-plus")
    ),
    budget=Budget(steps=GENERATIONS * 1200),
)
