"""The settings file beside a CSV: ``data.yaml`` says how ``data.csv`` is read.

The first import writes what it found out, commented; a user edits it where it was wrong,
and later imports follow it. Its name may collide with a connection configuration of the
same stem: such a file is neither read nor written over. ``sniff`` finds out, ``planning``
decides what comes of both.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pgmonkey.config.keys import SECTIONS, nearest
from pgmonkey.config.newfile import write_new
from pgmonkey.config.nodes import Node, Scalar, Table, kind
from pgmonkey.config.settings import Mark
from pgmonkey.config.source import read_bytes
from pgmonkey.errors import ConfigError, RequestError
from pgmonkey.transfer.dialect import Dialect
from pgmonkey.transfer.sniff import Given, codec

# A table has 1600 columns at most, of 63 bytes, and each may stand in it twice.
MAX_BYTES = 4 * 1024 * 1024
MAX_KEYS = 5_000

_COMPRESSED = frozenset((".gz", ".bz2", ".xz", ".zst"))
# A file with one of these is a connection configuration.
_CONNECTION = frozenset(("postgresql", "connection_type", *SECTIONS))
# What a delimiter may be called where the character itself is awkward to write.
_ESCAPED = {r"\t": "\t", "tab": "\t"}


@dataclass(frozen=True)
class Chosen:
    """What a settings file says; None and empty where it says nothing.

    Attributes:
        given: About the file.
        columns: Name in the file to column of the table; None leaves the column out.
        types: Column to type, for a table to be created.
        create: Whether a missing table is created.
        lowercase: Whether the names of new columns become lower case.
        marks: Where each key stands, ``columns.NAME`` and ``types.NAME`` included.
        path: The file; None where there is none.
    """

    given: Given = field(default_factory=Given)
    columns: Mapping[str, str | None] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)
    create: bool | None = None
    lowercase: bool | None = None
    marks: Mapping[str, Mark] = field(default_factory=dict)
    path: Path | None = None

    def error(self, key: str, problem: str) -> ConfigError:
        """Return an error about the value of *key*, at its place."""
        return self.marks.get(key, Mark(str(self.path))).error(problem, key)


def beside(csv: Path) -> Path | None:
    """Return where the settings of *csv* are: ``data.csv.gz`` has ``data.yaml``.

    None for what is no regular file.
    """
    try:
        if not stat.S_ISREG(csv.stat().st_mode):
            return None
    except OSError:
        return None
    return place_of(csv)


def place_of(csv: Path) -> Path | None:
    """Return the same for a file that need not be there; None for what is YAML itself."""
    if not csv.name:  # the root folder
        return None
    plain = csv.with_suffix("") if csv.suffix.lower() in _COMPRESSED else csv
    return None if plain.suffix.lower() in (".yaml", ".yml") else plain.with_suffix(".yaml")


def read(path: Path) -> Chosen | None:
    """Return what the settings file *path* says; None where it is somebody else's file.

    Raises:
        ConfigError: It cannot be read, or a key or value of it means nothing.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=str(path)) from error
    if not data.strip():
        return Chosen(path=path)
    root = read_bytes(data, str(path), max_bytes=MAX_BYTES, max_keys=MAX_KEYS)
    if not foreign(root):
        return _chosen(root, path)
    return None


def foreign(root: Table) -> bool:
    """Return whether *root* is a connection configuration, or has no key of ours at all."""
    keys = root.entries.keys()
    return bool(keys & _CONNECTION) or (bool(keys) and not keys & _KEYS.keys())


def _chosen(root: Table, path: Path) -> Chosen:
    given: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    marks: dict[str, Mark] = {}
    for key, node in root.entries.items():
        name = key or "null"  # an unquoted null is no text in YAML
        marks[name] = node.mark
        if name not in _KEYS:
            hint = nearest(name, _KEYS)
            raise root.key_mark(key).error(f"is not a key of an import{hint}", name)
        target, meaning = _KEYS[name]
        if name in ("columns", "types"):
            rest[name] = _mapping(name, node, marks)
            continue
        if not isinstance(node, Scalar):
            raise node.mark.error(f"expects one value, not {kind(node)}", name)
        if node.text is None and name == "empty_as":
            raise node.mark.error("without quotes this is nothing; write 'null' or auto", name)
        if node.text is None:
            continue
        if node.text == "" and name != "null":
            raise node.mark.error("is empty; leave the key out, or quote its value", name)
        try:
            value = meaning(node.text)
        except (ValueError, RequestError) as error:
            problem = str(error).removeprefix(f"{name}: ")
            raise node.mark.error(problem, name) from None
        (given if target in _GIVEN else rest)[target] = value
    return Chosen(Given(**given), **rest, marks=marks, path=path)


