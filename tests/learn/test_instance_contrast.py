"""Views of one thing among views of others."""

from __future__ import annotations

import pytest
import torch

from leaven.learn import instance_contrast


def test_it_is_the_formula() -> None:
    draw = torch.Generator().manual_seed(0)
    first, second = torch.randn(4, 6, generator=draw), torch.randn(4, 6, generator=draw)
    rows = torch.cat([first, second])
    rows = rows / rows.norm(dim=1, keepdim=True)
    terms = []
    for i in range(8):
        partner = (i + 4) % 8
        others = sum(float(torch.exp(rows[i] @ rows[j] / 0.5)) for j in range(8) if j != i)
        terms.append(-torch.log(torch.exp(rows[i] @ rows[partner] / 0.5) / others))
    assert instance_contrast(first, second, 0.5) == pytest.approx(float(torch.stack(terms).mean()))


def test_one_thing_and_bad_input() -> None:
    rows = torch.randn(1, 3, requires_grad=True)
    loss = instance_contrast(rows, rows * 2)
    loss.backward()
    assert loss == 0 and rows.grad is not None and rows.grad.isfinite().all()
    for first, second, temperature in (
        (torch.zeros(2, 3), torch.zeros(3, 3), 0.2),
        (torch.zeros(0, 3), torch.zeros(0, 3), 0.2),
        (torch.ones(2, 3), torch.ones(2, 3), 0.0),
    ):
        with pytest.raises(ValueError, match="temperature"):
            instance_contrast(first, second, temperature)
