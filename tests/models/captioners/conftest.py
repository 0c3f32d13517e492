from pathlib import Path

import pytest
from tests.models.captioners import tiny


@pytest.fixture(scope="session")
def captioners(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of small captioners by the kind they are of."""
    base = tmp_path_factory.mktemp("captioners")
    return {
        "llava": tiny.llava(base / "llava"),
        "old llava": tiny.llava(base / "old llava", template=False),
        "short llava": tiny.llava(base / "short llava", context=64),
        "blip": tiny.blip(base / "blip"),
        "blip2": tiny.blip2(base / "blip2"),
        "instructblip": tiny.blip2(base / "instructblip", instruct=True),
        "git": tiny.git(base / "git"),
        "encoder-decoder": tiny.encoder_decoder(base / "encoder-decoder"),
    }
