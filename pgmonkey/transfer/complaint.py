"""What the server says about a load, in the words of the user's file: file, line, column, value.

The server names the line while it reads. What it checks at the end of a COPY (foreign keys)
or in an INSERT out of a staging table has no line any more; then the key that it names is
looked for in the file, which is as good where the file writes it as the server does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pgmonkey.errors import CsvError, LostError, RowError, TransferError
from pgmonkey.transfer.cutter import Cutter
from pgmonkey.transfer.encodings import server_encoding
from pgmonkey.transfer.plan import Plan
from pgmonkey.transfer.reader import blocks
from pgmonkey.transfer.source import Source, open_source
from pgmonkey.transfer.trail import Place, Trail
from pgmonkey.transfer.verdict import column_in, line_in, reason_of, shortened

if TYPE_CHECKING:
    import psycopg

# Characters of a value that a message shows.
SHOWN = 60

# https://www.postgresql.org/docs/current/errcodes-appendix.html
BAD_COPY_FILE_FORMAT = "22P04"
NOT_NULL, FOREIGN_KEY, UNIQUE = "23502", "23503", "23505"
_NOT_THE_FILE = {
    BAD_COPY_FILE_FORMAT,  # too many or too few fields, a quote left open, a stray CR
    "22021",  # a byte that is not of the encoding
    "22P05",  # a character which the database's encoding lacks
}
# Connection exceptions, and an operator's intervention; not "query cancelled".
_LOST = ("08", "57P")
# Key (a, b)=(1, x) is not present ...: translated around the parentheses only.
_KEY = re.compile(r"\((.+?)\)=\((.*)\)")


def explained(
    error: psycopg.Error,
    plan: Plan,
    trail: Trail | None,
    relation: str,
    kept: str,
    sources: Sequence[Source | Path] = (),
) -> TransferError:
    """Turn the server's or libpq's error during a load into one that names file and line.

    Args:
        trail: Of the COPY that failed; None for another statement.
        relation: The table of that COPY, which the server names in the error's context.
        kept: What is in the table after all: ``nothing was imported``.
        sources: The files where the row may be, if there is no *trail*.
    """
    state = error.sqlstate
    if state is None or state.startswith(_LOST):
        words = " ".join((error.diag.message_primary or str(error)).split()).rstrip(".")
        return LostError(f"the connection was lost: {words}; {kept}")
    line = line_in(error.diag.context, relation)
    place: Place | None
    if trail and line is not None:
        place = trail.find(line)
    else:
        place = _search(error, plan, [trail.source] if trail else sources)
    file, at = (place.file, place.line) if place else (None, None)
    reason = reason_of(error)
    if state in _NOT_THE_FILE:
        ragged = _ragged(place, plan) if state == BAD_COPY_FILE_FORMAT else None
        return CsvError(f"{ragged or shortened(reason)}; {kept}", file=file, line=at)
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
        shortened(reason),
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
    if place is None or place.record is None or not values:
        return None
    if not place.record.strip(b"\r\n"):
        return f"the line is empty where {_fields(wanted)} should be"
    if len(values) == wanted:
        return None
    whose = "where the header has" if plan.dialect.header else "and there should be"
    return f"{_fields(len(values))} {whose} {wanted}"


def _fields(count: int) -> str:
    return f"{count} field{'s' * (count != 1)}"


def _values(place: Place | None, plan: Plan) -> tuple[str, ...]:
    """Return the fields of a record; none where they cannot be had."""
    if place is None or place.record is None:
        return ()
    dialect = plan.dialect
    text = place.record.decode(_codec(plan), "replace")
    cutter = Cutter(dialect.delimiter, dialect.quote, dialect.escape)
    return next((record.values for record in cutter.records(text)), ())


def _codec(plan: Plan) -> str:
    return "utf-8" if server_encoding(plan.dialect) == "UTF8" else plan.dialect.encoding


def _search(error: psycopg.Error, plan: Plan, sources: Sequence[Source | Path]) -> Place | None:
    """Look for the row in the files by what the error tells of it."""
    detail = error.diag.message_detail or ""
    wanted: Mapping[str, str] = {}
    if error.sqlstate == NOT_NULL and error.diag.column_name:
        wanted = {error.diag.column_name: plan.dialect.null or ""}
    elif error.sqlstate in (FOREIGN_KEY, UNIQUE) and (found := _KEY.search(detail)):
        names = found[1].split(", ")
        values = found[2].split(", ") if len(names) > 1 else [found[2]]
        if len(names) == len(values):
            wanted = dict(zip(names, values, strict=True))
    positions = {f.column: f.position for f in plan.fields if f.column is not None}
    if not wanted or not all(name in positions for name in wanted):
        return None
    fields = {positions[name]: value for name, value in wanted.items()}
    # Of rows with one key the first may stay, but no row without its parent.
    return _matching(sources, plan, fields, last=error.sqlstate == UNIQUE)


def _matching(
    sources: Sequence[Source | Path], plan: Plan, fields: Mapping[int, str], *, last: bool
) -> Place | None:
    """Return the first or last record in which the fields at these positions have these values."""
    needles = [value.encode(_codec(plan), "replace") for value in fields.values()]
    found = None
    for given in sources:
        path = given.path if isinstance(given, Source) else given
        if path is None or not path.is_file():
            return None  # a pipe is not read twice
        try:
            with open_source(path) as source:
                for block in blocks(source, plan.dialect):
                    if block.more or not all(needle in block.data for needle in needles):
                        continue
                    for record, line in block.records():
                        if not all(needle in record for needle in needles):
                            continue
                        place = Place(block.file, line, record)
                        values = _values(place, plan)
                        if len(values) == len(plan.fields) and all(
                            values[at] == value for at, value in fields.items()
                        ):
                            if not last:
                                return place
                            found = place
        except (OSError, TransferError):  # it is not what it was any more
            return None
    return found
