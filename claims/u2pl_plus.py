"""U2PL+ on street photos with few maps: against U2PL, and each addition alone."""

from __future__ import annotations

from typing import Any

from claims.harness import Claim, Gain
from claims.sources import camvid
from claims.u2pl import MODEL, OPTIONS, SMALL, STEPS
from leaven.methods.segmentation.u2pl import U2PL
from leaven.methods.segmentation.u2pl_plus import U2PLPlus
from leaven.train import Budget

OFF: dict[str, Any] = {"momentum_centres": False, "denoised": False, "backward": 0.0}

CLAIM = Claim(
    method="u2pl-plus",
    statement="Lasting centres, corrected proposals and a bounded loss gain over U2PL.",
    setting="CamVid at 96x128, 20 of 367 maps, U-Net 12-24-48 with 64 numbers per pixel (the sheet: "
    "120x160, 1500 steps), 500 steps of 4 labelled and 4 unlabelled pictures, bf16",
    variants={
        "u2pl": U2PL(**SMALL),
        "u2pl, lasting centres": U2PLPlus(**SMALL, **{**OFF, "momentum_centres": True}),
        "u2pl, corrected proposals": U2PLPlus(**SMALL, **{**OFF, "denoised": True}),
        "u2pl, bounded loss": U2PLPlus(**SMALL, **{**OFF, "backward": 0.5}),
        "u2pl-plus": U2PLPlus(**SMALL),
    },
    expect=(Gain("u2pl-plus", "u2pl", 0.3, metric="miou"),),
    data=camvid(20, size=(96, 128)),
    budget=Budget(steps=STEPS),
    model=MODEL,
    options=OPTIONS,
    precision="bf16",
    metric="miou",
)
