"""Labels drawn from a teacher."""

import pytest
import torch

from leaven.draws import Draws
from leaven.propose import draw_labels


def test_samples_follow_the_distribution_at_the_temperature() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0]]).repeat(20_000, 1)
    for temperature in (1.0, 0.5):
        labels = draw_labels(logits, "sample", Draws(0), temperature)
        shares = torch.bincount(labels, minlength=3) / len(labels)
        expected = (logits[0] / temperature).softmax(0)
        torch.testing.assert_close(shares, expected, atol=0.012, rtol=0)


def test_samples_depend_on_the_seed_alone() -> None:
    logits = torch.zeros(50, 4)
    first = draw_labels(logits, "sample", Draws(1))
    assert torch.equal(first, draw_labels(logits, "sample", Draws(1)))
    assert not torch.equal(first, draw_labels(logits, "sample", Draws(2)))


def test_argmax_and_soft() -> None:
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(draw_labels(logits, "argmax"), logits.argmax(1))
    soft = draw_labels(logits, "soft", temperature=0.7)
    torch.testing.assert_close(soft, (logits / 0.7).softmax(1))


@pytest.mark.parametrize("mode", ["sample", "argmax", "soft"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_labels_carry_no_gradient_and_stand_extreme_logits(mode, dtype: torch.dtype) -> None:
    logits = (1e4 * torch.eye(3)).to(dtype).requires_grad_()
    labels = draw_labels(logits, mode, Draws(0))
    assert not labels.requires_grad
    classes = labels.argmax(1) if mode == "soft" else labels
    assert classes.tolist() == [0, 1, 2]


@pytest.mark.parametrize("mode", ["sample", "argmax", "soft"])
def test_a_single_class_and_an_empty_batch(mode) -> None:
    assert draw_labels(torch.randn(3, 1), mode, Draws(0)).sum() == (3 if mode == "soft" else 0)
    assert len(draw_labels(torch.empty(0, 4), mode, Draws(0))) == 0


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="mode"):
        draw_labels(torch.zeros(1, 2), "best")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="draws"):
        draw_labels(torch.zeros(1, 2), "sample")
    with pytest.raises(ValueError, match="temperature"):
        draw_labels(torch.zeros(1, 2), "soft", temperature=0.0)
