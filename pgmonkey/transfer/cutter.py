"""Records and fields of CSV text, cut as COPY cuts them.

A quote switches quoting on and off wherever it stands, so ``ab"c,d"e`` is one field
(``CopyReadAttributesCSV`` in PostgreSQL's copyfromparse.c; Python's csv reads two). This is
for the small pieces that have to be understood on this side: the beginning of a file, a
record to complain about. What is loaded goes by as bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple


class Record(NamedTuple):
    """One record.

    Attributes:
        values: Without quotes.
        raw: The fields as they stand in the text.
        line: Where it begins, counted from 1.
    """

    values: tuple[str, ...]
    raw: tuple[str, ...]
    line: int


class Cutter(NamedTuple):
    """Cuts text with one delimiter, quote and escape."""

    delimiter: str = ","
    quote: str = '"'
    escape: str = '"'

    def records(self, text: str, *, complete: bool = True, line: int = 1) -> Iterator[Record]:
        """Yield the records of *text*, and stop before a quote that is not closed.

        Args:
            complete: Whether the text ends where the file does; otherwise its last record
                may go on, and is left out.
            line: Where the text begins in its file.
        """
        record, field = _patterns(self.delimiter, self.quote, self.escape)
        at, end = 0, len(text)
        while at < end:
            found = record.match(text, at)
            # A lone CR at the very end may be half of a CRLF.
            if found is None or not (complete or found[1] == "\n" or found.end() < end):
                return
            content = text[at : found.start(1)]
            if self.quote in content:
                raw = tuple(_fields(field, text, at, found.start(1)))
                yield Record(tuple(map(self.value, raw)), raw, line)
            else:
                raw = tuple(content.split(self.delimiter))
                yield Record(raw, raw, line)
            piece = text[at : found.end()]
            line += piece.count("\n") or piece.count("\r")
            at = found.end()

    def value(self, raw: str) -> str:
        """Return what the field *raw* means: without its quotes and escapes."""
        if self.quote not in raw:
            return raw
        return _quoted(self.quote, self.escape).sub(
            lambda run: _escaped(self.quote, self.escape).sub(r"\1", run[1]), raw
        )

    def stray(self, record: Record) -> str | None:
        """Return the first field with quotes beside other text, which COPY takes away."""
        if record.raw is record.values:  # no quote at all
            return None
        whole = _quoted(self.quote, self.escape)
        fields = (raw for raw in record.raw if self.quote in raw and not whole.fullmatch(raw))
        return next(fields, None)


def _fields(field: re.Pattern[str], text: str, at: int, end: int) -> Iterator[str]:
    """Yield the raw fields of the record between *at* and *end*."""
    while True:
        found = field.match(text, at, end)
        assert found is not None  # it matches the empty text too
        yield found[0]
        at = found.end() + 1
        if at > end:
            return


@lru_cache(maxsize=32)
def _patterns(delimiter: str, quote: str, escape: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return the expressions for a record with its end, and for a field."""
    d, q = re.escape(delimiter), re.escape(quote)
    # Loops are unrolled so that no text can make the expressions backtrack.
    plain = rf"[^{d}{q}\r\n]*"
    field = rf"{plain}(?:{run(quote, escape)}{plain})*"
    return re.compile(rf"{field}(?:{d}{field})*(\r\n|\n|\r|\Z)"), re.compile(field)


def run(quote: str, escape: str) -> str:
    """Return the expression for a run of text in quotes.

    Where a quote is doubled to stand for itself, that is two runs, one after the other:
    what could be read in two ways would take for ever where it does not fit.
    """
    q, e = re.escape(quote), re.escape(escape)
    if quote == escape:
        return rf"{q}[^{q}]*{q}"
    return rf"{q}[^{q}{e}]*(?:{e}(?:[{q}{e}]|(?![{q}{e}]))[^{q}{e}]*)*{q}"


@lru_cache(maxsize=32)
def _quoted(quote: str, escape: str) -> re.Pattern[str]:
    q = re.escape(quote)
    if quote == escape:
        return re.compile(rf"{q}([^{q}]*(?:{q}{q}[^{q}]*)*){q}")
    return re.compile(f"{q}({run(quote, escape)[len(q) : -len(q)]}){q}")


@lru_cache(maxsize=32)
def _escaped(quote: str, escape: str) -> re.Pattern[str]:
    q, e = re.escape(quote), re.escape(escape)
    return re.compile(rf"{e}([{q}{e}])")
