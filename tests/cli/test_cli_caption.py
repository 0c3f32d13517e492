"""``leaven caption`` as people call it."""

import json
from pathlib import Path

import pytest
from PIL import Image
from tests.models.captioners import tiny


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("caption")
    tiny.encoder_decoder(base / "captioner")
    (base / "pictures").mkdir()
    for number in range(3):
        Image.new("RGB", (30 + number, 40), (80 * number, 10, 200)).save(
            base / "pictures" / f"{number}.png"
        )
    (base / "pictures" / "0.txt").write_text("a dog \x1b[31m in a house")
    return base


def test_captions_and_figures(leaven, place: Path) -> None:
    out = place / "out"
    how = ("--max-tokens", 12, "--temperature", 1, "--more-than", 1, "--quiet")
    result = leaven(
        "caption", place / "pictures", "--captioner", place / "captioner", "--out", out, *how
    )
    assert result.exit_code == 0, result.output
    assert "captions of 3 pictures" in result.stdout
    assert "VN/DN" in result.stdout
    assert "takes no words" in result.stdout
    assert "\x1b" not in result.stdout
    assert (out / "captions.html").is_file()
    again = leaven("caption", "--resume", "--out", out, "--json", "--quiet")
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)["before"] == 3
    ranked = leaven("caption", "--density", place / "pictures", out, "--more-than", 1)
    assert ranked.exit_code == 0, ranked.output
    assert "nouns each" in ranked.stdout
    assert ranked.stdout.index("/out ") < ranked.stdout.index("/pictures ")
    as_json = leaven("caption", "--density", place / "pictures", "--json")
    assert json.loads(as_json.stdout)[0]["total"] == 2


def test_what_is_said_with_resume_is_heard(leaven, refused, place: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    begun = leaven(
        "caption", place / "pictures", "--captioner", place / "captioner", "--out", out,
        "--max-tokens", 6, "--temperature", 1, "--limit", 2, "--batch", 1, "--quiet",
    )  # fmt: skip
    assert begun.exit_code == 0, begun.output
    go_on = ("caption", "--resume", "--out", out, "--quiet")
    assert "temperature: 1.0 there, 0.2 now" in refused(*go_on, "--temperature", 0.2)
    assert "use_raw: True there, False now" in refused(*go_on, "--no-raw")
    assert "captioner: " in refused(*go_on, "--captioner", place / "pictures")
    result = leaven(*go_on, "--more-than", 3, "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert (summary["more_than"], summary["captions"], summary["before"]) == (3, 3, 2)
    kept = json.loads((out / "caption.json").read_text("utf-8"))
    assert (kept["batch"], kept["limit"], kept["more_than"]) == (1, None, 3)


def test_what_is_refused(refused, place: Path, tmp_path: Path) -> None:
    pictures, out = place / "pictures", tmp_path / "out"
    said = refused("caption", pictures, "--out", out)
    assert "none comes with leaven" in said
    assert "--captioner" in said
    assert "No data" in refused("caption", "--captioner", "x")
    assert "2 data" in refused("caption", pictures, pictures, "--captioner", "x")
    assert "without --out" in refused("caption", "--resume")
    assert "no captions in" in refused("caption", "--resume", "--out", out)
    none = tmp_path / "none"
    assert "no file or folder" in refused("caption", none, "--captioner", place / "captioner")
    assert "no captioner" in refused("caption", pictures, "--captioner", none, "--out", out)
    assert "without data" in refused("caption", "--density")
    assert "--labels" in refused("caption", "--density", pictures, "--labels", place / "raw.csv")
    (tmp_path / "bare").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "bare" / "0.png")
    assert "has a caption" in refused("caption", "--density", tmp_path / "bare")
    assert not out.exists()