def _mapping(name: str, node: Node, marks: dict[str, Mark]) -> dict[str, str | None]:
    if isinstance(node, Scalar) and not node.text:
        return {}
    if not isinstance(node, Table):
        raise node.mark.error(f"expects a mapping, not {kind(node)}", name)
    found: dict[str, str | None] = {}
    for key, value in node.entries.items():
        marks[f"{name}.{key}"] = node.key_mark(key)
        if not isinstance(value, Scalar):
            raise value.mark.error(f"expects one value, not {kind(value)}", f"{name}.{key}")
        if name == "types" and not value.text:
            raise value.mark.error("expects a type, such as text", f"{name}.{key}")
        found[key] = value.text or None
    return found


def character(text: str) -> str:
    """Return the one character that *text* is; ``\\t`` and ``tab`` are a tab.

    Raises:
        ValueError: It is not one.
    """
    char = _ESCAPED.get(text.lower(), text)
    if len(char) != 1 or not char.isascii() or char in "\r\n":
        raise ValueError(f"{text!r} is not one ASCII character; a tab is '\\t'")
    return char


def _switch(text: str) -> bool:
    word = text.lower()
    if word not in ("true", "yes", "on", "false", "no", "off"):
        raise ValueError(f"{text!r} is neither true nor false")
    return word in ("true", "yes", "on")


def _lines(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ValueError(f"{text!r} is not a number of lines")
    return int(text)


def _empty_as(text: str) -> str:
    if text not in ("auto", "null", "text"):
        raise ValueError(f"{text!r} is not one of auto, null, text")
    return text


# Every key, the attribute it fills, and what turns its text into the value.
_KEYS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "encoding": ("encoding", codec),
    "delimiter": ("delimiter", character),
    "quotechar": ("quote", character),
    "escapechar": ("escape", character),
    "has_headers": ("header", _switch),
    "skip_lines": ("skip_lines", _lines),
    "null": ("null", str),
    "empty_as": ("empty_as", _empty_as),
    "auto_create_table": ("create", _switch),
    "enforce_lowercase": ("lowercase", _switch),
    "types": ("types", str),
    "columns": ("columns", str),
}
_GIVEN = frozenset(Given._fields)


def over(options: Given, settings: Given) -> Given:
    """Return *settings* with what the options say instead, where they say something."""
    said = options._asdict()
    return settings._replace(**{name: value for name, value in said.items() if value is not None})


def template(csv: str, dialect: Dialect, columns: Mapping[str, str | None]) -> str:
    """Return the text of a settings file that says what was found out about *csv*.

    Args:
        columns: Name in the file to column of the table.
    """
    escape = f"escapechar: {_quoted(dialect.escape)}\n" if dialect.escape != dialect.quote else ""
    lines = "".join(
        f"  {_quoted(name)}: {'~' if column is None else _quoted(column)}\n"
        for name, column in columns.items()
    )
    return f"""\
# How `pgmonkey pgimport` reads {_comment(csv)}. The first import wrote down what it
# found; edit what is wrong, and the next one follows it. Options on the command line win.

encoding: {dialect.encoding}
delimiter: {_quoted(dialect.delimiter)}    # a tab is '\\t'
quotechar: {_quoted(dialect.quote)}
{escape}has_headers: {"true" if dialect.header else "false"}
skip_lines: {dialect.skip_lines}     # lines before the header
null: {"~" if dialect.null is None else _quoted(dialect.null)}           # the text for NULL; ~ is an empty field
empty_as: {_quoted(dialect.empty_as)}  # an empty field in a text column: auto, null or text

auto_create_table: true     # whether a missing table is created
enforce_lowercase: true     # whether its columns are named in lower case
types: {{}}                   # and their types where inference is wrong; zip: text

# Name in the file: column of the table. ~ leaves a column out.
columns:{" {}" if not columns else ""}
{lines}"""


def _quoted(text: str) -> str:
    """Return *text* as a YAML scalar that is this text and nothing else."""
    if text == "\t":
        return r"'\t'"
    if text.isprintable():
        return "'" + text.replace("'", "''") + "'"
    escaped = (c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08X}" for c in text)
    return '"' + "".join(escaped) + '"'


def _comment(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


def write(path: Path, csv: Path, text: str) -> bool:
    """Write a new settings file, readable by whoever may read *csv*.

    Returns:
        Whether it was written: not where there is a file, or the folder is read-only.
    """
    try:
        write_new(path, text)
        path.chmod(csv.stat().st_mode & 0o666)
    except OSError:
        return False
    return True
