import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from leaven.labels import VOID, BoxLabels, Masks
from leaven.report.drawing import (
    SIDE,
    canvas,
    draw_boxes,
    draw_classes,
    draw_doubt,
    draw_errors,
    draw_picture,
    png,
)
from leaven.report.palette import DEUTERANOPIA, PROTANOPIA, palette, readable_on, seen

GREY = torch.full((3, 40, 80), 128, dtype=torch.uint8)


def array(image):
    return np.asarray(image.convert("RGB")).astype(int)


def labels(boxes, confidence=None, classes=None, masks=None, weight=None):
    boxes = torch.tensor(boxes, dtype=torch.float32).view(-1, 4)
    n = len(boxes)
    made = BoxLabels.from_model(
        boxes,
        torch.tensor(classes or [0] * n, dtype=torch.int64),
        torch.tensor(confidence or [1.0] * n),
        torch.tensor([n]),
        masks,
    )
    return made if weight is None else made.with_weight(torch.tensor(weight))


@pytest.mark.parametrize("count", [7, 11, 21])
def test_colours_stay_apart_for_all_eyes(count):
    colours = palette(count) / 255
    for sight, least in ((None, 15), (DEUTERANOPIA, 7), (PROTANOPIA, 7)):
        lab = seen(colours, sight)
        gaps = np.linalg.norm(lab[:, None] - lab, axis=-1)
        assert gaps[~np.eye(count, dtype=bool)].min() > least


def test_palettes_begin_alike_and_are_large_enough():
    assert np.array_equal(palette(254)[:11], palette(11))
    assert len(np.unique(palette(254), axis=0)) == 254
    assert palette(3).tolist() == [[0, 114, 178], [230, 159, 0], [0, 158, 115]]


def test_lab_of_known_colours():
    lab = seen(np.array([[1.0, 1, 1], [0, 0, 0], [1, 0, 0]]))
    assert lab[0] == pytest.approx([100, 0, 0], abs=1e-6)
    assert lab[1] == pytest.approx([0, 0, 0], abs=1e-6)
    assert lab[2] == pytest.approx([53.24, 80.09, 67.20], abs=0.02)


def test_text_is_black_on_light_and_white_on_dark():
    assert readable_on(np.array([240, 228, 66])) == (0, 0, 0)
    assert readable_on(np.array([0, 0, 160])) == (255, 255, 255)


