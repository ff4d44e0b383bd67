"""From "COPY t, line 1042" back to the line and the record of the user's file.

The server counts the lines of one COPY, which begins anywhere in a file and may get every
second block of it; users count with sed. Of what was sent, only the lines of each block are
kept: a record is found by reading the file once more, which costs something only when
something went wrong. Of standard input the last blocks are kept as well.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace

from pgmonkey.errors import TransferError
from pgmonkey.transfer.reader import Block, blocks
from pgmonkey.transfer.source import Source, open_source

# The server is behind by what the network holds: a few megabytes at most.
RECENT = 6


@dataclass(frozen=True)
class Place:
    """A record of a file: the line where it begins, and its bytes where they can be had."""

    file: str
    line: int
    record: bytes | None = None


class Trail:
    """What one COPY was given, in order.

    Attributes:
        source: The file it is from.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self._lines = 1  # the preamble
        self._starts: list[int] = []
        self._blocks: list[Block] = []  # without their data
        self._recent: deque[Block] = deque(maxlen=RECENT)

    def add(self, block: Block) -> None:
        """Note that *block* is sent next."""
        self._starts.append(self._lines)
        self._lines += block.server_lines
        self._blocks.append(replace(block, data=b""))
        if not self.source.rereadable:
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
        if not self.source.rereadable:
            return _at(self._recent, wanted)
        assert self.source.path is not None
        try:
            with open_source(self.source.path) as source:
                return _at(blocks(source, wanted.dialect), wanted)
        except (OSError, TransferError):  # it is not what it was any more
            return None


def _at(candidates: Iterable[Block], wanted: Block) -> Block | None:
    return next((b for b in candidates if b.first_line == wanted.first_line and b.starts), None)
