"""The files of a load as blocks, and COPY from the first block to the row count.

A COPY that fails early is known to have failed only if somebody asks (see ``watch``);
otherwise the rest of the file is read and sent for nothing. Transactions are elsewhere.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgmonkey.errors import CsvError, TransferError
from pgmonkey.transfer.block import Block
from pgmonkey.transfer.copying import Copies, Sender, preamble
from pgmonkey.transfer.plan import Plan, Progress
from pgmonkey.transfer.reader import Reader
from pgmonkey.transfer.source import STDIN, Source, open_source
from pgmonkey.transfer.trail import Trail

if TYPE_CHECKING:
    import psycopg
    from psycopg import sql


@dataclass
class Feed:
    """The files of a load, and how far it is with them.

    Attributes:
        sources: Paths, or sources that are open already.
        bytes_read: Of all files, as they are on disk.
        lines: Sent so far, where somebody follows the progress.
    """

    plan: Plan
    sources: list[Source | Path]
    on_progress: Callable[[Progress], None] | None = None
    bytes_read: int = 0
    lines: int = 0
    total: int | None = None
    _header: list[str] | None = None
    _first: str = ""

    def __post_init__(self) -> None:
        sizes = [_size(source) for source in self.sources]
        self.total = None if None in sizes else sum(size or 0 for size in sizes)

    def files(self) -> Iterator[tuple[Reader, Iterator[Block]]]:
        """Yield the reader of each file, and its blocks, checked against the plan's shape.

        Raises:
            CsvError: A file is not like the plan, or like the first one.
            OSError: A file cannot be read.
        """
        done = 0
        for given in self.sources:
            with given if isinstance(given, Source) else open_source(given) as source:
                reader = Reader(source, self.plan.dialect, counted=self._counts(source))
                self._compare(reader)
                yield reader, self._counted(source, self._checked(reader.blocks()), done)
                done += source.bytes_read
                self.bytes_read = done

    def _counts(self, source: Source) -> bool:
        """Return whether somebody wants to know about lines while nothing goes wrong."""
        plan = self.plan
        return bool(
            self.on_progress
            or plan.shape
            or plan.on_error == "skip"
            or plan.commit_every
            or not source.rereadable
        )

    def _compare(self, reader: Reader) -> None:
        if self._header is None:
            self._header, self._first = reader.header, reader.source.name
        elif reader.header != self._header:
            raise CsvError(
                f"its header is not that of {self._first}; import it by itself",
                file=reader.source.name,
                line=reader.header_line,
            )

    def _checked(self, blocks: Iterator[Block]) -> Iterator[Block]:
        shape = self.plan.shape
        if shape is None:
            yield from blocks
            return
        pieces: list[bytes] = []
        for block in blocks:
            pieces.append(block.data)
            if not block.more:
                shape.check(b"".join(pieces), block.record_line, block.file)
                pieces.clear()
            yield block

    def _counted(self, source: Source, blocks: Iterator[Block], done: int) -> Iterator[Block]:
        for block in blocks:
            yield block
            self.bytes_read = done + source.bytes_read
            if self.on_progress:
                self.lines += block.server_lines
                self.on_progress(Progress(self.lines, self.bytes_read, self.total))


def _size(source: Source | Path) -> int | None:
    if isinstance(source, Source):
        return source.size
    if str(source) == STDIN:
        return None
    with contextlib.suppress(OSError):  # opening it says it better
        if source.is_file():
            return source.stat().st_size
    return None


def copy_blocks(
    conn: psycopg.Connection[Any],
    statements: Copies,
    eol: bytes,
    blocks: Iterable[Block],
    trail: Trail,
    refused: Callable[[int], bool | None],
) -> int:
    """Send *blocks* with COPY; return the rows that the server counted.

    Blocks that are plain from the first one on have a COPY of their own, before the others.

    Args:
        refused: Tells whether the session of that process id has failed, None if it cannot
            tell now; asked when the server says something. The COPY then ends early, with
            the server's error.

    Raises:
        psycopg.Error: The server refused, or is gone.
    """
    plain, rows = statements.text is not None, None

    def as_before(block: Block) -> bool:
        nonlocal plain
        plain = plain and block.plain
        return plain

    for text, group in groupby(blocks, as_before):
        trail.begin(0 if text else 1)
        if text:
            assert statements.text is not None
            rows = _copy(conn, statements.text, b"", group, trail, refused)
        else:
            rows = (rows or 0) + _copy(conn, statements.csv, preamble(eol), group, trail, refused)
    # A COPY of nothing, too, is one that the server may refuse.
    return (
        rows if rows is not None else _copy(conn, statements.csv, preamble(eol), (), trail, refused)
    )


def _copy(
    conn: psycopg.Connection[Any],
    statement: sql.Composed,
    first: bytes,
    blocks: Iterable[Block],
    trail: Trail,
    refused: Callable[[int], bool | None],
) -> int:
    cursor = conn.cursor()
    sender = Sender(cursor)
    early: bool | None = False
    with cursor.copy(statement, writer=sender) as copy:
        if first:
            copy.write(first)
        for block in blocks:
            trail.add(block)
            copy.write(block.wire)
            if sender.heard:
                early = refused(conn.info.backend_pid)
                if early:
                    break
                sender.heard = early is None
    if early:  # or the end of the COPY would have raised
        raise TransferError("the server took half of the data for all of it; nothing was imported")
    return cursor.rowcount


def portions(blocks: Iterable[Block], rows: int) -> Iterator[Iterator[Block]]:
    """Yield *blocks* in portions of *rows* records, which have to be taken in order."""
    pieces = _cut_after(blocks, rows)
    for first in pieces:
        if first is not None:
            yield chain([first], iter(lambda: next(pieces, None), None))


def _cut_after(blocks: Iterable[Block], rows: int) -> Iterator[Block | None]:
    """Yield the blocks, cut so that a None stands after every *rows* records."""
    have = 0
    for block in blocks:
        if not block.starts or block.more:
            yield block
            have += block.starts
        else:
            start, end, line = 0, 0, block.first_line
            for record, at in block.records():
                if have == rows:
                    yield _part(block, start, end, line)
                    yield None
                    start, line, have = end, at, 0
                end += len(record)
                have += 1
            yield _part(block, start, end, line)
        if have == rows and not block.more:
            yield None
            have = 0


def _part(block: Block, start: int, end: int, line: int) -> Block:
    data, offset = block.data[start:end], block.offset + start
    return replace(block, data=data, offset=offset, first_line=line, record_line=line)
