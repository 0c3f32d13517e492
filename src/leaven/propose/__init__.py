"""What an unlabelled item may be."""

from leaven.propose.draw_labels import draw_labels
from leaven.propose.epoch_labels import EpochLabels
from leaven.propose.predict import Pictures, label_pass, predict, predict_features

__all__ = ["EpochLabels", "Pictures", "draw_labels", "label_pass", "predict", "predict_features"]
