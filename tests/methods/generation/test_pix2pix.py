from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from leaven.data import Data, ImageSet, MemoryPixels, PairedPictures
from leaven.data.streams import Sample
from leaven.data.transforms import ScaleCropFlip
from leaven.draws import Draws
from leaven.errors import ConfigError
from leaven.methods import Fitted
from leaven.methods.generation.pix2pix import Pix2Pix, jittered, right_share
from leaven.quality import Health
from leaven.train import Budget, PictureTrainer, Settings

SMALL: dict[str, Any] = {"width": 4, "depth": 3, "layers": 1, "batch": 2}


def pairs(count: int = 12, side: int = 16, *, of_grey: bool = False) -> Data[PairedPictures]:
    """A bright square on black, which is to become dark on white."""
    generator = torch.Generator().manual_seed(0)
    given = torch.zeros(count, 1 if of_grey else 3, side, side, dtype=torch.uint8)
    for number, (y, x) in enumerate(torch.randint(0, side // 2, (count, 2), generator=generator)):
        given[number, :, y : y + side // 2, x : x + side // 2] = 200
    wanted = PairedPictures.from_tensor(255 - given.expand(-1, 3, -1, -1))
    wanted = PairedPictures(wanted.pixels, wanted.known, of_grey)
    names = [f"pair-{number}" for number in range(count)]
    whole = ImageSet(MemoryPixels(given), wanted, wanted, names)
    rows = torch.arange(count)
    return Data("squares", (), whole.subset(rows[4:]), test=whole.subset(rows[:4]))


def fitted(
    method: Pix2Pix, data: Data[PairedPictures], steps: int = 3, **settings: Any
) -> tuple[PictureTrainer, Fitted[Any, Any]]:
    settings = {"threads": 1, "device": "cpu", "precision": "fp32", **settings}
    trainer = PictureTrainer(data, None, Settings(budget=Budget(steps=steps), **settings))
    return trainer, method.fit(trainer.data, trainer)


class Watched(PictureTrainer):
    """Keeps the loss and the gradients of every update."""

    def update(self, loss: Tensor, optimizer: Any) -> bool:
        self.losses = [*getattr(self, "losses", []), loss.detach().clone()]
        self.fresh = [
            *getattr(self, "fresh", []),
            {name: all(w.grad is None for w in part.parameters()) for name, part in self.nets()},
        ]
        return super().update(loss, optimizer)

    def nets(self) -> list[tuple[str, Any]]:
        return [(n, self._registered[n]) for n in ("generator", "critic") if n in self._registered]


def watched(method: Pix2Pix, data: Data[PairedPictures], steps: int = 2) -> Watched:
    settings = Settings(budget=Budget(steps=steps), threads=1, device="cpu", precision="fp32")
    trainer = Watched(data, None, settings)
    method.fit(trainer.data, trainer)
    return trainer


def test_both_pictures_of_a_pair_move_alike() -> None:
    code = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(6, -1, -1, -1)
    sample = Sample(code, code.clone(), torch.arange(6))
    view = ScaleCropFlip(scale=(286 / 256, 286 / 256))
    given, wanted = jittered(sample, view, Draws(0))
    assert torch.equal(given, wanted)
    assert given.shape == code.shape
    assert len({tuple(picture.flatten().tolist()) for picture in given}) > 3
    mirrored = (given[..., 0].float() > given[..., -1].float()).flatten(1).float().mean(1) > 0.5
    assert mirrored.any() and not mirrored.all()


def test_no_flip_where_mirrored_pairs_are_none() -> None:
    code = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(8, -1, -1, -1)
    sample = Sample(code, code, torch.arange(8))
    given, _ = jittered(sample, ScaleCropFlip(scale=(1.2, 1.2), flip=False), Draws(0))
    assert (given[..., 8, 1] < given[..., 8, -2]).all()


def test_one_step_of_each_per_batch_and_no_gradient_to_the_other() -> None:
    trainer = watched(Pix2Pix(**SMALL), pairs(), steps=3)
    assert len(trainer.losses) == 6
    # Before D's step G has no gradient of this batch, and before G's step D has none.
    assert all(fresh["generator"] and fresh["critic"] for fresh in trainer.fresh)


def test_the_loss_is_that_of_the_paper() -> None:
    data = pairs()
    both = watched(Pix2Pix(**SMALL), data, steps=1).losses
    critic_alone = watched(Pix2Pix(**SMALL, reconstruction=0), data, steps=1).losses
    l1_alone = watched(Pix2Pix(**SMALL, adversarial=0), data, steps=1).losses
    assert len(l1_alone) == 1
    torch.testing.assert_close(both[0], critic_alone[0])
    torch.testing.assert_close(both[1], critic_alone[1] + l1_alone[0])


def test_without_l1_the_wanted_picture_does_not_move_the_generator() -> None:
    data = pairs()
    other = pairs()
    labels = PairedPictures.from_tensor(other.train.labels[torch.arange(8)].flip(0))
    changed = other.with_train(ImageSet(other.train.pixels, labels, labels, other.train.names))

    def generator_gradient(method: Pix2Pix, of: Data[PairedPictures]) -> list[Tensor]:
        model = method.generator(of)
        critic = method.critic(of, model)
        torch.manual_seed(0)
        x = model.encode_given(of.train.pixels.batch(torch.arange(2)))
        y = model.encode_wanted(of.train.labels[torch.arange(2)])
        made = model.translate(x)
        loss = critic(method.seen(x, made)).square().mean()
        loss = loss + method.reconstruction * (made - y).abs().mean()
        return list(torch.autograd.grad(loss, list(model.parameters())))

    def gradient(reconstruction: float, of: Data[PairedPictures]) -> Tensor:
        torch.manual_seed(1)
        method = Pix2Pix(**SMALL, reconstruction=reconstruction)
        return torch.cat([part.flatten() for part in generator_gradient(method, of)])

    assert torch.equal(gradient(0, data), gradient(0, changed))
    assert not torch.allclose(gradient(1, data), gradient(1, changed))
    # A very large weight leaves the direction of L1 alone.
    l1 = gradient(1e8, data) - gradient(0, data)
    towards = torch.cosine_similarity(gradient(1e8, data), l1, dim=0)
    assert float(towards) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("conditional", [True, False])
def test_the_critic_sees_what_was_given_unless_it_must_not(conditional: bool) -> None:
    method, data = Pix2Pix(**SMALL, conditional=conditional), pairs()
    model = method.generator(data)
    critic = method.critic(data, model).eval()
    rows = torch.arange(4)
    x = model.encode_given(data.train.pixels.batch(rows))
    y = model.encode_wanted(data.train.labels[rows])
    same = torch.equal(critic(method.seen(x, y)), critic(method.seen(x.roll(1, 0), y)))
    assert same != conditional


@pytest.mark.parametrize("layers", [0, 1, 2])
@pytest.mark.parametrize("game", ["bce", "least-squares"])
def test_ablations_train(layers: int, game: str) -> None:
    method = Pix2Pix(**{**SMALL, "layers": layers, "batch": 1}, game=game, skips=False)
    _, found = fitted(method, pairs())
    given = pairs().train.pixels.batch(torch.arange(2))
    assert found.model.make(given, torch.Generator()).shape == given.shape
    assert found.labels is None


def test_it_learns() -> None:
    data = pairs(24)
    method = Pix2Pix(**{**SMALL, "width": 8, "layers": 0}, recipe={"lr": 2e-3, "optimizer": "adam", "momentum": 0.5, "schedule": "constant", "weight_decay": 0})  # fmt: skip
    test = data.test
    assert test is not None
    rows = torch.arange(4)

    def distance(steps: int) -> float:
        _, found = fitted(method, data, steps)
        made = found.model.make(test.pixels.batch(rows), torch.Generator().manual_seed(0))
        return float((made.float() - test.labels[rows].float()).abs().mean())

    assert distance(60) < 0.4 * distance(1)


def test_greys_are_coloured_in_lab() -> None:
    trainer, found = fitted(Pix2Pix(**SMALL), pairs(of_grey=True))
    assert found.model.lab
    assert found.model.net.up[-1].out_channels == 2
    critic: Any = trainer._registered["critic"]
    assert critic.body[0].in_channels == 3


def test_sizes_follow_the_pictures() -> None:
    small, large = pairs(side=16), pairs(side=128)
    method = Pix2Pix()
    assert method.generator(small).spec.options["depth"] == 4
    assert method.generator(small).spec.options["width"] == 32
    spec = method.generator(large).spec
    assert (spec.options["depth"], spec.options["width"]) == (7, 64)
    assert method.critic(large, method.generator(large)).layers == 3
    assert method.critic(small, method.generator(small)).layers == 0


def test_too_many_layers_for_small_pictures() -> None:
    with pytest.raises(ConfigError, match=r"layers is 5, and the pictures are 16x16"):
        fitted(Pix2Pix(layers=5), pairs())


def test_right_share() -> None:
    real, made = torch.tensor([1.0, 2.0, -1.0, 3.0]), torch.tensor([-1.0, 1.0])
    assert right_share(real, made, "bce").item() == pytest.approx((0.75 + 0.5) / 2)
    assert right_share(real, made, "least-squares").item() == pytest.approx((0.75 + 0.5) / 2)


@pytest.mark.parametrize(("share", "codes"), [(0.995, ["one-sided-critic"]), (0.8, [])])
def test_a_critic_that_is_never_deceived_is_named(share: float, codes: list[str]) -> None:
    health = Health(1)
    for _ in range(3):
        health.observe(told=torch.tensor(share))
    again = Health(1)
    again.load_state_dict(health.state_dict())
    for watch in (health, again):
        news = watch.check(3, progress=1.0, final=True)
        assert [finding.code for finding in news] == codes
        assert all("99.5%" in finding.text for finding in news)


@pytest.mark.parametrize("adversarial", [0.0, 1.0])
def test_it_resumes_to_the_same_bits(
    assert_resumes: Callable[..., Any], tmp_path: Path, adversarial: float
) -> None:
    assert_resumes(Pix2Pix(**SMALL, adversarial=adversarial), pairs(), 8, tmp_path)
