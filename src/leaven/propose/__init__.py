"""What an unlabelled item may be."""

from leaven.propose.activation_maps import activated_classes, class_activation_maps
from leaven.propose.boxes import predict_boxes
from leaven.propose.captions import caption_prompt, write_captions
from leaven.propose.certain_vote import certain_vote, certainty
from leaven.propose.co_training import co_train
from leaven.propose.dense import predict_maps
from leaven.propose.draw_labels import draw_labels
from leaven.propose.epoch_labels import EpochLabels
from leaven.propose.foreground import foreground
from leaven.propose.item_average import ItemAverage
from leaven.propose.predict import Pictures, label_pass, modes_kept, predict, predict_features
from leaven.propose.self_training import self_train
from leaven.propose.stored_maps import StoredMaps
from leaven.propose.tri_training import tri_train
from leaven.propose.windows import predict_windows

__all__ = [
    "EpochLabels",
    "ItemAverage",
    "Pictures",
    "StoredMaps",
    "activated_classes",
    "caption_prompt",
    "certain_vote",
    "certainty",
    "class_activation_maps",
    "co_train",
    "draw_labels",
    "foreground",
    "label_pass",
    "modes_kept",
    "predict",
    "predict_boxes",
    "predict_features",
    "predict_maps",
    "predict_windows",
    "self_train",
    "tri_train",
    "write_captions",
]
