"""Tiny frozen models of diffusers and transformers with random weights."""

from __future__ import annotations

from typing import Any

import torch

SAID = ("a", "two", "three", "seven", "one", "four", "five", "six", "left", "of", "above", "an")


def t5_encoder(seed: int = 0) -> Any:
    from transformers import T5Config, T5EncoderModel

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = T5Config(
            vocab_size=40, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, dropout_rate=0.0
        )
        return T5EncoderModel(config).eval()


def t5_tokenizer() -> Any:
    from transformers import T5Tokenizer

    signs = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    words = [(f"▁{word}", -1.0) for word in SAID]
    return T5Tokenizer(vocab=signs + words, extra_ids=0)


def autoencoder(seed: int = 0) -> Any:
    from diffusers import AutoencoderKL

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            block_out_channels=(8, 8),
            norm_num_groups=4,
            latent_channels=4,
        ).eval()


def scheduler() -> Any:
    from diffusers import DPMSolverMultistepScheduler

    return DPMSolverMultistepScheduler(beta_schedule="linear")


def transformer(**change: Any) -> Any:
    from diffusers import PixArtTransformer2DModel

    options = {
        "num_attention_heads": 2, "attention_head_dim": 12, "in_channels": 4, "out_channels": 8,
        "num_layers": 2, "cross_attention_dim": 24, "sample_size": 8, "caption_channels": 16,
    }  # fmt: skip
    return PixArtTransformer2DModel(**(options | change)).eval()


def pipeline(net: Any) -> Any:
    from diffusers import PixArtAlphaPipeline

    pipe = PixArtAlphaPipeline(t5_tokenizer(), t5_encoder(), autoencoder(), net, scheduler())
    pipe.set_progress_bar_config(disable=True)
    return pipe
