"""Where a run may be written."""

from pathlib import Path

import pytest

from leaven.cli.seeds import Manner, run_seeds
from leaven.errors import RunError
from leaven.job import RunConfig
from leaven.job.folder import prepare


@pytest.mark.parametrize("out", ["data/runs/one", "data", "link/one", None])
def test_a_run_inside_its_own_data_is_refused(
    out: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (tmp_path / "link").symlink_to(data)
    monkeypatch.chdir(data)
    config = RunConfig(data=".", out=None if out is None else tmp_path / out)
    with pytest.raises(RunError, match="lies inside the data") as caught:
        prepare(config.settled(), resume=False)
    assert "another --out" in caught.value.do
    if config.out is not None:
        with pytest.raises(RunError, match="lies inside the data"):
            run_seeds(config.settled(), [0, 1], Manner(1, False, False, True, False))
    assert list(data.iterdir()) == []


def test_a_run_beside_its_data_is_made(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    config = RunConfig(data=str(tmp_path / "data"), out=tmp_path / "data-run").settled()
    _, folder = prepare(config, resume=False)
    assert (folder / "config.yaml").is_file()
