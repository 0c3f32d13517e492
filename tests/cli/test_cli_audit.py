"""``leaven audit`` from end to end, on data with planted faults."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

QUICK = ("--features", "pixels", "--folds", 3, "--threads", 1, "--quiet")
COLOURS = {"blue": (40, 60, 200), "green": (40, 190, 60), "red": (210, 50, 40)}


def picture(kind, seed, side=24):
    """A blob of the colour of its class on an own background."""
    generator = np.random.default_rng(seed)
    ground = generator.uniform(0, 255, (6, 6, 3)).astype(np.uint8)
    image = Image.fromarray(ground).resize((side, side), Image.Resampling.BICUBIC)
    corner = generator.integers(3, 6, 2)
    image.paste(COLOURS[kind], (*corner.tolist(), *(corner + side // 2).tolist()))
    return image


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """Train and test folders of three classes, in which something of every kind is wrong."""
    root = tmp_path_factory.mktemp("shapes")
    seed = 0
    for split, count in (("train", 40), ("test", 12)):
        for kind in COLOURS:
            folder = root / split / kind
            folder.mkdir(parents=True)
            for number in range(count):
                picture(kind, seed).save(folder / f"{number:03d}.png")
                seed += 1
    train, test = root / "train", root / "test"
    picture("red", 900).save(train / "blue" / "flipped.png")
    picture("green", 901).save(train / "red" / "flipped.png")
    original = Image.open(train / "green" / "005.png")
    original.save(train / "green" / "copy.bmp")
    original.transpose(Image.Transpose.ROTATE_90).save(train / "green" / "turned.jpg", quality=90)
    Image.open(train / "red" / "007.png").save(test / "red" / "leaked.png")
    Image.open(train / "red" / "008.png").save(test / "blue" / "contradicting.png")
    whole = io.BytesIO()
    picture("red", 902, 64).save(whole, "JPEG")
    (train / "red" / "cut.jpg").write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    Image.new("RGB", (24, 24), (7, 7, 7)).save(train / "red" / "black.png")
    return root


@pytest.fixture(scope="module")
def audited(leaven, shapes, tmp_path_factory):
    out = tmp_path_factory.mktemp("audit") / "shapes"
    result = leaven("audit", shapes, *QUICK, "--out", out)
    assert result.exit_code == 0, result.output
    rows = pq.read_table(out / "audit.parquet").to_pylist()
    return out, rows, json.loads((out / "audit.json").read_text()), result


def of_kind(rows, kind):
    return {row["item"]: row for row in rows if row["kind"] == kind}


def test_planted_wrong_labels_are_found_with_what_they_look_like(audited):
    found = of_kind(audited[1], "label")
    flipped = found["train/blue/flipped.png"]
    assert (flipped["given"], flipped["suggested"], flipped["split"]) == ("blue", "red", "train")
    assert found["train/red/flipped.png"]["suggested"] == "green"
    assert found["test/blue/contradicting.png"]["suggested"] == "red"
    assert len(found) <= 8
    first = [row["item"] for row in audited[1] if row["kind"] == "label"][:3]
    assert "train/blue/flipped.png" in first or "train/red/flipped.png" in first


def test_copies_and_leaks_are_told_apart(audited):
    copies, leaks = (of_kind(audited[1], kind) for kind in ("duplicate", "leak"))
    items = set(copies)
    assert {"train/green/turned.jpg", "train/green/copy.bmp"} & items
    assert all(row["split"] == row["other_split"] == "train" for row in copies.values())
    assert not any(row["contradicts"] for row in copies.values())
    assert set(leaks) == {"test/red/leaked.png", "test/blue/contradicting.png"}
    leaked, other = leaks["test/red/leaked.png"], leaks["test/blue/contradicting.png"]
    assert (leaked["other"], leaked["other_split"]) == ("train/red/007.png", "train")
    assert (leaked["fault"], leaked["contradicts"]) == ("exact", False)
    assert (other["contradicts"], other["given"], other["suggested"]) == (True, "blue", "red")


def test_broken_pictures_are_named_and_stop_nothing(audited):
    found = of_kind(audited[1], "broken")
    assert {name: row["fault"] for name, row in found.items()} == {
        "train/red/cut.jpg": "unreadable",
        "train/red/black.png": "constant",
    }
    assert "truncated" in found["train/red/cut.jpg"]["text"]


def test_the_summary_counts_and_says_who_judged(audited):
    _, rows, summary, result = audited
    for kind, count in summary["findings"].items():
        assert count == sum(row["kind"] == kind for row in rows)
    assert summary["contradicting_pairs"] == 1
    labels = summary["labels"]
    assert labels["judged"] == labels["by_folds"] == summary["data"]["labelled"]
    assert labels["by_run"] == 0 and labels["agreement"] > 0.8
    assert summary["data"]["items"] == summary["data"]["readable"] + 1
    assert "leak" in result.stdout and "audit.parquet" in result.stdout


def test_the_page_shows_the_worst_and_loads_nothing(audited):
    page = (audited[0] / "audit.html").read_text()
    assert "default-src 'none'" in page and "<script" not in page and "://" not in page
    assert "train/blue/flipped.png" in page and "data:image/png;base64," in page
    assert 'href="report.html"' not in page


def test_the_same_seed_finds_the_same(leaven, shapes, audited, tmp_path):
    result = leaven("audit", shapes, *QUICK, "--out", tmp_path / "again", "--json")
    assert result.exit_code == 0, result.output
    again, before = json.loads(result.stdout), dict(audited[2])
    assert again.pop("seconds") > 0 and before.pop("seconds") > 0
    assert again == before
    assert pq.read_table(tmp_path / "again" / "audit.parquet").to_pylist() == audited[1]


def test_an_audit_takes_the_place_of_an_earlier_one_and_of_nothing_else(
    leaven, refused, shapes, tmp_path
):
    (tmp_path / "mine.txt").write_text("keep")
    said = refused("audit", shapes, *QUICK, "--out", tmp_path)
    assert "holds no audit" in said
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def encoded(image):
    written = io.BytesIO()
    image.save(written, "PNG")
    return written.getvalue()


def test_nets_of_folds_judge_a_table_and_find_foreign_pictures(leaven, tmp_path):
    kinds = [kind for kind in COLOURS for _ in range(30)]
    images = [encoded(picture(kind, seed)) for seed, kind in enumerate(kinds)]
    labels = list(kinds)
    labels[3], labels[40] = "red", "blue"
    stripes = np.zeros((24, 24, 3), np.uint8)
    stripes[::2] = 255
    images += [encoded(picture("red", 300 + seed)) for seed in range(12)]
    images.append(encoded(Image.fromarray(stripes)))
    labels += [None] * 13
    pq.write_table(pa.table({"image": images, "label": labels}), tmp_path / "data.parquet")
    out = tmp_path / "out"
    result = leaven(
        "audit", tmp_path / "data.parquet", "--model", "mlp", "--folds", 2, "--budget", 500,
        "--threads", 1, "--quiet", "--out", out, "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["labels"]["by_folds"] == 90 and summary["labels"]["folds"] == 2
    rows = pq.read_table(out / "audit.parquet").to_pylist()
    names = [row["item"] for row in rows if row["kind"] == "label"]
    assert any(name.endswith("3") for name in names) and any(n.endswith("40") for n in names)
    foreign = [row["item"] for row in rows if row["kind"] == "foreign"]
    assert any(name.endswith("102") for name in foreign)
    assert len(foreign) <= 4


def test_the_digits_are_audited_where_nothing_is_named(leaven, tmp_path):
    result = leaven("audit", *QUICK, "--out", tmp_path / "digits", "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["data"]["name"] == "digits" and summary["labels"]["agreement"] > 0.9
    assert summary["findings"]["label"] < 60


def test_a_run_is_audited_in_its_folder(leaven, finished, tmp_path):
    import shutil

    run = tmp_path / "run"
    shutil.copytree(finished[0], run)
    result = leaven(
        "audit", "--run", run, "--folds", 2, "--budget", 8, "--threads", 1, "--quiet", "--json"
    )
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    # Forty labels were learnt from: nets of folds judge these, the model of the run the others.
    assert summary["labels"]["by_folds"] == 40
    assert summary["labels"]["by_run"] == 1797 - 40
    assert set(summary["data"]["splits"]) == {"train", "test"}
    assert 'href="audit.html"' in (run / "report.html").read_text()
    assert 'href="report.html"' in (run / "audit.html").read_text()


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Bright rectangles on dark ground: COCO boxes, and masks of the same."""
    root = tmp_path_factory.mktemp("scenes")
    boxes, masks = root / "boxes", root / "maps"
    for folder in (boxes, masks / "images", masks / "masks"):
        folder.mkdir(parents=True)
    images, annotations = [], []
    for number in range(12):
        generator = np.random.default_rng(number)
        image = generator.integers(0, 60, (32, 40, 3)).astype(np.uint8)
        classes = np.zeros((32, 40), np.uint8)
        x, y = generator.integers(2, 20, 2).tolist()
        image[y : y + 10, x : x + 12] = (220, 200, 40)
        classes[y : y + 10, x : x + 12] = 1
        for folder in (boxes, masks / "images"):
            Image.fromarray(image).save(folder / f"{number:02d}.png")
        Image.fromarray(classes).save(masks / "masks" / f"{number:02d}.png")
        images.append({"id": number, "file_name": f"{number:02d}.png", "width": 40, "height": 32})
        box = {"id": number + 1, "image_id": number, "category_id": 1, "iscrowd": 0}
        annotations.append({**box, "bbox": [x, y, 12, 10], "area": 120})
    for number in (13, 14, 15):
        (boxes / f"{number}.png").write_bytes(b"damaged")
    text = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "box"}]}
    (boxes / "annotations.json").write_text(json.dumps(text))
    return root


