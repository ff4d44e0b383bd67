"""psycopg_pool's pools, with a start that fails fast and an end that never hangs.

What is different, and why:

* ``start`` makes the first connection in the caller, so that a wrong password is reported
  as such, in the time of one login; psycopg_pool would retry and time out.
* Every connection is made by the function given, which is the one that single
  connections use too.
* A connection whose server went away while it was idle is not handed out.
* The tasks of the async pool end when they are cancelled. psycopg_pool takes a
  cancellation while connecting for a failed attempt, and ``asyncio.run`` then waits for
  ever for a worker that goes on.
* ``abandon`` lets go of everything from any thread, for exit and garbage collection.

The overridden methods are private to psycopg_pool, hence the pinned minor version.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

import psycopg
from psycopg import generators
from psycopg_pool import AsyncConnectionPool, ConnectionPool, PoolTimeout
from psycopg_pool import pool as sync_tasks
from psycopg_pool import pool_async as async_tasks
from psycopg_pool._acompat import AEvent
from psycopg_pool.base import BasePool

from pgmonkey.config.settings import PoolSettings
from pgmonkey.connections.base import alive, pool_timeout_message
from pgmonkey.connections.driver import Connection
from pgmonkey.connections.driver_aio import AsyncConnection

logger = logging.getLogger("pgmonkey.connections")

# An empty query costs a server well under a millisecond and a network its round trip; who
# takes a whole second for it is stalled.
CHECK_SECONDS = 1.0

# A connection that goes straight from one block to a waiting one was in use just now, and
# looking at it would cost every waiter a turn at the interpreter. Longer than any hand-over.
HANDED_SECONDS = 0.1


def _arguments(settings: PoolSettings) -> dict[str, Any]:
    return {
        "min_size": settings.min_size,
        "max_size": settings.max_size,
        "timeout": settings.timeout,
        "max_idle": settings.max_idle,
        "max_lifetime": settings.max_lifetime,
        "max_waiting": settings.max_waiting,
        "reconnect_timeout": settings.reconnect_timeout,
        "num_workers": settings.num_workers,
        "name": settings.name,
        "open": False,
    }


def _finish_idle(pool: BasePool) -> None:
    while pool._pool:
        pool._pool.popleft().pgconn.finish()


def _looks_alive(conn: Connection | AsyncConnection) -> bool:
    handed_over = monotonic() - conn.memory.handed_at < HANDED_SECONDS
    return handed_over or alive(conn.pgconn, conn.memory)


def _exhausted(pool: Pool | AsyncPool, seconds: float) -> str:
    # Who gave up stays in psycopg_pool's queue, marked, until its turn would have come.
    clients: tuple[Any, ...] = tuple(pool._waiting)
    waiting = sum(client.error is None for client in clients)
    return pool_timeout_message(pool.get_stats(), waiting, seconds, pool.last_error)


class Pool(ConnectionPool[Connection]):
    """A pool whose connections are made by *connect*.

    Attributes:
        last_error: Why the latest attempt to connect failed; None once one succeeded.
    """

    def __init__(self, connect: Callable[[], Connection], settings: PoolSettings) -> None:
        self._make = connect
        self._check_idle = settings.check_on_checkout
        self.last_error: Exception | None = None
        super().__init__(**_arguments(settings))

    def __del__(self) -> None:
        self.abandon()

    def start(self) -> None:
        """Open the pool with one connection in it, or raise why that could not be made.

        The others, up to ``min_size``, are made in the background.
        """
        first = self._connect()
        self.open()
        self._add_to_pool(first)

    def getconn(self, timeout: float | None = None) -> Connection:
        seconds = self.timeout if timeout is None else timeout
        deadline = monotonic() + seconds
        while True:
            try:
                conn = super().getconn(deadline - monotonic())
            except PoolTimeout:
                raise PoolTimeout(_exhausted(self, seconds)) from None
            if _looks_alive(conn) and (not self._check_idle or self._answers(conn, deadline)):
                return conn
            conn.close()
            self.give_back(conn)

    def give_back(self, conn: Connection) -> None:
        """Return *conn*; one that is not idle and sound is closed and replaced."""
        if self.closed or not conn.closed:
            if self._waiting:
                conn.memory.handed_at = monotonic()
            self.putconn(conn)
            return
        # What psycopg_pool does with a connection that failed a check: replaced without
        # a warning about something that nobody did wrong.
        self._return_connection(conn, from_getconn=True)

    def abandon(self, seconds: float = 0.0) -> None:
        """Close every idle connection and stop the threads, waiting *seconds* for them."""
        if getattr(self, "_closed", True):
            return
        self._closed = True
        _finish_idle(self)
        deadline = monotonic() + seconds
        for worker in self._signal_stop_worker():
            if worker is not threading.current_thread():
                worker.join(max(0.0, deadline - monotonic()))

    def forked(self) -> None:
        """Count as closed in a forked child, whose locks and threads are not to be trusted."""
        self._closed = True
        self._pool.clear()

    def _answers(self, conn: Connection, deadline: float) -> bool:
        limit = min(CHECK_SECONDS, max(0.0, deadline - monotonic()))
        try:
            conn.pgconn.send_query(b"")
            conn.wait(generators.fetch_many(conn.pgconn), timeout=limit)
        except psycopg.Error:
            conn.close()
            return False
        return True

    def _connect(self, timeout: float | None = None) -> Connection:
        self._stats[self._CONNECTIONS_NUM] += 1
        began = monotonic()
        try:
            conn = self._make()
        except Exception as error:  # noted, and raised again
            self._stats[self._CONNECTIONS_ERRORS] += 1
            self.last_error = error
            raise
        self._stats[self._CONNECTIONS_MS] += int(1000.0 * (monotonic() - began))
        self.last_error = None
        conn._pool = self
        self._set_connection_expiry_date(conn)
        return conn

    def _start_initial_tasks(self) -> None:
        self._nconns = max(self._nconns, 1)  # start() has made one already
        for _ in range(self._nconns - 1):
            self.run_task(sync_tasks.AddConnection(self))
        self.run_task(sync_tasks.Schedule(self, sync_tasks.ShrinkPool(self), self.max_idle))


class _WorkerCancelled(BaseException):
    """Carries a cancellation through psycopg_pool's code, which would take CancelledError."""


