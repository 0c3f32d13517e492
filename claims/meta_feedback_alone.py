"""Feedback alone teaches: a teacher that sees no label learns the classes from its student.

Digits 0, 1, 2 of scikit-learn, mean removed. The labels of 10 items per class enter only the
student's loss before and after its step on the teacher's labels; the teacher's loss is the feedback
term and nothing else.
"""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from claims.harness import Claim, Level
from leaven.draws import Draws
from leaven.learn import FeedbackBaseline, cross_entropy, feedback_loss
from leaven.propose import draw_labels

CLASSES = 3
LABELS_PER_CLASS = 10
BATCH = 32
STEPS = 1500
RATE_TEACHER, RATE_STUDENT = 0.3, 0.5
SIGNS = {"right": 1.0, "flipped": -1.0, "zero": 0.0}


def run(seed: int) -> dict[str, float]:
    """Accuracies in [0, 1] on the unlabelled items.

    ``teacher_start`` before the first step, then ``teacher_S`` and ``student_S`` after the last one
    for S in right, flipped, zero: the sign that the feedback is multiplied by.
    """
    pictures, classes, kept = few_digits(seed)
    rest = ~kept
    results: dict[str, float] = {}
    for name, sign in SIGNS.items():
        teacher, student = linear(seed), linear(seed)
        nn.init.zeros_(student.weight)
        results["teacher_start"] = accuracy_of(teacher, pictures[rest], classes[rest])
        _learn(teacher, student, pictures, classes, kept, sign, Draws(seed))
        results[f"teacher_{name}"] = accuracy_of(teacher, pictures[rest], classes[rest])
        results[f"student_{name}"] = accuracy_of(student, pictures[rest], classes[rest])
    return results


def _learn(
    teacher: nn.Linear,
    student: nn.Linear,
    pictures: Tensor,
    classes: Tensor,
    kept: Tensor,
    sign: float,
    draws: Draws,
) -> None:
    labelled, targets, unlabelled = pictures[kept], classes[kept], pictures[~kept]
    teach = torch.optim.SGD(teacher.parameters(), RATE_TEACHER)
    learn = torch.optim.SGD(student.parameters(), RATE_STUDENT)
    baseline = FeedbackBaseline(normalise=True)
    for _ in range(STEPS):
        batch = unlabelled[draws.integers(BATCH, high=len(unlabelled))]
        logits = teacher(batch)
        labels = draw_labels(logits, "sample", draws)

        before = cross_entropy(student(labelled), targets)
        learn.zero_grad()
        cross_entropy(student(batch), labels).backward()
        learn.step()
        helped = before - cross_entropy(student(labelled), targets)

        teach.zero_grad()
        feedback_loss(logits, labels, sign * baseline(helped)).backward()
        teach.step()


def few_digits(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures (n, 64) with their mean removed, classes (n,), and which items keep their label."""
    bunch = load_digits(n_class=CLASSES)
    pictures = torch.from_numpy(bunch.data).float() / 16
    classes = torch.from_numpy(bunch.target).long()
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(classes), generator=generator)
    kept = torch.zeros(len(classes), dtype=torch.bool)
    for number in range(CLASSES):
        kept[order[classes[order] == number][:LABELS_PER_CLASS]] = True
    return pictures - pictures.mean(0), classes, kept


def linear(seed: int) -> nn.Linear:
    """A classifier of these pictures."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Linear(64, CLASSES, bias=False)


@torch.no_grad()
def accuracy_of(model: nn.Module, pictures: Tensor, classes: Tensor) -> float:
    """The share of pictures that the model has right."""
    return float((model(pictures).argmax(1) == classes).float().mean())


CLAIM = Claim(
    method="meta-pseudo-labels",
    statement="Feedback alone teaches: a teacher without labels of its own learns the classes.",
    setting="digits 0, 1, 2 (537 items), 10 labels per class for the feedback only, linear teacher "
    "and student, 1,500 steps",
    variants={"feedback": run},
    expect=(
        Level("feedback", 85, "teacher_right"),
        Level("feedback", 85, "student_right"),
        Level("feedback", 15, "teacher_flipped", at_most=True),
    ),
    seeds=(0, 1, 2, 3),
)
