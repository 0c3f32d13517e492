from __future__ import annotations

import pytest
import torch
from torch import nn

from leaven.models.patch_critic import (
    PatchDiscriminator,
    PatchEncoder,
    least_side,
    receptive_field,
    usual_layers,
)

FIELDS = (1, 16, 34, 70, 142, 286)


def without_norms(model: PatchDiscriminator) -> PatchDiscriminator:
    """The same with norms that do nothing, and weights above 0 so that no path is closed."""
    for place, layer in enumerate(model.body):
        if isinstance(layer, nn.BatchNorm2d):
            model.body[place] = nn.Identity()
        elif isinstance(layer, nn.Conv2d):
            nn.init.constant_(layer.weight, 1 / layer.weight[0].numel())
    return model


@pytest.mark.parametrize(("layers", "field"), enumerate(FIELDS))
def test_receptive_field_is_where_the_gradient_comes_from(layers: int, field: int) -> None:
    side = max(8, 2 * field)
    picture = torch.rand(1, 2, side, side, requires_grad=True)
    scores = without_norms(PatchDiscriminator(2, layers, 2))(picture)
    middle = scores.shape[2] // 2
    (slope,) = torch.autograd.grad(scores[0, 0, middle, middle], picture)
    rows, columns = slope[0, 0].abs().nonzero().unbind(1)
    assert int(rows.max() - rows.min()) + 1 == field
    assert int(columns.max() - columns.min()) + 1 == field
    assert int((slope[0, 0] != 0).sum()) == field**2
    assert receptive_field(layers) == field


def test_size_of_the_map() -> None:
    model = PatchDiscriminator(6, 3, 4)
    assert model(torch.rand(1, 6, 256, 256)).shape == (1, 1, 30, 30)
    assert model(torch.rand(1, 6, 512, 512)).shape == (1, 1, 62, 62)
    assert PatchDiscriminator(6, 0, 4)(torch.rand(1, 6, 16, 16)).shape == (1, 1, 16, 16)


def test_widths_of_the_paper() -> None:
    model = PatchDiscriminator(6, 5)
    found = [layer.out_channels for layer in model.body if isinstance(layer, nn.Conv2d)]
    assert found == [64, 128, 256, 512, 512, 512, 1]
    norms = [layer.num_features for layer in model.body if isinstance(layer, nn.BatchNorm2d)]
    assert norms == [128, 256, 512, 512, 512]
    assert sum(weights.numel() for weights in PatchDiscriminator(6, 3).parameters()) == 2_768_705


def test_shifted_pictures_have_shifted_maps() -> None:
    torch.manual_seed(0)
    model = PatchDiscriminator(3, 3, 4).eval()
    picture = torch.rand(1, 3, 168, 168)
    one, two = model(picture[..., :160, :160]), model(picture[..., 8:, 8:])
    torch.testing.assert_close(one[..., 6:-5, 6:-5], two[..., 5:-6, 5:-6])


@pytest.mark.parametrize("layers", range(4))
def test_least_side(layers: int) -> None:
    side = least_side(layers)
    scores = PatchDiscriminator(1, layers, 2)(torch.rand(1, 1, side, side))
    assert scores.shape[2] == scores.shape[3] == (side if layers == 0 else 1)
    if layers:
        with pytest.raises((RuntimeError, ValueError)):
            PatchDiscriminator(1, layers, 2)(torch.rand(1, 1, 2 << layers, 2 << layers))


def test_layers_by_the_side() -> None:
    assert [usual_layers(side) for side in (8, 26, 27, 56, 57, 116, 117, 256)] == [
        0, 0, 1, 1, 2, 2, 3, 3,
    ]  # fmt: skip
    assert all(least_side(usual_layers(side)) <= side for side in range(8, 300))


def test_no_layers_below_none() -> None:
    with pytest.raises(ValueError, match="-1 layers"):
        PatchDiscriminator(3, -1)


def test_the_encoder_without_norms_is_as_it_was() -> None:
    encoder = PatchEncoder((3, 32, 32), width=4, depth=3)
    kinds = [type(layer) for layer in encoder.body]
    assert kinds == [nn.Conv2d, nn.LeakyReLU] * 3
    assert encoder.body[1].negative_slope == 0.01
    assert encoder(torch.rand(2, 3, 32, 32)).shape == (2, encoder.num_features)
