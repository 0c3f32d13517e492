"""Feedback: the enumerated meta-gradient, its first-order form, the zero gradient, the baseline."""

import math

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from leaven.draws import Draws
from leaven.learn import FeedbackBaseline, cross_entropy, exact_feedback, feedback_loss
from leaven.propose import draw_labels

K, D = 3, 4


class Tiny:
    """One unlabelled point, five labelled ones, linear teacher and student, float64."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, dtype=torch.float64, generator=generator)

        self.teacher = normal(D, K).requires_grad_()
        self.student = normal(D, K).requires_grad_()
        self.point, self.pictures = normal(1, D), normal(5, D)
        self.classes = torch.tensor([0, 1, 2, 1, 0])

    def pseudo_gradient(self, label: int) -> Tensor:
        loss = cross_entropy(self.point @ self.student, torch.tensor([label]))
        return torch.autograd.grad(loss, self.student)[0]

    def labelled_loss(self, student: Tensor) -> Tensor:
        return cross_entropy(self.pictures @ student, self.classes)


def test_expected_feedback_gradient_is_the_meta_gradient() -> None:
    tiny, rate = Tiny(), 0.3
    gradients = [tiny.pseudo_gradient(k) for k in range(K)]
    logits = tiny.point @ tiny.teacher
    probs = logits.softmax(1)[0]
    stepped = tiny.student.detach() - rate * sum(p * g for p, g in zip(probs, gradients))
    (meta,) = torch.autograd.grad(tiny.labelled_loss(stepped), tiny.teacher, retain_graph=True)

    after = stepped.detach().requires_grad_()
    labelled = torch.autograd.grad(tiny.labelled_loss(after), after)
    total = torch.zeros_like(meta)
    for label in range(K):
        feedback = exact_feedback(labelled, [gradients[label]], rate)
        loss = feedback_loss(logits, torch.tensor([label]), feedback)
        (gradient,) = torch.autograd.grad(loss, tiny.teacher, retain_graph=True)
        total += probs[label].detach() * gradient
    assert meta.abs().max() > 1e-3
    assert (total - meta).abs().max() < 1e-8


def test_the_drop_of_the_loss_is_the_exact_feedback_to_second_order() -> None:
    tiny, gaps = Tiny(), []
    step = tiny.pseudo_gradient(1)
    before = tiny.labelled_loss(tiny.student)
    for rate in (1e-2, 5e-3, 2.5e-3):
        after = (tiny.student - rate * step).detach().requires_grad_()
        loss = tiny.labelled_loss(after)
        exact = exact_feedback(torch.autograd.grad(loss, after), [step], rate)
        gaps.append(abs(float((before - loss).detach() - exact)))
    assert gaps[0] / gaps[1] == pytest.approx(4, rel=0.05)
    assert gaps[1] / gaps[2] == pytest.approx(4, rel=0.05)


def test_exact_feedback_leaves_out_pairs_without_gradient() -> None:
    left = [torch.tensor([1.0, 2.0]), None, torch.tensor([[3.0]])]
    right = [torch.tensor([4.0, -1.0]), torch.ones(2), torch.tensor([[2.0]])]
    assert float(exact_feedback(left, right, 0.5)) == 0.5 * (4 - 2 + 6)
    with pytest.raises(ValueError):
        exact_feedback(left, right[:2], 0.5)
    with pytest.raises(ValueError, match="both"):
        exact_feedback([None], [torch.ones(1)], 0.5)


def teacher_gradient(labels: Tensor, logits: Tensor, feedback: float = 0.7) -> Tensor:
    loss = feedback_loss(logits, labels, torch.tensor(feedback))
    return torch.autograd.grad(loss, logits)[0]


def test_soft_labels_at_temperature_one_give_no_feedback_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, K, dtype=torch.float64, generator=generator).requires_grad_()
    soft = teacher_gradient(draw_labels(logits, "soft"), logits)
    assert soft.abs().max() < 1e-15
    for labels in (
        draw_labels(logits, "sample", Draws(0)),
        draw_labels(logits, "argmax"),
        draw_labels(logits, "soft", temperature=0.5),
    ):
        assert teacher_gradient(labels, logits).abs().max() > 1e-3


def test_labels_that_helped_become_more_probable() -> None:
    logits, labels = torch.zeros(1, K, requires_grad=True), torch.tensor([1])
    for feedback, sign in ((0.5, 1), (-0.5, -1)):
        moved = logits - teacher_gradient(labels, logits, feedback)
        assert sign * float(moved.softmax(1)[0, 1].detach() - 1 / 3) > 0
    assert teacher_gradient(labels, logits, 0.0).abs().sum() == 0


def test_no_gradient_flows_through_the_feedback_or_the_labels() -> None:
    feedback = torch.tensor(0.3, requires_grad=True)
    logits = torch.randn(2, K, requires_grad=True)
    labels = torch.full((2, K), 1 / K, requires_grad=True)
    feedback_loss(logits, labels, feedback).backward()
    assert feedback.grad is None and labels.grad is None and logits.grad is not None


def test_baseline_subtracts_its_moving_average() -> None:
    baseline, mean = FeedbackBaseline(0.9), 0.0
    for value in (1.0, -2.0, 0.5):
        mean = 0.9 * mean + 0.1 * value
        found = baseline(torch.tensor(value, requires_grad=True))
        assert not found.requires_grad
        assert float(found) == pytest.approx(value - mean)


def test_normalised_baseline_divides_by_the_running_deviation() -> None:
    baseline, mean, square = FeedbackBaseline(0.9, normalise=True), 0.0, 0.0
    for step, value in enumerate((1.0, -2.0, 0.5), start=1):
        mean = 0.9 * mean + 0.1 * value
        square = 0.9 * square + 0.1 * (value - mean) ** 2
        expected = (value - mean) / math.sqrt(square / (1 - 0.9**step))
        assert float(baseline(torch.tensor(value))) == pytest.approx(expected, rel=1e-5)


def test_normalised_feedback_does_not_depend_on_its_scale() -> None:
    small, large = FeedbackBaseline(normalise=True), FeedbackBaseline(normalise=True)
    for value in (0.3, -0.1, 0.2):
        a, b = small(torch.tensor(1e-4 * value)), large(torch.tensor(1e4 * value))
        torch.testing.assert_close(a, b)


def test_feedback_of_zero_stays_zero() -> None:
    baseline = FeedbackBaseline(normalise=True)
    assert float(baseline(torch.tensor(0.0))) == 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_feedback_that_is_not_finite_leaves_the_state_alone(bad: float) -> None:
    baseline = FeedbackBaseline(normalise=True)
    baseline(torch.tensor(1.0))
    before = {name: value.clone() for name, value in baseline.state_dict().items()}
    assert not baseline(torch.tensor(bad)).isfinite()
    assert all(torch.equal(before[n], v) for n, v in baseline.state_dict().items())


def test_baseline_state_goes_round() -> None:
    first, second = FeedbackBaseline(0.9, True), FeedbackBaseline(0.9, True)
    first(torch.tensor(3.0))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(torch.tensor(1.5)), second(torch.tensor(1.5)))


def test_a_momentum_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match="momentum"):
        FeedbackBaseline(1.0)


@pytest.mark.parametrize(("sign", "low", "high"), [(1, 0.85, 1.0), (-1, 0.0, 0.15)])
def test_feedback_alone_teaches_the_teacher(sign: int, low: float, high: float) -> None:
    """Digits 0 to 2: the teacher sees no label, only whether its samples helped the student."""
    pictures, truth = load_digits(n_class=3, return_X_y=True)
    pictures = torch.tensor(pictures / 16, dtype=torch.float32)
    pictures, truth = pictures - pictures.mean(0), torch.tensor(truth)
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(truth), generator=generator)
    known = torch.cat([order[truth[order] == k][:10] for k in range(3)])
    unknown = order[~torch.isin(order, known)]

    teacher = (0.1 * torch.randn(64, 3, generator=generator)).requires_grad_()
    student = torch.zeros(64, 3, requires_grad=True)
    baseline, draws = FeedbackBaseline(0.99, normalise=True), Draws(0)
    for _ in range(1500):
        batch = pictures[unknown[torch.randint(len(unknown), (32,), generator=generator)]]
        logits = batch @ teacher
        labels = draw_labels(logits, "sample", draws)
        old = cross_entropy(pictures[known] @ student, truth[known])
        (step,) = torch.autograd.grad(cross_entropy(batch @ student, labels), student)
        student = (student - 0.5 * step).detach().requires_grad_()
        new = cross_entropy(pictures[known] @ student, truth[known])
        loss = feedback_loss(logits, labels, sign * baseline(old - new))
        teacher = (teacher - 0.3 * torch.autograd.grad(loss, teacher)[0]).detach().requires_grad_()
    right = (pictures[unknown] @ teacher).argmax(1) == truth[unknown]
    assert low <= float(right.float().mean()) <= high
