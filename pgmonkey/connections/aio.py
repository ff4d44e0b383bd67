"""Handles for ``async`` and ``async_pool``: what awaiting ``get_database_connection`` gives.

    async with handle as conn:
        await conn.execute("...")

The twin of ``sync``, line by line; a test compares the two. What is different: a task
takes the place of a thread, and a handle belongs to the event loop that opened it.
"""

from __future__ import annotations

import asyncio
import functools
import weakref
from asyncio import current_task
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any, cast

import psycopg
from psycopg.rows import TupleRow

from pgmonkey.connections import base
from pgmonkey.connections.base import Handle
from pgmonkey.connections.driver_aio import AsyncConnection, begin, end, open_connection
from pgmonkey.connections.pool_aio import AsyncPool
from pgmonkey.connections.pool_stats import PoolStats
from pgmonkey.errors import HandleError


async def _take(lock: asyncio.Lock, seconds: float) -> bool:
    if not lock.locked():
        return await lock.acquire()
    if not seconds:
        return False
    try:
        return await asyncio.wait_for(lock.acquire(), seconds)
    except asyncio.TimeoutError:
        return False


class _AsyncHandle(Handle):
    """What both async handles do alike; they belong to the event loop they were opened in."""

    _borrower_word = "task"
    _block_words = "async with"
    _loop: weakref.ref[asyncio.AbstractEventLoop] | None = None

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._reset()

    def cursor(self, *args: Any, **kwargs: Any) -> psycopg.AsyncCursor[Any]:
        """Open a cursor on the connection of this task's open block; arguments are psycopg's."""
        cursor: psycopg.AsyncCursor[Any] = self._current("cursor()").cursor(*args, **kwargs)
        return cursor

    def transaction(self, *args: Any, **kwargs: Any) -> Any:
        """Start psycopg's transaction block in this task's open block."""
        return self._current("transaction()").transaction(*args, **kwargs)

    async def commit(self) -> None:
        """Commit what this task's open block did so far."""
        await self._current("commit()").commit()

    async def __aenter__(self) -> psycopg.AsyncConnection[TupleRow]:
        return await self._enter()

    async def __aexit__(self, kind: type[BaseException] | None, error: Any, trace: Any) -> None:
        await self._leave(kind)

    async def _enter(self) -> AsyncConnection:
        """Begin a block and return its connection."""
        raise NotImplementedError

    async def _leave(self, kind: type[BaseException] | None) -> None:
        """End this task's innermost block, which raised an exception of *kind* or none."""
        raise NotImplementedError

    def _reset(self) -> None:
        """Have no connection and no block."""
        raise NotImplementedError

    def _current(self, what: str) -> AsyncConnection:
        """Return the connection of the open block, or raise that *what* needs one."""
        raise NotImplementedError

    def loop(self) -> asyncio.AbstractEventLoop | None:
        """Return the loop it was opened in, or None once that is closed or gone."""
        loop = self._loop() if self._loop is not None else None
        return None if loop is None or loop.is_closed() else loop

    def _opened(self) -> None:
        self._loop = weakref.ref(asyncio.get_running_loop())
        self.closed = False

    def _check_open(self) -> None:
        super()._check_open()
        if self.loop() is not asyncio.get_running_loop():
            raise HandleError(
                f"{self!r} was opened in another event loop; get one in this loop from the manager"
            )


class AsyncConnectionHandle(_AsyncHandle):
    """One connection, lent to one task at a time.

    It stays open between blocks. A block inside a block of the same task is part of it:
    only the outermost one ends the transaction.
    """

    def _reset(self) -> None:
        self._conn: AsyncConnection | None = None
        self._free = asyncio.Lock()
        self._owner: asyncio.Task[Any] | None = None
        self._depth = 0

    async def connect(self) -> None:
        """Open the connection, also after ``disconnect``; replace it if its server has gone.

        Leaves a connection alone that is in somebody's block.
        """
        if await _take(self._free, 0):
            try:
                await self._sound()
                self._opened()
            finally:
                self._free.release()

    async def disconnect(self) -> None:
        """Close the connection, after its open block if there is one, and leave the cache."""
        self._evict()
        await self._close_if_free()

    async def _enter(self) -> AsyncConnection:
        me = current_task()
        if self._conn is not None and self._owner == me:
            self._depth += 1
            return self._conn
        self._check_open()
        if not await _take(self._free, self._patience):
            raise self._busy()
        try:
            conn = await self._sound()
            await begin(conn, self.settings, self.connection_type, self._patience)
            conn.memory.lend(me)
            self._owner, self._depth = me, 1
            return conn
        except BaseException:  # interrupts too: the next block must find it free
            await self._close()  # it may be in the middle of a transaction
            self._free.release()
            raise

    async def _leave(self, kind: type[BaseException] | None) -> None:
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
            await end(conn, kind is not None)
        finally:
            self._owner = None
            if not base.idle(conn):  # broken, or interrupted before it was ended
                await self._close()
            self._free.release()
            if self.closed:
                await self._close_if_free()

    async def rollback(self) -> None:
        """Roll back what this task's block did so far; outside a block, do nothing."""
        if self._conn is not None and self._owner == current_task():
            await self._conn.rollback()

    @property
    def busy(self) -> bool:
        """Whether a block is open somewhere."""
        return self._free.locked()

    def _current(self, what: str) -> AsyncConnection:
        if self._conn is None or self._owner != current_task():
            raise self._no_block(what)
        return self._conn

    async def _sound(self) -> AsyncConnection:
        """Return the connection, made anew if there is none or its server has gone."""
        if self._conn is None or not base.alive(self._conn.pgconn, self._conn.memory):
            await self._close()
            self._conn = await open_connection(self.settings, self.connection_type)
        return self._conn

    async def _close(self) -> None:
        if self._conn is not None:
            await self._conn.close()
            self._conn = None

    async def _close_if_free(self) -> None:
        if await _take(self._free, 0):
            try:
                await self._close()
            finally:
                self._free.release()

    def _forked(self) -> None:
        self._reset()
        self.closed = True  # its event loop is the parent's

    def _abandon(self, seconds: float = 0.0) -> None:
        self.closed = True
        if self._conn is not None:
            self._conn.pgconn.finish()


