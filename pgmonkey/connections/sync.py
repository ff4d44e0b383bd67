"""Handles for ``normal`` and ``pool``: what ``get_database_connection`` returns.

A handle is entered to get a connection and left to finish its transaction:

    with handle as conn:
        conn.execute("...")

Leaving commits, an exception rolls back. ``aio`` is the twin of this module, line by
line; what both decide alike is in ``base``.
"""

from __future__ import annotations

import functools
import threading
import weakref
from contextlib import AbstractContextManager
from threading import get_ident
from time import monotonic
from typing import Any, cast

import psycopg
from psycopg.rows import TupleRow

from pgmonkey.connections import base
from pgmonkey.connections.base import Handle
from pgmonkey.connections.driver import Connection, begin, end, open_connection
from pgmonkey.connections.leaving import Block, Leave, Leaving, fetched
from pgmonkey.connections.pool import Pool
from pgmonkey.connections.pool_stats import PoolStats
from pgmonkey.connections.turn import Turn
from pgmonkey.errors import HandleError


def _take(turn: Turn, seconds: float) -> bool:
    return turn.acquire(seconds)


class _SyncHandle(Handle):
    """What both sync handles do alike."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._leaves: dict[int, weakref.ref[Leave]] = {}
        self._reset()

    def cursor(self, *args: Any, **kwargs: Any) -> psycopg.Cursor[Any]:
        """Open a cursor on the connection of this thread's open block; arguments are psycopg's."""
        cursor: psycopg.Cursor[Any] = self._current("cursor()").cursor(*args, **kwargs)
        return cursor

    def transaction(self, *args: Any, **kwargs: Any) -> Any:
        """Start psycopg's transaction block in this thread's open block."""
        return self._current("transaction()").transaction(*args, **kwargs)

    def commit(self) -> None:
        """Commit what this thread's open block did so far."""
        self._current("commit()").commit()

    def __enter__(self) -> psycopg.Connection[TupleRow]:
        leave = fetched(self)
        conn = self._enter()
        if leave is not None:
            leave.conn, leave.place = conn, conn.memory.place
        return conn

    __exit__ = Leaving()

    def _enter(self) -> Connection:
        """Begin a block and return its connection."""
        raise NotImplementedError

    def _leave(self, kind: type[BaseException] | None) -> None:
        """End this thread's innermost block, which raised an exception of *kind* or none."""
        raise NotImplementedError

    def _bring_up(self, conn: Connection) -> None:
        """Make the block of *conn* the innermost: others may not have been left in their turn."""

    def _forsake(self, thread: object, conn: Connection, place: Any) -> None:
        """Put away the connection of a block of *thread* that nobody will leave."""
        raise NotImplementedError

    def _reset(self) -> None:
        """Have no connection and no block."""
        raise NotImplementedError

    def _current(self, what: str) -> Connection:
        """Return the connection of the open block, or raise that *what* needs one."""
        raise NotImplementedError


class ConnectionHandle(_SyncHandle):
    """One connection, lent to one thread at a time.

    It stays open between blocks. A block inside a block of the same thread is part of it:
    only the outermost one ends the transaction.
    """

    def _reset(self) -> None:
        self._conn: Connection | None = None
        self._free = Turn()
        self._owner: int | None = None
        self._depth = 0

    def connect(self) -> None:
        """Open the connection, also after ``disconnect``; replace it if its server has gone.

        Leaves a connection alone that is in somebody's block.
        """
        if _take(self._free, 0):
            try:
                self._sound()
                self._opened()
            finally:
                self._free.release()

    def disconnect(self) -> None:
        """Close the connection, after its open block if there is one, and leave the cache."""
        self._evict()
        self._close_if_free()

    def _enter(self) -> Connection:
        me = get_ident()
        if self._conn is not None and self._owner == me:
            self._depth += 1
            return self._conn
        self._check_open()
        if not _take(self._free, self._patience):
            raise self._busy()
        try:
            conn = self._sound()
            begin(conn, self.settings, self.connection_type, self._patience)
            conn.memory.lend(me)
            self._owner, self._depth = me, 1
            return conn
        except BaseException:  # interrupts too: the next block must find it free
            self._close()  # it may be in the middle of a transaction
            self._free.release()
            raise

    def _leave(self, kind: type[BaseException] | None) -> None:
        try:
            conn = self._current("leaving")
        except HandleError:
            if kind is None:
                raise
            return  # the body's own exception says more
        self._depth -= 1
        if self._depth:
            return
        try:
            end(conn, kind is not None)
        finally:
            self._owner = None
            if not base.idle(conn):  # broken, or interrupted before it was ended
                self._close()
            self._free.release()
            if self.closed:
                self._close_if_free()

    def _forsake(self, thread: object, conn: Connection, place: Any) -> None:
        if self._conn is conn and self._free.owner == thread:
            self._depth -= 1
            if self._depth <= 0:
                self._owner = None
                self._close()
                self._free.release()

    def rollback(self) -> None:
        """Roll back what this thread's block did so far; outside a block, do nothing."""
        if self._conn is not None and self._owner == get_ident():
            self._conn.rollback()

    @property
    def busy(self) -> bool:
        """Whether a block is open somewhere."""
        return self._free.locked()

    def _current(self, what: str) -> Connection:
        if self._conn is None or self._owner != get_ident():
            raise self._no_block(what)
        return self._conn

    def _sound(self) -> Connection:
        """Return the connection, made anew if there is none or its server has gone."""
        if self._conn is None or not base.alive(self._conn.pgconn, self._conn.memory):
            self._close()
            self._conn = open_connection(self.settings, self.connection_type)
        return self._conn

    def _close(self) -> None:
        if self._conn is not None:
            self._conn.close()
            self._conn = None

    def _close_if_free(self) -> None:
        if _take(self._free, 0):
            try:
                self._close()
            finally:
                self._free.release()

    def _forked(self) -> None:
        self._reset()

    def _abandon(self, seconds: float = 0.0) -> None:
        self.closed = True
        if self._conn is not None:
            self._conn.pgconn.finish()


