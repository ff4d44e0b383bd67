"""Where a record ends: counting quotes, as fast as ``bytes.count`` and ``find`` are.

A line end is the end of a record where the number of quotes before it is even, which is
exactly PostgreSQL's own rule when QUOTE and ESCAPE are the same character: a quote in the
middle of an unquoted field counts as well (CopyReadLineText in copyfromparse.c). With
another ESCAPE the record is read with a regular expression, which is slower.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Quoting:
    """The two characters that decide where a record ends, as bytes of one byte each."""

    quote: bytes = b'"'
    escape: bytes = b'"'

    @property
    def doubled(self) -> bool:
        """Whether a quote inside quotes is written twice, so that parity is the rule."""
        return self.quote == self.escape

    def first_end(self, data: bytes, end: bytes, at: int = 0, *, inside: bool = False) -> int:
        """Return the offset after the first *end* from *at* on that is outside quotes, or 0.

        Args:
            end: One byte, LF or CR.
            inside: Whether *at* is inside quotes.
        """
        if not self.doubled:
            return self._first_escaped(data, end, at)
        odd = inside
        while (stop := data.find(end, at)) >= 0:
            odd ^= bool(data.count(self.quote, at, stop) & 1)
            if not odd:
                return stop + 1
            # Inside: nothing ends before the next quote.
            at = data.find(self.quote, stop)
            if at < 0:
                break
        return 0

    def last_end(self, data: bytes, end: bytes, *, inside: bool = False) -> int:
        """Return the offset after the last *end* in *data* that is outside quotes, or 0."""
        if not self.doubled:
            at = 0
            while stop := self._first_escaped(data, end, at):
                at = stop
            return at
        odd = self.inside_at_end(data, inside)
        stop = len(data)
        while (at := data.rfind(end, 0, stop)) >= 0:
            odd ^= bool(data.count(self.quote, at, stop) & 1)
            if not odd:
                return at + 1
            # Inside: nothing ends after the quote that opens this.
            stop = data.rfind(self.quote, 0, at)
            if stop < 0:
                break
            odd = False
        return 0

    def inside_at_end(self, data: bytes, inside: bool) -> bool:
        """Return whether *data* ends inside quotes; for doubled quotes only."""
        # To find none takes a tenth of the time that counting takes.
        return inside ^ (self.quote in data and bool(data.count(self.quote) & 1))

    def _first_escaped(self, data: bytes, end: bytes, at: int) -> int:
        while found := self._record.match(data, at):
            if data[found.end() - 1 : found.end()] == end:
                return found.end()
            at = found.end()
        return 0

    @cached_property
    def _record(self) -> re.Pattern[bytes]:
        quote, escape = re.escape(self.quote), re.escape(self.escape)
        plain = b"[^%b\r\n]*" % quote
        inner = b"[^%b%b]*" % (quote, escape)
        quoted = b"%b%b(?:%b.%b)*%b" % (quote, inner, escape, inner, quote)
        return re.compile(b"%b(?:%b%b)*[\r\n]" % (plain, quoted, plain), re.DOTALL)
