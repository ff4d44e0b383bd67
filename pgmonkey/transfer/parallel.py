"""Several connections load one file: one reader cuts, a thread for each connection sends.

A backend can do the work of one processor, and parsing and storing rows is its work; the
reader needs a tenth of that. So two connections on two processors take two thirds of the
time. Nothing is committed before every COPY has succeeded (``twophase``).

The connections belong to one load and still are strangers to the server: two rows with one
key, one in each, wait for each other's end for ever, which is no deadlock to the server.
The main thread looks for such and ends it.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any, TypeAlias

import psycopg
from psycopg import errors

from pgmonkey.errors import LostError, RowError, TransferError
from pgmonkey.signals import deferred
from pgmonkey.transfer.block import Block
from pgmonkey.transfer.commit import PATIENCE, Connect, Deadline, cut
from pgmonkey.transfer.complaint import explained
from pgmonkey.transfer.copying import Copies, copies
from pgmonkey.transfer.plan import Plan
from pgmonkey.transfer.reader import Reader
from pgmonkey.transfer.stream import Feed, copy_blocks
from pgmonkey.transfer.trail import Trail
from pgmonkey.transfer.twophase import Pact
from pgmonkey.transfer.watch import PAUSE, Watch

NOTHING = "nothing was imported"
# Blocks that wait for a connection, for each: the next one is read in a tenth of the time
# that the server takes for one, so none runs dry.
AHEAD = 1
# Seconds until a thread looks whether the load was given up.
LOOK = 0.1


class _GivenUp(Exception):
    """The load ends because of something that happened elsewhere."""


class _Pieces:
    """A record too long for one block, on its way to one connection."""

    def __init__(self) -> None:
        self.queue: queue.Queue[Block] = queue.Queue(maxsize=AHEAD)


_Item: TypeAlias = "tuple[Reader, Block | _Pieces] | None"


class _Work:
    """What the threads share: blocks to send, and whether it is over."""

    def __init__(self, jobs: int) -> None:
        self._items: queue.Queue[_Item] = queue.Queue(maxsize=jobs * AHEAD)
        self._given_up = threading.Event()

    def give_up(self) -> None:
        self._given_up.set()

    def put(self, into: queue.Queue[Any] | None, item: Any) -> bool:
        """Return whether there was room within the time between two looks."""
        try:
            (into or self._items).put(item, timeout=LOOK)
        except queue.Full:
            return False
        return True

    def items(self) -> Iterator[tuple[Reader, Block]]:
        """Yield what one thread gets, with the file it is from."""
        while (item := self._get(self._items)) is not None:
            reader, what = item
            if isinstance(what, Block):
                yield reader, what
                continue
            while True:
                block = self._get(what.queue)
                yield reader, block
                if not block.more:
                    break

    def _get(self, source: queue.Queue[Any]) -> Any:
        while not self._given_up.is_set():
            with contextlib.suppress(queue.Empty):
                return source.get(timeout=LOOK)
        raise _GivenUp


class _Worker(threading.Thread):
    """One connection and the thread that sends over it; its transaction stays open."""

    def __init__(
        self,
        conn: psycopg.Connection[Any],
        work: _Work,
        plan: Plan,
        statements: Copies,
        refused: Callable[[int], bool | None],
    ) -> None:
        super().__init__(name="pgmonkey-load", daemon=True)
        self.conn = conn
        self.pid = conn.info.backend_pid
        self.rows = 0
        self._trails: list[Trail] = []
        self.error: BaseException | None = None
        # Not join() and is_alive(): before Python 3.13 a Ctrl-C in join() makes a thread that
        # runs count as ended.
        self.ended = threading.Event()
        self.waits = False  # for another connection of this load, with a key that both have
        self._work = work
        self._plan = plan
        self._statements = statements
        self._refused = refused
        self._trail: Trail | None = None

    def run(self) -> None:
        try:
            for reader, group in groupby(self._work.items(), key=lambda item: item[0]):
                self._trail = Trail(reader.source)
                self._trails.append(self._trail)
                blocks = (block for _, block in group)
                self.rows += copy_blocks(
                    self.conn, self._statements, reader.eol, blocks, self._trail, self._refused
                )
            self._trail = None
            self.conn.execute("SET CONSTRAINTS ALL IMMEDIATE")
        except psycopg.Error as error:
            self.error = self._explained(error)
            self.error.__cause__ = error
        except BaseException as error:  # handed to the main thread, which raises it
            self.error = error
        finally:
            self.ended.set()

    def _explained(self, error: psycopg.Error) -> TransferError:
        found = explained(error, self._plan, self._trail, self._plan.table.name, NOTHING)
        if self.waits and isinstance(error, errors.QueryCanceled):
            return RowError(
                f"another row of the input has the same unique key (--jobs 1 says which); {NOTHING}",
                file=found.file,
                line=found.line,
                sqlstate="23505",
            )
        return found

    def lines(self) -> str:
        """Return which lines it has sent, for a report."""
        return ", ".join(trail.lines() for trail in self._trails)


def load(
    feed: Feed,
    conn: psycopg.Connection[Any],
    connect: Connect,
    jobs: int,
    ending: contextlib.ExitStack,
) -> tuple[int, str]:
    """Load *feed* with *jobs* connections; return the rows and how they were committed.

    Args:
        conn: Idle; it watches the others and sends nothing.
        ending: From the commit to its end, interrupts wait.

    Raises:
        TransferError, CommitUnknownError: As ``importer.load``.
    """
    plan = feed.plan
    statements = copies(plan, plan.table.sql())
    work = _Work(jobs)
    watch = Watch(conn=conn)
    pact = Pact(conn, jobs)
    workers: list[_Worker] = []
    try:
        for part in range(1, jobs + 1):
            workers.append(_Worker(_opened(connect), work, plan, statements, watch.refused))
            pact.begin(workers[-1].conn, part)
        for worker in workers:
            worker.start()
        _distribute(feed, work, lambda: _look(workers, watch))
        for worker in workers:
            while not worker.ended.wait(LOOK):
                _look(workers, watch)
        _look(workers, watch)
        connections = [worker.conn for worker in workers]
        with contextlib.ExitStack() as stack:
            deadlines = [stack.enter_context(Deadline(conn)) for conn in connections]

            def limit() -> None:
                for deadline in deadlines:
                    deadline.set()

            ending.enter_context(deferred(limit))
            pact.commit(connections, connect, lambda: [w.lines() for w in workers])
    except BaseException as error:  # interrupts too: threads and transactions end
        _stop(work, workers)
        pact.roll_back(worker.conn for worker in workers)
        first = _first(workers, error)
        raise first from first.__cause__
    finally:
        for worker in workers:
            worker.conn.close()
        with contextlib.suppress(psycopg.Error):
            pact.close()
    return sum(worker.rows for worker in workers), pact.how


def _opened(connect: Connect) -> psycopg.Connection[Any]:
    conn = connect()
    conn.autocommit = False
    return conn


def _distribute(feed: Feed, work: _Work, look: Callable[[], None]) -> None:
    """Hand every block to whichever connection is free first; long records to one."""

    def put(into: queue.Queue[Any] | None, item: Any) -> None:
        while not work.put(into, item):
            look()

    pieces: _Pieces | None = None
    for reader, blocks in feed.files():
        for block in blocks:
            look()
            if block.starts and block.more:
                pieces = _Pieces()
                put(None, (reader, pieces))
            if pieces is None:
                put(None, (reader, block))
            else:
                put(pieces.queue, block)
                pieces = pieces if block.more else None
    for _ in range(feed.plan.jobs):
        put(None, None)


def _look(workers: Sequence[_Worker], watch: Watch) -> None:
    """Raise what has happened to a worker; end a wait that would last for ever."""
    for worker in workers:
        if worker.error is not None:
            raise worker.error
    if pair := watch.waiting([worker.pid for worker in workers]):
        waiter = next(worker for worker in workers if worker.pid == pair[0])
        waiter.waits = True
        waiter.conn.cancel_safe(timeout=PATIENCE)


def _stop(work: _Work, workers: Sequence[_Worker]) -> None:
    """End every thread: by itself, then by cancelling its COPY, then by cutting its network."""
    work.give_up()
    running = [worker for worker in workers if worker.ident is not None]
    _wait(running, PAUSE)
    for worker in running:
        if not worker.ended.is_set():
            # A server that does not answer takes its time here too; so all are asked at once.
            threading.Thread(target=_cancel, args=[worker.conn], daemon=True).start()
    _wait(running, PATIENCE)
    for worker in running:
        if not worker.ended.is_set():
            cut(worker.conn)
    _wait(running, PATIENCE)


def _wait(workers: Sequence[_Worker], seconds: float) -> None:
    """Wait for all of *workers* to end, *seconds* at most."""
    deadline = time.monotonic() + seconds
    for worker in workers:
        worker.ended.wait(max(0.0, deadline - time.monotonic()))


def _cancel(conn: psycopg.Connection[Any]) -> None:
    with contextlib.suppress(psycopg.Error):
        conn.cancel_safe(timeout=PATIENCE)


def _first(workers: Sequence[_Worker], error: BaseException) -> BaseException:
    """Return what to tell the user: of several errors in the data, that of the lowest line."""
    if not isinstance(error, TransferError) or isinstance(error, LostError):
        return error
    told = [
        worker.error
        for worker in workers
        if isinstance(worker.error, TransferError)
        and worker.error.line
        # What was cancelled because of the other one's error is no error in the data.
        and getattr(worker.error, "sqlstate", None) != errors.QueryCanceled.sqlstate
    ]
    return min(told, key=lambda e: (e.file != error.file, e.line or 0), default=error)
