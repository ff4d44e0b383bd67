"""From "COPY t, line 1042" back to the line and the record of the user's file.

The server counts the lines of one COPY, which begins anywhere in a file and may get every
second block of it; users count with sed. To count along would cost a load a tenth of what
its client does, so of what was sent only the places are kept, and the file is read once
more when something went wrong. Of what cannot be read twice every line is counted, and the
last blocks are kept as well.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

from pgmonkey.errors import TransferError
from pgmonkey.transfer.block import Block
from pgmonkey.transfer.reader import Reader
from pgmonkey.transfer.source import Source, open_source

# The server is behind by what the network holds: a few megabytes at most.
RECENT = 12


class Place(NamedTuple):
    """A record of a file: the line where it begins, and its bytes where they can be had."""

    file: str
    line: int
    record: bytes | None = None


class _Sent(NamedTuple):
    """A block that was sent, without its data where that is gone.

    Attributes:
        before: How far the server's count of lines was.
        lines: Of the block, as users count.
    """

    block: Block
    before: int
    lines: int


class Trail:
    """What COPY was given of one file, in order; the last COPY is the one that may fail.

    Attributes:
        source: The file it is from.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self._places: list[range] = []
        self._blocks: list[Block] = []  # without their data
        # Of a source that cannot be read twice:
        self._counted: list[_Sent] = []
        self._recent: deque[Block] = deque(maxlen=RECENT)
        # Where the last COPY began: after how many blocks, and with which count of lines.
        self._begun, self._first = 0, 1
        self._lines = 1

    def begin(self, lines: int) -> None:
        """Note that what is sent next is a COPY of its own, which has counted *lines*."""
        self._begun = len(self._blocks) or len(self._counted)
        self._first = self._lines = lines

    def add(self, block: Block) -> None:
        """Note that *block* is sent next."""
        bare = replace(block, data=b"")
        if self.source.rereadable:
            self._blocks.append(bare)
            self._places.append(range(block.offset, block.offset + len(block.data)))
        else:
            self._counted.append(_Sent(bare, self._lines, block.lines))
            self._lines += block.server_lines
            self._recent.append(block)

    def find(self, server_line: int) -> Place | None:
        """Return the record which the server means by *server_line*.

        None where the file is not what it was any more.
        """
        found = None
        with suppress(OSError, TransferError):
            for sent in islice(self._again(), self._begun, None):
                if found and sent.before >= server_line:
                    break
                found = sent
        return _place(found, server_line) if found else None

    def lines(self) -> str:
        """Return which lines of the file were sent, for a report: ``t.csv:1-20, t.csv:41-60``."""
        ranges: list[tuple[int, int]] = []
        with suppress(OSError, TransferError):
            for sent in self._again():
                first, last = sent.block.first_line, sent.block.first_line + max(sent.lines - 1, 0)
                if ranges and ranges[-1][1] == first - 1:
                    first = ranges.pop()[0]
                ranges.append((first, last))
        return ", ".join(f"{self.source.name}:{first}-{last}" for first, last in ranges)

    def _again(self) -> Iterator[_Sent]:
        """Yield what was sent, with its data where that can be had.

        Raises:
            OSError, TransferError: The file is not what it was.
        """
        if not self.source.rereadable:
            recent = {block.offset: block for block in self._recent}
            for sent in self._counted:
                yield sent._replace(block=recent.get(sent.block.offset, sent.block))
        elif self._blocks:
            assert self.source.path is not None
            with open_source(self.source.path) as source:
                pieces = Reader(source, self._blocks[0].dialect).again(self._places)
                before, record_line = 0, 0
                for at, (block, (line, data)) in enumerate(zip(self._blocks, pieces, strict=True)):
                    before = self._first if at == self._begun else before
                    record_line = line if block.starts else record_line
                    whole = replace(block, data=data, first_line=line, record_line=record_line)
                    yield _Sent(whole, before, whole.lines)
                    before += whole.server_lines


def _place(sent: _Sent, server_line: int) -> Place:
    block, seen = sent.block, sent.before
    if not block.starts:
        return Place(block.file, block.record_line)
    if block.more or not block.data:
        # Right where no line end is inside quotes since the block began.
        return Place(block.file, block.first_line + server_line - seen - 1)
    place = Place(block.file, block.record_line)
    for record, line in block.records():
        place = Place(block.file, line, record)
        seen += record.count(block.eol[:1])
        if seen >= server_line:
            break
    return place  # at the end: of a record that lacks its line end
