"""Samplers: guidance, repeatability, and distributions that are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from leaven.errors import ConfigError
from leaven.models.generation import (
    SAMPLERS,
    ClassTransformer,
    KlLatents,
    TextTransformer,
    TransformerShape,
    guided_noise,
    sample_latents,
)
from leaven.models.generation import sampling as module
from leaven.synthesize import NoiseSchedule, guided

Network = Callable[..., Tensor]
TABLES = NoiseSchedule()


def normal(mean: Tensor, std: float = 1.0, variance: float | None = None) -> Network:
    """The true noise of N(mean, std^2) data; ``mean`` is per channel, times what is given."""

    def network(latents: Tensor, steps: Tensor, told: Tensor) -> Tensor:
        kept = TABLES.at(TABLES.alphas_bar, steps)
        middle = mean.view(1, -1, 1, 1) * told.view(-1, 1, 1, 1)
        off = latents - kept.sqrt() * middle
        noise = (1 - kept).sqrt() * off / (kept * std**2 + 1 - kept)
        return noise if variance is None else torch.cat([noise, 0 * noise + variance], 1)

    return network


def drawn(network: Network, sampler: str, rows: int = 4, seed: int = 0, **how: Any) -> Tensor:
    told = torch.ones(rows)
    how = {"guidance": 1.0, "shape": (2, 16, 16), **how}
    generator = torch.Generator().manual_seed(seed)
    return sample_latents(network, [told], [0 * told], generator=generator, sampler=sampler, **how)


@pytest.mark.parametrize(
    ("sampler", "steps"), [("dpm++", 20), ("ddim", 50), ("iddpm", 250), ("sa", 25)]
)
@pytest.mark.parametrize("variance", [None, -1.0])
def test_a_known_distribution_is_found(sampler: str, steps: int, variance: float | None) -> None:
    network = normal(torch.tensor([0.5, -1.0]), 0.5, variance)
    found = drawn(network, sampler, steps=steps)
    assert found.mean((0, 2, 3)).tolist() == pytest.approx([0.5, -1.0], abs=0.06)
    assert found.std((0, 2, 3)).tolist() == pytest.approx([0.5, 0.5], abs=0.06)


def test_a_larger_variance_is_used_by_the_sampler_that_learns_it() -> None:
    """One step before the last one the noise that is added is the one that the network asks for."""
    narrow, wide = (drawn(normal(torch.zeros(2), 0.0, v), "iddpm", steps=2) for v in (-1.0, 1.0))
    assert torch.equal(narrow, drawn(normal(torch.zeros(2), 0.0), "iddpm", steps=2))
    assert not torch.allclose(narrow, wide)
    same = [drawn(normal(torch.zeros(2), 1.0, v), "dpm++", steps=5) for v in (-1.0, 1.0)]
    assert torch.equal(*same)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_generator_decides(sampler: str) -> None:
    network = normal(torch.ones(2), 0.5)
    torch.manual_seed(0)
    one = drawn(network, sampler, steps=5)
    torch.manual_seed(1)
    assert torch.equal(drawn(network, sampler, steps=5), one)
    assert not torch.allclose(drawn(network, sampler, seed=1, steps=5), one, atol=0.1)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_with_a_generator_each_a_picture_does_not_depend_on_the_others(sampler: str) -> None:
    network, told = normal(torch.ones(2), 0.5), torch.ones(3)
    each = [torch.Generator().manual_seed(seed) for seed in range(3)]
    how: dict[str, Any] = {"sampler": sampler, "steps": 5, "guidance": 2.0}
    together = sample_latents(network, [told], [0 * told], (2, 4, 4), each, **how)
    alone = [torch.Generator().manual_seed(1)]
    found = sample_latents(network, [told[:1]], [0 * told[:1]], (2, 4, 4), alone, **how)
    assert torch.allclose(found[0], together[1], atol=1e-6)
    assert not torch.allclose(together[0], together[1], atol=0.1)


# -------------------------------------------------------------------------------------- guidance


def test_weight_one_is_with_and_weight_zero_without() -> None:
    a, b = torch.randn(2, 3, 4, 4).unbind()
    assert torch.allclose(guided_noise(a, b, 4.5), b + 4.5 * (a - b), atol=1e-5)
    assert torch.equal(guided_noise(a, b, 1.0), a)
    assert torch.equal(guided_noise(a, b, 0.0), b)
    assert torch.allclose(guided_noise(a, b, 3.0), guided(a, b, 2.0), atol=1e-5)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_guidance_of_a_transformer(sampler: str, shape: TransformerShape, trained: Any) -> None:
    model, generator = trained(TextTransformer(shape)), torch.Generator().manual_seed(0)
    text = torch.randn(2, 5, 10, generator=generator)
    mask = torch.tensor([[True, True, False, False, False], [True] * 5])
    given, nothing = [text, mask], [model.null.expand_as(text), mask]

    def made(given: list[Tensor], nothing: list[Tensor], weight: float) -> Tensor:
        generator = torch.Generator().manual_seed(7)
        how = {"sampler": sampler, "steps": 4, "guidance": weight}
        return sample_latents(model, given, nothing, (3, 8, 8), generator, **how)

    with_caption, without = made(given, nothing, 1.0), made(given, nothing, 0.0)
    assert torch.equal(with_caption, made(given, given, 1.0))
    assert torch.equal(without, made(nothing, nothing, 0.0))
    assert not torch.allclose(with_caption, without, atol=1e-2)
    closeness = 1e-4 * with_caption.abs().max().item()
    assert torch.allclose(made(given, given, 4.5), with_caption, atol=closeness)
    assert not torch.allclose(made(given, nothing, 4.5), with_caption, atol=1e-2)


def test_the_mean_is_pushed_by_the_weight() -> None:
    """For normal data of one spread, guided noise is that of the mean times the weight."""
    found = drawn(normal(torch.ones(2), 0.5), "dpm++", steps=20, guidance=3.0)
    assert found.mean().item() == pytest.approx(3.0, abs=0.06)


def test_iddpm_guides_three_channels_alone() -> None:
    network = normal(torch.ones(4), 0.2, -1.0)
    found = drawn(network, "iddpm", steps=100, guidance=3.0, shape=(4, 16, 16))
    assert found.mean((0, 2, 3)).tolist() == pytest.approx([3, 3, 3, 1], abs=0.06)


def test_twice_the_batch_is_evaluated_only_where_needed(shape: TransformerShape) -> None:
    model, rows = ClassTransformer(shape, 4).eval(), []

    def counted(*given: Tensor) -> Tensor:
        rows.append(len(given[0]))
        return model(*given)

    classes = torch.tensor([0, 3])
    for weight in (1.0, 0.0, 2.0):
        generator = torch.Generator().manual_seed(0)
        null = torch.full_like(classes, model.null)
        how = {"steps": 2, "guidance": weight}
        sample_latents(counted, [classes], [null], (3, 8, 8), generator, **how)
    assert rows == [2, 2, 2, 2, 4, 4]


# ------------------------------------------------------------------------------ against diffusers


def test_classes_are_sampled_as_by_diffusers(trained: Any) -> None:
    from diffusers import AutoencoderKL, DDIMScheduler, DiTPipeline, DiTTransformer2DModel

    net = DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=12, in_channels=4, out_channels=8, num_layers=2,
        sample_size=8, num_embeds_ada_norm=1000,
    )  # fmt: skip
    net = trained(net)
    shared = net.transformer_blocks[0].norm1.emb
    for block in net.transformer_blocks:
        block.norm1.emb = shared
    shared.time_proj.downscale_freq_shift = 0
    vae = AutoencoderKL(latent_channels=4, block_out_channels=(32,)).eval()
    scheduler = DDIMScheduler(
        beta_schedule="linear", clip_sample=False, timestep_spacing="trailing"
    )
    pipe = DiTPipeline(transformer=net, vae=vae, scheduler=scheduler)
    pipe.set_progress_bar_config(disable=True)
    expected = pipe(
        [3, 999], guidance_scale=4.0, num_inference_steps=5, output_type="pt",
        generator=torch.Generator().manual_seed(5),
    ).images  # fmt: skip

    classes = torch.tensor([3, 999])
    found = sample_latents(
        ClassTransformer.of(net), [classes], [torch.full_like(classes, 1000)], (4, 8, 8),
        torch.Generator().manual_seed(5), sampler="ddim", steps=5, guidance=4.0,
    )  # fmt: skip
    pictures = (KlLatents(vae).decode(found) / 2 + 0.5).clamp(0, 1)
    assert torch.allclose(pictures, expected, atol=1e-4)
    assert expected.std() > 0.01


# ------------------------------------------------------------------------------------- bad input


def test_an_unknown_sampler_is_named() -> None:
    with pytest.raises(ConfigError, match="'dpm'") as error:
        drawn(normal(torch.ones(2)), "dpm", steps=3)
    assert "dpm++" in str(error.value)


@pytest.mark.parametrize("steps", [0, 1001])
def test_steps_out_of_range_are_refused(steps: int) -> None:
    with pytest.raises(ConfigError, match=f"in {steps} steps"):
        drawn(normal(torch.ones(2)), "dpm++", steps=steps)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_one_step_is_enough_for_pictures(sampler: str) -> None:
    assert drawn(normal(torch.ones(2)), sampler, steps=1).isfinite().all()


def test_without_diffusers_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from leaven.errors import MissingExtraError

    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(MissingExtraError, match="diffusion"):
        module._scheduler(SAMPLERS["dpm++"])
