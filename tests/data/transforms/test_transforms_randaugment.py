"""RandAugment: what is drawn, its ranges, and that groups do not mix."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from leaven.data import transforms as T
from leaven.draws import Draws
from leaven.errors import ConfigError, DataError

HEIGHT, WIDTH = 24, 40


def pictures(count: int, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    shape = (count, channels, HEIGHT, WIDTH)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def one_by_one(name: str, image: Tensor, strength: float) -> Tensor:
    """The operation on one picture, from the table of ranges."""
    s, image = torch.tensor([strength]), image[None]
    factor = 0.95 - 0.9 * s.abs()
    return {
        "AutoContrast": lambda: T.autocontrast(image),
        "Brightness": lambda: T.brightness(image, factor),
        "Color": lambda: T.color(image, factor),
        "Contrast": lambda: T.contrast(image, factor),
        "Equalize": lambda: T.equalize(image),
        "Identity": lambda: image,
        "Posterize": lambda: T.posterize(image, (8 - 4 * s.abs()).floor()),
        "Rotate": lambda: T.rotate(image, 30 * s, 5),
        "Sharpness": lambda: T.sharpness(image, factor),
        "ShearX": lambda: T.shear_x(image, 0.3 * s, 5),
        "ShearY": lambda: T.shear_y(image, 0.3 * s, 5),
        "Solarize": lambda: T.solarize(image, 256 * (1 - s.abs())),
        "TranslateX": lambda: T.translate_x(image, (0.3 * WIDTH * s).round(), 5),
        "TranslateY": lambda: T.translate_y(image, (0.3 * HEIGHT * s).round(), 5),
    }[name]()[0]


@pytest.mark.parametrize("channels", [1, 3])
def test_grouped_operations_equal_the_operations_one_by_one(channels: int) -> None:
    draws, images = Draws(5), pictures(60, channels)
    operations = draws.integers(60, high=len(T.OPERATIONS))
    strength = draws.uniform(60, low=-1, high=1)
    wanted = [
        one_by_one(T.OPERATIONS[o], image, float(s))
        for o, image, s in zip(operations.tolist(), images, strength)
    ]
    assert len(operations.unique()) == len(T.OPERATIONS)
    assert torch.equal(T.apply_operations(images, operations, strength, 5), torch.stack(wanted))


@pytest.mark.parametrize("number", range(14))
def test_a_batch_may_meet_one_operation_only(number: int) -> None:
    images, strength = pictures(3), torch.tensor([-1.0, 0.2, 1.0])
    out = T.apply_operations(images, torch.full((3,), number), strength, 5)
    name = T.OPERATIONS[number]
    wanted = [one_by_one(name, image, float(s)) for image, s in zip(images, strength)]
    assert torch.equal(out, torch.stack(wanted))


def test_the_fourteen_usual_operations_are_there() -> None:
    usual = (
        "AutoContrast Brightness Color Contrast Equalize Identity Posterize Rotate Sharpness "
        "ShearX ShearY Solarize TranslateX TranslateY"
    )
    assert sorted(T.OPERATIONS) == usual.split()


def test_operations_and_signs_are_drawn_evenly_per_slot() -> None:
    operations, strength = T.RandAugment(ops=3).draw(14_000, Draws(0))
    assert operations.shape == strength.shape == (14_000, 3)
    for slot in range(3):
        counts = operations[:, slot].bincount(minlength=14)
        # 1000 expected, standard deviation 30.5: five of them.
        assert (counts - 1000).abs().max() < 153
        assert abs(int((strength[:, slot] < 0).sum()) - 7000) < 5 * 60


def test_the_magnitude_is_a_share_of_thirty_or_drawn() -> None:
    _, fixed = T.RandAugment(magnitude=12).draw(50, Draws(0))
    assert torch.equal(fixed.abs(), torch.full((50, 2), 0.4))
    _, drawn = T.RandAugment(magnitude=None).draw(20_000, Draws(0))
    assert drawn.abs().max() <= 1
    assert abs(float(drawn.abs().mean()) - 0.5) < 5 * 0.289 / 200
    assert abs(float(drawn.mean())) < 5 * 0.578 / 200


def test_more_slots_are_slots_one_after_the_other() -> None:
    images, augment = pictures(20), T.RandAugment(ops=3, magnitude=None, fill=9)
    operations, strength = augment.draw(20, Draws(4))
    wanted = images
    for slot in range(3):
        wanted = T.apply_operations(wanted, operations[:, slot], strength[:, slot], 9)
    assert torch.equal(augment(images, Draws(4)), wanted)


def test_no_slots_change_nothing() -> None:
    images = pictures(4)
    assert torch.equal(T.RandAugment(ops=0)(images, Draws(0)), images)


def test_bad_settings_and_parameters_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"magnitude is 31.*\n.*0\.\.30"):
        T.RandAugment(magnitude=31)
    with pytest.raises(ConfigError, match="ops is -1"):
        T.RandAugment(ops=-1)
    with pytest.raises(ConfigError, match="fill is 256"):
        T.RandAugment(fill=256)
    with pytest.raises(DataError, match="for 3 pictures"):
        T.apply_operations(pictures(3), torch.zeros(2, dtype=torch.int64), torch.zeros(2))
    with pytest.raises(DataError, match="2 channels"):
        T.RandAugment()(pictures(1, channels=2), Draws(0))
    with pytest.raises(DataError, match="numbered 14"):
        T.apply_operations(pictures(1), torch.tensor([14]), torch.zeros(1))
