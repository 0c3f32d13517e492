"""What lies in a hostile folder: links, pipes, archives, bombs, paths that lead out."""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from tests.safety.hostile import deep, png, put, refusal

from leaven.data.files import PictureError, check_end, decode, probe
from leaven.data.label_maps import mask_size
from leaven.data.readers import read
from leaven.data.readers.annotated import read_annotated
from leaven.errors import ConfigError, DataError
from leaven.job.config import RunConfig
from leaven.plain import brief, read_json, read_yaml

OUT = "out of the folder|does not leave it|leave"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of two classes, with a picture outside of it."""
    put(tmp_path / "outside/secret.png", png())
    for name in ("cat/1.png", "dog/2.png"):
        put(tmp_path / "data" / name, png())
    return tmp_path / "data"


def test_a_link_out_of_the_folder_is_refused_wherever_it_is(data: Path) -> None:
    secret = data.parent / "outside" / "secret.png"
    for place, target in {
        "cat/3.png": secret,
        "owl": secret.parent,
        "labels.csv": secret,
        "deep.txt": Path("../outside/secret.png"),
        "cat/absolute.png": Path("/etc/passwd"),
    }.items():
        (data / place).symlink_to(target)
        with pytest.raises(DataError, match="is a link to"):
            read(data)
        with pytest.raises(DataError, match="is a link to"):
            read_annotated(data, "detection")
        (data / place).unlink()


def test_links_within_the_folder_and_to_it_are_followed(data: Path) -> None:
    (data / "cat/again.png").symlink_to(data / "dog/2.png")
    (data / "cat/relative.png").symlink_to("1.png")
    (data.parent / "alias").symlink_to(data)
    assert list(read(data.parent / "alias").names) == [
        "cat/1.png", "cat/again.png", "cat/relative.png", "dog/2.png",
    ]  # fmt: skip


def test_links_in_a_ring_end(data: Path) -> None:
    (data / "cat/me").symlink_to(data / "cat", target_is_directory=True)
    (data / "dog/a").symlink_to(data / "dog/b")
    (data / "dog/b").symlink_to(data / "dog/a")
    assert list(read(data).names) == ["cat/1.png", "dog/2.png"]


@pytest.mark.timeout(20)
def test_a_pipe_is_not_waited_for(data: Path) -> None:
    for name in ("cat/3.png", "labels.txt", "annotations.json", "data.yaml"):
        os.mkfifo(data / name)
        with pytest.raises(DataError, match="is a pipe"):
            read(data)
        with pytest.raises(DataError, match="is a pipe"):
            read_annotated(data, "detection")
        (data / name).unlink()
    os.mkfifo(data / "train.parquet")
    assert "train.parquet" in str(refusal(lambda: read(data)))
    for action in (probe, check_end, lambda path: decode(path, None, 3)):
        with pytest.raises(PictureError, match="not a file"):
            action(data / "train.parquet")
    with pytest.raises(DataError, match="not a file"):
        mask_size(data / "train.parquet", "x")


def test_a_folder_with_the_name_of_a_picture_is_a_folder(data: Path) -> None:
    put(data / "owl.png" / "3.png", png())
    assert read(data).classes == ("cat", "dog", "owl.png")


def test_names_that_are_not_in_utf_8_are_told(data: Path) -> None:
    (Path(os.fsdecode(os.fsencode(data) + b"/cat/caf\xe9.png"))).write_bytes(png())
    error = refusal(lambda: read(data))
    assert r"has 1 name that is not in UTF-8, the first is 'caf\xe9.png'" in error.found
    str(error).encode()


def test_a_folder_that_cannot_be_listed(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def scandir(path: object) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.scandir", scandir)
    with pytest.raises(DataError, match="cannot be listed"):
        read(data)


@pytest.mark.parametrize("ending", [".zip", ".tar", ".tar.gz", ".7z"])
def test_archives_are_not_unpacked(tmp_path: Path, ending: str) -> None:
    archive = tmp_path / f"data{ending}"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("../../escaped.png", png())
    for action in (lambda: read(archive), lambda: read_annotated(archive, "detection")):
        error = refusal(action)
        assert "is an archive" in error.found and "unpack" in error.do
    for action in (lambda: read(tmp_path), lambda: read_annotated(tmp_path, "detection")):
        assert "unpack data" in refusal(action).do
    assert sorted(path.name for path in tmp_path.iterdir()) == [archive.name]


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims that size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def test_a_picture_that_claims_too_many_pixels_is_not_decoded(data: Path) -> None:
    large = bomb(50_000, 50_000)
    for action in (probe, lambda source: decode(source, 64, 3)):
        with pytest.raises(PictureError, match=r"claims more pixels .*2500000000 pixels"):
            action(large)
    put(data / "images/a.png", large)
    with pytest.raises(DataError, match="claims more pixels"):
        read_annotated(data, "segmentation", _coco(data, "images/a.png"))
    put(data / "masks/m.png", large)
    with pytest.raises(DataError, match="2500000000 pixels"):
        mask_size(data / "masks/m.png", "m")


def test_formats_that_start_programs_are_no_pictures(tmp_path: Path) -> None:
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n(x) run\nshowpage\n"
    put(tmp_path / "a.png", script)
    for source in (tmp_path / "a.png", script):
        with pytest.raises(PictureError, match="not a picture"):
            probe(source)
        with pytest.raises(PictureError, match="not a picture"):
            decode(source, None, 3)


PATHS = [
    "../outside/secret.png", "images/../../outside/secret.png", "/etc/passwd", "C:\\secret.png",
    "..\\outside\\secret.png", "images\0.png", "", ".", "..",
]  # fmt: skip


def _coco(folder: Path, name: str) -> Path:
    said = {
        "images": [{"id": 1, "file_name": name}],
        "annotations": [],
        "categories": [{"id": 1, "name": "cat"}],
    }
    put(folder / "train.json", json.dumps(said))
    return folder / "train.json"


@pytest.mark.parametrize("name", PATHS)
def test_a_path_that_leads_out_is_refused_in_every_form(tmp_path: Path, name: str) -> None:
    put(tmp_path / "outside/secret.png", png())
    folder = tmp_path / "data"
    put(folder / "images/a.png", png())
    with pytest.raises(DataError, match=f"names the file|a file_name|{OUT}"):
        read_annotated(folder, "detection", _coco(folder, name))
    (folder / "train.json").unlink()

    put(folder / "labels.csv", f'file,label\n"{name}",cat\n')
    with pytest.raises(DataError, match="not a picture in" if name else "has no file"):
        read(folder)
    (folder / "labels.csv").unlink()

    if "\0" not in name:
        put(folder / "Annotations/b.xml", f"<annotation><filename>{name}</filename></annotation>")
        with pytest.raises(DataError, match="names the file|without a picture"):
            read_annotated(folder, "detection")
        (folder / "Annotations/b.xml").unlink()

    put(folder / "labels/a.txt", "0 0.5 0.5 0.2 0.2\n")
    put(folder / "data.yaml", yaml.safe_dump({"names": ["x"], "path": "/", "train": name or "x"}))
    found = read_annotated(folder, "detection")
    assert list(found.names) == ["a.png"]
    if name:
        put(folder / "train.txt", f"{name}\n")
        with pytest.raises(DataError, match="names the file|not a picture"):
            read_annotated(folder, "detection")


@pytest.mark.parametrize("name", [*PATHS[:7], "link/secret.png", "link.png"])
@pytest.mark.parametrize("as_struct", [False, True])
def test_a_path_in_a_table_that_leads_out_is_refused(
    tmp_path: Path, name: str, as_struct: bool
) -> None:
    put(tmp_path / "outside/secret.png", png())
    folder = tmp_path / "data"
    put(folder / "images/a.png", png())
    (folder / "link").symlink_to(tmp_path / "outside")
    (folder / "link.png").symlink_to(tmp_path / "outside/secret.png")
    image = [{"bytes": None, "path": name}] * 2 if as_struct else [name] * 2
    if as_struct and not name:
        return
    columns = {"image": image, "label": ["a", "b"], "mask": image}
    table = pa.table({**columns, "boxes": [[], []], "labels": [[], []]})
    pq.write_table(table, folder / "x.parquet")
    with pytest.raises(DataError, match=f"names the file|{OUT}"):
        read(folder / "x.parquet")
    for task in ("detection", "segmentation"):
        with pytest.raises(DataError, match=f"names the file|{OUT}"):
            read_annotated(folder / "x.parquet", task)  # type: ignore[arg-type]


def test_a_table_that_is_a_link_out_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    pq.write_table(pa.table({"image": [png()], "label": ["a"]}), tmp_path / "outside/x.parquet")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/train.parquet").symlink_to(tmp_path / "outside/x.parquet")
    with pytest.raises(DataError, match="is a link to"):
        read(tmp_path / "data")
    with pytest.raises(DataError, match="is a link to"):
        read_annotated(tmp_path / "data", "detection")


def test_a_small_table_that_stands_for_more_than_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 20_000
    row = np.zeros(count, np.int32)
    column = pa.DictionaryArray.from_arrays(row, pa.array([b"x" * 10_000]))
    table = pa.table({"image": column.cast(pa.binary()), "label": ["a"] * count})
    pq.write_table(table, tmp_path / "x.parquet")
    assert (tmp_path / "x.parquet").stat().st_size < 200_000

    class Memory:
        available = 20_000_000

    monkeypatch.setattr("psutil.virtual_memory", Memory)
    with pytest.raises(DataError, match="when it is opened"):
        read(tmp_path / "x.parquet")


def test_a_text_that_is_larger_than_the_memory(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (data / "classes.txt").open("wb") as file:
        file.truncate(1 << 34)

    class Memory:
        available = 1 << 34

    monkeypatch.setattr("psutil.virtual_memory", Memory)
    put(data / "labels/1.txt", "")
    (data / "cat/1.png").rename(data / "1.png")
    with pytest.raises(DataError, match=r"16\.0 GiB"):
        read_annotated(data, "detection")


ENTITIES = [
    '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation><filename>&x;</filename></annotation>',
    '<!DOCTYPE a SYSTEM "http://evil.example/x.dtd"><annotation/>',
    '<!DOCTYPE a [<!ENTITY a "' + "x" * 1000 + '"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">'
    '<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]><annotation><filename>&c;</filename></annotation>',
]


@pytest.mark.parametrize("text", [*ENTITIES, "<a>" * 300_000])
def test_xml_neither_expands_nor_fetches(tmp_path: Path, text: str) -> None:
    put(tmp_path / "JPEGImages/a.png", png())
    put(tmp_path / "Annotations/a.xml", text)
    with pytest.raises(DataError, match="is not XML as VOC has it"):
        read_annotated(tmp_path, "detection")
    put(tmp_path / "Annotations/a.xml", text.encode("utf-16"))
    with pytest.raises(DataError, match="UTF-8|is not XML"):
        read_annotated(tmp_path, "detection")


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi")
)
MERGES = "a: &a {x: 1, y: 2}\n" + "".join(
    f"{new}: &{new} {{<<: [{', '.join([f'*{old}'] * 10)}]}}\n"
    for old, new in zip("abcdefgh", "bcdefghi")
)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("key", ["names", "nc", "train"])
@pytest.mark.parametrize("bombed", [LAUGHS, MERGES, "i: &i [*i]\n", "- " * 5000])
def test_yaml_of_few_letters_stays_small(tmp_path: Path, key: str, bombed: str) -> None:
    put(tmp_path / "images/a.png", png())
    put(tmp_path / "labels/a.txt", "")
    text = f"{bombed}{key}: *i\n" if "&i" in bombed else bombed
    put(tmp_path / "data.yaml", text)
    with pytest.raises(DataError, match="is not YAML"):
        read_annotated(tmp_path, "detection")
    with pytest.raises(ConfigError, match="cannot be read as YAML"):
        RunConfig.read(tmp_path / "data.yaml")


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system [touch pwned]",
        "!!python/name:os.system",
        "x: !!python/tuple []",
    ],
)
def test_yaml_makes_no_objects(text: str) -> None:
    with pytest.raises(ValueError, match="could not determine a constructor"):
        read_yaml(text)


def test_yaml_with_aliases_is_read() -> None:
    assert read_yaml("a: &a [1, 2]\nb: *a\nc: {<<: {x: 1}, y: 2}") == {
        "a": [1, 2], "b": [1, 2], "c": {"x": 1, "y": 2},
    }  # fmt: skip
    assert read_yaml("") is None


def test_json_that_is_too_deep_is_a_value_error() -> None:
    for text in ("[" * 100_000, "[" * 100_000 + "]" * 100_000, '{"a":' * 100_000):
        with pytest.raises(ValueError):
            read_json(text)


@pytest.mark.parametrize(
    "value",
    [deep(900), 10**5000, "x" * 10_000, [1] * 10_000, {"a": deep(900)}, [deep(900)], {1, 2}, None,
     float("nan"), [10**5000], "\ud800\x1b"],
    ids=map(str, range(11)),
)  # fmt: skip
def test_every_value_is_told_in_few_words(value: object) -> None:
    assert 0 < len(brief(value)) <= 60
    brief(value).encode()
    assert brief(value).isprintable()


def test_a_class_number_does_not_fill_the_memory(tmp_path: Path) -> None:
    put(tmp_path / "images/a.png", png())
    put(tmp_path / "labels/a.txt", "1e15 0.5 0.5 0.2 0.2\n")
    with pytest.raises(DataError, match=r"the class 1e\+15"):
        read_annotated(tmp_path, "detection")


@pytest.mark.timeout(20)
def test_a_very_long_name_in_a_table_is_not_compared_with_all(data: Path) -> None:
    for number in range(300):
        put(data / "cat" / f"{'x' * 200}{number}.png", png())
    put(data / "labels.csv", "file,label\n" + "x" * 130_000 + ",cat\n")
    error = refusal(lambda: read(data))
    assert len(str(error)) < 2000


def test_buffers_of_pictures_are_closed() -> None:
    source = io.BytesIO(png()).getvalue()
    assert probe(source).width == 8
