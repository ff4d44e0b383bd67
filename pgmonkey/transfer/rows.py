"""The rows of a block, one by one: cut, counted, and looked at for what no server need read.

Only blocks with bad rows come here; others pass as they are. A row with too many or too
few fields, or a byte which is not of its encoding, fails whatever the table is, and would
keep its neighbours from being staged; the words are those PostgreSQL has for it.
"""

from __future__ import annotations

import codecs
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate

from pgmonkey.transfer.block import Block, quoting
from pgmonkey.transfer.dialect import Dialect
from pgmonkey.transfer.encodings import server_encoding
from pgmonkey.transfer.records import Quoting
from pgmonkey.transfer.screen import BAD_FORMAT, Parted

BAD_ENCODING = "22021"
# Bytes to decode at a time.
STEP = 64 * 1024


class Rows:
    """Whole records that follow one another in one file; cut when they are first asked for.

    Attributes:
        block: All of them, as they are in the file.
        sorted: What ``sort`` said of a range of them, where it was asked already.
        parted: What ``screen`` said of them, where it was asked.
        apart: Whether those of which it is not sure are to be tried apart from the others.
        ruled: Whether those, too, that break a rule of the table.
    """

    def __init__(
        self,
        block: Block,
        parted: Parted | None = None,
        *,
        apart: bool = False,
        ruled: bool = False,
    ) -> None:
        self.block = block
        self.parted = parted
        self.apart = apart
        self.ruled = ruled
        self.file = block.file
        self.dialect = block.dialect
        self.eol = block.eol
        self.sorted: dict[Sequence[int], Sorted] = {}
        self._end = block.eol[-1:]

    @cached_property
    def raw(self) -> list[bytes]:
        """Each record, with its line end."""
        return _closed(_records(self.block.data, self.block), self.block)

    def __len__(self) -> int:
        return len(self.raw)

    @cached_property
    def _lines(self) -> list[int]:
        """The line where each record begins, and the one after the last record."""
        ends = [raw.count(self._end) for raw in self.raw]
        if ends and not self.raw[-1].endswith(self._end):
            ends[-1] += 1
        return list(accumulate(ends, initial=self.block.record_line))

    @cached_property
    def doubtful(self) -> Rows:
        """Those that ``parted`` set apart; they need not follow one another."""
        assert self.parted is not None
        picked, data, at, line = Rows(self.block), self.block.data, 0, self.block.record_line
        lines = []
        for place in self.parted.doubtful:
            line += data.count(self._end, at, place.start)
            lines.append(line)
            at = place.start
        picked.raw = [data[place.start : place.stop] for place in self.parted.doubtful]
        picked._lines = lines
        return picked

    @cached_property
    def doubts(self) -> frozenset[int] | None:
        """The positions of those that ``parted`` set apart; None where nothing is known."""
        if self.parted is None:
            return None
        starts = {place.start for place in self.parted.doubtful}
        begins = accumulate(map(len, self.raw), initial=0)
        return frozenset(i for i, begin in enumerate(begins) if begin in starts)

    def line(self, index: int) -> int:
        """Return the line of the file where a record begins."""
        return self._lines[index]

    def text(self, index: int) -> bytes:
        """Return a record without its line end."""
        raw = self.raw[index]
        return raw.removesuffix(self._end).removesuffix(b"\r" if self._end == b"\n" else b"")

    def wire(self, rows: Iterable[int]) -> bytes:
        r"""Return records to send, a lone ``\.`` in quotes: see ``Block.wire``."""
        data = b"".join(self._picked(rows))
        if b"\\." not in data:
            return data
        quote = self.dialect.quote.encode()
        lone = quote + b"\\." + quote
        return b"".join(
            raw.replace(b"\\.", lone) if raw.rstrip(b"\r\n") == b"\\." else raw
            for raw in self._picked(rows)
        )

    def _picked(self, rows: Iterable[int]) -> Iterable[bytes]:
        if isinstance(rows, range):  # of step 1, as everywhere here
            return self.raw[rows.start : rows.stop]
        return map(self.raw.__getitem__, rows)

    def at_line(self, number: int, rows: range) -> int | None:
        """Return the position in *rows* of the record that ends at line *number* of their data.

        That is the line COPY names, since it counts line ends as it reads them.
        """
        lines = self._lines
        wanted = lines[rows.start] + number
        at = bisect_left(lines, wanted, rows.start + 1, rows.stop + 1) - 1 - rows.start
        return at if at < len(rows) else None


