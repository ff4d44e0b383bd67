"""Carry out a plan: files into a table, all or nothing.

Everything of one connection happens in one transaction, DDL and TRUNCATE included, so that
whatever ends it (a bad row, Ctrl-C, a killed client, a lost network) the server leaves the
table as it was. Several connections are in ``parallel``; what COPY cannot do is in
``staging``; rows that are set aside are in ``skipping``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg import errors, sql
from psycopg.pq import TransactionStatus

from pgmonkey.errors import TargetError
from pgmonkey.signals import deferred
from pgmonkey.transfer import parallel, staging, twophase
from pgmonkey.transfer.block import Block
from pgmonkey.transfer.commit import Connect, number, settle, transaction
from pgmonkey.transfer.complaint import explained
from pgmonkey.transfer.copying import copies
from pgmonkey.transfer.plan import Plan, Progress, Summary
from pgmonkey.transfer.reader import Reader
from pgmonkey.transfer.rejects import RejectsFile
from pgmonkey.transfer.source import Source
from pgmonkey.transfer.stream import Feed, copy_blocks, portions
from pgmonkey.transfer.trail import Trail
from pgmonkey.transfer.watch import Watch

if TYPE_CHECKING:
    from pgmonkey.transfer.skipping import Outcome

NOTHING = "nothing was imported"

_T = TypeVar("_T")


def load(
    plan: Plan,
    sources: Sequence[Source | Path],
    conn: psycopg.Connection[Any],
    *,
    connect: Connect | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    on_note: Callable[[str], None] | None = None,
    on_done: Callable[[], None] | None = None,
) -> Summary:
    """Load *sources* as *plan* says.

    Args:
        sources: Paths, or sources that are open already; closed afterwards.
        conn: Open. Without a transaction, the load has its own and commits it; within one,
            it takes part and the caller commits.
        connect: Opens a further connection like *conn*, closed afterwards. Without it one
            connection has to do.
        on_progress: Called after every block of about half a megabyte.
        on_note: Called with what the user should know, one sentence each.
        on_done: Called when everything is in its place, while interrupts still wait.

    Raises:
        KeyboardInterrupt: Loading in portions, its text says which rows are committed.
        TransferError: A row, a file or the table does not admit it, or the server is gone.
            Nothing was imported unless the text says what was.
        CommitUnknownError: The connection was lost during COMMIT, and the server could not
            be asked how it ended.
        psycopg.Error: The server refused something that is not about the data.
        RejectLimitError: More rows are bad than the plan allows; nothing was imported.
        OSError: A file cannot be read, or the rejects file not be written.
    """
    started = time.monotonic()
    feed = Feed(plan, list(sources), on_progress)
    own = conn.info.transaction_status == TransactionStatus.IDLE
    jobs, how = 1, "one transaction" if own else "part of the transaction it was called in"
    rejected, first = 0, []
    if own:
        for text in twophase.recover(conn):
            if on_note is not None:
                on_note(text)
    with ExitStack() as ending:
        if plan.on_error == "skip":
            file = ending.enter_context(RejectsFile(plan, feed.sources))
            done = _at_once(feed, conn, connect, ending, partial(_skipped, feed, conn, file))
            file.publish(f"{done.rows} rows are imported")
            rows, rejected, first = done.rows, done.rejected, file.first
        elif plan.jobs > 1 and connect is not None and own and not staging.wanted(plan):
            jobs = plan.jobs
            rows, how = parallel.load(feed, conn, connect, jobs, ending)
        elif plan.commit_every is not None and own:
            with Watch(connect) as watch:
                rows, count = _in_portions(feed, conn, connect, watch, ending, plan.commit_every)
            how = f"{_many(count, 'transaction')} of {_many(plan.commit_every, 'row')}"
        else:
            with Watch(connect) as watch:
                rows = _at_once(feed, conn, connect, ending, partial(_copied, feed, conn, watch))
        seconds = time.monotonic() - started
        if on_done is not None:
            on_done()
    return Summary(rows, feed.bytes_read, seconds, rejected, jobs, how, tuple(first))


def _at_once(
    feed: Feed,
    conn: psycopg.Connection[Any],
    connect: Connect | None,
    ending: ExitStack,
    work: Callable[[], _T],
    kept: str = NOTHING,
) -> _T:
    """Do *work*, all of the load or a portion of it, in one transaction."""
    ready, xid = False, None
    try:
        with transaction(conn, ending):
            result = work()
            xid, ready = number(conn), True
    except psycopg.OperationalError as error:
        if not conn.closed:
            raise
        if not ready:
            raise explained(error, feed.plan, None, "", kept) from error
        settle(xid, connect, error)
    return result


def _copied(feed: Feed, conn: psycopg.Connection[Any], watch: Watch) -> int:
    """Copy every file; return the rows."""
    target = _Target(feed, conn)
    target.prepare()
    for reader, blocks in feed.files():
        target.copy(reader.source, reader.eol, blocks, watch, NOTHING)
    return target.finish(NOTHING)


def _skipped(feed: Feed, conn: psycopg.Connection[Any], file: RejectsFile) -> Outcome:
    """Load the good rows of every file, and write the others to *file*."""
    # What it needs is a third of all that is imported for a load, which seldom needs it.
    from pgmonkey.transfer.skipping import load_skipping

    begin(feed.plan, conn)
    blocks = chain.from_iterable(blocks for _, blocks in feed.files())
    try:
        done = load_skipping(conn, feed.plan, blocks, write=file.write)
    except psycopg.Error as error:
        raise explained(error, feed.plan, None, feed.plan.table.name, NOTHING) from error
    file.sync()
    return done


def _in_portions(
    feed: Feed,
    conn: psycopg.Connection[Any],
    connect: Connect | None,
    watch: Watch,
    ending: ExitStack,
    every: int,
) -> tuple[int, int]:
    """Commit after every *every* rows; return the rows and the transactions."""
    rows = count = 0
    kept = NOTHING
    try:
        for reader, blocks in feed.files():
            for portion in portions(blocks, every):
                work = partial(_portion, feed, conn, watch, reader, portion, kept, first=count == 0)
                with ExitStack() as committing:
                    rows += _at_once(feed, conn, connect, committing, work, kept)
                    kept = f"the first {rows} rows are committed" if rows else NOTHING
                    count += 1
        ending.enter_context(deferred())
    except KeyboardInterrupt as interrupt:
        interrupt.args = interrupt.args or (kept,)
        raise
    return rows, count


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _portion(
    feed: Feed,
    conn: psycopg.Connection[Any],
    watch: Watch,
    reader: Reader,
    blocks: Iterable[Block],
    kept: str,
    *,
    first: bool,
) -> int:
    """Load a portion of a file; return the rows."""
    target = _Target(feed, conn)
    target.prepare(first=first)
    target.copy(reader.source, reader.eol, blocks, watch, kept)
    return target.finish(kept)


class _Target:
    """Where the rows of one transaction go: straight into the table, or by way of a stage."""

    def __init__(self, feed: Feed, conn: psycopg.Connection[Any]) -> None:
        self._feed = feed
        self._plan = plan = feed.plan
        self._conn = conn
        self._rows = 0
        self._stage = staging.Stage(plan) if staging.wanted(plan) else None

    def prepare(self, *, first: bool = True) -> None:
        """Create or empty the table, if that is the plan and this the *first* transaction."""
        if first:
            begin(self._plan, self._conn)
        if self._stage:
            self._stage.create(self._conn)

    def copy(
        self, source: Source, eol: bytes, blocks: Iterable[Block], watch: Watch, kept: str
    ) -> None:
        """Send the blocks of one file."""
        plan, stage, trail = self._plan, self._stage, Trail(source)
        if stage:
            statements = copies(plan, stage.target, stage.columns)
        else:
            statements = copies(plan, plan.table.sql())
        try:
            self._rows += copy_blocks(self._conn, statements, eol, blocks, trail, watch.refused)
        except psycopg.Error as error:
            relation = stage.name if stage else plan.table.name
            raise explained(error, plan, trail, relation, kept) from error

    def finish(self, kept: str) -> int:
        """Have every rule checked that waits for the end; return the rows in the table."""
        try:
            rows = self._stage.insert(self._conn) if self._stage else self._rows
            self._conn.execute("SET CONSTRAINTS ALL IMMEDIATE")
        except psycopg.Error as error:
            name, files = self._plan.table.name, self._feed.sources
            raise explained(error, self._plan, None, name, kept, files) from error
        return rows


def begin(plan: Plan, conn: psycopg.Connection[Any]) -> None:
    """Do what comes before the first row: create the table, or empty it."""
    if plan.create is not None:
        # The statement is planning's own; names and types in it are quoted or checked there.
        conn.execute(plan.create)
    if plan.mode == "truncate":
        try:
            conn.execute(sql.SQL("TRUNCATE TABLE {}").format(plan.table.sql()))
        except errors.FeatureNotSupported as error:  # a table that others refer to
            raise TargetError(
                f"{plan.table} cannot be truncated: {error.diag.message_detail or error}"
                " --mode upsert updates its rows, --mode replace deletes them if none is"
                f" referred to; {NOTHING}"
            ) from error
    elif plan.mode == "replace":
        try:
            conn.execute(sql.SQL("DELETE FROM {}").format(plan.table.sql()))
        except errors.ForeignKeyViolation as error:
            raise TargetError(
                f"the rows of {plan.table} cannot be replaced: {error.diag.message_detail or error}"
                f" --mode upsert updates them; {NOTHING}"
            ) from error
