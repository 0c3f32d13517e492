"""Methods of segmentation where labels are what is missing: six maps, an encoder that knows photos."""

from claims.harness import Claim, Gain, On
from claims.pretrained import TEXT, photo_encoder
from claims.sources import camvid, with_all_labels
from claims.street_photos import SAME, SIZE, STEPS
from leaven.methods.segmentation.fixmatch import FixMatch
from leaven.methods.segmentation.mean_teacher import MeanTeacher
from leaven.methods.segmentation.supervised import Supervised
from leaven.methods.segmentation.unimatch import UniMatch
from leaven.train import Budget

CLAIM = Claim(
    method="fixmatch",
    statement="Photos without maps help where a few maps are less than the budget could learn from.",
    setting=f"CamVid at {SIZE[0]}x{SIZE[1]}, 6 of 367 photos labelled, {TEXT}, bf16, {STEPS} steps of 4 "
    "labelled and 4 unlabelled photos; of all labels: 4 photos of all",
    variants={
        "supervised": Supervised(),
        "mean-teacher": MeanTeacher(),
        "fixmatch": FixMatch(),
        "unimatch": UniMatch(),
        "all labels": On(Supervised(), with_all_labels),
    },
    data=camvid(6, size=SIZE),
    budget=Budget(steps=STEPS),
    weights=photo_encoder,
    expect=(
        Gain("all labels", "supervised", 3.0, "miou"),
        *(
            Gain(name, "supervised", 1.0, "miou")
            for name in ("mean-teacher", "fixmatch", "unimatch")
        ),
    ),
    note="In the claim street all labels gain 0.9 points over 20 of them within its 400 steps, so that no "
    "method can gain more there. This setting was found on the seed 10 (all labels of 20 against all: "
    "31.8 and 34.2; of 6: 27.9, FixMatch 28.9, UniMatch 29.3, mean teacher 26.3); on the seed 11 labels alone "
    "reached 21.0, FixMatch 23.8, mean teacher 21.7. On the seeds of the claim the methods lose: which six "
    "photos are labelled decides more than the method.",
    **SAME,
)
