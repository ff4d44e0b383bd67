"""What a configuration file is made of, as far as a program that reads it must know.

The settings say what the values mean; this says how they are written: in the old form,
with references, with words which libpq does not take. No value leaves this module.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from pgmonkey.config.grammar import MalformedError, Reference, parse, references
from pgmonkey.config.keys import CONNECTION
from pgmonkey.config.load import read_table
from pgmonkey.config.nodes import Node, Scalar, Sequence, Table

OLD_ROOT = "postgresql"


class Variables(IntEnum):
    """What a reader of ``${NAME}`` must understand; each one includes those before it."""

    NONE = 0
    PLAIN = 1  # ${NAME}
    DEFAULT = 2  # ${NAME:-default} and ${NAME-default}
    NESTED = 3  # the whole grammar


@dataclass(frozen=True)
class Shape:
    """How a file is written.

    Attributes:
        old_form: Everything stands under one key, ``postgresql``.
        written: Text of each connection key which is not left empty and is no reference.
        references: ``from_env`` and so on, as far as they occur; empty if not resolved.
        variables: How much of the grammar of ``${NAME}`` occurs; NONE if not resolved.
    """

    old_form: bool
    written: dict[str, str]
    references: frozenset[str] = frozenset()
    variables: Variables = Variables.NONE

    @classmethod
    def of_file(cls, path: str, resolve_env: bool) -> Shape:
        """Return the shape of the file at *path*.

        Raises:
            ConfigError: It is not YAML any more.
        """
        return cls.of(read_table(path), resolve_env)

    @classmethod
    def of(cls, root: Table, resolve_env: bool) -> Shape:
        """Return the shape of the configuration whose root node is *root*."""
        inner = root.entries.get(OLD_ROOT)
        flat = inner if isinstance(inner, Table) else root
        section = flat.entries.get(CONNECTION)
        written = {
            key: node.text
            for key, node in (section.entries.items() if isinstance(section, Table) else ())
            if isinstance(node, Scalar) and node.text
        }
        old_form = flat is not root
        if not resolve_env:
            return cls(old_form, written)
        written = {key: text for key, text in written.items() if "$" not in text}
        level = max(map(_level, _texts(flat)), default=Variables.NONE)
        return cls(old_form, written, frozenset(_structured(flat)), level)


def _structured(node: Node) -> Iterator[str]:
    """Yield the name of every one-key reference in *node*."""
    if isinstance(node, Table):
        if len(node.entries) == 1:
            yield from node.entries.keys() & {"from_env", "from_file", "from_command"}
        for inner in node.entries.values():
            yield from _structured(inner)


def _texts(node: Node) -> Iterator[str]:
    if isinstance(node, Scalar):
        yield node.text or ""
    for inner in _children(node):
        yield from _texts(inner)


def _children(node: Node) -> list[Node]:
    if isinstance(node, Table):
        return list(node.entries.values())
    return node.items if isinstance(node, Sequence) else []


def _level(text: str) -> Variables:
    """Return how much of the grammar *text* needs."""
    if "$$" in text:
        return Variables.NESTED
    try:
        found = list(references(parse(text)))
    except MalformedError:
        return Variables.NONE  # the loader has said so already
    if not found:
        return Variables.NONE
    if not any(reference.operator for reference in found):
        return Variables.PLAIN
    return Variables.DEFAULT if all(map(_is_simple, found)) else Variables.NESTED


def _is_simple(reference: Reference) -> bool:
    return reference.operator in ("", "-", ":-") and all(
        isinstance(part, str) for part in reference.operand
    )
