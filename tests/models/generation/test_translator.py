from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from leaven.cielab import same_lightness
from leaven.models import load_model, save_model
from leaven.models.classifier import ModelSpec
from leaven.models.generation.maker import PictureMaker
from leaven.models.generation.translator import (
    BatchNorm,
    UNet,
    UNetTranslator,
    small_normal,
    usual_depth,
)


def spec(side: int = 16, channels: int = 3, **options: Any) -> ModelSpec:
    options = {"given": 3, "width": 4, "depth": 3, **options}
    half = (0.5,) * channels
    return ModelSpec(
        "unet-translator",
        (),
        (channels, side, side),
        half,
        half,
        options=options,
        task="translation",
    )


def pictures(count: int = 2, channels: int = 3, side: int = 16, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, channels, side, side), generator=generator).byte()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_generator_of_the_paper() -> None:
    net = UNet(3, 3)
    # That of the published code for 256 pixels.
    assert sum(weights.numel() for weights in net.parameters()) == 54_413_955
    assert [layer.out_channels for layer in net.down] == [64, 128, 256, 512, 512, 512, 512, 512]
    assert [layer.out_channels for layer in net.up] == [512, 512, 512, 512, 256, 128, 64, 3]
    assert len(net.down_norm) == 6
    assert len(net.up_norm) == 7


def test_one_picture_through_a_bottleneck_of_one_pixel() -> None:
    made = UNet(3, 3, width=2)(torch.randn(1, 3, 256, 256))
    assert made.shape == (1, 3, 256, 256)
    assert made.isfinite().all()
    assert made.std() > 0


def test_skips_are_raw_and_come_before_the_activation() -> None:
    net = UNet(1, 1, width=2, depth=2, dropout=0.0)
    given = torch.randn(2, 1, 8, 8)
    first = net.down[0](given)
    below = net.down[1](nn.functional.leaky_relu(first, 0.2))
    up = net.up[0](nn.functional.relu(below))
    mean, variance = up.mean((0, 2, 3), keepdim=True), up.var((0, 2, 3), correction=0, keepdim=True)
    joined = torch.cat([(up - mean) / (variance + 1e-5).sqrt(), first], 1)
    wanted = net.up[1](nn.functional.relu(joined)).tanh()
    assert (first < 0).any()
    torch.testing.assert_close(net(given), wanted)


@pytest.mark.parametrize("skips", [True, False])
def test_detail_passes_an_empty_bottleneck_through_skips_alone(skips: bool) -> None:
    torch.manual_seed(0)
    net = UNet(3, 3, width=4, depth=4, skips=skips, dropout=0.0)
    nn.init.zeros_(net.down[-1].weight)
    one, two = net(torch.randn(2, 3, 64, 64)), net(torch.randn(2, 3, 64, 64))
    inner = one[:, :, 16:-16, 16:-16]
    if skips:
        assert (one - two).abs().mean() > 0.01
        assert inner.std((2, 3)).min() > 0.01
    else:
        torch.testing.assert_close(one, two)
        # Transposed convolutions of stride 2 repeat every 16 pixels at most.
        torch.testing.assert_close(inner[..., :16, :16], inner[..., 16:, 16:])


def test_dropout_stays_on_and_statistics_are_those_of_the_batch() -> None:
    net = UNet(3, 3, width=4, depth=4).eval()
    given = torch.randn(4, 3, 16, 16)
    assert not torch.equal(net(given), net(given))
    still = UNet(3, 3, width=4, depth=4, dropout=0.0).eval()
    together = still(given)
    assert not torch.allclose(together[:1], still(given[:1]))
    assert not [name for name, _ in still.named_buffers()]


def test_norms_of_each_picture_are_those_of_a_batch_of_one() -> None:
    net = UNet(3, 3, width=4, depth=4, dropout=0.0)
    given = torch.randn(3, 3, 16, 16)
    one_by_one = torch.cat([net(part) for part in given.split(1)])
    torch.testing.assert_close(net(given, alone=True), one_by_one)


def test_norm_is_that_of_torch_in_training() -> None:
    own, theirs, maps = BatchNorm(3), nn.BatchNorm2d(3), torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(own.eval()(maps), theirs.train()(maps))


