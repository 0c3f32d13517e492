"""How a model is trained on labels: losses and mixing."""

from leaven.learn.class_weights import class_weights
from leaven.learn.feedback import FeedbackBaseline, exact_feedback, feedback_loss
from leaven.learn.losses import cross_entropy, entropy, instance_similarity_loss, mean_prior
from leaven.learn.mixup import mixed, mixed_cross_entropy, mixup

__all__ = [
    "FeedbackBaseline",
    "class_weights",
    "cross_entropy",
    "entropy",
    "exact_feedback",
    "feedback_loss",
    "instance_similarity_loss",
    "mean_prior",
    "mixed",
    "mixed_cross_entropy",
    "mixup",
]