@pytest.mark.parametrize(
    ("task", "data"), [("detection", "boxes"), ("segmentation", "maps"), ("instance", "boxes")]
)
def test_boxes_and_masks_are_audited(leaven, scenes, tmp_path, task, data):
    if task == "instance":
        file = scenes / data / "annotations.json"
        values = json.loads(file.read_text())
        for one in values["annotations"]:
            x, y, w, h = one["bbox"]
            one["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
        file.write_text(json.dumps(values))
    result = leaven(
        "audit", scenes / data, "--task", task, "--folds", 2, "--budget", 6, "--threads", 1,
        "--quiet", "--out", tmp_path / "out", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["labels"]["judged"] == summary["labels"]["by_folds"] == 12
    agreed = summary["labels"]["agreement_miou" if data == "maps" else "agreement_map50"]
    weak = [note for note in summary["notes"] if "the models are weak" in note]
    assert 0 <= agreed <= 1 and bool(weak) == (agreed < 0.5)
    rows = pq.read_table(tmp_path / "out" / "audit.parquet").to_pylist()
    if data == "boxes":
        unreadable = [row["item"] for row in rows if row["fault"] == "unreadable"]
        assert unreadable == ["13.png", "14.png", "15.png"]
    for row in rows:
        if row["kind"] == "label":
            assert 0 <= row["x1"] < row["x2"] <= 40 and 0 <= row["y1"] < row["y2"] <= 32
    assert (tmp_path / "out" / "audit.html").is_file()


def test_where_nothing_can_be_read_that_is_what_is_found(leaven, tmp_path):
    for kind in ("a", "b"):
        (tmp_path / "data" / kind).mkdir(parents=True)
        (tmp_path / "data" / kind / "1.png").write_bytes(b"damaged")
    result = leaven("audit", tmp_path / "data", *QUICK, "--out", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["findings"]["broken"] == 2 and summary["data"]["readable"] == 0


def test_names_with_markup_do_no_harm(leaven, tmp_path):
    for number in range(16):
        folder = tmp_path / "data" / ("<b>red<b>" if number % 2 else "blue")
        folder.mkdir(parents=True, exist_ok=True)
        kind = "red" if number % 2 else "blue"
        picture(kind, 3).save(folder / f"<img src=x onerror=alert({number})>.png")
    result = leaven("audit", tmp_path / "data", *QUICK, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    page = (tmp_path / "out" / "audit.html").read_text()
    assert "<img src=x" not in page and "<b>red" not in page


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere",), "no file or folder"),
        (("--run", "nowhere"), "no finished run"),
        (("--task", "sorting"), "task"),
        (("--task", "detection", "--features", "pixels"), "--features"),
        (("--budget", "soon"), "budget"),
    ],
)
def test_bad_input_is_refused(refused, arguments, said):
    assert said in refused("audit", *arguments, "--quiet")


def test_without_cleanlab_it_says_what_to_install(refused, shapes, monkeypatch, tmp_path):
    import sys

    for name in [name for name in sys.modules if name.split(".")[0] == "cleanlab"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cleanlab", None)
    said = refused("audit", shapes, *QUICK, "--out", tmp_path / "out")
    assert "leaven[audit]" in said
    assert not (tmp_path / "out").exists()


def test_broken_pictures_are_left_out_of_everything_else(leaven, tmp_path):
    for kind in COLOURS:
        folder = tmp_path / "data" / "train" / kind
        folder.mkdir(parents=True)
        for number in range(20):
            picture(kind, 1000 + number + 100 * len(kind)).save(folder / f"{number:03d}.png")
        if kind != "green":
            Image.new("RGB", (24, 24), COLOURS["green"]).save(folder / "flat.png")
            Image.new("RGB", (1, 1), COLOURS["green"]).save(folder / "dot.png")
            picture("green", 5).resize((2000, 10)).save(folder / "strip.png")
    out = tmp_path / "out"
    result = leaven("audit", tmp_path / "data", *QUICK, "--out", out, "--json")
    assert result.exit_code == 0, result.output
    rows = pq.read_table(out / "audit.parquet").to_pylist()
    assert len(of_kind(rows, "broken")) == 6
    others = {
        name for row in rows if row["kind"] != "broken" for name in (row["item"], row["other"])
    }
    assert not others & set(of_kind(rows, "broken"))
    summary = json.loads(result.stdout)
    assert summary["data"]["labelled"] == summary["labels"]["judged"] == 60
    assert summary["data"]["readable"] == 66
