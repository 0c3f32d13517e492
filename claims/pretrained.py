"""An encoder that knows photos: what published methods of segmentation begin with, made here."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from claims.sources import _cifar10
from leaven.data import Data
from leaven.draws import Draws
from leaven.models import save_model
from leaven.models.precision import autocast
from leaven.models.segmentation import SegmentationNet, build_segmenter

log = logging.getLogger("claims")

FOLDER = Path(__file__).parent / "weights"
EPOCHS, BATCH, RATE = 4, 128, 0.1
TEXT = (
    f"deeplab-small whose encoder has learnt the classes of CIFAR-10 (50,000 photos, {EPOCHS} passes; "
    "decoder and head are random)"
)


def photo_encoder() -> str:
    """The file of weights of a ``deeplab-small`` of any classes; made where it is not there yet."""
    folder = FOLDER / "deeplab-small-cifar10"
    if not (folder / "model.safetensors").exists():
        _make(folder)
    return str(folder / "model.safetensors")


def _make(folder: Path) -> None:
    train, test, classes = _cifar10(None)
    weak = Data("cifar10", classes, train, flip=True).views()[0]
    whole = train.pixels.batch(torch.arange(len(train))).float() / 255
    mean, std = whole.mean((0, 2, 3)), whole.std((0, 2, 3))
    torch.manual_seed(0)
    model = build_segmenter(
        "deeplab-small", classes, (3, 32, 32), mean=tuple(mean.tolist()), std=tuple(std.tolist())
    ).to(memory_format=torch.channels_last)
    with torch.no_grad():
        width = model.net.encode(torch.zeros(2, 3, 32, 32))[-1].shape[1]
    head = nn.Linear(width, len(classes))
    network = nn.ModuleList([model.net, head])
    optimizer = torch.optim.SGD(
        [*_encoder(model.net), *head.parameters()], RATE, 0.9, weight_decay=5e-4, nesterov=True
    )
    draws, generator = Draws(0), torch.Generator().manual_seed(0)
    per_pass = len(train) // BATCH
    steps = EPOCHS * per_pass

    def logits(images: Tensor) -> Tensor:
        seen = (images.float() / 255 - mean.view(-1, 1, 1)) / std.view(-1, 1, 1)
        with autocast(seen, torch.bfloat16):
            maps = model.net.encode(seen.contiguous(memory_format=torch.channels_last))[-1]
        return head(maps.float().mean((2, 3)))

    for step in range(steps):
        if step % per_pass == 0:
            parts = torch.randperm(len(train), generator=generator).split(BATCH)
        items = parts[step % per_pass]
        optimizer.param_groups[0]["lr"] = RATE * (1 - step / steps)
        optimizer.zero_grad()
        images = weak(train.pixels.batch(items), draws)
        network.train()
        F.cross_entropy(logits(images), train.truth[items]).backward()
        optimizer.step()
    network.eval()
    with torch.no_grad():
        said = torch.cat(
            [
                logits(test.pixels.batch(some)).argmax(1)
                for some in torch.arange(len(test)).split(500)
            ]
        )
    right = float((said == test.truth).float().mean())
    log.info("the encoder tells %.1f %% of the test photos of CIFAR-10", 100 * right)
    save_model(model.eval(), folder, extra={"cifar10_test_accuracy": right})


def _encoder(net: SegmentationNet) -> list[nn.Parameter]:
    decoder = tuple(f"{name}." for name in net.decoder_parts)
    return [weight for name, weight in net.named_parameters() if not name.startswith(decoder)]
