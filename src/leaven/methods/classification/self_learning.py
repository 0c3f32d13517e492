"""Self-learning: a trained network adapts to pictures of another kind by its own predictions."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from leaven.data import Data, ImageSet
from leaven.errors import ConfigError
from leaven.learn import cross_entropy, generalised_cross_entropy
from leaven.methods.base import Card, Fitted
from leaven.methods.classification.few_labels import FewLabels
from leaven.models import Classifier, OnBatches, train_only
from leaven.select import fixed_threshold
from leaven.train import Recipe, Trainer, refresh_batch_norm


class SelfLearning(FewLabels):
    """Self-learning under distribution shift (Rusak, Schneider et al., TMLR 2022).

    A network f that was trained before (``--model RUN``, or ``--model NAME --weights FILE``) meets
    unlabelled pictures of one systematic shift. No label, no picture it was trained on, no
    augmentation. With the logits ``s`` of the student and ``t`` of the teacher,
    ``p_s = softmax(s / student_temperature)``, ``p_t = softmax(t / teacher_temperature)`` and
    ``i = argmax p_t``, one of::

        rpl      (1 - p_s(i)^q) / q                    robust pseudo-labelling
        hard     -log p_s(i)
        soft     -sum_j p_t(j) log p_s(j)              p_t without gradient
        entropy  -sum_j p_t(j) log p_s(j)              gradient through both, teacher = student

    The teacher is the network as it came (``refresh=never``), as it was when the epoch began
    (``epoch``), or the student itself in the same pass (``instant``). In every pass the network is
    in evaluation mode except for batch norm, which takes the statistics of the batch, and only
    scale and shift of the normalisation layers move (``train=affine``). Temperatures decide whether
    labels without gradient and a teacher that follows collapse to one class: they do where
    ``student_temperature < teacher_temperature``; entropy does where the student's is below half
    the teacher's.

    How long is told by ``epochs``, and at most by the budget. Epochs and learning rate are to be
    chosen on other shifts of pictures with known labels: on the target no label says when to stop.
    Adaptation helps against systematic change of pictures whose classes can still be recognised;
    where they cannot, it confirms what was guessed.

    The running statistics do not move while the network learns. What is handed back has in their
    place the mean statistics of the unlabelled pictures, so that it also works on one picture; the
    paper predicts with those of each batch. The example of the official code hands all weights to
    the optimiser; the results of the paper are with scale and shift, as here. Its rate is 0.75e-3
    with batches of 96, for tens of thousands of pictures: some 25 steps at such a rate change
    nothing, and with few pictures the rate has to be larger. Scores over another set of classes
    (ImageNet-D) are not here. Items under the
    ``threshold`` (none in the paper's best setting) count as 0 in the mean of the loss.
    """

    card: ClassVar[Card] = Card(
        name="self-learning",
        title="Self-learning under distribution shift (RPL, ENT)",
        summary="A trained network adapts its normalisation to unlabelled pictures of another "
        "kind, by its own predictions and a loss that wrong ones cannot rule.",
        task="classification",
        evidence="a trained model and unlabelled pictures",
        year=2022,
        venue="TMLR",
        paper="https://arxiv.org/abs/2104.12928",
        code="https://github.com/bethgelab/robustness",
        number=104,
        parts=(
            "models.OnBatches",
            "models.train_only",
            "select.fixed_threshold",
            "learn.generalised_cross_entropy",
            "learn.cross_entropy",
        ),
        claim="ImageNet-C, ResNet-50, mean corruption error: 76.7 % as it comes, 62.2 % with the "
        "statistics of the batch, 50.5 % with RPL.",
        measured="ResNet-20 of lossless CIFAR-10 on the JPEG copy's test set, 3 draws of 4,000: "
        "80.7 % as it is, 79.0 % with batch statistics, 82.8 % by entropy, 81.1 % by "
        "RPL. On six corruptions (2,000 of its pictures, 5 epochs) 44.3, 67.1, 70.8 and 68.3 %. All with rates chosen on "
        "other shifts (0.05 and momentum 0.9 on corruptions): there the default rate changes nothing.",
    )

    needs_labels: ClassVar[bool] = False

    batch: int = Field(128, ge=1, description="pictures per step")
    recipe: Recipe = Field(
        default_factory=lambda: Recipe(
            lr=1e-3, momentum=0.0, nesterov=False, weight_decay=0.0, schedule="constant"
        ),
        description="how weights are moved",
    )
    loss: Literal["rpl", "entropy", "hard", "soft"] = Field(
        "rpl", description="rpl for many classes, entropy for ten: try both"
    )
    q: float = Field(0.8, gt=0, le=1, description="of rpl: from cross entropy to absolute error")
    refresh: Literal["never", "epoch", "instant"] = Field(
        "instant", description="when the student becomes its own teacher"
    )
    train: Literal["affine", "last", "all"] = Field(
        "affine",
        description="what moves: scale and shift of normalisation layers, the last layer, or all "
        "weights (better for vision transformers)",
    )
    statistics: Literal["batch", "source"] = Field(
        "batch", description="what batch norm takes; source: the statistics that the model has"
    )
    threshold: float = Field(0.0, ge=0, le=1, description="confidence that a label must reach")
    student_temperature: float = Field(1.0, gt=0, description="of the student's logits")
    teacher_temperature: float = Field(1.0, gt=0, description="of the teacher's logits")
    epochs: int = Field(5, ge=0, description="passes over the pictures; 0: statistics alone")

    @model_validator(mode="after")
    def _learns(self) -> SelfLearning:
        equal = self.student_temperature == self.teacher_temperature
        if self.loss == "entropy" and self.refresh != "instant":
            raise ConfigError(
                f"The entropy is to be learnt with refresh={self.refresh!r}.",
                "a teacher that is the student itself, refresh='instant'",
                "set refresh=instant, or loss=soft to learn from another teacher",
            )
        if self.loss == "soft" and self.refresh == "instant" and equal:
            raise ConfigError(
                "The student is to learn its own soft labels at equal temperatures.",
                "a loss with a gradient, which this one has not",
                "set loss=entropy, another temperature, or refresh=epoch",
            )
        return self

    def fit(self, data: Data, trainer: Trainer) -> Fitted:
        student = trainer.trained()
        train_only(student, self.train)
        teacher = copy.deepcopy(student).requires_grad_(False)
        see, ask = self._seen(student), self._seen(teacher)
        optimizer = trainer.optimizer(student, self.recipe)
        stream = data.unlabelled.batches(min(self.batch, len(data.unlabelled)), whole_epochs=True)
        epoch = stream.steps_per_epoch
        trainer.register(student=student, teacher=teacher, optimizer=optimizer)

        if self.epochs:
            for batch in trainer.steps(unlabelled=stream, most=self.epochs * epoch, watch=see):
                if self.refresh == "epoch" and batch.step % epoch == 0:
                    teacher.load_state_dict(student.state_dict())
                images = batch.unlabelled.images
                logits = see(images)
                said = logits if self.refresh == "instant" else _asked(ask, images)
                loss, observed = self.objective(logits, said)
                trainer.observe(items=batch.unlabelled.items, threshold=self.threshold, **observed)
                trainer.update(loss, optimizer)

        if self.statistics == "batch":
            refresh_batch_norm(student, _batches(data.unlabelled, stream.size, trainer.device))
        student.requires_grad_(True)
        return self.fitted(trainer, student, self.threshold)

    def objective(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, dict[str, Any]]:
        """The loss of logits (B, K) of the student, given those of the teacher, and what to log.

        The teacher's are the same tensor where it is the student; only ``entropy`` sends a gradient
        through them.
        """
        student_logits = student / self.student_temperature
        wide = torch.promote_types(teacher.dtype, torch.float32)
        probs = (teacher / self.teacher_temperature).softmax(1, dtype=wide)
        confidence, labels = probs.detach().max(1)
        weight = fixed_threshold(confidence, self.threshold)
        match self.loss:
            case "rpl":
                loss = generalised_cross_entropy(student_logits, labels, self.q, weight)
            case "hard":
                loss = cross_entropy(student_logits, labels, weight)
            case "soft":
                loss = cross_entropy(student_logits, probs.detach(), weight)
            case _:
                loss = cross_entropy(student_logits, probs, weight)
        return loss, {
            "losses": {self.loss: loss.detach()},
            "weight": weight,
            "proposed": labels,
            "confidence": confidence,
            "student": student.detach().argmax(1),
        }

    def _seen(self, model: Classifier) -> nn.Module:
        return OnBatches(model) if self.statistics == "batch" else model.eval()


@torch.no_grad()
def _asked(teacher: nn.Module, images: Tensor) -> Tensor:
    return teacher(images)


def _batches(images: ImageSet, size: int, device: torch.device) -> Iterator[Tensor]:
    """Whole batches of all pictures in an order of its own, so that each is a mixture; the rest of
    the pictures, less than a batch, is left out."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    for items in order[: len(order) // size * size].split(size):
        yield images.pixels.batch(items).to(device)
