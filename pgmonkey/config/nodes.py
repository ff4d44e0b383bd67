"""A configuration before it means anything: texts, lists and mappings with their places.

From a file or from a dict, the same nodes: what judges them need not know which.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from pgmonkey.config.redaction import Secret
from pgmonkey.config.settings import Mark

# Nothing that means something is deeper than four; what is deeper only costs stack.
MAX_DEPTH = 20


@dataclass(frozen=True)
class Scalar:
    """One value.

    Attributes:
        text: As written; None for null.
        plain: Not quoted, so that a number or a switch may be meant. For a value from a
            dict: not a string.
        given: The object of a dict; None from a file.
        opens: Where each ``${`` of the text stands.
    """

    mark: Mark
    text: str | None = field(repr=False)
    plain: bool = True
    given: object = field(default=None, repr=False)
    opens: tuple[Mark, ...] = ()


@dataclass(frozen=True)
class Sequence:
    mark: Mark
    items: list[Node] = field(default_factory=list, repr=False)


@dataclass(frozen=True)
class Table:
    """A mapping; ``keys`` has the position of each key that stands in it."""

    mark: Mark
    entries: dict[str, Node] = field(default_factory=dict, repr=False)
    keys: dict[str, Mark] = field(default_factory=dict, repr=False)

    def key_mark(self, key: str) -> Mark:
        """Return where *key* stands, or its value where ``<<`` brought it."""
        return self.keys.get(key, self.entries[key].mark)


Node: TypeAlias = "Scalar | Sequence | Table"


def kind(node: Node) -> str:
    """Return what *node* is in the words of an error message."""
    return {Scalar: "text", Sequence: "a list", Table: "a mapping"}[type(node)]


def read_dict(config: Mapping[str, Any], file: str) -> Table:
    """Return the root of a configuration that was given as a dict.

    Raises:
        ConfigError: It holds something that a YAML file could not.
    """
    root = _from_python(config, Mark(file), "", 0)
    assert isinstance(root, Table)
    return root


def _from_python(value: object, mark: Mark, path: str, depth: int) -> Node:
    key = shown_path(path) or None
    if depth > MAX_DEPTH:
        raise mark.error(f"nested deeper than {MAX_DEPTH} levels", key)
    if isinstance(value, Mapping):
        table = Table(mark)
        for name, inner in value.items():
            if not isinstance(name, str):
                raise mark.error(f"a key must be text, not {type(name).__name__}", key)
            inner_path = f"{path}.{name}" if path else name
            table.entries[name] = _from_python(inner, mark, inner_path, depth + 1)
        return table
    if isinstance(value, list | tuple):
        return Sequence(mark, [_from_python(item, mark, path, depth + 1) for item in value])
    text: str | None
    if value is None:
        text = None
    elif isinstance(value, str):
        text = str.__str__(value)
    elif isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, float):
        text = repr(value)
    elif isinstance(value, int):
        # Python refuses to write integers of more than 4300 digits in decimal.
        text = str(int(value)) if value.bit_length() < 1024 else hex(value)
    elif isinstance(value, Secret):
        text = value.reveal()
    elif isinstance(value, os.PathLike):
        text = os.fsdecode(value)
    else:
        raise mark.error(f"expects text, a number or a switch, not {type(value).__name__}", key)
    try:
        check_text(text or "")
    except ValueError as error:
        raise mark.error(str(error), key) from None
    opens = (mark,) * (text or "").count("${")
    return Scalar(mark, text, not isinstance(value, str), value, opens)


def shown_path(path: str) -> str:
    """Return *path* up to what cannot be a key: in ``password:x`` the space was forgotten."""
    name = re.match(r"[\w.$ -]{0,80}", path)
    return path if name is None or name[0] == path else name[0] + "…"


def check_text(text: str) -> None:
    """Raise ValueError for what no connection string, setting or path can carry."""
    if "\0" in text:
        raise ValueError("holds a NUL character")
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        raise ValueError("holds a lone surrogate, which is no character")
