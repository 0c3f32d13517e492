"""JSON and YAML from anywhere, as plain values, in bounded time and memory; values as plain words.

Both readers raise ``ValueError`` alone, whatever the text is.
"""

from __future__ import annotations

import json
from typing import Any

import yaml

LARGEST_YAML = 500_000
"""Letters of a YAML file; one of a thousand classes has a twentieth of it."""

MOST_NODES = 200_000
"""Values of a YAML file, those behind aliases counted each time they are meant."""

SHOWN = 60
"""Letters of a value that a message shows."""


def read_json(text: str) -> Any:
    """What a JSON text says.

    Raises:
        ValueError: it is not JSON, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def read_yaml(text: str) -> Any:
    """What a YAML text says: numbers, words, lists and mappings, and never an object.

    Raises:
        ValueError: it is not YAML, refers to itself, is nested too deeply, or is too large, also
            where a few letters stand for very many values.
    """
    if len(text) > LARGEST_YAML:
        raise ValueError(f"it has {len(text)} letters, more than {LARGEST_YAML}")
    # The loader raises errors of many types on damaged input.
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _counted(node, {})
        return loader.construct_document(node)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(str(error) or type(error).__name__) from error


def brief(value: object) -> str:
    """``value`` in a few words for a message: its text, its start, or how large it is."""
    if isinstance(value, str):
        text = repr(value[: SHOWN + 1])
    elif isinstance(value, bool | float | None):
        return repr(value)
    elif isinstance(value, int):
        # Writing out a very long number is an error in itself.
        return str(value) if value.bit_length() < 200 else "a very large number"
    elif isinstance(value, list | tuple) and all(isinstance(v, int | float | str) for v in value):
        text = f"[{', '.join(brief(v) for v in value[:SHOWN])}]"
    elif isinstance(value, list | tuple | set):
        return f"a list of {len(value)}"
    elif isinstance(value, dict):
        return f"an object of {len(value)}"
    else:
        text = str(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


def counted(number: float, noun: str, nouns: str = "") -> str:
    """``number`` as a whole one with what is counted: "1 label", "3 labels", "2 classes"."""
    whole = round(number)
    return f"{whole} {noun if whole == 1 else nouns or noun + 's'}"


def is_text(name: str) -> bool:
    """Whether ``name`` can be written as UTF-8: broken letters, such as those that file names in
    another code page and ``\\ud800`` in JSON are read as, cannot."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _counted(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values ``node`` stands for, where each alias counts as a copy."""
    if not isinstance(node, yaml.CollectionNode):
        return 1
    key = id(node)
    if key in known:
        if known[key] == 0:
            raise ValueError("a value holds itself")
        return known[key]
    known[key] = 0
    total = 1
    for child in node.value:
        for one in child if isinstance(child, tuple) else (child,):
            total += _counted(one, known)
            if total > MOST_NODES:
                raise ValueError(f"it stands for more than {MOST_NODES} values")
    known[key] = total
    return total
