"""The engine: steps, rounds, optimisers, averages of weights, checkpoints, logs."""

from leaven.train.averaging import EMA, BestWeights, WeightAverage, refresh_batch_norm
from leaven.train.budget import Budget
from leaven.train.checkpoint import Checkpoints
from leaven.train.engine import Batch, Engine
from leaven.train.keep import Keep
from leaven.train.optimizer import Optimizer, Recipe
from leaven.train.settings import Settings
from leaven.train.trainer import Trainer

__all__ = [
    "EMA",
    "Batch",
    "BestWeights",
    "Budget",
    "Checkpoints",
    "Engine",
    "Keep",
    "Optimizer",
    "Recipe",
    "Settings",
    "Trainer",
    "WeightAverage",
    "refresh_batch_norm",
]
