"""The grammar of ``${VAR}``, as values: text in, parts out.

It is Docker Compose's: ``${V}``, ``${V:-default}`` (unset or empty), ``${V-default}``
(unset), ``${V:?message}``, ``${V?message}``, ``${V:+other}``, ``${V+other}``; operands may
hold references again, and ``$$`` is one ``$``. A bare ``$V`` is text, since passwords
contain ``$``. What the variables are is not known here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

# ${A:-${B:-…}} deeper than this is no configuration, and each level costs a frame.
MAX_DEPTH = 10

_TOKEN = re.compile(r"\$\$|\$\{|\}")
_HEAD = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(:?[-?+])?")


class Reference(NamedTuple):
    """``${name}`` with its operator, if any, and the parts of the operator's operand."""

    name: str
    operator: str
    operand: tuple[Part, ...]

    def __str__(self) -> str:
        return f"${{{self.name}}}"


Part: TypeAlias = "str | Reference"


class MalformedError(ValueError):
    """A ``${`` that is not a reference.

    Attributes:
        at: Offset of that ``${`` in the text.
    """

    def __init__(self, problem: str, at: int) -> None:
        super().__init__(problem)
        self.at = at


def parse(text: str) -> tuple[Part, ...]:
    """Return the literal pieces and references of *text*, in order.

    Raises:
        MalformedError: A ``${`` is not closed, or has no name or operator we know.
    """
    return _parse(text, 0, None, 0)[0]


def references(parts: tuple[Part, ...]) -> Iterator[Reference]:
    """Yield every reference in *parts*, those in operands included."""
    for part in parts:
        if isinstance(part, Reference):
            yield part
            yield from references(part.operand)


def _parse(text: str, at: int, opened: int | None, depth: int) -> tuple[tuple[Part, ...], int]:
    """Parse from *at* to the end, or past the ``}`` that belongs to the ``${`` at *opened*."""
    parts: list[Part] = []
    while token := _TOKEN.search(text, at):
        parts.append(text[at : token.start()])
        at = token.end()
        if token[0] == "$$":
            parts.append("$")
        elif token[0] == "}":
            if opened is not None:
                return _joined(parts), at
            parts.append("}")
        else:
            start = token.start()
            if depth == MAX_DEPTH:
                raise MalformedError(f"references are nested deeper than {MAX_DEPTH} levels", start)
            head = _HEAD.match(text, at)
            if head is None:
                raise MalformedError("'${' begins no reference; write $${ for the text", start)
            at = head.end()
            operand: tuple[Part, ...] = ()
            if head[2]:
                operand, at = _parse(text, at, start, depth + 1)
            elif text[at : at + 1] == "}":
                at += 1
            elif at == len(text):
                raise MalformedError("'${' is not closed; write $${ for the text", start)
            else:
                problem = "after the name of a variable comes } or one of :- - :? ? :+ +"
                raise MalformedError(problem, start)
            parts.append(Reference(head[1], head[2] or "", operand))
    if opened is not None:
        raise MalformedError("'${' is not closed; write $${ for the text", opened)
    parts.append(text[at:])
    return _joined(parts), len(text)


def _joined(parts: list[Part]) -> tuple[Part, ...]:
    return tuple(part for part in parts if part != "")