class _Event(AEvent):
    """An event whose timed wait never loses a cancellation.

    Before Python 3.12 ``asyncio.wait_for`` loses one that arrives just as the wait ends.
    The pool's scheduler then goes on in an event loop that has stopped all else, and
    ``asyncio.run`` waits for it for ever.
    """

    async def wait_timeout(self, timeout: float) -> bool:
        waiting = asyncio.ensure_future(self.wait())
        try:
            await asyncio.wait([waiting], timeout=timeout)
        finally:
            waiting.cancel()
        return self.is_set()


class AsyncPool(AsyncConnectionPool[AsyncConnection]):
    """The same as ``Pool``, awaited; it belongs to the event loop that starts it."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[AsyncConnection]],
        settings: PoolSettings,
    ) -> None:
        self._make = connect
        self._check_idle = settings.check_on_checkout
        self.last_error: Exception | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        super().__init__(**_arguments(settings))

    def __del__(self) -> None:
        self.abandon()

    async def start(self) -> None:
        """Open the pool with one connection in it, or raise why that could not be made."""
        self._loop = asyncio.get_running_loop()
        first = await self._connect()
        await self.open()
        await self._add_to_pool(first)

    async def getconn(self, timeout: float | None = None) -> AsyncConnection:
        seconds = self.timeout if timeout is None else timeout
        deadline = monotonic() + seconds
        while True:
            try:
                conn = await super().getconn(deadline - monotonic())
            except PoolTimeout:
                raise PoolTimeout(_exhausted(self, seconds)) from None
            try:
                if _looks_alive(conn) and (
                    not self._check_idle or await self._answers(conn, deadline)
                ):
                    return conn
            except asyncio.CancelledError:
                await conn.close()
                await self.give_back(conn)
                raise
            await conn.close()
            await self.give_back(conn)

    async def give_back(self, conn: AsyncConnection) -> None:
        """Return *conn*; a cancellation while it is on its way does not lose it."""
        if not self._waiting and not self._lock.locked():
            await self._give_back(conn)  # nothing to wait for, so nothing to interrupt
            return
        returning = asyncio.ensure_future(self._give_back(conn))
        try:
            await asyncio.shield(returning)
        except asyncio.CancelledError:
            await returning
            raise

    async def _give_back(self, conn: AsyncConnection) -> None:
        if self.closed or not conn.closed:
            if self._waiting:
                conn.memory.handed_at = monotonic()
            await self.putconn(conn)
            return
        await self._return_connection(conn, from_getconn=True)

    def abandon(self) -> None:
        """Close every idle connection and cancel the workers, from any thread; never waits."""
        if getattr(self, "_closed", True):
            return
        self._closed = True
        _finish_idle(self)
        tasks = self._forget_tasks()
        if self._loop is not None and not self._loop.is_closed():
            with contextlib.suppress(RuntimeError):  # closed in another thread just now
                self._loop.call_soon_threadsafe(lambda: [task.cancel() for task in tasks])

    def _forget_tasks(self) -> list[asyncio.Task[None]]:
        tasks = [*self._workers, *filter(None, [self._sched_runner])]
        for task in tasks:
            # Where the loop is gone for good they can never end, and that is meant.
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        return tasks

    def forked(self) -> None:
        """Count as closed in a forked child, whose event loop is the parent's."""
        self._closed = True
        self._pool.clear()
        self._forget_tasks()

    async def _answers(self, conn: AsyncConnection, deadline: float) -> bool:
        limit = min(CHECK_SECONDS, max(0.0, deadline - monotonic()))
        try:
            conn.pgconn.send_query(b"")
            await conn.wait(generators.fetch_many(conn.pgconn), timeout=limit)
        except psycopg.Error:
            await conn.close()
            return False
        return True

    async def _connect(self, timeout: float | None = None) -> AsyncConnection:
        self._stats[self._CONNECTIONS_NUM] += 1
        began = monotonic()
        try:
            conn = await self._make()
        except asyncio.CancelledError:
            if asyncio.current_task() in self._workers:
                raise _WorkerCancelled from None
            raise
        except Exception as error:  # noted, and raised again
            self._stats[self._CONNECTIONS_ERRORS] += 1
            self.last_error = error
            raise
        self._stats[self._CONNECTIONS_MS] += int(1000.0 * (monotonic() - began))
        self.last_error = None
        conn._pool = self
        self._set_connection_expiry_date(conn)
        return conn

    def _start_initial_tasks(self) -> None:
        self._nconns = max(self._nconns, 1)
        for _ in range(self._nconns - 1):
            self.run_task(async_tasks.AddConnection(self))
        self.run_task(async_tasks.Schedule(self, async_tasks.ShrinkPool(self), self.max_idle))

    def _start_workers(self) -> None:
        self._sched._event = _Event()
        super()._start_workers()

    @classmethod
    async def worker(cls, q: Any) -> None:
        """Run maintenance tasks until told to stop, or until cancelled."""
        while not isinstance(task := await q.get(), async_tasks.StopWorker):
            try:
                await task.run()
            except _WorkerCancelled:
                raise asyncio.CancelledError from None
            except Exception as error:  # one failed task must not end the worker
                logger.warning("%s failed: %s: %s", task, type(error).__name__, error)
