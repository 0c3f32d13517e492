"""Weights that pass from one stage to the next."""

from __future__ import annotations

import torch
from torch import nn

from leaven.errors import ModelError
from leaven.models.generation.class_transformer import ClassTransformer
from leaven.models.generation.initial import silent
from leaven.models.generation.transformer import BlockwiseTextTransformer, TextTransformer

STEP = 500
"""t*, the step at which the tables are set."""


def reparameterise(student: TextTransformer, teacher: ClassTransformer, step: int = STEP) -> None:
    """Makes a fresh model that is told words do what a model of classes does that is told none.

    ``copy_shared``, then ``set_tables``: at ``step`` every block is modulated as the teacher's is
    without a class, and the output is the teacher's; at other steps only the shared projection
    moves. The caption changes nothing until cross-attention is trained. A
    ``BlockwiseTextTransformer`` takes over the teacher's projections and agrees with its blocks at
    every step.

    Args:
        student: with the first weights of its constructor.
        teacher: of the same channels, patch, width, blocks, heads and outputs.
        step: t* in 0..999.

    Raises:
        ModelError: the two do not fit.

    Source: Chen et al., PixArt-alpha, ICLR 2024; the rule for the table of the last layer is by
    analogy. Used by: 001.
    """
    copy_shared(student, teacher)
    set_tables(student, teacher, step)


@torch.no_grad()
def copy_shared(student: TextTransformer, teacher: ClassTransformer) -> None:
    """Copies patches, step MLP, self-attention, MLPs and the last linear layer.

    Cross-attention gives 0. Tables and projections stay as they are: this alone is the control of
    ``set_tables``.

    Raises:
        ModelError: the two do not fit.

    Used by: 001.
    """
    _check(student, teacher)
    net, given = student.net, teacher.net
    _copy(net.pos_embed.proj, given.pos_embed.proj)
    _copy(net.adaln_single.emb.timestep_embedder, teacher.embed_time)
    for mine, other in zip(student.blocks, given.transformer_blocks, strict=True):
        _copy(mine.attn1, other.attn1)
        _copy(mine.ff, other.ff)
    silent([block.attn2.to_out[0] for block in student.blocks])
    _copy(net.proj_out, given.proj_out_2)


@torch.no_grad()
def set_tables(student: TextTransformer, teacher: ClassTransformer, step: int = STEP) -> None:
    """Sets ``E_i = f_i(t*, no class) - S(t*)``, and the last table to the teacher's shift and scale
    at t* less ``tau(t*)``.

    With ``BlockwiseTextTransformer``, which has no ``E_i``, the ``f_i`` are copied.

    Args:
        student: after ``copy_shared``.
        teacher: the one it has copied.
        step: t* in 0..999.

    Used by: 001.
    """
    net, given = student.net, teacher.net
    steps = torch.full((1,), step, device=teacher.classes.weight.device)
    active = nn.functional.silu(teacher.time(steps))
    last = given.proj_out_1(active).view(2, -1)
    net.scale_shift_table.copy_(last - student.time(steps))
    projections = [block.norm1.linear for block in given.transformer_blocks]
    if isinstance(student, BlockwiseTextTransformer):
        for mine, projection in zip(net.transformer_blocks, projections, strict=True):
            _copy(mine.modulation, projection)
        return
    single = net.adaln_single
    shared = single.linear(single.silu(student.time(steps)))
    for mine, projection in zip(student.blocks, projections, strict=True):
        mine.scale_shift_table.copy_((projection(active) - shared).view(6, -1))


@torch.no_grad()
def hand_over(source: TextTransformer, target: TextTransformer) -> list[str]:
    """Copies all weights, and the null caption, to the model of the next stage.

    The next stage may be for other sizes: positions belong to a model and are not copied. Where the
    target is told of sizes for the first time, these layers keep their first weights.

    Returns:
        the names of the tensors that the source has not.

    Raises:
        ModelError: anything else differs.

    Used by: 001.
    """
    state = source.state_dict()
    own = target.state_dict()
    fresh = [name for name in own if name not in state]
    foreign = [name for name in state if name not in own]
    other = [name for name in own if name in state and own[name].shape != state[name].shape]
    misplaced = foreign + other + [name for name in fresh if not _of_sizes(name)]
    if misplaced:
        raise ModelError(
            f"The weights of one stage do not fit the model of the next: {', '.join(misplaced[:3])}"
            f" ({len(misplaced)} tensors).",
            "models that differ in the size of pictures alone",
            "Give all stages the same channels, patch, width, blocks, heads, tokens and outputs.",
        )
    target.load_state_dict(state, strict=False)
    return fresh


def _of_sizes(name: str) -> bool:
    return "resolution_embedder" in name or "aspect_ratio_embedder" in name


def _copy(mine: nn.Module, other: nn.Module) -> None:
    mine.load_state_dict(other.state_dict())


def _check(student: TextTransformer, teacher: ClassTransformer) -> None:
    names = ("channels", "patch", "width", "blocks", "heads", "outputs")
    found = [(name, getattr(teacher.shape, name), getattr(student.shape, name)) for name in names]
    wrong = [f"{name} {one} and {other}" for name, one, other in found if one != other]
    if wrong:
        raise ModelError(
            f"A model of classes cannot start one of captions: they differ in {', '.join(wrong)}.",
            "two models of the same " + ", ".join(names),
            "Build both from one shape.",
        )