def assembled(blocks: Iterable[Block]) -> Iterator[Block]:
    """Yield *blocks* with every record in one piece.

    The server takes records of up to a gigabyte; one that long is held here.
    """
    parts: list[Block] = []
    for block in blocks:
        parts.append(block)
        if not block.more:
            yield parts[0] if len(parts) == 1 else _whole(parts)
            parts = []
    if parts:
        yield _whole(parts)


def pieces(block: Block, size: int) -> Iterator[Block]:
    """Yield *block* in even pieces of at most about *size* bytes, which end with a record."""
    data, end, rule = block.data, block.eol[-1:], quoting(block.dialect)
    at, line = 0, block.record_line
    size = len(data) // max(1, -(-len(data) // size)) + 1
    while at < len(data):
        part = data[at : at + size]
        if len(data) - at <= size + size // 4:  # no small rest
            part = data[at:]
        elif at + size < len(data):
            stop = rule.last_end(part, end) or rule.first_end(data, end, at) - at
            part = part[:stop] if 0 < stop <= size else data[at : at + stop if stop > 0 else None]
        start = block.offset + at
        yield replace(block, data=part, offset=start, first_line=line, record_line=line)
        at += len(part)
        line += part.count(end)


def _whole(parts: Sequence[Block]) -> Block:
    return replace(parts[0], data=b"".join(part.data for part in parts), more=False)


def _records(data: bytes, block: Block) -> list[bytes]:
    end = block.eol[-1:]
    if end == b"\n" and b"\r" not in data:
        lines = data.splitlines(keepends=True)
    else:
        lines = [line + end for line in data.split(end)]
        last = lines.pop()[: -len(end)]
        if last:
            lines.append(last)
    quote = block.dialect.quote.encode()
    if quote not in data:
        return lines
    rule = quoting(block.dialect)
    if not rule.doubled:
        return list(_escaped(lines, end, rule))
    # Lines with an odd number of quotes come in pairs: one opens what the next one closes.
    odd = [i for i, line in enumerate(lines) if line.count(quote) & 1]
    records: list[bytes] = []
    done = 0
    for opens, closes in zip(odd[::2], [*odd[1::2], len(lines) - 1], strict=False):
        records += lines[done:opens]
        records.append(b"".join(lines[opens : closes + 1]))
        done = closes + 1
    return records + lines[done:]


def _escaped(lines: Iterable[bytes], end: bytes, rule: Quoting) -> Iterator[bytes]:
    parts: list[bytes] = []
    for line in lines:
        parts.append(line)
        whole = b"".join(parts)
        if rule.first_end(whole, end) == len(whole):
            yield whole
            parts = []
    if parts:
        yield b"".join(parts)


def _closed(records: list[bytes], block: Block) -> list[bytes]:
    """Cut a last record whose quote is never closed after its first line.

    To COPY the rest of the file is one field then. A user has one bad line, and rows after it.
    """
    end = block.eol[-1:]
    if not records or end not in records[-1][:-1]:
        return records
    last = records[-1]
    if quoting(block.dialect).first_end(last if last.endswith(end) else last + end, end):
        return records
    cut = last.index(end) + 1
    return [*records[:-1], last[:cut], *_closed(_records(last[cut:], block), block)]


@dataclass
class Sorted:
    """Rows as they can be staged.

    Attributes:
        good: Indexes of those to stage as they are.
        short: Index and number of fields of those with too few.
        bad: Index, SQLSTATE and message of those which no table would take.
        exact: Whether fields were counted in every row.
    """

    good: Sequence[int]
    short: list[tuple[int, int]] = field(default_factory=list)
    bad: list[tuple[int, str, str]] = field(default_factory=list)
    exact: bool = False