class PoolHandle(_SyncHandle):
    """A pool: every block borrows its own connection, from any number of threads.

    A block inside a block of the same thread borrows a second one.
    """

    def _reset(self) -> None:
        self._pool: Pool | None = None
        self._starting = threading.Lock()
        self._blocks: dict[object, list[Connection]] = {}

    def connect(self) -> None:
        """Open the pool, also after ``disconnect``; return once one connection is made."""
        with self._starting:
            if self._pool is None:
                make = functools.partial(open_connection, self.settings, self.connection_type)
                pool = Pool(
                    make,
                    self.settings.pool(self.connection_type),
                    base.wants_primary(self.settings),
                )
                pool.start()
                self._pool = pool
                self._opened()

    def disconnect(self) -> None:
        """Close the pool and leave the cache; a borrowed connection is closed on its return."""
        self._evict()
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    def _enter(self) -> Connection:
        me = get_ident()
        conn = self._borrow(len(self._blocks.get(me, ())))
        try:
            self._blocks.setdefault(me, []).append(conn)
        except BaseException:  # an interrupt: nobody will leave this block
            self._forsake(me, conn, conn.memory.place)
            raise
        return conn

    def _leave(self, kind: type[BaseException] | None) -> None:
        try:
            conn = self._current("leaving")
        except HandleError:
            if kind is None:
                raise
            return  # the body's own exception says more
        self._close_block(get_ident(), conn)
        self._give_back(conn, kind is not None)

    def connection(self) -> AbstractContextManager[psycopg.Connection[TupleRow]]:
        """A block that may end in another thread than it began in.

        Some frameworks run the two halves of a generator in different threads; there,
        write ``with handle.connection() as conn:``. The methods of the handle do not
        see such a block; those of the connection are all there.
        """
        return Block(self)

    def lend(self) -> psycopg.Connection[TupleRow]:
        """Lend a connection whose ``close()`` gives it back to the pool, rolled back.

        For libraries that open and close connections themselves, such as SQLAlchemy;
        elsewhere write a block.
        """
        conn = self._borrow(0)
        conn.memory.give_back = self._give_back
        return conn

    def rollback(self) -> None:
        """Roll back what this thread's innermost block did; outside a block, do nothing."""
        held = self._blocks.get(get_ident())
        if held:
            held[-1].rollback()

    def stats(self) -> PoolStats:
        """Return the pool's figures; all zero while it is not open."""
        return PoolStats() if self._pool is None else self._pool.stats()

    @property
    def busy(self) -> bool:
        """Whether a connection is lent, or being made."""
        figures = self.stats()
        return figures.size > figures.idle

    def _close_block(self, borrower: object, conn: Connection) -> None:
        held = self._blocks.get(borrower, [])
        if conn in held:
            held.remove(conn)
        if not held:
            self._blocks.pop(borrower, None)

    def _bring_up(self, conn: Connection) -> None:
        held = self._blocks.get(get_ident(), [])
        if conn in held:
            held.remove(conn)
            held.append(conn)

    def _forsake(self, borrower: object, conn: Connection, place: Any) -> None:
        """Put away the connection of a block that nobody will leave."""
        self._close_block(borrower, conn)
        pool = cast("Pool | None", conn._pool)
        if pool is not None:
            pool.forsake(place)

    def _current(self, what: str) -> Connection:
        held = self._blocks.get(get_ident())
        if not held:
            raise self._no_block(what)
        return held[-1]

    def _borrow(self, held: int) -> Connection:
        self._check_open()
        if self._pool is None:
            self.connect()  # in a forked child
        pool = cast(Pool, self._pool)
        if held >= pool.max_size:
            raise self._all_held(pool.max_size)
        began = monotonic()
        conn = pool.getconn()
        try:
            conn.memory.lend(get_ident())
            left = pool.timeout - (monotonic() - began)
            begin(conn, self.settings, self.connection_type, left)
        except BaseException:  # interrupts too: the slot goes back to the pool
            self._give_back(conn, True)
            raise
        return conn

    def _give_back(self, conn: Connection, failed: bool) -> None:
        pool = cast("Pool | None", conn._pool)
        try:
            end(conn, failed)
        finally:
            if pool is not None:  # else it came over a fork
                pool.give_back(conn)

    def _forked(self) -> None:
        if self._pool is not None:
            self._pool.forked()
        self._reset()

    def _abandon(self, seconds: float = 0.0) -> None:
        self.closed = True
        if self._pool is not None:
            self._pool.abandon(seconds)
