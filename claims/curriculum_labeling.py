"""Curriculum Labeling on the digits: rounds against one shot and against the labels alone."""

from claims.harness import Claim, Gain
from claims.sources import digits, light
from leaven.methods.classification.curriculum_labeling import CurriculumLabeling
from leaven.methods.classification.supervised import Supervised
from leaven.train import Budget, Recipe

RECIPE = Recipe(lr=0.1, schedule="cosine")
PLAIN = {"batch": 64, "recipe": RECIPE, "mixup": False, "swa": False}
STEPS = 300

CLAIM = Claim(
    method="curriculum-labeling",
    statement="Rounds that trust ever more labels beat one round that trusts all at once, and the "
    "labels alone.",
    setting="scikit-learn digits, 5 labels per class, shifts by a pixel and noise, cnn-small of "
    "width 16, 300 steps of 64 pictures a round, no mixup, no weight averaging",
    data=lambda seed: light(digits(5)(seed)),
    variants={
        "labels only": Supervised(batch=64, recipe=RECIPE, ema=0.99),
        "one shot": CurriculumLabeling(**PLAIN, step=100),
        "no restart": CurriculumLabeling(**PLAIN, restart=False),
        "curriculum": CurriculumLabeling(**PLAIN),
    },
    expect=(Gain("curriculum", "labels only", 2.0), Gain("curriculum", "one shot", 1.0)),
    budget={
        "labels only": Budget(steps=STEPS),
        "one shot": Budget(steps=2 * STEPS),
        "no restart": Budget(steps=6 * STEPS),
        "curriculum": Budget(steps=6 * STEPS),
    },
    model="cnn-small",
    options={"width": 16},
    note="There are no validation items: the last round is the result, as with 5 labels per class "
    "nobody would spare any.",
)
