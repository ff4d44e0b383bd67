"""Tell rows that are sure to convert from doubtful ones, without cutting them.

A row which fails costs the others of its COPY. So where values of a column have failed, the
next blocks are searched with one regular expression, and only rows which it does not know
are set apart. It knows the plain spellings of a few types: a good row may look doubtful, and
a bad one certain. What becomes of a row is the server's verdict in any case; ``skipping``
asks for it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

from pgmonkey.transfer.block import Block, quoting
from pgmonkey.transfer.cutter import run
from pgmonkey.transfer.dialect import Dialect
from pgmonkey.transfer.plan import Field, Plan
from pgmonkey.transfer.shape import DATE, PATTERNS, TIME, ZONE

# SQLSTATE of a row with too few or too many fields.
BAD_FORMAT = "22P04"

# How a value of a type mostly looks, by the name that format_type gives it: hardly ever out
# of range, and the same whatever DateStyle is.
_PLAIN = {
    "smallint": r"-?\d{1,4}",
    "integer": r"-?\d{1,9}",
    "bigint": r"-?\d{1,18}",
    "real": r"-?\d{1,9}(?:\.\d{1,9})?",
    "double precision": r"-?\d{1,18}(?:\.\d{1,18})?(?:[eE][-+]?\d{1,2})?",
    "numeric": r"-?\d{1,99}(?:\.\d{1,99})?",
    "boolean": "[tf01]|true|false|TRUE|FALSE|True|False",
    "date": DATE,
    "time without time zone": TIME,
    "timestamp without time zone": f"{DATE}[ T]{TIME}",
    "timestamp with time zone": f"{DATE}[ T]{TIME}{ZONE}?",
    "uuid": PATTERNS["uuid"],
}
_NUMERIC = re.compile(r"numeric\((\d+),(\d+)\)")
_LIMITED = re.compile(r"character(?: varying)?\((\d+)\)")


class Parted(NamedTuple):
    """What is known of the rows of a block.

    Attributes:
        doubtful: Where those are in its data that are not sure to convert.
    """

    block: Block
    doubtful: Sequence[range]

    def certain(self) -> list[memoryview]:
        """Return the bytes of the others."""
        data = memoryview(self.block.data)
        starts = (0, *(place.stop for place in self.doubtful))
        stops = (*(place.start for place in self.doubtful), len(data))
        return [data[a:b] for a, b in zip(starts, stops, strict=True)]


class Screen:
    """Knows rows of one plan whose fields in some of the columns are sure to convert."""

    def __init__(
        self, plan: Plan, suspected: Collection[int], eol: bytes, *, counted: bool
    ) -> None:
        """Look closely at the fields in the positions *suspected*.

        Args:
            counted: Whether the number of fields is looked at, too.
        """
        d = plan.dialect
        fields = [
            _certain(field, d) if field.position in suspected else _any(d) for field in plan.fields
        ]
        delimiter, end = re.escape(d.delimiter), re.escape(eol.decode())
        if not counted:  # nothing after the last one matters
            fields = fields[: max(suspected, default=-1) + 1]
        after = end if len(fields) == len(plan.fields) else delimiter
        row = delimiter.join(f"(?:{field})" for field in fields) + (after if fields else "")
        self._certain = re.compile(row.encode())
        self._doubt = re.compile(f"{re.escape(eol[-1:].decode())}(?!{row})".encode())

    def parted(self, block: Block) -> Parted | None:
        """Return what is known of the rows of *block*.

        None where that cannot be told: a quote is opened and never closed, for one.
        """
        rule = quoting(block.dialect)
        if not rule.doubled or b"\\." in block.data:  # see ``Block.wire``
            return None
        data, end, quote, count = block.data, block.eol[-1:], rule.quote, block.data.count
        doubtful: list[range] = []
        # Up to where the quotes are counted, and how many there were, even or odd.
        at = odd = 0
        starts = [found.end() for found in self._doubt.finditer(data)]
        if not self._certain.match(data):
            starts.insert(0, 0)
        for start in starts:
            if start < at:
                continue
            odd ^= count(quote, at, start) & 1
            at = start
            if odd or start == len(data):  # a line end in quotes, or the last one
                continue
            at = rule.first_end(data, end, start)
            if not at:
                return None
            doubtful.append(range(start, at))
        return Parted(block, doubtful)


class Suspicion:
    """What has failed so far in a load, and the screen that looks for more of it."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._positions = {f.column: f.position for f in plan.fields if _tells(f)}
        # Positions to look at and whether to count; None: nothing to look for, or in vain.
        self._wanted: tuple[frozenset[int], bool] | None = None
        self._met: tuple[frozenset[int], bool] = (frozenset(), False)
        self._made: dict[tuple[frozenset[int], bool, bytes], Screen] = {}

    def add(self, sqlstate: str, column: str) -> bool:
        """Take note of the refusal of a row; if it is news, look for more like it.

        Returns:
            Whether others like it can be found.
        """
        positions, counted = self._met
        if sqlstate == BAD_FORMAT:
            counted = True
        elif sqlstate.startswith(("22", "23502")) and column in self._positions:
            positions |= {self._positions[column]}
        else:
            return False
        if (positions, counted) != self._met:
            self._met = self._wanted = (positions, counted)
        return True

    def drop(self) -> None:
        """Give up looking, until there is news."""
        self._wanted = None

    def parted(self, block: Block) -> Parted | None:
        """Return what a screen knows of the rows of *block*; None for nothing."""
        if (wanted := self._wanted) is None:
            return None
        positions, counted = wanted
        key = (positions, counted, block.eol)
        if key not in self._made:
            self._made[key] = Screen(self._plan, positions, block.eol, counted=counted)
        return self._made[key].parted(block)


def _tells(field: Field) -> bool:
    """Return whether a closer look at the values of *field* may tell anything."""
    return field.not_null or bool(_value(field) or _LIMITED.fullmatch(field.type))


def _value(field: Field) -> str | None:
    """Return the expression for plain values of the type, None where any text may be one."""
    if found := _NUMERIC.fullmatch(field.type):
        precision, scale = map(int, found.groups())
        return rf"-?\d{{1,{max(precision - scale, 1)}}}(?:\.\d*)?"
    return _PLAIN.get(field.type)


def _any(dialect: Dialect) -> str:
    quoted = run(dialect.quote, dialect.escape)
    # In this order: a look at one character tells that there is no quote.
    return f"{quoted}(?:{quoted})*|{_unquoted(dialect)}*"


def _certain(field: Field, dialect: Dialect) -> str:
    quote = re.escape(dialect.quote)
    value, null = _value(field), re.escape(dialect.null or "")
    if value is None:
        limit = _LIMITED.fullmatch(field.type)
        # Of bytes, where the type counts characters.
        many = f"{{1,{limit[1]}}}" if limit else "+"
        either = (
            f"{_unquoted(dialect)}{many}|{quote}[^{quote}{re.escape(dialect.escape)}]{many}{quote}"
        )
    else:
        either = f"(?:{value})|{quote}(?:{value}){quote}"
    if not field.not_null:
        return f"{either}|{null}"
    return f"(?!{null}[{re.escape(dialect.delimiter)}\r\n])(?:{either})" if null else either


def _unquoted(dialect: Dialect) -> str:
    return f"[^{re.escape(dialect.delimiter + dialect.quote)}\r\n]"
