"""DP-SSL: what votes, what the label model is given, what the end model learns, and a run."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from leaven.data import Data
from leaven.methods import Fitted, find_method
from leaven.methods.classification import dp_ssl
from leaven.methods.classification.dp_ssl import DPSSL
from leaven.refine.label_model import LabelModel
from leaven.train import Budget, Recipe, Settings, Trainer

SMALL: dict[str, Any] = {
    "batch": 16,
    "ratio": 2,
    "ema": 0.9,
    "heads": 8,
    "width": 8,
    "choose": 0.5,
    "threshold": 0.5,
    "vote_threshold": 0.3,
    "recipe": Recipe(lr=0.05),
}


class Watching(Trainer):
    """Keeps what is registered, observed and logged."""

    def __init__(self, data: Data, steps: int, width: int = 8) -> None:
        settings = Settings(budget=Budget(steps=steps), threads=1, options={"width": width})
        super().__init__(data, None, settings)
        self.parts: dict[str, Any] = {}
        self.seen: list[dict[str, Any]] = []
        self.logged: list[dict[str, Any]] = []

    def register(self, **parts: Any) -> None:
        self.parts.update(parts)
        super().register(**parts)

    def observe(self, **values: Any) -> None:
        self.seen.append(values)
        super().observe(**values)

    def log(self, **values: Any) -> None:
        self.logged.append(values)
        super().log(**values)


def fit(data: Data, steps: int, **values: Any) -> tuple[Fitted, Watching]:
    trainer = Watching(data, steps)
    return DPSSL(**{**SMALL, **values}).fit(trainer.data, trainer), trainer


def test_the_number_of_chosen_heads_falls() -> None:
    method = DPSSL(heads=50, choose=0.2, choose_ramp=0.5)
    assert [method.count(p) for p in (0.0, 0.25, 0.5, 1.0)] == [50, 30, 10, 10]
    assert DPSSL(heads=50, choose=0.2, choose_ramp=0.0).count(0.0) == 10
    assert DPSSL(heads=4, choose=0.01).count(1.0) == 1


def test_votes_are_those_of_specialists() -> None:
    """Head 0 is best on class 0, head 1 on class 1; one of two heads wins an item."""
    method = DPSSL(heads=2, choose=0.5, vote_threshold=0.6, precision=0.5, wins=0.5)
    sure, fair = [0.9, 0.1], [0.65, 0.35]
    probs = torch.tensor(
        [
            [sure, fair],  # labelled 0
            [fair[::-1], sure[::-1]],  # labelled 1
            [sure, sure],
            [sure[::-1], sure[::-1]],
            [[0.55, 0.45], sure[::-1]],
        ]
    )
    votes = method.voting(probs, torch.tensor([0, 1, -1, -1, -1]))(probs)
    assert votes[2:].tolist() == [[0, -1], [-1, 1], [-1, 1]]


def test_labels_are_the_posterior_and_train_the_end_model(
    digits_data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed: list[tuple[Tensor, Tensor, Tensor]] = []
    original = LabelModel.fit

    def fitting(self: LabelModel, votes: Tensor, labels: Tensor, **values: Any) -> Tensor:
        handed.append((votes, labels, original(self, votes, labels, **values)))
        return handed[-1][2]

    monkeypatch.setattr(LabelModel, "fit", fitting)
    fitted, trainer = fit(digits_data, 30)
    ((votes, labels, posterior),) = handed
    unknown = labels < 0
    # People's labels and no truth of other items.
    assert torch.equal(labels, digits_data.train.labels)
    torch.testing.assert_close(fitted.labels.probs, posterior[unknown].float())
    known = torch.nn.functional.one_hot(labels[~unknown], 10).double()
    assert torch.equal(posterior[~unknown], known)
    speaks = (votes[unknown] >= 0).any(1)
    expected = torch.where(speaks, posterior[unknown].max(1).values.float(), 0)
    torch.testing.assert_close(fitted.labels.weight, expected)
    end = [v for v in trainer.seen if "labels" in v["losses"]]
    assert len(end) == 15
    for values in end:
        torch.testing.assert_close(values["weight"], expected[values["items"]])
    # Soft targets, not votes.
    assert ((posterior[unknown] > 0.01) & (posterior[unknown] < 0.99)).any()


def test_heads_and_end_model_are_different_networks(digits_data: Data) -> None:
    fitted, trainer = fit(digits_data, 12)
    voters, end = trainer.parts["voters"], trainer.parts["end"]
    assert not {id(p) for p in voters.parameters()} & {id(p) for p in end.parameters()}
    assert fitted.model is trainer.parts["end_average"].module
    names = {name for values in trainer.seen for name in values["losses"]}
    assert names == {"choice", "own labels", "supervised", "labels"}


def test_heads_disagree(digits_data: Data) -> None:
    _, trainer = fit(digits_data, 120)
    (votes,) = [values for values in trainer.logged if values.get("phase") == "votes"]
    assert votes["disagreement"] >= 0.1
    assert votes["label_model_accuracy"] is not None and 0 < votes["coverage"] < 1


def test_consistency_on_top(digits_data: Data) -> None:
    _, trainer = fit(digits_data, 12, consistency_weight=1.0, threshold=0.0)
    end = [v["losses"] for v in trainer.seen if "labels" in v["losses"]]
    assert all(float(losses["consistency"]) > 0 for losses in end)


def test_rounds_go_on_with_the_same_networks(digits_data: Data) -> None:
    _, trainer = fit(digits_data, 24, rounds=2)
    kinds = ["heads" if "choice" in v["losses"] else "end" for v in trainer.seen]
    assert kinds == (["heads"] * 6 + ["end"] * 6) * 2
    assert [v["round"] for v in trainer.logged if v.get("phase") == "votes"] == [0, 1]


def test_equal_weights_where_asked(digits_data: Data) -> None:
    fitted, _ = fit(digits_data, 12, weigh=False)
    assert set(fitted.labels.weight.unique().tolist()) <= {0.0, 1.0}


def test_nobody_votes_is_said(digits_data: Data, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger=dp_ssl.__name__):
        fitted, _ = fit(digits_data, 6, vote_threshold=1.0, recipe=Recipe(lr=1e-4))
    assert "no head votes" in caplog.text
    assert float(fitted.labels.weight.sum()) == 0
    assert all(value.isfinite().all() for value in fitted.model.state_dict().values())


def test_end_to_end_beats_its_labels(digits_data: Data) -> None:
    trainer = Watching(digits_data, 240, width=16)
    method = find_method("dp-ssl").configured({**SMALL, "width": 32, "heads": 12})
    fitted = method.fit(trainer.data, trainer)
    assert trainer.measure(fitted.model, digits_data.test)["accuracy"] > 0.7
    assert not fitted.model.training


@pytest.mark.parametrize("rounds", [1, 2])
def test_a_resumed_run_ends_bit_identical(
    digits_data: Data, tmp_path: Path, assert_resumes: Callable[..., Fitted], rounds: int
) -> None:
    """Broken off while heads learn, and while the end model does."""
    method = DPSSL(**SMALL, rounds=rounds)
    assert_resumes(method, digits_data, 24, tmp_path, breaks=(0.3, 0.6, 0.95))
