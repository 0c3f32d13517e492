"""The transformer that turns noisy latents, a step and a caption into what the noise was."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from leaven.models.generation.initial import linears, narrow, silent, xavier
from leaven.models.generation.libraries import library
from leaven.models.generation.shape import TransformerShape
from leaven.models.precision import autocast


class TextTransformer(nn.Module):
    """A diffusion transformer with adaLN-single and attention to the tokens of a caption.

    The network is ``PixArtTransformer2DModel`` of diffusers. With ``tau`` (B, D) of the step, one
    projection ``S = Linear(SiLU(tau))`` (B, 6, D) serves all blocks; block i adds a table ``E_i`` of
    its own, and ``S + E_i`` holds shift, scale and gate of its two halves::

        x += gate1 * SelfAttention(LN(x) (1 + scale1) + shift1)
        x += CrossAttention(x, MLP(text), mask)
        x += gate2 * MLP(LN(x) (1 + scale2) + shift2)

    Positions are a fixed table of sines and cosines, made for the height and width at hand: row a of
    H' has the coordinate ``a (G / H') / s``. It is no part of the weights. First weights are those
    of a model that starts from nothing: Xavier; N(0, 0.02^2) in the MLPs of step, text and sizes
    and in the projection; cross-attention and the last layer give 0; ``E_i ~ N(0, 1 / D)``.
    ``reparameterise`` makes them those of a class-conditional model.

    Args:
        shape: what it is built of.
        checkpointing: activations inside of blocks are computed again in the backward pass.

    Attributes:
        net: the network of diffusers.
        null: (T, C_t) the caption that says nothing, in front of the MLP; drawn once from
            N(0, 1 / C_t), saved with the weights and not trained.

    Raises:
        MissingExtraError: without diffusers.

    Source: Chen et al., PixArt-alpha, ICLR 2024. Used by: 001.
    """

    null: Tensor
    precision: torch.dtype | None = None

    def __init__(self, shape: TransformerShape, *, checkpointing: bool = False) -> None:
        super().__init__()
        self.shape = shape
        self.net = _new_net(shape)
        null = torch.randn(shape.tokens, shape.text_width) * shape.text_width**-0.5
        self.register_buffer("null", null)
        self._start()
        if checkpointing:
            self.net.enable_gradient_checkpointing()

    @classmethod
    def of(cls, net: Any, tokens: int = 120) -> TextTransformer:
        """The same around a ``PixArtTransformer2DModel`` with weights of its own.

        ``null`` is 0: diffusers keeps no such table.
        """
        config = net.config
        shape = TransformerShape(
            channels=config.in_channels,
            side=config.sample_size,
            patch=config.patch_size,
            width=net.inner_dim,
            blocks=config.num_layers,
            heads=config.num_attention_heads,
            text_width=config.caption_channels,
            tokens=tokens,
            learned_variance=net.out_channels == 2 * config.in_channels,
            interpolation=net.pos_embed.interpolation_scale,
            sizes=net.use_additional_conditions,
        )
        model = cls.__new__(cls)
        nn.Module.__init__(model)
        model.shape, model.net = shape, net
        model.register_buffer("null", torch.zeros(tokens, shape.text_width, dtype=net.dtype))
        return model

    def forward(
        self,
        latents: Tensor,
        steps: Tensor,
        text: Tensor,
        mask: Tensor,
        size: Tensor | None = None,
        ratio: Tensor | None = None,
    ) -> Tensor:
        """(B, 2c, H, W), the noise and the raw variance; (B, c, H, W) without learned variance.

        With a ``precision`` it is computed in that, by autocast.

        Args:
            latents: (B, c, H, W) noisy ones; H and W are multiples of the patch.
            steps: (B,) int64 in 0..999.
            text: (B, T, C_t) features of the captions; see ``leaven.synthesize.drop_captions``.
            mask: (B, T) bool, the tokens that are there; one at least in each row.
            size: (B, 2) float, height and width in pixels; needed with ``shape.sizes``.
            ratio: (B,) float, height over width; needed with ``shape.sizes``.
        """
        with autocast(latents, self.precision):
            return self.net(
                latents,
                encoder_hidden_states=text,
                timestep=steps,
                added_cond_kwargs={"resolution": size, "aspect_ratio": ratio},
                encoder_attention_mask=mask,
                return_dict=False,
            )[0]

    @property
    def blocks(self) -> list[Any]:
        """The blocks of diffusers."""
        return list(self.net.transformer_blocks)

    def time(self, steps: Tensor) -> Tensor:
        """``tau`` (B, D) of steps (B,), without size and ratio."""
        embedding = self.net.adaln_single.emb
        waves = embedding.time_proj(steps).to(self.null.dtype)
        return embedding.timestep_embedder(waves)

    def modulation(self, steps: Tensor) -> Tensor:
        """``S_i`` of every block (L, B, 6, D) at steps (B,), without size and ratio."""
        single = self.net.adaln_single
        shared = single.linear(single.silu(self.time(steps))).unflatten(1, (6, -1))
        tables = torch.stack([block.scale_shift_table for block in self.blocks])
        return tables[:, None] + shared

    def _start(self) -> None:
        net = self.net
        xavier(net)
        narrow(linears(net.adaln_single))
        narrow(linears(net.caption_projection))
        silent([block.attn2.to_out[0] for block in net.transformer_blocks])
        silent([net.proj_out])


class BlockwiseTextTransformer(TextTransformer):
    """The control of adaLN-single: every block has a projection ``f_i = Linear(SiLU(tau))`` of its
    own, and there are no tables.

    Everything else is as in ``TextTransformer``. The projections start at 0, as in DiT. diffusers
    has no such network; its blocks are used.

    Source: Peebles and Xie, DiT, ICCV 2023, with the cross-attention of PixArt-alpha. Used by: 001.
    """

    def __init__(self, shape: TransformerShape, *, checkpointing: bool = False) -> None:
        super().__init__(shape, checkpointing=checkpointing)
        # The network gives SiLU(tau) to its blocks in the place of the projection of it.
        self.net.adaln_single.linear = nn.Identity()
        self.net.transformer_blocks = nn.ModuleList(
            _Modulated(block, shape.width) for block in self.net.transformer_blocks
        )

    @property
    def blocks(self) -> list[Any]:
        return [block.block for block in self.net.transformer_blocks]

    def modulation(self, steps: Tensor) -> Tensor:
        single = self.net.adaln_single
        given = single.silu(self.time(steps))
        blocks = self.net.transformer_blocks
        return torch.stack([block.modulation(given).unflatten(1, (6, -1)) for block in blocks])


class _Modulated(nn.Module):
    """A block of diffusers with a projection of its own in the place of its table."""

    def __init__(self, block: Any, width: int) -> None:
        super().__init__()
        del block.scale_shift_table
        block.register_buffer("scale_shift_table", torch.zeros(6, width), persistent=False)
        self.block = block
        self.modulation = nn.Linear(width, 6 * width)
        silent([self.modulation])

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None,
        encoder_hidden_states: Tensor,
        encoder_attention_mask: Tensor,
        timestep: Tensor,
        cross_attention_kwargs: dict[str, Any] | None,
        class_labels: Tensor | None,
    ) -> Tensor:
        return self.block(
            hidden_states,
            attention_mask,
            encoder_hidden_states,
            encoder_attention_mask,
            self.modulation(timestep),
            cross_attention_kwargs,
            class_labels,
        )


def _new_net(shape: TransformerShape) -> Any:
    diffusers = library("diffusers", "a model that makes pictures from words")
    return diffusers.PixArtTransformer2DModel(
        num_attention_heads=shape.heads,
        attention_head_dim=shape.width // shape.heads,
        in_channels=shape.channels,
        out_channels=shape.outputs,
        num_layers=shape.blocks,
        cross_attention_dim=shape.width,
        sample_size=shape.side,
        patch_size=shape.patch,
        interpolation_scale=shape.interpolation,
        use_additional_conditions=shape.sizes,
        caption_channels=shape.text_width,
    )
