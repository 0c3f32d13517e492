"""The transformer of classes, and weights that pass from stage to stage."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from leaven.errors import ModelError
from leaven.models.generation import (
    BlockwiseTextTransformer,
    ClassTransformer,
    TextTransformer,
    TransformerShape,
    copy_shared,
    hand_over,
    reparameterise,
    set_tables,
)

ROWS = 3


def noisy(shape: TransformerShape, size: tuple[int, int] = (8, 12)) -> Tensor:
    return torch.randn(ROWS, shape.channels, *size, generator=torch.Generator().manual_seed(1))


def caption(shape: TransformerShape, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    text = torch.randn(ROWS, shape.tokens, shape.text_width, generator=generator)
    return text, torch.ones(ROWS, shape.tokens, dtype=torch.bool)


def at(step: int) -> Tensor:
    return torch.full((ROWS,), step)


# ------------------------------------------------------------------------ transformer of classes


def test_with_published_weights_it_is_the_network_of_diffusers(trained: Any) -> None:
    from diffusers import DiTTransformer2DModel

    theirs = DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=12, in_channels=3, out_channels=6, num_layers=3,
        sample_size=8, num_embeds_ada_norm=7,
    )  # fmt: skip
    theirs = trained(theirs)
    shared = theirs.transformer_blocks[0].norm1.emb
    for block in theirs.transformer_blocks:
        block.norm1.emb = shared
    shared.time_proj.downscale_freq_shift = 0
    latents, steps = torch.randn(4, 3, 8, 8), torch.tensor([0, 20, 500, 999])
    classes = torch.tensor([0, 3, 6, 7])
    with torch.no_grad():
        expected = theirs(latents, steps, classes, return_dict=False)[0]
        ours = ClassTransformer.of(theirs).eval()
        assert torch.allclose(ours(latents, steps, classes), expected, atol=1e-6)
    assert expected.std() > 0.1
    assert ours.null == 7
    assert ours.shape == TransformerShape(channels=3, side=8, width=24, blocks=3, heads=2)


def test_step_and_class_are_embedded_once(shape: TransformerShape) -> None:
    names = [name for name, _ in ClassTransformer(shape, 4).named_parameters()]
    assert sum(name.startswith("classes") for name in names) == 1
    assert sum(name.endswith("linear_1.weight") for name in names) == 1


def test_pictures_may_be_wider_than_high(shape: TransformerShape, trained: Any) -> None:
    """Told nothing of places, both halves of a picture that repeats itself are the same."""
    model = trained(ClassTransformer(shape, 4))
    model.net.pos_embed.height, model.net.pos_embed.width = 4, 8
    model.net.pos_embed.pos_embed = torch.zeros(1, 32, 24)
    half = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        found = model(torch.cat([half, half], 3), torch.tensor([5, 900]), torch.tensor([0, 4]))
    assert found.shape == (2, 6, 8, 16)
    assert torch.allclose(found[..., :8], found[..., 8:], atol=1e-5)
    assert found[..., :8].std() > 0.1


def test_no_class_is_not_the_null_class(shape: TransformerShape, trained: Any) -> None:
    model = trained(ClassTransformer(shape, 4))
    null = torch.full((ROWS,), model.null)
    with torch.no_grad():
        none = model(noisy(shape), at(5))
        assert not torch.allclose(model(noisy(shape), at(5), null), none, atol=1e-3)
        model.classes.weight[-1] = 0
        assert torch.allclose(model(noisy(shape), at(5), null), none, atol=1e-6)


def test_checkpointing_changes_no_gradient(shape: TransformerShape, trained: Any) -> None:
    models = [trained(ClassTransformer(shape, 4, checkpointing=flag)).train() for flag in (0, 1)]
    for model in models:
        model(noisy(shape), at(5), torch.arange(ROWS)).square().mean().backward()
    for one, other in zip(*(model.parameters() for model in models), strict=True):
        assert torch.allclose(one.grad, other.grad, atol=1e-6)


@torch.no_grad()
def test_precision_is_that_of_the_model(shape: TransformerShape, trained: Any) -> None:
    """As the trainer sets it."""
    one, other = trained(ClassTransformer(shape, 4)), trained(TextTransformer(shape))
    for precision in (None, torch.bfloat16):
        one.precision = other.precision = precision
        wanted = precision or torch.float32
        assert one(noisy(shape), at(5), torch.arange(ROWS)).dtype == wanted
        assert other(noisy(shape), at(5), *caption(shape, 0)).dtype == wanted


def test_a_fresh_model_gives_nothing(shape: TransformerShape) -> None:
    output = ClassTransformer(shape, 4)(noisy(shape), at(5), torch.arange(ROWS))
    assert output.abs().max() == 0


# --------------------------------------------------------------------------- re-parameterisation


@pytest.fixture
def teacher(shape: TransformerShape, trained: Any) -> ClassTransformer:
    return trained(ClassTransformer(shape, 4))


@pytest.fixture
def student(shape: TransformerShape, teacher: ClassTransformer) -> TextTransformer:
    model = TextTransformer(shape)
    reparameterise(model, teacher)
    return model.eval()


@torch.no_grad()
def test_at_its_step_the_output_is_that_of_the_teacher(
    shape: TransformerShape, teacher: ClassTransformer, student: TextTransformer
) -> None:
    expected = teacher(noisy(shape), at(500))
    for seed in (0, 1):
        found = student(noisy(shape), at(500), *caption(shape, seed))
        assert torch.allclose(found, expected, atol=1e-5)
    assert expected.std() > 0.5
    apart = student(noisy(shape), at(400), *caption(shape, 0)) - teacher(noisy(shape), at(400))
    assert apart.abs().max() > 0.05


@torch.no_grad()
def test_another_step_may_be_chosen(shape: TransformerShape, teacher: ClassTransformer) -> None:
    model = TextTransformer(shape).eval()
    reparameterise(model, teacher, step=70)
    found = model(noisy(shape), at(70), *caption(shape, 0))
    assert torch.allclose(found, teacher(noisy(shape), at(70)), atol=1e-5)


@torch.no_grad()
def test_copied_weights_alone_are_not_enough(
    shape: TransformerShape, teacher: ClassTransformer
) -> None:
    model = TextTransformer(shape).eval()
    copy_shared(model, teacher)
    expected = teacher(noisy(shape), at(500))
    found = model(noisy(shape), at(500), *caption(shape, 0))
    assert (found - expected).abs().max() > 0.5
    set_tables(model, teacher)
    found = model(noisy(shape), at(500), *caption(shape, 0))
    assert torch.allclose(found, expected, atol=1e-5)


@torch.no_grad()
def test_a_fresh_student_takes_no_notice_of_the_caption(
    shape: TransformerShape, student: TextTransformer
) -> None:
    for step in (0, 500, 999):
        outputs = [student(noisy(shape), at(step), *caption(shape, seed)) for seed in (0, 1)]
        assert torch.equal(*outputs)


def test_cross_attention_is_reached_by_the_gradient_from_its_output_on(
    shape: TransformerShape, student: TextTransformer
) -> None:
    optimizer = torch.optim.SGD(student.parameters(), lr=1e-3)
    inner = [getattr(block.attn2, name) for block in student.blocks for name in ("to_q", "to_k")]
    inner += [block.attn2.to_v for block in student.blocks]
    outer = [block.attn2.to_out[0] for block in student.blocks]
    for step in (1, 2):
        optimizer.zero_grad()
        student(noisy(shape), at(300), *caption(shape, 0)).square().mean().backward()
        assert all(layer.weight.grad.abs().max() > 0 for layer in outer)
        for layer in inner:
            assert (layer.weight.grad.abs().max() > 0) == (step == 2)
        optimizer.step()


@torch.no_grad()
def test_the_control_has_the_modulation_of_the_teacher_at_every_step(
    shape: TransformerShape, teacher: ClassTransformer
) -> None:
    control = BlockwiseTextTransformer(shape).eval()
    reparameterise(control, teacher)
    steps = torch.tensor([0, 400, 999])
    given = nn.functional.silu(teacher.time(steps))
    for found, block in zip(control.modulation(steps), teacher.net.transformer_blocks, strict=True):
        assert torch.allclose(found.flatten(1), block.norm1.linear(given), atol=1e-5)
    found = control(noisy(shape), at(500), *caption(shape, 0))
    assert torch.allclose(found, teacher(noisy(shape), at(500)), atol=1e-5)


def test_models_that_differ_cannot_start_each_other(
    shape: TransformerShape, teacher: ClassTransformer
) -> None:
    other = TextTransformer(replace(shape, blocks=2, learned_variance=False))
    before = other.net.pos_embed.proj.weight.clone()
    with pytest.raises(ModelError, match=r"blocks 3 and 2, outputs 6 and 3"):
        reparameterise(other, teacher)
    assert torch.equal(other.net.pos_embed.proj.weight, before)


# ------------------------------------------------------------------------------------- hand-over


@torch.no_grad()
def test_the_next_stage_has_the_weights_and_positions_of_its_own(
    shape: TransformerShape, trained: Any
) -> None:
    source = trained(TextTransformer(shape))
    target = TextTransformer(replace(shape, side=16)).eval()
    assert hand_over(source, target) == []
    assert torch.equal(target.null, source.null)
    told = (at(30), *caption(shape, 0))
    # What the first takes for twice its base grid is the base grid of the second, at half the pace.
    assert not torch.allclose(
        target(noisy(shape, (16, 16)), *told), source(noisy(shape, (16, 16)), *told), atol=1e-2
    )
    same = TextTransformer(replace(shape, side=16, interpolation=2.0)).eval()
    hand_over(source, same)
    assert torch.allclose(
        same(noisy(shape, (16, 16)), *told), source(noisy(shape, (16, 16)), *told), atol=1e-5
    )


def test_layers_of_sizes_begin_anew(shape: TransformerShape, trained: Any) -> None:
    source = trained(TextTransformer(shape))
    target = TextTransformer(replace(shape, sizes=True))
    fresh = hand_over(source, target)
    assert len(fresh) == 8
    assert all("resolution" in name or "aspect_ratio" in name for name in fresh)
    assert torch.equal(target.net.proj_out.weight, source.net.proj_out.weight)


@pytest.mark.parametrize("change", [{"tokens": 6}, {"blocks": 4}, {"blocks": 2}, {"width": 48}])
def test_a_stage_of_another_model_is_refused(
    shape: TransformerShape, change: dict[str, int]
) -> None:
    target = TextTransformer(replace(shape, **change))
    with pytest.raises(ModelError, match="do not fit the model of the next"):
        hand_over(TextTransformer(shape), target)


def test_from_sizes_to_none_is_refused(shape: TransformerShape) -> None:
    with pytest.raises(ModelError, match="do not fit"):
        hand_over(TextTransformer(replace(shape, sizes=True)), TextTransformer(shape))
