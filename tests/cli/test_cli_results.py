"""``leaven predict``, ``export`` and ``report`` on runs that are there."""

import builtins
import csv
import json
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from PIL import Image

from leaven.data import open_data
from leaven.labels import LabelStore
from leaven.models import load_model


def pictures_in(folder):
    return sorted(path for path in folder.rglob("*.png"))


# -- predict ---------------------------------------------------------------------------------------


def test_predict_sees_what_the_training_saw(folder_run, leaven):
    """The same pictures through the data room and through the command give the same classes."""
    run, pictures = folder_run
    result = leaven("predict", run, pictures, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["failed"] == []

    train = open_data(pictures, test_share=0).train
    model = load_model(run / "model")
    with torch.no_grad():
        probs = model(train.pixels.batch(torch.arange(len(train)))).softmax(1)
    confidence, classes = probs.max(1)
    expected = {
        str(pictures / name): (model.spec.classes[label], sure)
        for name, label, sure in zip(train.names, classes.tolist(), confidence.tolist())
    }
    assert len(found["predictions"]) == len(expected) == 150
    for entry in found["predictions"]:
        label, sure = expected[entry["file"]]
        assert entry["label"] == label
        assert entry["confidence"] == pytest.approx(sure, abs=1e-5)


def test_predict_takes_pictures_of_any_size_and_colour(folder_run, leaven, tmp_path):
    run, _ = folder_run
    large = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(large).save(tmp_path / "colour.jpg")
    result = leaven("predict", run, tmp_path / "colour.jpg")
    assert result.exit_code == 0, result.output
    assert "colour.jpg" in result.stdout
    assert "digit " in result.stdout


def test_predict_names_and_skips_what_cannot_be_read(folder_run, leaven, tmp_path):
    run, pictures = folder_run
    good, bad = pictures_in(pictures)[0], tmp_path / "bad.png"
    bad.write_bytes(good.read_bytes()[:60])
    result = leaven("predict", run, good, bad, "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert [entry["file"] for entry in found["predictions"]] == [str(good)]
    assert [entry["file"] for entry in found["failed"]] == [str(bad)]
    assert f"skipped {bad}" in result.stderr


def test_predict_of_nothing_readable(folder_run, leaven, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"")
    result = leaven("predict", folder_run[0], tmp_path / "bad.png")
    assert result.exit_code == 1
    assert "the file is empty" in result.stderr


def test_predict_writes_csv_whole(folder_run, leaven, tmp_path):
    run, pictures = folder_run
    target = tmp_path / "new" / "labels.csv"
    result = leaven("predict", run, pictures / "unlabelled", "--csv", target)
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    rows = list(csv.DictReader(target.open()))
    assert rows[0].keys() == {"file", "label", "confidence"}
    assert {row["file"] for row in rows} == set(map(str, pictures_in(pictures / "unlabelled")))


def test_hostile_names_neither_style_nor_steer_the_terminal(folder_run, leaven, tmp_path):
    run, pictures = folder_run
    name = tmp_path / "[red]a[_red]\x1b[31m.png"
    shutil.copy(pictures_in(pictures)[0], name)
    result = leaven("predict", run, name)
    assert result.exit_code == 0, result.output
    assert "\x1b" not in result.output
    assert "[red]a[_red]\\x1b[31m.png" in result.stdout


def test_predict_refuses_what_is_not_there(folder_run, refused, tmp_path):
    run, _ = folder_run
    assert "gone.png" in refused("predict", run, tmp_path / "gone.png")
    assert "There is no picture" in refused("predict", run, tmp_path)
    for nowhere in (tmp_path, tmp_path / "gone"):
        assert f"There is no run in {nowhere}." in refused("predict", nowhere, tmp_path)


# -- export ----------------------------------------------------------------------------------------


def test_export_of_everything_is_read_back(folder_run, leaven, tmp_path):
    run, pictures = folder_run
    result = leaven("export", run, "--out", tmp_path, "--json")
    assert result.exit_code == 0, result.output
    written = json.loads(result.stdout)
    assert written.keys() == {"onnx", "folder", "csv", "parquet"}
    assert_agrees_with_torch(written["onnx"]["path"], load_model(run / "model"))

    names, labels, classes, _ = LabelStore(run / "labels").read()
    assert len(names) == 150
    accepted = {name: classes[k] for name, k, yes in zip(names, labels.classes.tolist(), labels.accepted.tolist()) if yes}  # fmt: skip
    assert 60 < len(accepted) <= 150

    folder = open_data(written["folder"]["path"], test_share=0).train
    assert int((folder.labels >= 0).sum()) == len(accepted) == written["folder"]["accepted"]
    by_file = open_data(pictures, labels=tmp_path / "labels.csv", test_share=0)
    given = {n: by_file.classes[k] for n, k in zip(by_file.train.names, by_file.train.labels.tolist()) if k >= 0}  # fmt: skip
    assert given == accepted
    table = pq.read_table(written["parquet"]["path"])
    assert table["name"].to_pylist() == names
    assert table["image"][0].as_py() == (pictures / names[0]).read_bytes()


def assert_agrees_with_torch(path, model):
    images = torch.randint(0, 256, (3, *model.spec.shape), dtype=torch.uint8)
    (logits,) = onnxruntime.InferenceSession(path).run(["logits"], {"images": images.numpy()})
    with torch.no_grad():
        assert np.allclose(logits, model(images).numpy(), atol=1e-4)


def test_export_of_embedded_data_and_accepted_items_alone(finished, leaven):
    out, _ = finished
    result = leaven("export", out, "--labels", "folder", "--accepted-only", "--json")
    assert result.exit_code == 0, result.output
    written = json.loads(result.stdout)["folder"]
    summary = json.loads((out / "summary.json").read_text())
    assert written["items"] == written["accepted"] == 40 + summary["labels"]["accepted"]
    folder = out / "export" / "pictures"
    assert len(pictures_in(folder)) == written["items"]
    assert not (folder / "unlabelled").exists()


def test_export_again_replaces_what_nobody_changed(folder_run, leaven, refused, tmp_path):
    run, _ = folder_run
    arguments = ("export", run, "--labels", "folder", "--out", tmp_path)
    assert leaven(*arguments).exit_code == 0
    before = pictures_in(tmp_path)
    assert leaven(*arguments).exit_code == 0
    assert pictures_in(tmp_path) == before
    (tmp_path / "pictures" / "corrected.png").touch()
    before = pictures_in(tmp_path)
    assert "changed after it was exported" in refused(*arguments)
    assert pictures_in(tmp_path) == before


def test_export_and_run_again_keep_who_labelled_and_what_was_held_out(folder_run, leaven, tmp_path):
    (_, pictures), out = folder_run, tmp_path / "run"
    result = leaven(
        "run", pictures, "--model", "cnn-small", "--threads", 1, "--method", "supervised",
        "--budget", 2, "--test-share", 0.3, "--val-share", 0.3, "--out", out,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    result = leaven("export", out, "--labels", "csv", "--labels", "parquet", "--json")
    assert result.exit_code == 0, result.output
    before = json.loads((out / "summary.json").read_text())["data"]
    assert before["test"] == 18 and before["val"] == 13
    table, whole = (json.loads(result.stdout)[form]["path"] for form in ("csv", "parquet"))
    for data in (open_data(pictures, labels=Path(table)), open_data(whole)):
        assert (len(data.test), len(data.val), len(data.train)) == (18, 13, 119)
        measured = pq.read_table(out / "test.parquet")
        assert sorted(data.test.names) == sorted(measured["item"].to_pylist())
        for part in (data.test, data.val, data.train.subset(data.train.by_person)):
            assert all(
                name.startswith(f"{data.classes[label]}/")
                for name, label in zip(part.names, part.labels.tolist())
            )
        assert int(data.train.by_person.sum()) == 29


def test_export_touches_no_folder_of_anything_else(folder_run, leaven, refused, tmp_path):
    run, _ = folder_run
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "labels.csv").write_text("file,label\na.png,cat\n")
    said = refused("export", run, "--labels", "csv", "--out", mine)
    assert f"{mine} is not empty and holds no export" in said
    assert "holds no export" in refused("export", run, "--onnx", "--out", mine)
    assert [path.name for path in mine.iterdir()] == ["labels.csv"]
    assert (mine / "labels.csv").read_text() == "file,label\na.png,cat\n"
    for place in (mine / "labels.csv", mine / "labels.csv" / "below"):
        said = refused("export", run, "--labels", "csv", "--out", place)
        assert f"{mine / 'labels.csv'} is no folder" in said


def test_exports_go_into_a_folder_of_exports(folder_run, leaven, tmp_path):
    run, _ = folder_run
    for form in ("csv", "csv", "folder", "parquet", "cvat"):
        result = leaven("export", run, "--labels", form, "--out", tmp_path / "new")
        assert result.exit_code == 0, result.output
    assert {path.name for path in (tmp_path / "new").iterdir()} == {
        "export.json", "labels.csv", "pictures", "labels.parquet", "cvat",
    }  # fmt: skip
    copy = shutil.copytree(run, tmp_path / "run")
    for _ in range(2):
        assert leaven("export", copy, "--labels", "csv").exit_code == 0


def test_export_of_moved_pictures(folder_run, leaven, refused, tmp_path):
    run, pictures = folder_run
    moved, copy = tmp_path / "moved", tmp_path / "run"
    shutil.copytree(pictures, moved)
    shutil.copytree(run, copy)
    config = yaml.safe_load((copy / "config.yaml").read_text())
    (copy / "config.yaml").write_text(yaml.safe_dump({**config, "data": str(tmp_path / "old")}))
    assert f"leaven export {copy} --data PATH" in refused("export", copy, "--labels", "csv")
    result = leaven("export", copy, "--labels", "csv", "--data", moved)
    assert result.exit_code == 0, result.output

    lost = pictures_in(moved)[5]
    lost.unlink()
    said = refused("export", copy, "--labels", "parquet", "--data", moved)
    assert "1 of 150" in said
    assert lost.name in said


def test_export_without_onnx_writes_the_rest(folder_run, leaven, refused, monkeypatch, tmp_path):
    run, _ = folder_run
    load = builtins.__import__

    def without(name, *rest, **extra):
        if name == "onnx":
            raise ImportError(name)
        return load(name, *rest, **extra)

    monkeypatch.setattr(builtins, "__import__", without)
    result = leaven("export", run, "--out", tmp_path / "all")
    assert result.exit_code == 0, result.output
    assert 'pip install "leaven[onnx]"' in result.stderr
    assert (tmp_path / "all" / "labels.csv").exists()
    assert "leaven[onnx]" in refused("export", run, "--onnx", "--out", tmp_path / "one")


def test_export_of_no_run(refused, leaven, tmp_path):
    assert "--resume" in refused("export", tmp_path, "--labels", "csv")
    assert leaven("export", tmp_path, "--labels", "coco").exit_code == 2


# -- report ----------------------------------------------------------------------------------------


def test_report_is_written_again(finished, leaven, refused, tmp_path):
    out, _ = finished
    (out / "report.html").unlink()
    result = leaven("report", out)
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(out / "report.html")
    assert (out / "report.html").stat().st_size > 10_000
    again = leaven("report", out, "--json")
    assert json.loads(again.stdout) == {"report": str(out / "report.html")}
    assert "no run folder" in refused("report", tmp_path)


# -- places to write to ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        ("predict", "RUN", "PICTURES", "--csv"),
        ("estimate", "RUN", "none", "--no-adapt", "--out"),
        ("promise", "none.csv", "--labels", "none.csv", "--promise", "0.8", "--out"),
        ("suggest", "RUN", "--strategy", "none", "--out"),
    ],
    ids=lambda command: command[0],
)
def test_files_that_cannot_be_written_are_refused_before_anything_else(
    folder_run, refused, tmp_path, command
):
    taken = tmp_path / "labels.csv"
    taken.write_text("mine")
    (tmp_path / "folder.csv").mkdir()
    named = dict(zip(("RUN", "PICTURES"), folder_run))
    start = [named.get(word, word) for word in command]
    assert f"{taken} is no folder" in refused(*start, taken / "x.csv")
    assert f"{taken} is no folder" in refused(*start, taken / "below" / "x.csv")
    assert "folder.csv is a folder" in refused(*start, tmp_path / "folder.csv")
    assert "/proc cannot be written" in refused(*start, "/proc/x.csv")
    assert taken.read_text() == "mine" and len(list(tmp_path.iterdir())) == 2


def test_folders_that_cannot_be_written_are_refused_before_anything_else(
    folder_run, refused, tmp_path
):
    run, pictures = folder_run
    (tmp_path / "mine").write_text("mine")
    for start in (("predict", run, pictures), ("suggest", run, "--strategy", "none")):
        said = refused(*start, "--out", tmp_path / "mine" / "below")
        assert f"{tmp_path / 'mine'} is no folder" in said


def test_a_device_is_not_replaced_by_a_file(folder_run, refused):
    assert "/dev/null is no file" in refused("predict", *folder_run, "--csv", "/dev/null")
