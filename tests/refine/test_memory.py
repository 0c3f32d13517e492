"""The memory of labelled items."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from leaven.refine import LabelledMemory

N, D = 7, 5


def memory(momentum: float = 0.7, seed: int = 0) -> LabelledMemory:
    return LabelledMemory(torch.arange(N) % 3, D, momentum, torch.Generator().manual_seed(seed))


def embeddings(rows: int, seed: int = 1) -> Tensor:
    return torch.randn(rows, D, generator=torch.Generator().manual_seed(seed))


def test_it_starts_with_random_unit_directions() -> None:
    torch.testing.assert_close(memory().bank.norm(dim=1), torch.ones(N))
    assert torch.equal(memory().bank, memory().bank)
    assert not torch.equal(memory().bank, memory(seed=1).bank)


def test_similarity_equals_a_softmax_of_cosines() -> None:
    bank, z = memory().bank, embeddings(4)
    cosines = torch.stack([F.cosine_similarity(row[None], bank) for row in z])
    found = memory().similarity(z, 0.1)
    torch.testing.assert_close(found, (cosines / 0.1).softmax(1))
    torch.testing.assert_close(found, memory().logits(z, 0.1).softmax(1))


def test_similarity_does_not_depend_on_lengths() -> None:
    z = embeddings(4)
    torch.testing.assert_close(memory().similarity(100 * z, 0.1), memory().similarity(z, 0.1))


def test_gradients_reach_the_embeddings_and_never_the_bank() -> None:
    one, z = memory(), embeddings(4).requires_grad_()
    one.logits(z, 0.1)[:, 0].sum().backward()
    assert z.grad is not None and z.grad.abs().sum() > 0
    assert one.bank.grad is None and not list(one.parameters())


def test_an_update_before_the_backward_pass_is_refused() -> None:
    one, z = memory(), embeddings(2).requires_grad_()
    loss = one.logits(z, 0.1).logsumexp(1).sum()
    one.update(torch.tensor([0, 1]), z)
    with pytest.raises(RuntimeError, match="inplace"):
        loss.backward()


@pytest.mark.parametrize("momentum", [0.0, 0.7])
def test_update_averages_over_time_and_leaves_the_others(momentum: float) -> None:
    one, items, z = memory(momentum), torch.tensor([5, 0, 3]), embeddings(3)
    before = one.bank.clone()
    one.update(items, z)
    for row in range(N):
        if row in (5, 0, 3):
            unit = F.normalize(z[items.tolist().index(row)], dim=0)
            expected = F.normalize(momentum * before[row] + (1 - momentum) * unit, dim=0)
            torch.testing.assert_close(one.bank[row], expected)
        else:
            assert torch.equal(one.bank[row], before[row])


def test_repeated_items_move_once_to_their_common_direction() -> None:
    one, single = memory(), memory()
    z = embeddings(4)
    one.update(torch.tensor([2, 6, 2, 2]), z)
    common = F.normalize(z[[0, 2, 3]], dim=1).sum(0)
    single.update(torch.tensor([2, 6]), torch.stack([common, z[1]]))
    torch.testing.assert_close(one.bank, single.bank)


def test_the_order_of_the_batch_does_not_matter() -> None:
    one, other = memory(), memory()
    items, z = torch.tensor([2, 6, 2, 0, 0]), embeddings(5)
    order = torch.tensor([3, 0, 4, 2, 1])
    one.update(items, z)
    other.update(items[order], z[order])
    torch.testing.assert_close(one.bank, other.bank)


@pytest.mark.parametrize("momentum", [0.0, 0.7])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0])
def test_broken_embeddings_are_left_out(value: float, momentum: float) -> None:
    one, clean = memory(momentum), memory(momentum)
    z = embeddings(4)
    z[1], z[3] = value, value
    one.update(torch.tensor([2, 4, 5, 5]), z)
    clean.update(torch.tensor([2, 5]), z[[0, 2]])
    torch.testing.assert_close(one.bank, clean.bank)
    assert torch.equal(one.bank[4], memory(momentum).bank[4])


def test_an_empty_batch_changes_nothing() -> None:
    one = memory()
    one.update(torch.empty(0, dtype=torch.long), torch.empty(0, D))
    assert torch.equal(one.bank, memory().bank)
    assert one.similarity(torch.empty(0, D), 0.1).shape == (0, N)


def test_half_precision_embeddings_are_taken() -> None:
    one = memory(0.0)
    one.update(torch.tensor([1]), embeddings(1).bfloat16())
    assert one.bank.dtype == torch.float32
    assert one.logits(embeddings(2).bfloat16(), 0.1).dtype == torch.float32


def test_state_goes_round() -> None:
    one, other = memory(), memory(seed=9)
    one.update(torch.tensor([1, 2]), embeddings(2))
    other.load_state_dict(one.state_dict())
    assert torch.equal(one.bank, other.bank) and torch.equal(one.classes, other.classes)


def test_one_item_takes_all_mass() -> None:
    one = LabelledMemory(torch.tensor([0]), D, 0.7, torch.Generator())
    assert one.similarity(embeddings(3), 0.01).tolist() == [[1.0]] * 3


def test_bad_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="n >= 1"):
        LabelledMemory(torch.empty(0, dtype=torch.long), D, 0.7, torch.Generator())
    with pytest.raises(ValueError, match="momentum"):
        LabelledMemory(torch.zeros(3, dtype=torch.long), D, 1.0, torch.Generator())
