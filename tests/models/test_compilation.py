"""Compiled networks say what they say uncompiled."""

import copy

import pytest
import torch
from torch import nn

from leaven.data import Data, ImageSet, MemoryPixels
from leaven.errors import ConfigError
from leaven.methods.classification.fixmatch import FixMatch
from leaven.models import build_model, build_segmenter
from leaven.models.compilation import compile_network
from leaven.models.detection import build_detector
from leaven.train import Budget, Settings, Trainer

NORM = {"mean": (0.5,) * 3, "std": (0.25,) * 3}
SHAPE = (3, 32, 32)


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """The parts that are compiled, traced and not turned into machine code, which takes a minute."""
    parts: list[nn.Module] = []
    whole = nn.Module.compile

    def compile_(part: nn.Module) -> None:
        parts.append(part)
        whole(part, backend="eager")

    monkeypatch.setattr(nn.Module, "compile", compile_)
    return parts


def pictures(count: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (count, *SHAPE), generator=generator, dtype=torch.uint8)


def test_a_classifier_is_compiled_in_its_encoder(traced: list[nn.Module]) -> None:
    model = build_model("cnn-small", ("a", "b"), SHAPE, options={"width": 8}, **NORM)
    plain = copy.deepcopy(model)
    names = list(model.state_dict())
    compile_network(model)
    assert traced == [model.encoder] and list(model.state_dict()) == names
    torch.testing.assert_close(model(pictures()), plain(pictures()))
    torch.testing.assert_close(copy.deepcopy(model).eval()(pictures()), plain.eval()(pictures()))


def test_a_segmentation_network_is_compiled_block_by_block(traced: list[nn.Module]) -> None:
    model = build_segmenter("unet", ("a", "b"), SHAPE, options={"widths": (8, 16)}, **NORM).eval()
    plain = copy.deepcopy(model)
    compile_network(model)
    assert traced == list(model.net.children())
    torch.testing.assert_close(model(pictures()), plain(pictures()))


def test_a_detector_is_compiled_in_its_backbone(traced: list[nn.Module]) -> None:
    model = build_detector("rcnn-small", ("a",), SHAPE, **NORM).eval()
    plain = copy.deepcopy(model)
    compile_network(model)
    assert traced == [model.backbone]
    found, expected = model.detect(pictures(), score=0.0), plain.detect(pictures(), score=0.0)
    torch.testing.assert_close(found.boxes, expected.boxes)


def test_without_a_compiler_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ConfigError, match=r"C\+\+ compiler"):
        compile_network(nn.Linear(2, 2))


def test_a_compiled_run_learns_the_same_and_is_saved_the_same(traced: list[nn.Module]) -> None:
    images = pictures(40)
    truth = torch.arange(40) % 2
    labels = torch.where(torch.arange(40) < 10, truth, -1)
    train = ImageSet(MemoryPixels(images), labels, truth, [str(i) for i in range(40)])
    data = Data("pictures", ("a", "b"), train)
    said = []
    for compile_ in (False, True):
        settings = Settings(
            budget=Budget(steps=3), model="cnn-small", options={"width": 8}, threads=1,
            device="cpu", precision="fp32", compile=compile_,
        )  # fmt: skip
        trainer = Trainer(data, None, settings)
        said.append(FixMatch(batch=4, ratio=2).fit(trainer.data, trainer).model.state_dict())
    assert len(traced) == 1 and list(said[0]) == list(said[1])
    for name, value in said[0].items():
        torch.testing.assert_close(said[1][name], value, rtol=1e-4, atol=1e-5)
