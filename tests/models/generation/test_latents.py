"""Between pictures and latents."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.models.generation.tiny import autoencoder

from leaven.errors import ModelError
from leaven.models.generation import KlLatents, PictureLatents, latents_of


def pictures(channels: int = 3, rows: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (rows, channels, 8, 12)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def test_pictures_are_their_own_latents() -> None:
    latents = latents_of("identity", 1)
    mean, std = latents.encode(pictures(1))
    assert -1 <= mean.min() < -0.9 < 0.9 < mean.max() <= 1
    assert std.abs().max() == 0
    drawn = latents.draw(mean, std, torch.randn_like(mean))
    assert torch.equal(drawn, mean)
    assert torch.equal(((latents.decode(drawn) + 1) * 127.5).round().byte(), pictures(1))
    assert (latents.channels, latents.colours, latents.factor) == (1, 1, 1)


def test_the_posterior_is_that_of_diffusers() -> None:
    vae = autoencoder()
    latents = KlLatents(vae)
    mean, std = latents.encode(pictures())
    assert mean.shape == std.shape == (2, 4, 4, 6)
    with torch.no_grad():
        posterior = vae.encode(pictures() / 127.5 - 1).latent_dist
    assert torch.allclose(mean, posterior.mean, atol=1e-6)
    assert torch.allclose(std, posterior.std, atol=1e-6)
    drawn = latents.draw(mean, std, torch.ones_like(mean))
    assert torch.allclose(drawn, 0.18215 * (mean + std), atol=1e-6)
    with torch.no_grad():
        decoded = vae.decode(mean + std).sample
    assert torch.allclose(latents.decode(drawn), decoded, atol=1e-5)
    assert (latents.channels, latents.colours, latents.factor) == (4, 3, 2)
    assert not any(weight.requires_grad for weight in latents.parameters())


def test_a_shift_is_taken_off_and_put_back() -> None:
    vae = autoencoder()
    plain = KlLatents(vae)
    vae.register_to_config(shift_factor=0.5, scaling_factor=2.0)
    latents = KlLatents(vae)
    mean, std = latents.encode(pictures())
    drawn = latents.draw(mean, std, torch.zeros_like(mean))
    assert torch.allclose(drawn, 2 * (mean - 0.5), atol=1e-6)
    assert torch.allclose(latents.decode(drawn), plain.decode(0.18215 * mean), atol=1e-5)


def test_grey_pictures_are_shown_in_colours() -> None:
    latents = KlLatents(autoencoder())
    grey = pictures(1)
    found, expected = latents.encode(grey)[0], latents.encode(grey.expand(-1, 3, -1, -1))[0]
    assert torch.equal(found, expected)


def test_no_pictures_have_no_latents() -> None:
    mean, std = PictureLatents(3).encode(pictures(rows=0))
    assert mean.shape == std.shape == (0, 3, 8, 12)


@pytest.mark.parametrize("part", ["", "vae"])
def test_a_folder_is_loaded(tmp_path: Path, part: str) -> None:
    autoencoder().save_pretrained(tmp_path / part)
    latents = latents_of(str(tmp_path), 3)
    assert latents.fingerprint == KlLatents(autoencoder()).fingerprint
    assert latents.fingerprint != KlLatents(autoencoder(seed=1)).fingerprint
    autoencoder().half().save_pretrained(tmp_path / part)
    assert {weight.dtype for weight in latents_of(str(tmp_path), 3).parameters()} == {torch.float32}
    half = latents_of(str(tmp_path), 3, torch.float16)
    assert {weight.dtype for weight in half.parameters()} == {torch.float16}


def test_weights_that_could_run_code_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    autoencoder().save_pretrained(tmp_path, safe_serialization=False)
    with pytest.raises(ModelError, match="AutoencoderKL"):
        latents_of(str(tmp_path), 3)


def test_a_damaged_file_is_said(tmp_path: Path) -> None:
    autoencoder().save_pretrained(tmp_path)
    (tmp_path / "diffusion_pytorch_model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="AutoencoderKL"):
        latents_of(str(tmp_path), 3)
