"""``leaven run --resume --with-corrections``: what it prints and what it refuses."""

import json
import shutil

from leaven.labels import CorrectionLog, LabelStore, Source


def test_a_round_with_corrections(finished, leaven, tmp_path):
    out = shutil.copytree(finished[0], tmp_path / "run")
    again = ("run", "--resume", "--with-corrections", "--out", out)
    result = leaven(*again)
    assert result.exit_code == 0, result.output
    assert "holds nothing; nothing is done" in result.stderr
    names, labels, classes, truth = LabelStore(out / "labels").read()
    rows = (labels.source == Source.MODEL).nonzero().squeeze(1)[:20].tolist()
    CorrectionLog(out).append_all(
        {"item": names[row], "action": "relabel", "label": classes[truth[row]]} for row in rows
    )
    result = leaven(*again)
    assert result.exit_code == 0, result.output
    assert "round 1 begins with what was said of 20 items" in result.stderr
    table = [line.split() for line in result.stdout.splitlines()]
    begun, done = (
        next(line for line in table if line[:3] == [number, items, labelled])
        for number, items, labelled in (("0", "0", "40"), ("1", "20", "60"))
    )
    summary = json.loads((out / "summary.json").read_text())
    history = summary["corrections"]["history"]
    for line, row in zip((begun, done), history, strict=True):
        assert f"{100 * row['figure']:.1f}" in line
    result = leaven(*again, "--json")
    assert json.loads(result.stdout)["corrections"]["rounds"] == 1


def test_wrong_uses_are_refused(finished, refused, tmp_path):
    said = refused("run", "--with-corrections", "--out", tmp_path / "new")
    assert "without --resume" in said
    said = refused("run", "--with-corrections", "--resume", "--seeds", "0,1", "--out", tmp_path)
    assert "several seeds" in said
    out = shutil.copytree(finished[0], tmp_path / "run")
    (out / "corrections.jsonl").write_text("nonsense\n")
    assert "Line 1 of" in refused("run", "--resume", "--with-corrections", "--out", out)
