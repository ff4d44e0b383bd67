"""From the answer of the server to files in their place, by one connection or several.

All files of an export are complete before the first of them gets its name, so that
whatever fails on the way changes nothing. What the statements are is in ``selection``;
``exporter`` decides which of the three ways is taken.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
from psycopg.rows import tuple_row

from pgmonkey.signals import deferred
from pgmonkey.transfer import manifest as manifests
from pgmonkey.transfer.copyout import copy_out
from pgmonkey.transfer.outfile import STDOUT, NewFile, Target, append, open_target
from pgmonkey.transfer.packing import Packing
from pgmonkey.transfer.parts import Crew
from pgmonkey.transfer.selection import Form, Range, Selection, ranges, statement
from pgmonkey.transfer.sinks import OneFile, Split, part_name
from pgmonkey.transfer.wire import exact_text

# Seconds between two calls of on_progress.
PROGRESS_SECONDS = 0.1


class ExportProgress(NamedTuple):
    """How far an export has come.

    Attributes:
        rows: Rows read so far.
        bytes: Bytes of CSV read so far, before compression.
        rows_total: The planner's estimate for the whole table; None where it has none.
    """

    rows: int
    bytes: int
    rows_total: int | None


class ExportedFile(NamedTuple):
    """One file: its data rows and its bytes on disk; sha256 only where a manifest has it."""

    file: str
    rows: int
    bytes: int
    sha256: str | None = None


class Delivery:
    """One export on its way: what was asked for, and how far it is.

    Attributes:
        removed: Higher parts of an earlier export of that name.
    """

    def __init__(
        self,
        conn: psycopg.Connection[Any],
        selection: Selection,
        form: Form,
        file: str,
        packing: Packing | None,
        manifest: bool,
        overwrite: bool,
        on_progress: Callable[[ExportProgress], None] | None,
        on_done: Callable[[], None] | None,
    ) -> None:
        self._conn = conn
        self._selection = selection
        self._form = form
        self._file = file
        self._packing = packing
        self._manifest = manifest
        self._overwrite = overwrite
        self._on_progress = on_progress
        self._on_done = on_done
        self._told = time.monotonic()
        whole = selection.relation if not selection.where and selection.limit is None else None
        self._total = whole.rows if whole else None
        self.removed: tuple[str, ...] = ()

    def single(self, idle: bool) -> tuple[ExportedFile, ...]:
        """Write one file with one connection."""
        with contextlib.closing(open_target(self._file, overwrite=self._overwrite)) as target:
            sink = self._sink(target)
            with self._conn.transaction():
                if idle:
                    self._conn.execute("SET TRANSACTION READ ONLY")
                with exact_text(self._conn):
                    rows = copy_out(self._conn, self._statement(), self._counting(sink))
                sink.end()
            return self._publish([(target, self._file, rows, sink.bytes)])

    def split(self, rows_each: int, idle: bool) -> tuple[ExportedFile, ...]:
        """Write several files with one connection; none appears before all are complete."""
        path = Path(self._file)
        check_target(path, overwrite=self._overwrite, split=True)
        opened: list[NewFile] = []

        def another(number: int) -> tuple[int, str]:
            part = path.with_name(part_name(path.name, number))
            opened.append(NewFile(part, overwrite=self._overwrite))
            return opened[-1].fd, str(part)

        try:
            sink = Split(another, rows_each, self._packing, self._form)
            with self._conn.transaction():
                if idle:
                    self._conn.execute("SET TRANSACTION READ ONLY")
                with exact_text(self._conn):
                    copy_out(self._conn, self._statement(), self._counting(sink))
                sink.end()
            names = {name for name, _, _ in sink.parts}
            files = self._publish(
                [
                    (target, name, rows, size)
                    for target, (name, rows, size) in zip(opened, sink.parts, strict=True)
                ],
                stale=[part for part in _parts(path) if str(part) not in names],
            )
        finally:
            for target in opened:
                target.close()
        return files

    def parallel(
        self, jobs: int, connect: Callable[[], psycopg.Connection[Any]]
    ) -> tuple[ExportedFile, ...]:
        """Write one file with *jobs* connections, each in a process of its own."""
        relation = self._selection.relation
        assert relation is not None
        conn = self._conn
        with contextlib.ExitStack() as stack:
            target = stack.enter_context(
                contextlib.closing(open_target(self._file, overwrite=self._overwrite))
            )
            if isinstance(target, NewFile):
                beside = Path(os.path.realpath(self._file))
            else:  # a device: the parts lie where temporary files do
                import tempfile

                beside = Path(stack.enter_context(tempfile.TemporaryDirectory()), "part")
            reading = stack.enter_context(contextlib.ExitStack())
            reading.enter_context(conn.transaction())
            # As pg_dump: first the lock, then the snapshot, or a TRUNCATE between the two
            # would leave an empty table to read.
            conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            lock = b"LOCK TABLE ONLY " + relation.table.sql().as_bytes(conn)
            conn.execute(lock + b" IN ACCESS SHARE MODE")
            row = (
                conn.cursor(row_factory=tuple_row)
                .execute(
                    "SELECT pg_export_snapshot(), pg_relation_size(%s::text::regclass)"
                    " / current_setting('block_size')::bigint",
                    [relation.table.sql().as_string(conn)],
                )
                .fetchone()
            )
            assert row is not None
            first, *others = ranges(int(row[1]), jobs)
            parts = [
                stack.enter_context(contextlib.closing(NewFile(beside, overwrite=True)))
                for _ in others
            ]
            crew = stack.enter_context(Crew(len(others)))
            for part, blocks in zip(parts, others, strict=True):
                crew.start(self._part_of(part.fd, blocks, connect, str(row[0]), lock))
            sink = self._sink(target)
            counting = self._counting(sink, crew)
            with exact_text(conn):
                rows = copy_out(conn, self._statement(first), counting, crew.others)
            sink.end()
            rows += crew.wait()
            reading.close()  # before any file has its name, like all that may fail
            size = sink.bytes
            for part in parts:
                append(target.fd, part.fd, self._file)
                size += os.fstat(part.fd).st_size
                part.close()  # its blocks are free from here on
            return self._publish([(target, self._file, rows, size)])

    def _part_of(
        self,
        fd: int,
        blocks: Range,
        connect: Callable[[], psycopg.Connection[Any]],
        snapshot: str,
        lock: bytes,
    ) -> Callable[[Any, Callable[[int, int], None]], int]:
        """Return what a child does: read *blocks* as of *snapshot* into the file *fd*."""

        def work(others: Any, count: Callable[[int, int], None]) -> int:
            sink = OneFile(fd, self._file, self._packing, b"")
            seen = 0

            def take(rows: list[memoryview], size: int) -> None:
                nonlocal seen
                sink.take(rows, size)
                seen += len(rows)
                count(seen, sink.taken)

            with contextlib.closing(connect()) as conn, conn.transaction():
                conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                conn.execute(b"SET TRANSACTION SNAPSHOT '" + snapshot.encode() + b"'")
                # Not waiting, as pg_dump does: whoever waits for the parent's lock to go
                # would have the child wait behind it, and the parent waits for the child.
                conn.execute(lock + b" IN ACCESS SHARE MODE NOWAIT")
                with exact_text(conn):
                    rows = copy_out(conn, self._statement(blocks, header=False), take, others)
                sink.end()
            return rows

        return work

    def _sink(self, target: Target) -> OneFile:
        return OneFile(target.fd, self._file, self._packing, self._form.mark)

    def _statement(self, blocks: Range | None = None, *, header: bool | None = None) -> bytes:
        made = statement(self._selection, self._form, blocks, header=header)
        return made.as_bytes(self._conn)

    def _counting(
        self, sink: OneFile | Split, crew: Crew | None = None
    ) -> Callable[[list[memoryview], int], None]:
        """Return *sink*'s ``take``, which reports progress too if that was asked for."""
        tell = self._on_progress
        if tell is None:
            return sink.take
        seen = -1 if self._form.header else 0

        def take(rows: list[memoryview], size: int) -> None:
            nonlocal seen
            sink.take(rows, size)
            seen += len(rows)
            if time.monotonic() - self._told >= PROGRESS_SECONDS:
                more = crew.counts() if crew else (0, 0)
                tell(ExportProgress(seen + more[0], sink.taken + more[1], self._total))
                self._told = time.monotonic()

        return take

    def _publish(
        self, written: list[tuple[Target, str, int, int]], stale: Sequence[Path] = ()
    ) -> tuple[ExportedFile, ...]:
        """Give every file its name, and write or remove the manifest that belongs to them.

        Interrupts wait from the first name to the last.

        Args:
            stale: Parts of a longer export that this one replaces.
        """
        beside = manifests.path_of(Path(self._file))
        digests: list[str | None] = [None] * len(written)
        with contextlib.ExitStack() as stack:
            listing: NewFile | None = None
            if self._manifest:
                listing = stack.enter_context(
                    contextlib.closing(NewFile(beside, overwrite=self._overwrite))
                )
                digests = [manifests.digest(target.fd)[1] for target, *_ in written]
                entries = [
                    manifests.Entry(Path(name).name, rows, size, digest or "")
                    for (_, name, rows, size), digest in zip(written, digests, strict=True)
                ]
                os.write(listing.fd, manifests.text(entries))
            for target, *_ in written:
                target.sync()  # takes its time, and may still be interrupted
            stack.enter_context(deferred())
            for target, *_ in written:
                target.publish()
            if listing is not None:
                listing.publish()
            elif self._overwrite and isinstance(written[0][0], NewFile):
                beside.unlink(missing_ok=True)  # it was about the file just replaced
            for path in stale:
                path.unlink()
                self.removed += (str(path),)
            if self._on_done is not None:
                self._on_done()
        return tuple(
            ExportedFile(name, rows, size, digest)
            for (_, name, rows, size), digest in zip(written, digests, strict=True)
        )


def check_target(
    file: str | os.PathLike[str], *, overwrite: bool = False, split: bool = False
) -> None:
    """Object to *file* before anything else is done, where that can be known so early.

    Raises:
        FileExistsError: It, or a part of an earlier split export, is there already.
        OSError, TransferError: It cannot be written there.
    """
    path = Path(file)
    if split:
        found = () if overwrite else _parts(path)
        if found:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(found[0]))
        path = path.with_name(part_name(path.name, 1))
    if os.fspath(file) != STDOUT and (path.is_dir() or path.is_file() or not path.exists()):
        open_target(path, overwrite=overwrite).close()


def _parts(path: Path) -> list[Path]:
    """Return the files of a split export to *path* that are there, in their order."""
    import glob

    stem, dot, suffixes = path.name.partition(".")
    pattern = f"{glob.escape(stem)}-[0-9][0-9][0-9][0-9]*{glob.escape(dot + suffixes)}"
    found = [p for p in path.parent.glob(pattern) if manifests.PART.sub("", p.name) == path.name]
    return sorted(found, key=lambda p: (len(p.name), p.name))