@pytest.mark.parametrize("depth", [1, 9])
def test_too_flat_and_too_deep(depth: int) -> None:
    with pytest.raises(ValueError, match="2 to 8"):
        UNet(3, 3, depth=depth)


def test_start_values() -> None:
    torch.manual_seed(0)
    net = small_normal(UNet(3, 3, width=16, depth=5))
    weights = torch.cat([layer.weight.detach().flatten() for layer in [*net.down, *net.up]])
    assert float(weights.mean()) == pytest.approx(0, abs=1e-3)
    assert float(weights.std()) == pytest.approx(0.02, rel=0.02)
    norms = torch.cat([norm.weight.detach() for norm in [*net.down_norm, *net.up_norm]])
    assert float(norms.mean()) == pytest.approx(1, abs=0.01)
    assert float(norms.std()) == pytest.approx(0.02, rel=0.2)
    assert not net.up[-1].bias.any()


@pytest.mark.parametrize(
    ("size", "depth"),
    [((8, 8), 3), ((64, 64), 6), ((96, 96), 5), ((128, 128), 7), ((256, 512), 8), ((9, 9), 2)],
)
def test_depth_by_the_sides(size: tuple[int, int], depth: int) -> None:
    assert usual_depth(*size) == depth


def test_made_pictures_are_repeatable_and_of_any_size() -> None:
    model = UNetTranslator(spec())
    given = pictures(20, side=16)
    before = torch.get_rng_state()
    made = model.make(given, seeded(3))
    assert torch.equal(torch.get_rng_state(), before)
    assert made.dtype == torch.uint8
    assert made.shape == given.shape
    assert torch.equal(made, model.make(given, seeded(3)))
    assert not torch.equal(made, model.make(given, seeded(4)))
    assert model.make(pictures(side=21), seeded()).shape == (2, 3, 21, 21)
    assert model.make(given[:0], seeded()).shape == (0, 3, 16, 16)


def test_pictures_made_together_share_their_statistics() -> None:
    model = UNetTranslator(spec(dropout=0.0))
    given = pictures(4)
    alone = model.make(given, seeded())
    assert torch.equal(alone[:1], model.make(given[:1], seeded()))
    assert not torch.equal(alone, model.make(given, seeded(), batch=4))


def test_encoding_is_undone_by_decoding() -> None:
    model = UNetTranslator(spec())
    values = pictures()
    encoded = model.encode_wanted(values)
    assert float(encoded.abs().max()) <= 1
    assert torch.equal(model.decode(values, encoded), values)


def test_colouring_keeps_the_lightness() -> None:
    model = UNetTranslator(spec(given=1, lab=True))
    colour = pictures() // 2 + 64
    grey = same_lightness(colour)
    assert model.encode_given(grey).shape == (2, 1, 16, 16)
    found = model.encode_wanted(colour)
    assert found.shape == (2, 2, 16, 16)
    back = model.decode(grey, found)
    assert int((back.int() - colour.int()).abs().max()) <= 2
    made = model.make(grey, seeded())
    assert made.shape == colour.shape
    # What comes out may lie outside of what a screen shows, but for weak colours.
    pale = model.decode(grey, found * 0.1)
    assert int((same_lightness(pale).int() - grey.int()).abs().max()) <= 1


def test_saved_and_loaded(tmp_path: Path) -> None:
    model = UNetTranslator(spec(skips=False))
    save_model(model, tmp_path)
    again = load_model(tmp_path, PictureMaker)
    assert isinstance(again, UNetTranslator)
    assert torch.equal(again.make(pictures(), seeded()), model.make(pictures(), seeded()))


def test_in_bfloat16_the_pictures_are_about_the_same() -> None:
    model = UNetTranslator(spec(dropout=0.0))
    exact = model.translate(model.encode_given(pictures()))
    model.precision = torch.bfloat16
    rough = model.translate(model.encode_given(pictures()))
    assert rough.dtype == torch.float32
    assert math.isclose(float((exact - rough).abs().mean()), 0, abs_tol=0.05)
