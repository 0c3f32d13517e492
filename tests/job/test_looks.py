"""What a model makes of pictures, against the same model asked by hand."""

import pytest
import torch

from leaven.data import MemoryPixels
from leaven.job.looks import BINS, look
from leaven.models import build_model
from leaven.models.detection import build_detector
from leaven.models.segmentation import build_segmenter
from leaven.quality.acquisition import UNCERTAINTY

CLASSES = ("a", "b", "c")
NORM = {"mean": [0.5], "std": [0.25]}


def pictures(n, side=32, channels=3):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, channels, side, side), generator=generator).to(torch.uint8)


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr("leaven.job.looks.CLASSES_AT_ONCE", 3)
    monkeypatch.setattr("leaven.job.looks.PLACES_AT_ONCE", 3)


def test_a_classifier(small_batches):
    model = build_model("cnn-small", CLASSES, (3, 32, 32), **NORM).train()
    images = pictures(7)
    done = []
    found = look(model, MemoryPixels(images), lambda now, all_: done.append((now, all_)))
    assert model.training and done == [(3, 7), (6, 7), (7, 7)]
    model.eval()
    with torch.no_grad():
        features = model.features(images)
        probs = model.classify(features).softmax(1)
    torch.testing.assert_close(found.features, features, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.probs, probs, rtol=1e-4, atol=1e-5)
    assert found.unsure is None and found.confidence is None
    some = found.rows(torch.tensor([5, 1]))
    assert torch.equal(some.probs, found.probs[[5, 1]])
    nothing = look(model, MemoryPixels(images[:0]))
    assert nothing.features.shape == (0, features.shape[1]) and nothing.probs.shape == (0, 3)


def test_a_segmenter(small_batches):
    model = build_segmenter("unet", CLASSES, (3, 32, 32), **NORM).eval()
    images = pictures(4)
    found = look(model, MemoryPixels(images))
    with torch.no_grad():
        probs = model(images).softmax(1)
        deepest = model.encode(images)[-1].mean((2, 3))
    for at, unsure in enumerate(UNCERTAINTY.values()):
        torch.testing.assert_close(
            found.unsure[:, at], unsure(probs).mean((1, 2)), rtol=1e-4, atol=1e-4
        )
    torch.testing.assert_close(found.probs, probs.mean((2, 3)), rtol=1e-4, atol=1e-4)
    assert found.confidence.shape == (4, BINS)
    assert found.confidence.sum(1).tolist() == pytest.approx([1] * 4, abs=1e-5)
    mean = found.confidence @ found.centres
    torch.testing.assert_close(mean, probs.amax(1).mean((1, 2)), rtol=0, atol=1 / BINS)
    assert found.features.shape[1] == min(256, deepest.shape[1])
    if deepest.shape[1] <= 256:
        torch.testing.assert_close(found.features, deepest, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["rcnn-small", "fcos-small", "conv-instance-small"])
def test_a_detector(small_batches, name):
    task = "instance" if "instance" in name else "detection"
    model = build_detector(name, CLASSES, (3, 64, 64), **NORM)
    images = pictures(4, side=64)
    found = look(model, MemoryPixels(images))
    assert found.features.shape[0] == 4 and found.features.isfinite().all()
    assert model.spec.task == task
    with torch.no_grad():
        last = model.eval().backbone(model.normalise(images))[-1].mean((2, 3))
    torch.testing.assert_close(found.features, last, rtol=1e-3, atol=1e-4)
    assert len(look(model, MemoryPixels(images[:0])).features) == 0
