"""The files of a labelling tool: which tool they are of, and what they say."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from leaven.data.readers.archives import refuse_archive
from leaven.data.readers.cvat_file import ROOT, CvatFile
from leaven.data.readers.drawn import DrawnPicture
from leaven.data.readers.label_studio_file import label_studio_pictures
from leaven.data.readers.tree import Tree
from leaven.errors import DataError

EXPECTED = (
    'a JSON export of Label Studio, annotations.xml of CVAT ("CVAT for images 1.1"), or a folder '
    "with one of these"
)
_ARCHIVES = (b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b", b"7z\xbc\xaf", b"BZh", b"\xfd7zX", b"Rar!")
_HEAD = 4096
_KEYS = (b'"data"', b'"annotations"', b'"completions"')
_ROOT = f"<{ROOT}".encode()

LABEL_STUDIO, CVAT = "label-studio", "cvat"


@dataclass(frozen=True)
class DrawnFile:
    """A file of a labelling tool.

    Attributes:
        path: the file.
        by: "label-studio" or "cvat".
    """

    path: Path
    by: str

    def read(self) -> tuple[list[DrawnPicture], tuple[str, ...]]:
        """What it says of each picture, and its classes in order where it tells them.

        Raises:
            DataError: it is torn, hostile, or of another form.
        """
        if self.by == LABEL_STUDIO:
            return list(label_studio_pictures(self.path)), ()
        file = CvatFile(self.path)
        return list(file.pictures()), file.classes


def tool_of(file: Path) -> str | None:
    """The tool whose export a JSON or XML file looks like; None of another file."""
    head = _head(file).removeprefix(b"\xef\xbb\xbf").lstrip()
    if file.suffix.lower() == ".json":
        # Tasks in a list, or in a file of a target storage an annotation with its task.
        tasks = head.startswith(b"[") and any(key in head for key in _KEYS)
        one = head.startswith(b"{") and b'"result"' in head
        return LABEL_STUDIO if tasks or one else None
    return CVAT if file.suffix.lower() == ".xml" and _ROOT in head else None


def drawn_files(path: Path) -> list[DrawnFile]:
    """The files of a labelling tool at ``path``, a file or a folder.

    Raises:
        DataError: there is none, it is an archive, or the files are of several tools.
    """
    if not path.exists():
        raise DataError(f"There is no file or folder {path}.", EXPECTED, "check the path.")
    if path.is_file():
        return [DrawnFile(path, _tool(path))]
    tree = Tree.of(path)
    near = [path / name for name in tree.files if name.count("/") <= 1]
    tools = {file: tool_of(file) for file in near if file.suffix.lower() in (".json", ".xml")}
    found = [DrawnFile(file, tool) for file, tool in tools.items() if tool is not None]
    if not found:
        for file in near:
            _refuse_archive(file, _head(file))
        raise DataError(f"There is no export of a labelling tool in {path}.", EXPECTED, "check it.")
    if len({one.by for one in found}) > 1:
        names = ", ".join(one.path.name for one in found[:5])
        raise DataError(
            f"{path} has exports of several tools: {names}.", "those of one tool", "name the file."
        )
    return found


def _tool(file: Path) -> str:
    head = _head(file)
    _refuse_archive(file, head)
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"<"):
        return CVAT
    if start.startswith((b"[", b"{")):
        return LABEL_STUDIO
    raise DataError(f"{file} is neither JSON nor XML.", EXPECTED, "give the file of the export.")


def _refuse_archive(file: Path, head: bytes) -> None:
    refuse_archive(file, EXPECTED)
    if head.startswith(_ARCHIVES):
        raise DataError(
            f"{file} is an archive, and archives are not unpacked.",
            EXPECTED,
            "unpack it, look at what is in it, and give annotations.xml or the JSON file.",
        )


def _head(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(_HEAD)
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error}.", EXPECTED, "check the file.") from error
