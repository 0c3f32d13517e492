"""What pictures say by their looks, before anything is learned: how familiar unlabelled ones are beside
the labelled ones, how well labels fit those of their neighbours, and whether pictures lie in groups."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from leaven.data.pixels import Pixels
from leaven.refine.graph import neighbour_graph, normalise
from leaven.refine.nearest import nearest_neighbours
from leaven.refine.propagation import solve_graph

ALPHA, NEIGHBOURS, COMPONENTS, SIDE = 0.95, 10, 32, 16


def familiarity(rows: Tensor, labels: Tensor) -> Tensor:
    """How much of what flows to an item along the graph of neighbours comes from labelled items.

    With ``S`` the normalised graph of 10 neighbours and ``G = (I - alpha S)^-1``, ``alpha = 0.95``::

        r_i = sum_{j labelled} G_ij / sum_j G_ij

    It is near 0 for an item in a part of the graph that no label lies in. A labelled item is scored
    as if it had no label: without ``j = i``, and with the others of its class c, of which there are
    ``n_c - 1`` then, counted ``n_c / (n_c - 1)`` times. So where each class is labelled at random,
    labelled and unlabelled items of the known classes score alike on average.

    Args:
        rows: (n, D) floats.
        labels: (n,) classes, -1 where unknown.

    Returns:
        (n,) float32, at least 0; NaN for the only label of a class.

    Raises:
        MissingExtraError: see ``nearest_neighbours``.
    """
    known = labels >= 0
    position = known.nonzero().squeeze(1)
    sources = F.one_hot(position, len(labels)).T.float()
    everything = torch.ones(len(labels), 1)
    flow = normalise(neighbour_graph(rows, NEIGHBOURS))
    reached = solve_graph(flow, torch.cat([sources, everything], 1), ALPHA, 1e-3, 200)
    given, total = reached[:, :-1], reached[:, -1].clamp_min(torch.finfo(torch.float32).tiny)
    score = given.sum(1)

    others = given[position].fill_diagonal_(0)
    alike = labels[position][:, None] == labels[position]
    count = alike.sum(1, keepdim=True).float()
    others = torch.where(alike, others * count / (count - 1), others)
    score[position] = others.sum(1)
    return score / total


def disagreement(rows: Tensor, labels: Tensor, count: int = 5) -> float:
    """The share of labels that are not the one most of the ``count`` nearest other items have.

    A wrong label differs from those of its neighbours unless most of these are wrong in the same way;
    right ones may differ too. So it bounds the share of labels that are wrong item by item from above
    (but for chance): where it is small, few are; where it is large, the task may just be hard.

    Args:
        rows: (n, D) floats, n > ``count``.
        labels: (n,) classes, all known.
        count: neighbours that vote; of equally many votes the lowest class wins.

    Returns:
        In [0, 1].
    """
    near = nearest_neighbours(rows, count, search="exact").items
    votes = F.one_hot(labels)[near].sum(1)
    return float((votes.argmax(1) != labels).float().mean())


def apartness(rows: Tensor, groups: int) -> float:
    """How well the graph of neighbours falls into so many groups, whatever these are.

    The ``groups``-th largest eigenvalue of the normalised graph of 10 neighbours. It is 1 where the
    graph has so many parts without an edge between them. Where of the edges of each of so many parts
    at most the share ``q`` (by weight) leaves it, it is at least ``1 - 2 q``.

    Args:
        rows: (n, D) floats; a dense (n, n) matrix is made of them.
        groups: from 1 to n.

    Returns:
        In [-1, 1].

    Raises:
        ValueError: more groups than rows.

    Source: Lee, Oveis Gharan and Trevisan, Multiway spectral partitioning and higher-order Cheeger
    inequalities, JACM 2014.
    """
    if not 1 <= groups <= len(rows):
        raise ValueError(f"{groups} groups of {len(rows)} rows")
    if len(rows) == 1:
        return 1.0
    flow = normalise(neighbour_graph(rows, NEIGHBOURS)).to_dense()
    return float(torch.linalg.eigvalsh(flow)[-groups].clamp(-1, 1))


def looks(pixels: Pixels, index: Tensor) -> Tensor:
    """The main components of small copies of pictures, as rows to compare by.

    Args:
        pixels: where the pictures are.
        index: (n,) which of them.

    Returns:
        (n, at most 32) float32, of copies of at most 16 x 16 pixels.
    """
    small = []
    for part in index.split(512):
        images = pixels.batch(part).float().cpu()
        size = (min(SIDE, images.shape[2]), min(SIDE, images.shape[3]))
        small.append(F.adaptive_avg_pool2d(images, size).flatten(1))
    rows = torch.cat(small)
    rows = rows - rows.mean(0)
    directions = torch.linalg.eigh(rows.T @ rows).eigenvectors
    return rows @ directions[:, -COMPONENTS:]
