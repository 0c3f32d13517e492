"""The linear probe: its classifier, what it leaves alone, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from leaven.data import Data
from leaven.errors import ModelError
from leaven.methods.classification.linear_probe import LinearProbe
from leaven.models import load_model, logistic_weights, save_model
from leaven.train import Trainer


def test_it_is_logistic_regression_on_centred_features(
    digits_data: Data, trainer_for: Callable[..., Trainer], trained_net: Path, tmp_path: Path
) -> None:
    trainer = trainer_for(digits_data, 5, weights=trained_net)
    fitted = LinearProbe(strength=0.01).fit(trainer.data, trainer)
    network = trainer.backbone()
    labelled, unlabelled = trainer.data.labelled, trainer.data.unlabelled

    def centred(items: torch.Tensor) -> torch.Tensor:
        features = network(items)
        return F.normalize(features - features.mean(1, keepdim=True), dim=1)

    with torch.no_grad():
        rows = centred(labelled.pixels.batch(torch.arange(len(labelled))))
        weights = logistic_weights(rows, labelled.labels, 10, 0.01)
        images = unlabelled.pixels.batch(torch.arange(20))
        expected = (centred(images) @ weights.T).softmax(1)
    torch.testing.assert_close(fitted.labels.probs[:20], expected, atol=1e-4, rtol=1e-3)
    assert bool((fitted.labels.weight == 1).all()) and trainer.step == 0
    again = load_model(save_model(fitted.model, tmp_path / "model"))
    torch.testing.assert_close(again(images), fitted.model(images))


def test_the_network_below_stays_as_it_is(
    digits_data: Data, trainer_for: Callable[..., Trainer], trained_net: Path
) -> None:
    trainer = trainer_for(digits_data, 5, weights=trained_net)
    before = trainer.backbone().encoder.state_dict()
    after = LinearProbe().fit(trainer.data, trainer).model.encoder.below.state_dict()
    assert all(torch.equal(before[name], value) for name, value in after.items())


def test_rows_of_features_need_no_weights(
    feature_data: Data, trainer_for: Callable[..., Trainer]
) -> None:
    trainer = trainer_for(feature_data, 5)
    fitted = LinearProbe().fit(trainer.data, trainer)
    truth = trainer.data.unlabelled.truth
    assert float((fitted.labels.classes == truth).float().mean()) > 0.95
    assert fitted.model.spec.name == "centred"


def test_random_weights_are_refused(digits_data: Data, trainer_for: Callable[..., Trainer]) -> None:
    trainer = trainer_for(digits_data, 5)
    with pytest.raises(ModelError, match="'cnn-small' has no published weights") as error:
        LinearProbe().fit(trainer.data, trainer)
    assert "--weights FILE" in error.value.do