@pytest.mark.parametrize(
    ("shape", "size"), [((3, 40, 80), (SIDE, SIDE // 2)), ((1, 900, 300), (107, SIDE))]
)
def test_pictures_are_drawn_in_one_size(shape, size):
    picture = torch.full(shape, 77, dtype=torch.uint8)
    assert draw_picture(picture).size == size
    assert (array(draw_picture(picture)) == 77).all()
    factor = canvas(picture).factor
    assert factor == pytest.approx((size[0] / shape[2], size[1] / shape[1]))


def test_classes_have_their_colour_and_a_dark_border():
    classes = torch.zeros(40, 80, dtype=torch.uint8)
    classes[:, 40:] = 1
    shown = array(draw_classes(GREY, classes, 3))
    for at, k in ((40, 0), (280, 1)):
        expected = 128 * 0.45 + palette(3)[k] * 0.55
        assert shown[80, at] == pytest.approx(expected, abs=1)
    assert shown[80, 159] == pytest.approx(palette(3)[0] * 0.55, abs=1)
    assert shown[80, 160] == pytest.approx(128 * 0.45 + palette(3)[1] * 0.55, abs=1)


def test_unaccepted_pixels_are_hatched_in_their_colour_and_void_in_grey():
    classes = torch.zeros(40, 80, dtype=torch.uint8)
    classes[:, 40:] = VOID
    dark = torch.zeros(3, 40, 80, dtype=torch.uint8)
    shown = array(draw_classes(dark, classes, 2, torch.zeros(40, 80, dtype=torch.bool)))
    colours = {tuple(c) for c in shown[:, :158].reshape(-1, 3)}
    assert colours == {(0, 0, 0), tuple((palette(2)[0] * 0.75).round().astype(int))}
    assert {tuple(c) for c in shown[:, 162:].reshape(-1, 3)} == {(0, 0, 0), (96, 96, 96)}
    assert 0.3 < (shown[:, :158].max(-1) > 0).mean() < 0.45


def test_doubt_is_light_where_the_model_is_not_sure():
    confidence = torch.ones(40, 80)
    confidence[:, 40:], confidence[:20, :20] = 0.4, torch.nan
    shown = array(draw_doubt(GREY, confidence)).sum(-1)
    assert shown[120, 300] > 500 > 250 > shown[120, 20]
    assert shown[20, 20] == shown[120, 300]


def test_errors_are_red_where_both_are_known():
    classes, truth = torch.zeros(4, 8, dtype=torch.uint8), torch.zeros(4, 8, dtype=torch.uint8)
    classes[:, 2:4], truth[:, 4:6] = 1, VOID
    classes[:, 6:] = VOID
    red = (array(draw_errors(GREY[:, :4, :8], classes, truth)) == [213, 40, 30]).all(-1)
    assert red[:, 82:158].all() and not red[:, :78].any() and not red[:, 162:].any()


def test_boxes_are_framed_where_they_are():
    shown = array(draw_boxes(GREY, labels([[10, 10, 30, 30]], [0.5]), ["a", "b"]))
    blue = (shown == palette(7)[0]).all(-1)
    rows, columns = np.nonzero(blue[40:])
    assert (columns.min(), columns.max()) == (40, 119) and rows.max() + 40 == 119
    assert blue[60:110, 40:42].all() and not blue[60:110, 44:116].any()


def test_unaccepted_boxes_are_dashed():
    firm = array(draw_boxes(GREY, labels([[10, 10, 70, 30]]), ["a", "b"]))
    dashed = array(draw_boxes(GREY, labels([[10, 10, 70, 30]], weight=[0.0]), ["a", "b"]))
    bottom = [(image[119] == palette(7)[0]).all(-1)[50:270].mean() for image in (firm, dashed)]
    assert bottom[0] == 1 and 0.4 < bottom[1] < 0.8


def test_masks_are_tinted_and_the_surest_lies_on_top():
    dense = torch.zeros(2, 40, 80, dtype=torch.bool)
    dense[0, 5:35, 5:50], dense[1, 5:35, 30:75] = True, True
    masks = Masks.from_dense(dense)
    both = labels([[5, 5, 50, 35], [30, 5, 75, 35]], [0.6, 0.9], [0, 1], masks)
    shown = array(draw_boxes(GREY, both, ["a", "b"]))
    for at, k in ((100, 0), (170, 1), (250, 1)):
        assert shown[100, at] == pytest.approx(128 * 0.6 + palette(7)[k] * 0.4, abs=1)
    assert (shown[150:, 10:310] == 128).all()


def test_things_of_one_class_have_colours_of_their_own():
    shown = array(draw_boxes(GREY, labels([[2, 2, 20, 20], [40, 2, 60, 20]]), ["thing"]))
    for k in (0, 1):
        assert (shown == palette(7)[k]).all(-1).any()


def test_odd_pictures_and_labels_can_be_drawn():
    names = ["猫", "b" * 200]
    many = [[x, y, x + 3, y + 3] for x in range(0, 78, 4) for y in range(0, 38, 4)]
    crowd = labels([[0, 0, 80, 40], [-20, -9, 500, 90], [5, 5, 5, 5]], [0.5, 0.3, 0.1], [0, 1, 0])
    crowd = replace(crowd, crowd=torch.tensor([True, False, False]))
    for some in (labels([]), labels(many), crowd):
        assert draw_boxes(GREY, some, names).size == (SIDE, SIDE // 2)
    assert draw_picture(torch.zeros(4, 1, 1, dtype=torch.uint8)).size == (SIDE, SIDE)
    with pytest.raises(ValueError, match="labels of 2 pictures"):
        draw_boxes(GREY, BoxLabels.nothing(2), names)


def test_png_is_small_and_close():
    ramp = np.linspace(0, 255, SIDE).astype(np.uint8)
    image = Image.fromarray(np.stack([np.tile(ramp, (200, 1))] * 3, -1))
    back = Image.open(io.BytesIO(png(image)))
    assert back.format == "PNG" and back.mode == "P"
    assert np.abs(array(back) - array(image)).mean() < 3