def sort(rows: Rows, indexes: Sequence[int], width: int, *, exact: bool = False) -> Sorted:
    """Tell the rows of *width* fields from the others.

    Args:
        exact: Whether to find those, too, in which delimiters inside quotes make up for
            fields that are missing. That takes three times as long.
    """
    counter = FieldCounter(rows.dialect)
    delimiter, wanted, quote = counter.delimiter, width - 1, rows.dialect.quote.encode()
    # The count is right for most rows, and cheap; delimiters inside quotes are the rest.
    raw = rows.raw
    odd = {i for i in indexes if raw[i].count(delimiter) != wanted or (exact and quote in raw[i])}
    undecodable = dict(_undecodable(rows, indexes))
    result = Sorted(indexes, exact=exact)
    for i in sorted(odd | undecodable.keys()):
        if i in undecodable:
            result.bad.append((i, BAD_ENCODING, undecodable[i]))
            continue
        fields = counter.fields(raw[i])
        if fields > width:
            result.bad.append((i, BAD_FORMAT, "extra data after last expected column"))
        elif fields < width:
            result.short.append((i, fields))
    out = {i for i, *_ in (*result.bad, *result.short)}
    if out:
        result.good = [i for i in indexes if i not in out]
    return result


def padded(rows: Rows, found: Sorted, width: int) -> bytes:
    """Return the rows with too few fields as they are staged: number, first field missing."""
    delimiter = rows.dialect.delimiter.encode()
    lines = []
    for number, (i, fields) in enumerate(found.short, 1):
        head = b"-%d%b%d%b" % (number, delimiter, fields + 1, delimiter)
        lines.append(head + rows.text(i) + delimiter * (width - fields) + b"\n")
    return b"".join(lines)


class FieldCounter:
    """Counts the fields of a record, as COPY does: a quote may stand anywhere."""

    def __init__(self, dialect: Dialect) -> None:
        self.delimiter = dialect.delimiter.encode()
        quote, escape = re.escape(dialect.quote.encode()), re.escape(dialect.escape.encode())
        inner = (
            b"[^%b]" % quote
            if quote == escape
            else b"%b[%b%b]|[^%b]" % (escape, quote, escape, quote)
        )
        self._quoted = re.compile(b"%b(?:%b)*%b" % (quote, inner, quote))

    def fields(self, record: bytes) -> int:
        """Return how many fields *record* has, at least 1."""
        return self._quoted.sub(b"", record).count(self.delimiter) + 1


def _undecodable(rows: Rows, indexes: Sequence[int]) -> Iterator[tuple[int, str]]:
    """Yield the rows with a byte which the encoding does not have, and what is said of them.

    Only of UTF-8 is it certain what the server thinks; it is asked about the others.
    """
    if server_encoding(rows.dialect) != "UTF8":
        return
    data = b"".join(rows.raw[i] for i in indexes)
    if b"\0" not in data and decodes(data):
        return
    for i in indexes:
        raw = rows.raw[i]
        at = raw.find(b"\0")
        try:
            raw[: at if at >= 0 else None].decode()
        except UnicodeDecodeError as error:
            at = error.start
        if at >= 0:
            shown = " ".join(f"0x{byte:02x}" for byte in raw[at : at + _length(raw[at])])
            yield i, f'invalid byte sequence for encoding "UTF8": {shown}'


def decodes(data: bytes) -> bool:
    """Return whether *data* is UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    view = memoryview(data)
    try:
        # In pieces, or the text of a whole block would take up to four times its room.
        for at in range(0, len(view), STEP):
            decoder.decode(view[at : at + STEP], at + STEP >= len(view))
    except UnicodeDecodeError:
        return False
    return True


def _length(first: int) -> int:
    """Return how many bytes the server takes a character to have that begins with *first*."""
    return 1 if first < 0xC0 or first >= 0xF8 else 2 if first < 0xE0 else 3 if first < 0xF0 else 4
