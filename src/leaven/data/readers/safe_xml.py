"""XML from anywhere, one part at a time: nothing is expanded, and nothing is fetched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from leaven.errors import DataError

_AT_ONCE = 1 << 20
_DEEPEST = 32
_LONGEST_PART = 1 << 28
"""Characters of one part, more than the masks of any picture have."""


class _Refused(Exception):
    """What no file of ours has."""


class _Parts:
    """Collects the children of the root."""

    def __init__(self, root: str) -> None:
        self.done: list[Element] = []
        self._root, self._depth, self._length = root, 0, 0
        self._builder = TreeBuilder()
        self.parser = expat.ParserCreate()
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._data
        # Without a document type there are no entities beside the five of XML itself.
        self.parser.StartDoctypeDeclHandler = self._document_type

    def _document_type(self, *_: object) -> None:
        raise _Refused("it defines a document type, and with it entities")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth == 1 and tag != self._root:
            raise _Refused(f"its root is <{tag[:40]}>")
        if self._depth > _DEEPEST:
            raise _Refused(f"its elements are more than {_DEEPEST} deep")
        if self._depth > 1:
            self._grow(sum(map(len, attributes.values())))
            self._builder.start(tag, attributes)

    def _end(self, tag: str) -> None:
        self._depth -= 1
        if self._depth >= 1:
            self._builder.end(tag)
        if self._depth == 1:
            self.done.append(self._builder.close())
            self._builder, self._length = TreeBuilder(), 0

    def _data(self, text: str) -> None:
        if self._depth > 1:
            self._grow(len(text))
            self._builder.data(text)

    def _grow(self, count: int) -> None:
        self._length += count
        if self._length > _LONGEST_PART:
            raise _Refused("a part of it is longer than what is said of a picture can be")


def xml_parts(path: Path, root: str, expected: str) -> Iterator[Element]:
    """The children of the root of an XML file, one after the other; what was given is forgotten.

    Args:
        path: the file.
        root: the tag of its root.
        expected: what it should be, for errors.

    Raises:
        DataError: it cannot be read, is torn, defines a document type, or has another root.
    """
    parts = _Parts(root)
    try:
        with path.open("rb") as file:
            while block := file.read(_AT_ONCE):
                parts.parser.Parse(block, False)
                yield from parts.done
                parts.done.clear()
            parts.parser.Parse(b"", True)
    except (expat.ExpatError, _Refused, OSError, ValueError, LookupError) as error:
        raise DataError(
            f"{path} cannot be read as XML: {error}.", expected, "export it again."
        ) from error
