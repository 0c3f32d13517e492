"""The classics on the digits, around a random forest or on a graph: their labels, and the network on
these."""

from claims.harness import Claim, Gain
from claims.sources import digits
from leaven.methods.classification.co_training import CoTraining
from leaven.methods.classification.label_propagation import LabelPropagation, LabelSpreading
from leaven.methods.classification.self_training import SelfTraining
from leaven.methods.classification.tri_training import TriTraining
from leaven.train import Budget

NETWORK = {"batch": 16, "ratio": 4, "ema": 0.99}
LABELS = "all_labels_accuracy"

CLAIM = Claim(
    method="self-training",
    statement="Self-training, co-training and tri-training around a random forest label better "
    "than the forest that saw the labels alone; so do labels that go along the graph of neighbours.",
    setting="scikit-learn digits, 3 labels per class, random forests of 200 trees on pixels; "
    "all_labels_accuracy is that of the labels, accuracy that of cnn-small of width 16 after 200 "
    "steps on them, of 16 labelled and 64 unlabelled pictures",
    data=digits(3),
    variants={
        "supervised": SelfTraining(max_rounds=0, **NETWORK),
        "self-training": SelfTraining(policy="auto", **NETWORK),
        "co-training": CoTraining(**NETWORK),
        "tri-training": TriTraining(**NETWORK),
        "label-propagation": LabelPropagation(**NETWORK),
        "label-spreading": LabelSpreading(**NETWORK),
    },
    expect=(
        Gain("self-training", "supervised", 3.0, LABELS),
        Gain("co-training", "supervised", 0.0, LABELS),
        Gain("tri-training", "supervised", 0.0, LABELS),
        Gain("label-propagation", "supervised", 0.0, LABELS),
        Gain("label-spreading", "supervised", 0.0, LABELS),
    ),
    budget=Budget(steps=200),
    model="cnn-small",
    options={"width": 16},
    seeds=(0, 1, 2, 3),
    note="In supervised the network learns from the labels of people alone: nothing is accepted.",
)
