"""What mean-teacher detectors have in common that look into both stages of Faster R-CNN."""

from __future__ import annotations

from typing import TypeGuard, cast

import torch
from torch import Tensor

from leaven.errors import ModelError
from leaven.methods.detection.teacher import Step, TeacherBoxes
from leaven.models.detection import Detector, Regions, TwoStage
from leaven.train import BoxTrainer


class TwoStageTeacher(TeacherBoxes):
    """A teacher and a student of two stages.

    Raises:
        ModelError: by ``fit``, for a detector that is not of two stages, or one with masks.
    """

    def network(self, trainer: BoxTrainer) -> Detector:
        """A fresh detector of the run."""
        return trainer.model()

    def student(self, trainer: BoxTrainer) -> Detector:
        try:
            model = self.network(trainer)
        except ModelError:
            # A detector of another kind does not know the options that the method asks for.
            self._checked(trainer.model())
            raise
        return self._checked(model)

    def _checked(self, model: Detector) -> Detector:
        if not finds_boxes_in_two_stages(model):
            raise ModelError(
                f"{self.card.name} learns with both stages of a detector of boxes, and "
                f"{model.spec.name!r} is another kind.",
                "'rcnn-small' or 'torchvision:fasterrcnn_resnet50_fpn'",
                "Choose one of these models, or the method 'mean-teacher', which takes any.",
            )
        return model


def finds_boxes_in_two_stages(model: Detector) -> TypeGuard[TwoStage]:
    """Whether it has two stages and no mask branch, which a loss of boxes would leave untrained."""
    return isinstance(model, TwoStage) and model.mask is None


def two_stage(model: Detector) -> TwoStage:
    """The model, which ``TwoStageTeacher`` has looked at."""
    return cast("TwoStage", model)


@torch.no_grad()
def background(step: Step, regions: Regions) -> Tensor:
    """(R,) the teacher's probability that ``regions`` of the strong views are background, seen at
    the same places of the weak views: ``p_teacher(background | M^-1 region)``."""
    assert step.maps is not None
    boxes, _ = step.to_strong.inverse().boxes(regions.boxes, regions.pictures)
    probs, _ = two_stage(step.run.teacher).roi_scores(step.maps, Regions(boxes, regions.pictures))
    return probs[:, -1]