class AsyncPoolHandle(_AsyncHandle):
    """A pool: every block borrows its own connection, from any number of tasks.

    A block inside a block of the same task borrows a second one.
    """

    def _reset(self) -> None:
        self._pool: AsyncPool | None = None
        self._starting = asyncio.Lock()
        self._blocks: dict[object, list[AsyncConnection]] = {}

    async def connect(self) -> None:
        """Open the pool, also after ``disconnect``; return once one connection is made."""
        async with self._starting:
            if self._pool is None:
                make = functools.partial(open_connection, self.settings, self.connection_type)
                pool = AsyncPool(
                    make,
                    self.settings.pool(self.connection_type),
                    base.wants_primary(self.settings),
                )
                await pool.start()
                self._pool = pool
                self._opened()

    async def disconnect(self) -> None:
        """Close the pool and leave the cache; a borrowed connection is closed on its return."""
        self._evict()
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()

    async def _enter(self) -> AsyncConnection:
        me = current_task()
        conn = await self._borrow(len(self._blocks.get(me, ())))
        try:
            self._blocks.setdefault(me, []).append(conn)
        except BaseException:  # an interrupt: nobody will leave this block
            self._forsake(me, conn, conn.memory.place)
            raise
        return conn

    async def _leave(self, kind: type[BaseException] | None) -> None:
        try:
            conn = self._current("leaving")
        except HandleError:
            if kind is None:
                raise
            return  # the body's own exception says more
        self._close_block(current_task(), conn)
        await self._give_back(conn, kind is not None)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[psycopg.AsyncConnection[TupleRow]]:
        """A block that may end in another task than it began in.

        Some frameworks run the two halves of a generator in different tasks; there,
        write ``async with handle.connection() as conn:``. The methods of the handle do not
        see such a block; those of the connection are all there.
        """
        conn = await self._borrow(0)
        failed = True
        try:
            yield conn
            failed = False
        finally:
            await self._give_back(conn, failed)

    async def lend(self) -> psycopg.AsyncConnection[TupleRow]:
        """Lend a connection whose ``close()`` gives it back to the pool, rolled back.

        For libraries that open and close connections themselves, such as SQLAlchemy;
        elsewhere write a block.
        """
        conn = await self._borrow(0)
        conn.memory.give_back = self._give_back
        return conn

    async def rollback(self) -> None:
        """Roll back what this task's innermost block did; outside a block, do nothing."""
        held = self._blocks.get(current_task())
        if held:
            await held[-1].rollback()

    def stats(self) -> PoolStats:
        """Return the pool's figures; all zero while it is not open."""
        return PoolStats() if self._pool is None else self._pool.stats()

    @property
    def busy(self) -> bool:
        """Whether a connection is lent, or being made."""
        figures = self.stats()
        return figures.size > figures.idle

    def _close_block(self, borrower: object, conn: AsyncConnection) -> None:
        held = self._blocks.get(borrower, [])
        if conn in held:
            held.remove(conn)
        if not held:
            self._blocks.pop(borrower, None)

    def _forsake(self, borrower: object, conn: AsyncConnection, place: Any) -> None:
        """Put away the connection of a block that nobody will leave."""
        self._close_block(borrower, conn)
        pool = cast("AsyncPool | None", conn._pool)
        if pool is not None:
            pool.forsake(place)

    def _current(self, what: str) -> AsyncConnection:
        held = self._blocks.get(current_task())
        if not held:
            raise self._no_block(what)
        return held[-1]

    async def _borrow(self, held: int) -> AsyncConnection:
        self._check_open()
        if self._pool is None:
            await self.connect()  # in a forked child
        pool = cast(AsyncPool, self._pool)
        if held >= pool.max_size:
            raise self._all_held(pool.max_size)
        began = monotonic()
        conn = await pool.getconn()
        try:
            conn.memory.lend(current_task())
            left = pool.timeout - (monotonic() - began)
            await begin(conn, self.settings, self.connection_type, left)
        except BaseException:  # interrupts too: the slot goes back to the pool
            await self._give_back(conn, True)
            raise
        return conn

    async def _give_back(self, conn: AsyncConnection, failed: bool) -> None:
        pool = cast("AsyncPool | None", conn._pool)
        try:
            await end(conn, failed)
        finally:
            if pool is not None:  # else it came over a fork
                await pool.give_back(conn)

    def _forked(self) -> None:
        if self._pool is not None:
            self._pool.forked()
        self._reset()
        self.closed = True  # its event loop is the parent's

    def _abandon(self, seconds: float = 0.0) -> None:
        self.closed = True
        if self._pool is not None:
            self._pool.abandon()
