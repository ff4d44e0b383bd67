"""From "COPY t, line 1042" back to the line and the record of the user's file.

The server counts the lines of one COPY, which begins anywhere in a file and may get every
second block of it; users count with sed. Of what was sent, only the lines of each block are
kept: a record is found by reading the file once more, which costs something only when
something went wrong. Of standard input the last blocks are kept as well.
"""

from __future__ import annotations

import csv
import io
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pgmonkey.errors import CsvError, LostError, RowError, TransferError
from pgmonkey.transfer.plan import Plan
from pgmonkey.transfer.reader import Block, blocks, server_encoding
from pgmonkey.transfer.source import Source, open_source
from pgmonkey.transfer.verdict import column_in, line_in, reason_of

if TYPE_CHECKING:
    import psycopg

# The server is behind by what the network holds: a few megabytes at most.
RECENT = 6
# Characters of a value that a message shows.
SHOWN = 60

# https://www.postgresql.org/docs/current/errcodes-appendix.html
BAD_COPY_FILE_FORMAT = "22P04"
_NOT_THE_FILE = {
    BAD_COPY_FILE_FORMAT,  # too many or too few fields, a quote left open, a stray CR
    "22021",  # a byte that is not of the encoding
    "22P05",  # a character which the database's encoding lacks
}
# Connection exceptions and operator intervention, but for "query cancelled".
_LOST = ("08", "57P")


@dataclass(frozen=True)
class Place:
    """A record of a file: the line where it begins, and its bytes where they can be had."""

    file: str
    line: int
    record: bytes | None = None


class Trail:
    """What one COPY was given, in order."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._lines = 1  # the preamble
        self._starts: list[int] = []
        self._blocks: list[Block] = []  # without their data
        self._recent: deque[Block] = deque(maxlen=RECENT)

    def add(self, block: Block) -> None:
        """Note that *block* is sent next."""
        self._starts.append(self._lines)
        self._lines += block.server_lines
        self._blocks.append(replace(block, data=b""))
        if not self._source.rereadable:
            self._recent.append(block)

    def find(self, server_line: int) -> Place:
        """Return the record which the server means by *server_line*."""
        i = max(bisect_left(self._starts, server_line) - 1, 0)
        block = self._blocks[i]
        seen = self._starts[i]
        if not block.starts:
            return Place(block.file, block.record_line)
        whole = self._again(block)
        if whole is None or whole.more:
            # Right where no line end is inside quotes since the block began.
            return Place(block.file, block.first_line + server_line - seen - 1)
        place = Place(block.file, block.record_line)
        for record, line in whole.records():
            place = Place(block.file, line, record)
            seen += record.count(block.eol[:1])
            if seen >= server_line:
                break
        return place  # at the end: of a record that lacks its line end

    def _again(self, wanted: Block) -> Block | None:
        """Return the block of *wanted*'s place with its data."""
        if not self._source.rereadable:
            return _at(self._recent, wanted)
        assert self._source.path is not None
        try:
            with open_source(self._source.path) as source:
                return _at(blocks(source, wanted.dialect), wanted)
        except (OSError, TransferError):  # it is not what it was any more
            return None


def _at(candidates: Iterable[Block], wanted: Block) -> Block | None:
    return next((b for b in candidates if b.first_line == wanted.first_line and b.starts), None)


def explained(
    error: psycopg.Error, plan: Plan, trail: Trail | None, relation: str, kept: str
) -> TransferError:
    """Turn the server's or libpq's error during a load into one that names file and line.

    Args:
        trail: Of the COPY that failed; None for another statement.
        relation: The table of that COPY, which the server names in the error's context.
        kept: What is in the table after all: ``nothing was imported``.
    """
    state = error.sqlstate
    if state is None or state.startswith(_LOST):
        words = " ".join((error.diag.message_primary or str(error)).split()).rstrip(".")
        return LostError(f"the connection was lost: {words}; {kept}")
    line = line_in(error.diag.context, relation)
    place = trail.find(line) if trail and line is not None else None
    file, at = (place.file, place.line) if place else (None, None)
    reason = reason_of(error)
    if state in _NOT_THE_FILE:
        ragged = _ragged(place, plan) if state == BAD_COPY_FILE_FORMAT else None
        return CsvError(f"{ragged or reason}; {kept}", file=file, line=at)
    columns = {f.column: f for f in plan.fields if f.column is not None}
    column = error.diag.column_name or column_in(error.diag.context, relation, columns)
    values = _values(place, plan)
    value = None
    if column in columns and len(values) == len(plan.fields):
        value = values[columns[column].position]
    shown = value if value is None or len(value) <= SHOWN else value[:SHOWN] + "..."
    parts = [
        f"column {column}" if column and f'"{column}"' not in reason else "",
        repr(shown) if shown and f'"{value}"' not in reason else "",
        reason,
    ]
    return RowError(
        f"{': '.join(part for part in parts if part)}; {kept}",
        file=file,
        line=at,
        column=column or None,
        value=value,
        sqlstate=state,
    )


def _ragged(place: Place | None, plan: Plan) -> str | None:
    """Say what is wrong with the number of fields of a record, if that is what is wrong."""
    values, wanted = _values(place, plan), len(plan.fields)
    if place is None or place.record is None or len(values) == wanted:
        return None
    if not place.record.strip(b"\r\n"):
        return f"the line is empty where {_fields(wanted)} should be"
    whose = "where the header has" if plan.dialect.header else "and there should be"
    return f"{_fields(len(values))} {whose} {wanted}"


def _fields(count: int) -> str:
    return f"{count} field{'s' * (count != 1)}"


def _values(place: Place | None, plan: Plan) -> list[str]:
    """Return the fields of a record; none where they cannot be had."""
    if place is None or place.record is None:
        return []
    dialect = plan.dialect
    codec = "utf-8" if server_encoding(dialect) == "UTF8" else dialect.encoding
    doubled = dialect.quote == dialect.escape
    rows = csv.reader(
        io.StringIO(place.record.decode(codec, "replace"), newline=""),
        delimiter=dialect.delimiter,
        quotechar=dialect.quote,
        doublequote=doubled,
        escapechar=None if doubled else dialect.escape,
    )
    try:
        return next(rows, [])
    except csv.Error:
        return []
