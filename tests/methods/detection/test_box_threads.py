"""A run chooses its threads by timing a training step, with every kind of detector."""

import pytest

from leaven.train import BoxTrainer, Budget, Settings


@pytest.mark.parametrize("name", ["rcnn-small", "retina-small"])
def test_a_step_of_each_detector_can_be_timed(boxes_data, monkeypatch, name):
    timed = []

    def once(work):
        work()
        timed.append(name)
        return 1

    monkeypatch.setattr("leaven.train.engine.fastest_here", once)
    settings = Settings(budget=Budget(steps=2), model=name, threads=0, device="cpu")
    trainer = BoxTrainer(boxes_data, None, settings)
    model = trainer.model()
    assert timed == [name] and trainer.threads == 1
    assert all(weight.grad is None for weight in model.parameters())
