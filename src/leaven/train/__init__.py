"""The engine: steps, rounds, optimisers, averages of weights, checkpoints, logs."""

from leaven.train.averaging import (
    EMA,
    BestWeights,
    WeightAverage,
    from_student,
    refresh_batch_norm,
)
from leaven.train.batch import Batch
from leaven.train.box_trainer import BoxTrainer
from leaven.train.budget import Budget
from leaven.train.checkpoint import Checkpoints
from leaven.train.engine import Engine
from leaven.train.keep import Keep
from leaven.train.optimizer import Optimizer, Recipe
from leaven.train.picture_trainer import PictureTrainer
from leaven.train.pixel_trainer import PixelTrainer
from leaven.train.rollback import Rollback
from leaven.train.settings import Settings
from leaven.train.tasks import trainer_of
from leaven.train.trainer import Trainer

__all__ = [
    "EMA",
    "Batch",
    "BestWeights",
    "BoxTrainer",
    "Budget",
    "Checkpoints",
    "Engine",
    "Keep",
    "Optimizer",
    "PictureTrainer",
    "PixelTrainer",
    "Recipe",
    "Rollback",
    "Settings",
    "Trainer",
    "WeightAverage",
    "from_student",
    "refresh_batch_norm",
    "trainer_of",
]
