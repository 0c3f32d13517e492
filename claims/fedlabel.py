"""FedLabel on the digits: who is believed, against the labels alone at the same half speed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from claims.harness import Claim, Gain, Level
from leaven.data import Data, label_share, open_data, partition
from leaven.methods.classification.fedlabel import FedLabel
from leaven.train import Budget, Settings, Trainer

CLIENTS, ALPHA, SHARE, ROUNDS = 12, 0.3, 0.1, 110
PLAIN: dict[str, Any] = {
    "clients": CLIENTS, "per_round": 10, "labelled_steps": 10, "unlabelled_steps": 10, "batch": 32,
    "lr": 0.1, "unlabelled_lr": 0.02, "burn_in": 60, "threshold": 0.8, "proximal_weight": 1.0,
    "uda": False,
}  # fmt: skip

MLP: dict[str, Any] = {"model": "mlp", "options": {"hidden": 64}}


def divided(seed: int, cover: float) -> tuple[Data, tuple[int, ...]]:
    """The digits, 30 % of them test, and the client of each training item."""
    data = open_data("digits", seed=seed)
    owners = partition(data.train.truth, CLIENTS, ALPHA, seed)
    return data.with_train(label_share(data.train, owners, SHARE, seed, cover)), tuple(
        owners.tolist()
    )


class Watching(Trainer):
    """Keeps how many of the accepted labels each selector has right, by round."""

    def observe(self, **values: Any) -> None:
        if "select_accuracy" in values:
            values = {**values, "accepted_share": values["weight"].mean()}
            self.kept = [*getattr(self, "kept", []), values]
        super().observe(**values)


def measure(
    cover: float = 1.0, net: dict[str, Any] = MLP, **changes: Any
) -> Callable[[int], dict[str, float]]:
    """A function seed -> accuracy on the test items of all clients, and of the labels."""

    def work(seed: int) -> dict[str, float]:
        data, owners = divided(seed, cover)
        settings = Settings(
            budget=Budget(steps=ROUNDS), seed=seed, threads=torch.get_num_threads(), evaluations=1,
            **net,
        )  # fmt: skip
        trainer = Watching(data, None, settings)
        fitted = FedLabel(**PLAIN | changes, owners=owners).fit(trainer.data, trainer)
        values = {"accuracy": trainer.measure(fitted.model, trainer.data.test)["accuracy"]}
        kept = getattr(trainer, "kept", [])
        for name in ("select_accuracy", "local_accuracy", "global_accuracy", "accepted_share"):
            if kept:
                values[name] = float(torch.stack([one[name] for one in kept]).mean())
        if kept:
            values["select_over_local"] = values["select_accuracy"] - values["local_accuracy"]
        return values

    return work


CLAIM = Claim(
    method="fedlabel",
    statement="Believing the surer of global and local model on each image is better than the global "
    "model alone, and its labels are better than those of the local one where labels miss classes.",
    setting="scikit-learn digits over 12 clients by Dirichlet shares of 0.3, 10 % labels, 10 clients "
    "a round, 110 rounds of 10 steps on 32 labels (rate 0.1) and 10 on 32 unlabelled digits (rate 0.02, "
    "threshold 0.8, proximal weight 1), burn-in 60, MLP 64-64-10, plain views; half: labels cover half "
    "the classes of each client; the accuracies of labels are of accepted images, all selectors on the same",
    variants={
        "labels only": measure(unlabelled_steps=0),
        "select": measure(),
        "local only": measure(selector="local"),
        "global only": measure(selector="global"),
        "half, labels only": measure(0.5, unlabelled_steps=0),
        "half, select": measure(0.5),
        "half, local only": measure(0.5, selector="local"),
        "half, global only": measure(0.5, selector="global"),
    },
    expect=(
        Gain("select", "global only", 8.0),
        Gain("select", "local only", -2.0),
        Gain("select", "labels only", -4.0),
        Level("half, select", 2.0, "select_over_local"),
    ),
    note="The last expectation is about labels: of the images that the selector accepts, how many "
    "it has right, against the local model on the same images. The global model is better than both on these "
    "(72.6 %, select 70.2, local 64.5), though the network that learns from select ends 0.6 points above the one that "
    "learns from it. Select is 2.8 and not 8 points over global only because that does not fall here: it has 78.6 %, the "
    "labels alone 79.9, select 81.5. Weighed by the labelled items of clients, as a reading of the paper has it and its "
    "code has not, select had 82.8.",
)
