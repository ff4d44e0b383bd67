"""Cut a stream of CSV into blocks that begin and end with a record, and know their lines.

The server parses; here bytes are only counted. What a user calls "line 1042" is a line of
the file as ``sed -n 1042p`` shows it, whatever lies before it: a byte order mark, lines to
skip, a header, newlines inside quotes.

``source`` opens and decompresses, ``records`` finds where a record ends, ``copying`` sends.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator

from pgmonkey.errors import CsvError
from pgmonkey.transfer.block import Block, quoting
from pgmonkey.transfer.dialect import Dialect, byte_order_mark
from pgmonkey.transfer.encodings import transcodes
from pgmonkey.transfer.source import CHUNK, Source, open_source

__all__ = ["BLOCK", "Reader", "blocks", "open_source"]

# Bytes of a block. Below 256 KiB the work per block shows; above a megabyte the memory, and
# that of several connections one is left with the last block.
BLOCK = 512 * 1024
# A record longer than this is handed on in pieces, so that one of a gigabyte passes through.
LONGEST = 4 * BLOCK
# The record with the names has to be read as a whole; PostgreSQL has 1600 columns at most,
# of 63 bytes.
LONGEST_HEADER = CHUNK


def blocks(source: Source, dialect: Dialect, *, size: int = BLOCK) -> Iterator[Block]:
    """Yield the data of *source* in blocks of about *size* bytes, without its header.

    Raises:
        CsvError: A byte is not of the encoding, or the header cannot be read.
        OSError: The system could not read.
    """
    return Reader(source, dialect, size=size).blocks()


class Reader:
    """Reads one file: past the lines to skip and the header, then block after block.

    Attributes:
        eol: How its records end; LF where there is none.
        header: The names in its header, or None where the dialect has none.
        header_line: The line where the header is.
    """

    def __init__(
        self, source: Source, dialect: Dialect, *, size: int = BLOCK, counted: bool = True
    ) -> None:
        """Begin to read.

        Args:
            size: Bytes of a block, about.
            counted: Whether blocks know their lines.
        """
        self.source = source
        self.dialect = dialect
        self.header: list[str] | None = None
        self._quoting = quoting(dialect)
        self._size = size
        self._chunks = self._transcoded() if transcodes(dialect) else self._raw()
        self._counts = counted
        self._ended = False
        self._buffer = b""
        self._taken = 0  # bytes, with those in the buffer
        self._line = 1
        self._skip_lines(dialect.skip_lines)
        self.header_line = self._line
        self.eol, first = self._find_first_end()
        if dialect.header:
            self._take_header(first)

    def blocks(self) -> Iterator[Block]:
        """Yield every block, once."""
        starts, inside = True, False
        if not self._counts:
            self._line = 0
        record_line = self._line
        while True:
            data, more = (starts and self._most_of_a_chunk()) or b"", False
            if not data:
                data, more = self._cut(starts, inside)
            if not data:
                return
            offset = self._taken - len(self._buffer) - len(data)
            block = Block(
                data,
                offset,
                self.source.name,
                self._line,
                record_line,
                self.eol,
                starts,
                more,
                self.dialect,
            )
            yield block
            if self._counts:
                self._line += block.lines
            inside = more and self._quoting.inside_at_end(data, inside)
            starts = not more
            if starts:
                record_line = self._line

    def _most_of_a_chunk(self) -> bytes:
        """Return what is left over and the records that end in the next chunk, copied once.

        Nothing where that is not so simple.
        """
        if self._ended or len(self._buffer) >= self._size or not self._quoting.doubled:
            return b""
        chunk = next(self._chunks, b"")
        self._ended = not chunk
        self._taken += len(chunk)
        cut = 0
        if len(chunk) > self._size // 2:
            inside = self._quoting.inside_at_end(self._buffer, False)
            cut = self._quoting.last_end(chunk, self.eol[-1:], inside=inside)
        if not cut:
            self._buffer += chunk
            return b""
        data = b"".join((self._buffer, memoryview(chunk)[:cut]))
        self._buffer = chunk[cut:]
        return data

    def _cut(self, starts: bool, inside: bool) -> tuple[bytes, bool]:
        """Return what the next block has, and whether its last record goes on after it.

        Args:
            starts: Whether it begins with a record.
            inside: Whether it begins inside quotes.
        """
        wanted, end, rule = self._size, self.eol[-1:], self._quoting
        while True:
            self._fill(wanted)
            data, more = self._buffer, False
            if not starts:
                cut = rule.first_end(data, end, inside=inside)
            else:
                cut = len(data) if self._ended else rule.last_end(data, end)
            if not cut and self._ended:
                cut = len(data)
            elif not cut and starts and (len(data) < LONGEST or not rule.doubled):
                wanted = min(2 * len(data), LONGEST) if rule.doubled else 2 * len(data)
                continue
            elif not cut:
                cut, more = len(data), True
            self._buffer = data[cut:]
            return data[:cut], more

    def again(self, places: Iterable[range]) -> Iterator[tuple[int, bytes]]:
        """Yield the bytes at *places*, which are in order, each with the line where it begins.

        Raises:
            CsvError: There are not as many bytes any more.
        """
        end = self.eol[-1:]
        for place in places:
            while True:
                here = self._taken - len(self._buffer)
                passed = self._buffer[: place.start - here]
                self._line += passed.count(end)
                self._buffer = self._buffer[len(passed) :]
                if here + len(passed) == place.start or self._ended:
                    break
                self._fill(self._size)
            self._fill(len(place))
            if len(self._buffer) < len(place):
                raise CsvError("it has become shorter", file=self.source.name)
            yield self._line, self._buffer[: len(place)]

    def _fill(self, wanted: int) -> None:
        """Read until there are *wanted* bytes, or no more."""
        parts, have = [self._buffer], len(self._buffer)
        while have < wanted and not self._ended:
            chunk = next(self._chunks, b"")
            self._ended = not chunk
            self._taken += len(chunk)
            parts.append(chunk)
            have += len(chunk)
        if len(parts) > 1:
            self._buffer = b"".join(parts)

    def _skip_lines(self, count: int) -> None:
        for done in range(count):
            self._fill(1)
            while not (found := re.search(rb"\r\n|\n|\r(?=.)", self._buffer, re.DOTALL)):
                if self._ended:
                    raise CsvError(
                        f"it has {done + bool(self._buffer)} lines, and {count} are to be skipped",
                        file=self.source.name,
                    )
                self._fill(len(self._buffer) + CHUNK)
            self._buffer = self._buffer[found.end() :]
            self._line += 1

    def _find_first_end(self) -> tuple[bytes, int]:
        """Return how the first record ends, and the offset after it."""
        wanted = 1
        while True:
            self._fill(wanted)
            data, first_end = self._buffer, self._quoting.first_end
            lf, cr = first_end(data, b"\n"), first_end(data, b"\r")
            at = min(lf, cr) or lf or cr
            if at and at == lf:
                return b"\n", lf
            # A CR at the very end may be half a CRLF.
            if at and (at < len(data) or self._ended):
                return (b"\r\n", at + 1) if data[at : at + 1] == b"\n" else (b"\r", at)
            if self._ended:
                return b"\n", len(data)
            wanted = 2 * len(data)
            if wanted > LONGEST:
                # Too long to wait for; how some line inside it ends is the best guess.
                inner = re.search(rb"\r\n|\n|\r", data)
                return inner[0] if inner else b"\n", len(data)

    def _take_header(self, stop: int) -> None:
        import csv
        import io

        end = self.eol[-1:]
        open_quote = self._buffer and not self._quoting.first_end(self._buffer[:stop] + end, end)
        if open_quote or stop > LONGEST_HEADER:
            raise CsvError(
                "a quote is opened in the header and never closed"
                if open_quote
                else "the header goes on for more than a megabyte; is this a CSV file?",
                file=self.source.name,
                line=self._line,
            )
        raw, self._buffer = self._buffer[:stop], self._buffer[stop:]
        self._line += raw.count(end)
        codec = "utf-8" if transcodes(self.dialect) else self.dialect.encoding
        try:
            text = raw.decode(codec)
        except UnicodeDecodeError as error:
            raise self._undecodable(error, self.header_line) from error
        doubled = self._quoting.doubled
        rows = csv.reader(
            io.StringIO(text, newline=""),
            delimiter=self.dialect.delimiter,
            quotechar=self.dialect.quote,
            doublequote=doubled,
            escapechar=None if doubled else self.dialect.escape,
        )
        try:
            self.header = next(rows, [])
        except csv.Error as error:
            raise CsvError(
                f"the header cannot be read: {error}", file=self.source.name, line=self.header_line
            ) from error

    def _raw(self) -> Iterator[bytes]:
        found = byte_order_mark(self.source.peek(4))
        if found:
            length, encoding = found
            if encoding != codecs.lookup(self.dialect.encoding).name:
                raise CsvError(
                    f"it begins with the byte order mark of {encoding}, and is to be read as"
                    f" {self.dialect.encoding}; say --encoding {encoding}",
                    file=self.source.name,
                    line=1,
                )
            self.source.read(length)
        while chunk := self.source.read(self._size):
            yield chunk

    def _transcoded(self) -> Iterator[bytes]:
        decoder = codecs.getincrementaldecoder(self.dialect.encoding)("strict")
        line, final = 1, False
        chunks = self._raw()
        while not final:
            chunk = next(chunks, b"")
            final = not chunk
            try:
                text = decoder.decode(chunk, final)
            except UnicodeDecodeError as error:
                raise self._undecodable(error, line) from error
            line += text.count("\n")
            if text:
                yield text.encode()

    def _undecodable(self, error: UnicodeDecodeError, line: int) -> CsvError:
        good = error.object[: error.start].decode(error.encoding, "replace")
        wrong = " ".join(f"0x{byte:02x}" for byte in error.object[error.start : error.end][:4])
        return CsvError(
            f"{wrong} is not valid {self.dialect.encoding}; nothing was imported, say --encoding"
            " if it is another",
            file=self.source.name,
            line=line + good.count("\n"),
        )
