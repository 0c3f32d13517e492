"""The transformer of captions: counts, positions, padding, modulation, and a slow reference."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from leaven.errors import ConfigError
from leaven.models.generation import (
    SHAPES,
    BlockwiseTextTransformer,
    TextTransformer,
    TransformerShape,
    count_parameters,
    forward_flops,
)


def given(shape: TransformerShape, rows: int = 4, size: tuple[int, int] = (6, 8)) -> list[Tensor]:
    """Latents, steps, text and mask; the first caption fills all places, the last has one token."""
    generator = torch.Generator().manual_seed(3)
    latents = torch.randn(rows, shape.channels, *size, generator=generator)
    steps = torch.randint(0, 1000, (rows,), generator=generator)
    text = torch.randn(rows, shape.tokens, shape.text_width, generator=generator)
    lengths = torch.linspace(shape.tokens, 1, rows).round()
    return [latents, steps, text, torch.arange(shape.tokens) < lengths[:, None]]


def count(model: nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters())


# ------------------------------------------------------------------------------------- its size


@pytest.mark.parametrize(
    ("name", "kind", "millions"),
    [
        ("xl-256", TextTransformer, 610.86),
        ("xl-1024", TextTransformer, 610.86 + 0.49),
        ("xl-256", BlockwiseTextTransformer, 825.84),
    ],
)
def test_xl_has_the_parameters_of_the_paper(
    name: str, kind: type[TextTransformer], millions: float
) -> None:
    with torch.device("meta"):
        found = count(kind(SHAPES[name]))
    assert found / 1e6 == pytest.approx(millions, abs=0.005)
    assert found == count_parameters(SHAPES[name], blockwise=kind is BlockwiseTextTransformer)


@pytest.mark.parametrize(
    "change",
    [{}, {"sizes": True}, {"learned_variance": False}, {"patch": 4, "blocks": 1, "text_width": 3}],
)
@pytest.mark.parametrize("kind", [TextTransformer, BlockwiseTextTransformer])
def test_parameters_and_operations_are_those_of_the_closed_forms(
    shape: TransformerShape, change: dict[str, Any], kind: type[TextTransformer]
) -> None:
    shape, blockwise = replace(shape, **change), kind is BlockwiseTextTransformer
    with torch.device("meta"):
        model = kind(shape)
        latents, steps = torch.zeros(1, 3, 8, 16), torch.zeros(1, dtype=torch.int64)
        text, mask = torch.zeros(1, 5, shape.text_width), torch.ones(1, 5, dtype=torch.bool)
        sizes = [torch.zeros(1, 2), torch.zeros(1)] if shape.sizes else []
        with FlopCounterMode(display=False) as counter:
            output = model(latents, steps, text, mask, *sizes)
    assert output.shape == (1, shape.outputs, 8, 16)
    assert count(model) == count_parameters(shape, blockwise=blockwise)
    assert counter.get_total_flops() == forward_flops(shape, 8, 16, blockwise=blockwise)


@pytest.mark.parametrize(
    "change", [{"width": 26}, {"heads": 5}, {"side": 7}, {"width": 16, "sizes": True}]
)
def test_a_shape_that_cannot_be_built_is_refused(
    shape: TransformerShape, change: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match="cannot be built"):
        replace(shape, **change)


# ------------------------------------------------------------------------------- what it computes


def waves(values: Tensor, width: int = 256) -> Tensor:
    """In float32, as the network computes them: at step 999 that is 6e-5 from the true ones."""
    rate = torch.exp(-math.log(10000) * torch.arange(width // 2).float() / (width // 2))
    angle = values.float()[:, None] * rate
    return torch.cat([angle.cos(), angle.sin()], 1).double()


def positions(shape: TransformerShape, height: int, width: int) -> Tensor:
    """(N, D): half the channels for the column, half for the row, sines and then cosines."""
    base = shape.side // shape.patch
    quarter = shape.width // 4
    rate = 10000.0 ** -(torch.arange(quarter).double() / quarter)
    table = []
    for a in range(height):
        for b in range(width):
            row, column = (
                place * (base / length) / shape.interpolation
                for place, length in ((a, height), (b, width))
            )
            halves = [rate * column, rate * row]
            table.append(torch.cat([torch.cat([half.sin(), half.cos()]) for half in halves]))
    return torch.stack(table)


def attention(weights: Any, queries: Tensor, keys: Tensor, heads: int) -> Tensor:
    """Attention of one sample: queries (N, D) to keys (M, D)."""
    q, k, v = (
        layer(tokens).unflatten(1, (heads, -1)).transpose(0, 1)
        for layer, tokens in ((weights.to_q, queries), (weights.to_k, keys), (weights.to_v, keys))
    )
    scores = q @ k.transpose(1, 2) / q.shape[2] ** 0.5
    return weights.to_out[0]((scores.softmax(2) @ v).transpose(0, 1).flatten(1))


def reference(model: TextTransformer, sample: list[Tensor]) -> Tensor:
    """The equations for one sample, without padding: (2c, H, W)."""
    shape, net = model.shape, model.net
    latents, step, text, mask, *sizes = sample
    patch, width = shape.patch, shape.width
    rows, columns = latents.shape[1] // patch, latents.shape[2] // patch
    cut = latents.unfold(1, patch, patch).unfold(2, patch, patch)
    patches = cut.permute(1, 2, 0, 3, 4).flatten(2).flatten(0, 1)
    x = patches @ net.pos_embed.proj.weight.flatten(1).T + net.pos_embed.proj.bias
    x = x + positions(shape, rows, columns)
    embedding = net.adaln_single.emb

    def mlp(layers: Any, values: Tensor) -> Tensor:
        return layers.linear_2(F.silu(layers.linear_1(waves(values))))

    tau = mlp(embedding.timestep_embedder, step.view(1))[0]
    if shape.sizes:
        size, ratio = sizes
        told = mlp(embedding.resolution_embedder, size).flatten()
        tau = tau + torch.cat([told, mlp(embedding.aspect_ratio_embedder, ratio.view(1))[0]])
    project = net.caption_projection
    y = project.linear_2(F.gelu(project.linear_1(text[mask]), approximate="tanh"))
    shared = net.adaln_single.linear(F.silu(tau)).view(6, width)
    for block in model.blocks:
        shift1, scale1, gate1, shift2, scale2, gate2 = block.scale_shift_table + shared
        h = F.layer_norm(x, (width,), eps=1e-6) * (1 + scale1) + shift1
        x = x + gate1 * attention(block.attn1, h, h, shape.heads)
        x = x + attention(block.attn2, x, y, shape.heads)
        h = F.layer_norm(x, (width,), eps=1e-6) * (1 + scale2) + shift2
        inner = F.gelu(block.ff.net[0].proj(h), approximate="tanh")
        x = x + gate2 * block.ff.net[2](inner)
    shift, scale = net.scale_shift_table + tau
    out = net.proj_out(F.layer_norm(x, (width,), eps=1e-6) * (1 + scale) + shift)
    grid = out.view(rows, columns, patch, patch, shape.outputs).permute(4, 0, 2, 1, 3)
    return grid.reshape(shape.outputs, rows * patch, columns * patch)


@pytest.mark.parametrize(
    "change", [{}, {"sizes": True, "interpolation": 2.0, "learned_variance": False}]
)
def test_it_computes_the_equations_of_the_paper(
    shape: TransformerShape, change: dict[str, Any], trained: Any
) -> None:
    shape = replace(shape, **change)
    model = trained(TextTransformer(shape)).double()
    latents, steps, text, mask = given(shape)
    told = [latents.double(), steps, text.double(), mask]
    if shape.sizes:
        told += [torch.tensor([[6.0, 8], [32, 16], [7, 7], [100, 25]]).double()]
        told += [told[4][:, 0] / told[4][:, 1]]
    with torch.no_grad():
        found = model(*told)
        for row, output in enumerate(found):
            expected = reference(model, [part[row] for part in told])
            # The table of positions is in float32.
            assert torch.allclose(output, expected, atol=1e-5)
    assert found.std() > 0.1


def test_the_control_differs_in_its_modulation_alone(shape: TransformerShape, trained: Any) -> None:
    """With the projection of all blocks plus its table in every block it is the same network."""
    single = trained(TextTransformer(shape))
    control = BlockwiseTextTransformer(shape).eval()
    state = {}
    shared = single.net.adaln_single.linear
    for name, value in single.state_dict().items():
        if name.endswith("scale_shift_table") and "transformer_blocks" in name:
            start = name.removesuffix("scale_shift_table") + "modulation."
            state[start + "weight"] = shared.weight.detach()
            state[start + "bias"] = (shared.bias + value.flatten()).detach()
        elif "transformer_blocks" in name:
            number = name.split(".")[2]
            state[name.replace(f"blocks.{number}.", f"blocks.{number}.block.")] = value
        elif "adaln_single.linear" not in name:
            state[name] = value
    control.load_state_dict(state)
    told = given(shape)
    with torch.no_grad():
        assert torch.allclose(control(*told), single(*told), atol=1e-5)
        assert torch.allclose(control.modulation(told[1]), single.modulation(told[1]), atol=1e-6)


@pytest.mark.parametrize("kind", [TextTransformer, BlockwiseTextTransformer])
def test_checkpointing_changes_no_gradient(
    shape: TransformerShape, kind: type[TextTransformer], trained: Any
) -> None:
    models = [trained(kind(shape, checkpointing=flag)).train() for flag in (False, True)]
    for model in models:
        model(*given(shape)).square().mean().backward()
    for one, other in zip(*(model.parameters() for model in models), strict=True):
        assert torch.allclose(one.grad, other.grad, atol=1e-6)


# ------------------------------------------------------------------------------- captions in it


def test_what_is_at_masked_places_changes_nothing(shape: TransformerShape, trained: Any) -> None:
    model, (latents, steps, text, mask) = trained(TextTransformer(shape)), given(shape)
    with torch.no_grad():
        output = model(latents, steps, text, mask)
        noisy = torch.where(mask[:, :, None], text, 50 * torch.randn_like(text))
        assert torch.equal(model(latents, steps, noisy, mask), output)
        seen = torch.where(mask[:, :, None], text + 1, text)
        assert not torch.allclose(model(latents, steps, seen, mask), output, atol=1e-2)


def test_samples_do_not_see_each_other(shape: TransformerShape, trained: Any) -> None:
    model, told = trained(TextTransformer(shape)), given(shape)
    order = torch.tensor([2, 0, 3, 1])
    with torch.no_grad():
        together = model(*told)
        assert torch.allclose(model(*[part[order] for part in told]), together[order], atol=1e-6)
        alone = torch.cat([model(*[part[row : row + 1] for part in told]) for row in range(4)])
    assert torch.allclose(alone, together, atol=1e-5)


def test_a_fresh_model_takes_no_notice_of_the_caption(shape: TransformerShape) -> None:
    model, (latents, steps, text, mask) = TextTransformer(shape).eval(), given(shape)
    nn.init.normal_(model.net.proj_out.weight)
    with torch.no_grad():
        output = model(latents, steps, text, mask)
        assert torch.equal(model(latents, steps, -text, mask), output)
    assert output.std() > 0.1


def test_the_null_caption_is_fixed_and_saved(shape: TransformerShape) -> None:
    model = TextTransformer(replace(shape, text_width=400, tokens=100))
    assert model.null.std().item() == pytest.approx(400**-0.5, rel=0.02)
    assert "null" in model.state_dict()
    assert all("null" not in name for name, _ in model.named_parameters())


# ----------------------------------------------------------------------------------- modulation


def test_blocks_share_the_response_to_the_step(shape: TransformerShape, trained: Any) -> None:
    model, steps = trained(TextTransformer(shape)), torch.tensor([0, 17, 500, 999])
    with torch.no_grad():
        found = model.modulation(steps)
        tables = torch.stack([block.scale_shift_table for block in model.blocks])
        assert found.shape == (3, 4, 6, 24)
        for i in range(3):
            for j in range(3):
                gap = (tables[i] - tables[j]).expand(4, 6, 24)
                assert torch.allclose(found[i] - found[j], gap, atol=1e-5)
        assert (found[0, 0] - found[0, 1]).abs().max() > 0.1
        for block in model.blocks:
            block.scale_shift_table.copy_(tables[0])
        assert torch.equal(*model.modulation(steps)[:2])
    control = trained(BlockwiseTextTransformer(shape)).modulation(steps)
    assert (control[0] - control[1]).std(0).max() > 0.1


# ------------------------------------------------------------------------------------ positions


def table(shape: TransformerShape, height: int, width: int) -> Tensor:
    """The positions that a network adds to nothing, (h, w, D)."""
    model = TextTransformer(shape)
    nn.init.zeros_(model.net.pos_embed.proj.weight)
    with torch.no_grad():
        tokens = model.net.pos_embed(torch.zeros(1, shape.channels, height, width))
    return tokens.view(height // shape.patch, width // shape.patch, shape.width)


def first_sines(places: list[float]) -> Tensor:
    return torch.tensor(places).sin()


def test_positions_are_whole_numbers_on_the_base_grid(shape: TransformerShape) -> None:
    found = table(shape, 8, 8)
    assert torch.allclose(found[2, :, 0], first_sines([0, 1, 2, 3]), atol=1e-6)
    assert torch.allclose(found[:, 2, 12], first_sines([0, 1, 2, 3]), atol=1e-6)


def test_larger_pictures_have_closer_positions(shape: TransformerShape) -> None:
    twice = table(shape, 16, 8)
    halves = [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5]
    assert torch.allclose(twice[:, 1, 12], first_sines(halves), atol=1e-6)
    assert torch.allclose(twice[1, :, 0], first_sines([0, 1, 2, 3]), atol=1e-6)
    scaled = table(replace(shape, interpolation=2.0), 16, 8)
    quarters = [place / 2 for place in halves]
    assert torch.allclose(scaled[:, 1, 12], first_sines(quarters), atol=1e-6)


def test_1024_pixels_span_the_positions_of_512() -> None:
    small = replace(SHAPES["xl-512"], width=24, heads=2, blocks=1, text_width=4, tokens=3)
    large = replace(SHAPES["xl-1024"], width=24, heads=2, blocks=1, text_width=4, tokens=3)
    assert torch.allclose(table(large, 128, 128)[::2, ::2], table(small, 64, 64), atol=1e-5)


def test_positions_are_no_part_of_the_weights(shape: TransformerShape) -> None:
    assert not [name for name in TextTransformer(shape).state_dict() if name.endswith("pos_embed")]
