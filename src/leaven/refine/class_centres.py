"""A centre per class that moves slowly over the steps, and the proposals it corrects."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def class_means(features: Tensor, member: Tensor) -> tuple[Tensor, Tensor]:
    """``m_c = sum_p member_pc f_p / n_c``: the mean feature of each class.

    Args:
        features: (P, D).
        member: (P, K) bool, which pixels count for which class.

    Returns:
        (K, D) means, zeros for a class without pixels, and (K,) the number of pixels ``n_c``; both
        in the dtype of ``features``.

    Used by: 054, 117.
    """
    among = member.to(features.dtype)
    counts = among.sum(0)
    return among.t() @ features / counts.clamp_min(1)[:, None], counts


class ClassCentres(nn.Module):
    """One vector per class: an exponential average over the steps of the means of the batches.

    ``z_c <- g z_c + (1 - g) m_c`` with ``g = min(1 - 1 / i, momentum)``, ``i`` the number of this
    update, which counts from 1; the first mean of a class is its centre. A class that a batch lacks
    keeps its centre. ``momentum = 0`` gives the means of the batch.

    State: ``centres`` (K, D), ``seen`` (K,) and ``updates`` (0-d). No gradient reaches the centres.

    Args:
        num_classes: K.
        dim: D.
        momentum: in [0, 1).

    Raises:
        ValueError: no class, no width, or a momentum outside [0, 1).

    Source: Wang et al., U2PL+, IJCV 2024, and the code of U2PL. Used by: 054.
    """

    centres: Tensor
    seen: Tensor
    updates: Tensor

    def __init__(self, num_classes: int, dim: int, momentum: float = 0.999) -> None:
        super().__init__()
        if min(num_classes, dim) < 1 or not 0 <= momentum < 1:
            raise ValueError(
                "classes and width are at least 1 and a momentum is in [0, 1), not "
                f"{num_classes}, {dim}, {momentum}"
            )
        self.momentum = momentum
        self.register_buffer("centres", torch.zeros(num_classes, dim))
        # Floating, so that a step that fails takes them back together with the centres.
        self.register_buffer("seen", torch.zeros(num_classes))
        self.register_buffer("updates", torch.zeros((), dtype=torch.float64))

    @torch.no_grad()
    def update(self, means: Tensor, counts: Tensor) -> None:
        """Moves the centres towards ``means`` (K, D) of the classes with ``counts`` (K,) above 0."""
        self.updates += 1
        kept = (1 - 1 / self.updates).clamp_max(self.momentum).to(self.centres.dtype)
        means = means.detach().to(self.centres.dtype)
        moved = torch.where(self.seen[:, None] > 0, means.lerp(self.centres, kept), means)
        present = counts > 0
        self.centres.copy_(torch.where(present[:, None], moved, self.centres))
        self.seen.copy_(present.to(self.seen.dtype).maximum(self.seen))

    def similarity(self, features: Tensor) -> Tensor:
        """Cosines of pixels to the centres.

        A class without a centre has the mean cosine of the others, so that it is neither favoured
        nor held back.

        Args:
            features: (B, D, h, w).

        Returns:
            (B, K, h, w) in [-1, 1]; 0 while no class has a centre.
        """
        directions = F.normalize(self.centres.to(features.dtype), dim=1)
        cosine = torch.einsum("bdhw,kd->bkhw", F.normalize(features, dim=1), directions)
        seen = self.seen.to(cosine.dtype)
        mean = torch.einsum("bkhw,k->bhw", cosine, seen) / seen.sum().clamp_min(1)
        return torch.where(seen[:, None, None] > 0, cosine, mean[:, None])


def reweight_by_centres(logits: Tensor, similarity: Tensor, temperature: float) -> Tensor:
    """Logits of ``w_c p_c / sum_k w_k p_k`` with ``w = softmax_c(similarity_c / temperature)``.

    As ``p = softmax(logits)``, these are ``logits + similarity / temperature``.

    Args:
        logits: (B, K, ...); -inf for classes that are ruled out stays -inf.
        similarity: (B, K, ...), cosines to the class centres.
        temperature: above 0.

    Source: Wang et al., U2PL+, IJCV 2024. Used by: 054.
    """
    return logits + similarity / temperature
