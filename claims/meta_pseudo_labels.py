"""Meta Pseudo Labels with and without feedback, on the digits."""

from claims.harness import Claim, Gain
from claims.sources import digits
from leaven.methods.classification.meta_pseudo_labels import MetaPseudoLabels
from leaven.train import Budget, Recipe

METHOD = MetaPseudoLabels(
    batch=16,
    ratio=4,
    ema=0.98,
    recipe=Recipe(lr=0.05, schedule="cosine", warmup=1 / 60),
    student_recipe=Recipe(lr=0.05, schedule="cosine", wait=0.01, warmup=1 / 60),
    uda_weight=1.0,
    uda_ramp=0.2,
)

CLAIM = Claim(
    method="meta-pseudo-labels",
    statement="Feedback of the student does no harm to a UDA teacher, and may help.",
    setting="scikit-learn digits, 5 labels per class, two cnn-small of width 16, 700 steps of 16 "
    "labelled and 64 unlabelled pictures",
    data=digits(5),
    variants={
        "no feedback": METHOD.model_copy(update={"feedback_weight": 0.0}),
        "feedback": METHOD,
    },
    expect=(Gain("feedback", "no feedback", -0.5),),
    budget=Budget(steps=700),
    model="cnn-small",
    options={"width": 16},
    seeds=(0, 1, 2, 3),
)
