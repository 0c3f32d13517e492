"""The transformer that is told a class: the first stage, and the teacher of one told of words."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from leaven.models.generation.initial import SPREAD, linears, narrow, silent, xavier
from leaven.models.generation.libraries import library
from leaven.models.generation.shape import TransformerShape
from leaven.models.precision import autocast


class ClassTransformer(nn.Module):
    """A diffusion transformer told a step and a class, with a projection of both in each block.

    The blocks are those of ``DiTTransformer2DModel`` of diffusers: block i modulates by
    ``f_i = Linear(SiLU(tau + c_y))``. Class ``null`` = K stands for "any" and is trained by
    replacing classes with it (``leaven.synthesize.drop_classes``); no class at all (``None``) leaves
    ``c_y`` out. Own code is the way around the blocks, for diffusers' takes squares alone, and
    embeds step and class in each block anew, with weights that part ways in training. Steps have the
    waves of the paper and of ``TextTransformer``; diffusers stretches them by 128/127 here.

    First weights: Xavier; N(0, 0.02^2) for step and class; projections and the last layer give 0.

    Args:
        shape: what it is built of; the text and ``sizes`` are not used.
        num_classes: K.
        checkpointing: activations inside of blocks are computed again in the backward pass.

    Raises:
        MissingExtraError: without diffusers.

    Source: Peebles and Xie, Scalable diffusion models with transformers, ICCV 2023. Used by: 001.
    """

    precision: torch.dtype | None = None

    def __init__(
        self, shape: TransformerShape, num_classes: int, *, checkpointing: bool = False
    ) -> None:
        super().__init__()
        self._wrap(_new_net(shape, num_classes), shape)
        self._start()
        if checkpointing:
            self.net.enable_gradient_checkpointing()

    @classmethod
    def of(cls, net: Any) -> ClassTransformer:
        """The same around a ``DiTTransformer2DModel`` with weights of its own.

        Step and class are embedded by the first block's weights, which published models have in
        every block.
        """
        config = net.config
        shape = TransformerShape(
            channels=config.in_channels,
            side=config.sample_size,
            patch=config.patch_size,
            width=net.inner_dim,
            blocks=config.num_layers,
            heads=config.num_attention_heads,
            learned_variance=net.out_channels == 2 * config.in_channels,
        )
        model = cls.__new__(cls)
        nn.Module.__init__(model)
        model._wrap(net, shape)
        return model

    def forward(self, latents: Tensor, steps: Tensor, classes: Tensor | None = None) -> Tensor:
        """(B, 2c, H, W), the noise and the raw variance; (B, c, H, W) without learned variance.

        With a ``precision`` it is computed in that, by autocast.

        Args:
            latents: (B, c, H, W) noisy ones; H and W are multiples of the patch.
            steps: (B,) int64 in 0..999.
            classes: (B,) int64 in 0..K; nothing for a pass that is told no class.
        """
        with autocast(latents, self.precision):
            return self._output(latents, steps, classes)

    def time(self, steps: Tensor) -> Tensor:
        """``tau`` (B, D) of steps (B,)."""
        return self.embed_time(self.waves(steps).to(self.classes.weight.dtype))

    def _output(self, latents: Tensor, steps: Tensor, classes: Tensor | None) -> Tensor:
        net: Any = self.net
        given = self.time(steps)
        if classes is not None:
            given = given + self.classes(classes)
        tokens = net.pos_embed(latents)
        for block in net.transformer_blocks:
            if torch.is_grad_enabled() and net.gradient_checkpointing:
                tokens = net._gradient_checkpointing_func(block, tokens, None, None, None, given)
            else:
                tokens = block(tokens, timestep=given)
        shift, scale = net.proj_out_1(nn.functional.silu(given)).chunk(2, dim=1)
        tokens = net.norm_out(tokens) * (1 + scale[:, None]) + shift[:, None]
        return _unpatched(net.proj_out_2(tokens), latents, self.shape)

    def _wrap(self, net: Any, shape: TransformerShape) -> None:
        from diffusers.models.embeddings import Timesteps

        self.shape, self.net = shape, net
        embedding = net.transformer_blocks[0].norm1.emb
        self.waves = Timesteps(256, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.embed_time = embedding.timestep_embedder
        self.classes = embedding.class_embedder.embedding_table
        self.null = embedding.class_embedder.num_classes
        for block in net.transformer_blocks:
            block.norm1.emb = _Given()

    def _start(self) -> None:
        net: Any = self.net
        xavier(self)
        narrow(linears(self.embed_time))
        nn.init.normal_(self.classes.weight, std=SPREAD)
        silent([block.norm1.linear for block in net.transformer_blocks])
        silent([net.proj_out_1, net.proj_out_2])


class _Given(nn.Module):
    """What a block asks for the embedding of step and class: it is handed in as the step."""

    def forward(self, given: Tensor, classes: None, hidden_dtype: torch.dtype) -> Tensor:
        return given


def _unpatched(tokens: Tensor, latents: Tensor, shape: TransformerShape) -> Tensor:
    """(B, N, p p C) tokens to maps (B, C, H, W)."""
    height, width = latents.shape[2:]
    patch = shape.patch
    grid = tokens.view(-1, height // patch, width // patch, patch, patch, shape.outputs)
    return grid.permute(0, 5, 1, 3, 2, 4).reshape(-1, shape.outputs, height, width)


def _new_net(shape: TransformerShape, num_classes: int) -> Any:
    diffusers = library("diffusers", "a model that makes pictures of classes")
    return diffusers.DiTTransformer2DModel(
        num_attention_heads=shape.heads,
        attention_head_dim=shape.width // shape.heads,
        in_channels=shape.channels,
        out_channels=shape.outputs,
        num_layers=shape.blocks,
        sample_size=shape.side,
        patch_size=shape.patch,
        num_embeds_ada_norm=num_classes,
        norm_eps=1e-6,
    )
