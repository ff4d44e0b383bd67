"""The types of a table to be created: what columns of text look like, and whether all of it does.

A type is chosen only where it keeps every value as it is. PostgreSQL reads more than that:
007 as 7, ' 5' as 5, 20240102 or 'today' as a date; so a value that merely converts is no
proof. The types come from the beginning of the file, and ``Shape.check`` holds every later
record against them before it is sent; a regular expression over the raw bytes, since
parsing them in Python would cost more than the server's own work.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

from pgmonkey.errors import ShapeError
from pgmonkey.transfer.cutter import Cutter, run

_INTEGER = r"(?:-?[1-9][0-9]{0,17}|0)"  # 18 digits always fit bigint, 19 may not
# -0 would lose its sign. An exponent wants its sign and one digit before the point, as
# programs write it: 12E5 is more likely an article's number.
_NUMERIC = (
    r"(?:-?[1-9][0-9]{0,999}(?:\.[0-9]{1,999})?|-?0\.[0-9]{0,999}[1-9][0-9]{0,999}|0(?:\.0{1,999})?"
    r"|-?[1-9](?:\.[0-9]{1,999})?[eE][+-][0-9]{1,3})"
)
_LEAP = r"(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][48]|[13579][26]|[2468]0)00)"
DATE = (
    r"(?:(?!0000)(?:[0-9]{4}-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])"
    r"|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)|" + _LEAP + r"-02-29))"
)
# Six decimals are what the server keeps of a second.
TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,6})?)?"
ZONE = r"(?:Z|[+-](?:0[0-9]|1[0-5])(?::?[0-5][0-9])?)"

# From the narrowest; the first that every value of a column has is its type.
PATTERNS = {
    "boolean": r"(?:true|false|TRUE|FALSE|True|False|t|f)",
    "bigint": _INTEGER,
    "numeric": _NUMERIC,
    "date": DATE,
    "timestamp": f"{DATE}[ T]{TIME}",
    "timestamptz": f"{DATE}[ T]{TIME}{ZONE}",
    "uuid": r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}",
}

# A column that is of two types is of the wider one: what both their values may stay in.
_WIDER = {frozenset(("bigint", "numeric")): "numeric"}

# Values which a type might accept and not keep, on any supported server. It rejects others.
_MOMENT = r"(?s:.*[0-9].*)|\s*[+-]?(?i:now|today|tomorrow|yesterday|epoch|infinity|allballs)\b.*"
_LOSSY = {
    "boolean": r"(?i:t(?:r(?:ue?)?)?|f(?:a(?:l(?:se?)?)?)?|y(?:es?)?|no?|on|off?|[10])",
    "bigint": r"[+-]?[0-9][0-9_]*|[+-]?0[xXoObB][0-9a-fA-F_]+",
    "numeric": r"[+-]?[0-9.][0-9._eE+-]*|[+-]?0[xXoObB][0-9a-fA-F_]+|[+-]?(?i:nan|inf(?:inity)?)",
    "date": _MOMENT,
    "timestamp": _MOMENT,
    "timestamptz": _MOMENT,
    "uuid": r"\{?(?:[0-9a-fA-F]{4}-?){8}\}?",
}


@cache
def _whole(name: str) -> re.Pattern[str]:
    """Return the expression for values of a type; most loads need none of them."""
    return re.compile(rf"(?:{PATTERNS[name]})\Z")


@cache
def _lossy(name: str) -> re.Pattern[str]:
    return re.compile(rf"\s*(?:{_LOSSY[name]})\s*\Z")


def type_of(value: str) -> str:
    """Return the narrowest type that keeps *value* as it is; at worst ``text``."""
    return next((name for name in PATTERNS if _whole(name).match(value)), "text")


def wider(one: str | None, other: str | None) -> str | None:
    """Return the type for a column with values of both; None stands for no value so far."""
    if one is None or other is None or one == other:
        return one or other
    return _WIDER.get(frozenset((one, other)), "text")


def infer(
    records: Iterable[Sequence[str]], width: int, *, null: str | None = None
) -> list[str | None]:
    """Return the type of each of *width* columns; None where no value was seen.

    Args:
        null: The text that stands for NULL. The empty one does only where there is no other.
    """
    found: list[str | None] = [None] * width
    open_columns = set(range(width))
    for record in records:
        if len(record) != width:
            continue  # ragged: the load will say so, with its line
        for i in tuple(open_columns):
            value = record[i]
            if value == (null or ""):
                continue
            known = found[i]
            if known is not None and _whole(known).match(value):
                continue
            found[i] = wider(known, type_of(value))
            if found[i] == "text":
                open_columns.discard(i)
    return found


@dataclass(frozen=True)
class Shape:
    """What every record must look like for the inferred types to keep its values.

    Attributes:
        names: Of the fields of a record, for messages.
        types: Of each field: a name of ``PATTERNS``; anything else may hold any value.
        delimiter, quote, escape: As in the dialect; one byte each.
        null: The text for NULL. The empty one is a value where there is another.
        lossy_only: Object only to what the server would take and change, since it is left
            to reject the rest (``--on-error skip``).
    """

    names: tuple[str, ...]
    types: tuple[str, ...]
    delimiter: str = ","
    quote: str = '"'
    escape: str = '"'
    null: str | None = None
    lossy_only: bool = False
    _record: re.Pattern[bytes] = field(init=False, repr=False, compare=False)
    _any: re.Pattern[bytes] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        d, q = re.escape(self.delimiter), re.escape(self.quote)
        # The loop is unrolled so that no text can make the expression backtrack.
        plain = rf"[^{d}{q}\r\n]*"
        anything = rf"{plain}(?:{run(self.quote, self.escape)}{plain})*"
        null = re.escape(self.null) if self.null else f"{q}{q}|"

        def one(kind: str) -> str:
            pattern = PATTERNS.get(kind)
            return anything if pattern is None else rf"(?:{pattern}|{q}{pattern}{q}|{null})"

        end = r"(?:\r\n|\n|\r|\Z)"
        record = d.join(one(kind) for kind in self.types) + end
        object.__setattr__(self, "_record", re.compile(record.encode()))
        object.__setattr__(
            self, "_any", re.compile(f"({anything}(?:{d}{anything})*){end}".encode())
        )

    def check(self, data: bytes, first_line: int, file: str) -> None:
        """Look at every record in *data*, which begins at *first_line* of *file*.

        A record that has another number of fields is left to the server, which says so.

        Raises:
            ShapeError: A value is not of its column's inferred type.
        """
        match = self._record.match
        at, end = 0, len(data)
        while at < end:
            found = match(data, at)
            if found is None:
                found = self._any.match(data, at)
                if found is None:  # a quote that is never closed: the server's to say
                    return
                self._judge(found[1], data, at, first_line, file)
            at = found.end()

    def widened(self, error: ShapeError) -> Shape:
        """Return the shape in which the column that *error* names may hold its value too."""
        at = self.names.index(error.column)
        kind = wider(self.types[at], type_of(error.value)) or "text"
        return replace(self, types=(*self.types[:at], kind, *self.types[at + 1 :]))

    def _judge(self, record: bytes, data: bytes, at: int, first_line: int, file: str) -> None:
        text = record.decode("utf-8", "backslashreplace")
        cutter = Cutter(self.delimiter, self.quote, self.escape)
        values = next((found.values for found in cutter.records(text)), ())
        if len(values) != len(self.types):
            return
        for name, kind, value in zip(self.names, self.types, values, strict=True):
            if value == (self.null or "") or kind not in PATTERNS or _whole(kind).match(value):
                continue
            if self.lossy_only and not _lossy(kind).match(value):
                continue
            line = first_line + lines_in(data[:at])
            raise ShapeError(name, kind, value, file=file, line=line)


def lines_in(data: bytes) -> int:
    """Count the line ends in *data*: LF, CRLF or CR, the last one only where there is no LF."""
    return data.count(b"\n") or data.count(b"\r")
