"""The same as ``pool``, awaited; its twin, line by line. It belongs to the event loop that starts it.

The tasks of this pool end when they are cancelled. psycopg_pool takes a cancellation
while connecting for a failed attempt, and ``asyncio.run`` then waits for ever for a
worker that goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, TypeAlias

import psycopg
from psycopg import generators
from psycopg_pool import AsyncConnectionPool
from psycopg_pool import pool_async as chores
from psycopg_pool._acompat import AEvent

from pgmonkey.config.settings import PoolSettings
from pgmonkey.connections import pool_base, pool_place
from pgmonkey.connections.driver_aio import AsyncConnection
from pgmonkey.connections.pool_base import CHECK_SECONDS, PoolBase
from pgmonkey.connections.pool_stats import Cause

Connect: TypeAlias = Callable[[], Awaitable[AsyncConnection]]


class Place(pool_place.Place):
    """A place in the queue whose task sleeps until it is woken."""

    __slots__ = ("_turn",)

    def __init__(self) -> None:
        super().__init__()
        self._turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def wait(self, seconds: float) -> None:
        """Return when woken, or after *seconds*."""
        alarm = self._turn.get_loop().call_later(max(0.0, seconds), self.wake)
        try:
            await self._turn
        finally:
            alarm.cancel()

    def wake(self) -> None:
        if not self._turn.done():
            self._turn.set_result(None)

    async def fail(self, error: Exception) -> None:
        """Tell who waits here that there is nothing to wait for."""
        self.error = error
        self.wake()


class Errand(chores.MaintenanceTask):
    """A call of one of the pool's methods by a worker."""

    def __init__(self, pool: AsyncPool, work: str, arguments: tuple[Any, ...]) -> None:
        super().__init__(pool)
        self._work, self._arguments = work, arguments

    async def _run(self, pool: AsyncConnectionPool[Any]) -> None:
        await getattr(pool, self._work)(*self._arguments)


class _WorkerCancelled(BaseException):
    """Carries a cancellation through psycopg_pool's code, which would take CancelledError."""


class _Event(AEvent):
    """An event whose timed wait never loses a cancellation.

    Before Python 3.12 ``asyncio.wait_for`` loses one that arrives just as the wait ends.
    The pool's scheduler then goes on in an event loop that has stopped all else, and
    ``asyncio.run`` waits for it for ever. The scheduler looks at its clock whenever it is
    woken, so the end of the time may as well set the event.
    """

    async def wait_timeout(self, timeout: float) -> bool:
        alarm = asyncio.get_running_loop().call_later(timeout, self.set)
        try:
            return await self.wait()
        finally:
            alarm.cancel()


class AsyncPool(PoolBase, AsyncConnectionPool[AsyncConnection]):
    """A pool whose connections are made by *connect*.

    *wants_primary* says that a server which is not the primary any more will not do.
    """

    _loop: asyncio.AbstractEventLoop | None = None

    def __init__(
        self,
        connect: Connect,
        settings: PoolSettings,
        wants_primary: bool,
    ) -> None:
        self._make = connect
        super().__init__(settings, wants_primary)

    def __del__(self) -> None:
        self.abandon()

    async def start(self) -> None:
        """Open the pool with one connection in it, or raise why that could not be made.

        The others, up to ``min_size``, are made in the background.
        """
        self._loop = asyncio.get_running_loop()
        first = await self._connect()
        await self.open()
        await self._add_to_pool(first)

    async def getconn(self, timeout: float | None = None) -> AsyncConnection:
        seconds = self.timeout if timeout is None else timeout
        began = monotonic()
        first = True
        while True:
            place = Place()
            try:
                self._take(place, first)
                if place.conn is None:
                    await place.wait(began + seconds - monotonic())
                    self._wait_is_over(place, began, seconds)
                conn: AsyncConnection = place.conn
                cause = None if place.handed else self._unfit(conn)
                if cause is None and self._check_idle:
                    cause = await self._silent(conn, began + seconds)
                if cause is None:
                    self._lend(place)
                    return conn
                await self._discard(conn, cause)
                self._errand("_sweep")
            except BaseException:  # interrupts too: nobody else knows of this place
                self._leave(place)
                raise
            first = False

    async def give_back(self, conn: AsyncConnection) -> None:
        """Return *conn*; one that is not idle and sound is closed and replaced."""
        place = conn.memory.place
        try:
            cause = self._verdict(conn)
            if cause is not None:
                await self._discard(conn, cause)
            elif not self._put(conn):
                await self._close_connection(conn)
        except BaseException:  # interrupts too: the place goes to the next one
            self._leave(place)
            raise

    def abandon(self) -> None:
        """Close every idle connection and cancel the workers, from any thread; never waits."""
        if getattr(self, "_closed", True):
            return
        self._closed = True
        while self._pool:
            self._pool.popleft().pgconn.finish()
        workers = self._forget_workers()
        if self._loop is not None and not self._loop.is_closed():
            with contextlib.suppress(RuntimeError):  # closed in another thread just now
                self._loop.call_soon_threadsafe(lambda: [worker.cancel() for worker in workers])

    def _forget_workers(self) -> list[asyncio.Task[None]]:
        workers = [*self._workers, *filter(None, [self._sched_runner])]
        for worker in workers:
            # Where the loop is gone for good they can never end, and that is meant.
            worker._log_destroy_pending = False  # type: ignore[attr-defined]
        return workers

    def forked(self) -> None:
        """Count as closed in a forked child, whose event loop is the parent's."""
        self._closed = True
        self._pool.clear()
        self._forget_workers()

    async def _silent(self, conn: AsyncConnection, deadline: float) -> Cause | None:
        """Ask the server for a sign of life, without leaving a transaction open."""
        limit = min(CHECK_SECONDS, max(0.0, deadline - monotonic()))
        try:
            conn.pgconn.send_query(b"")
            await conn.wait(generators.fetch_many(conn.pgconn), timeout=limit)
        except psycopg.Error:
            return Cause.STALLED
        return None

    async def _discard(self, conn: AsyncConnection, cause: Cause) -> None:
        await self._close_connection(conn)
        self._errand("_replace", conn, cause)

    async def _replace(self, conn: AsyncConnection, cause: Cause) -> None:
        if self._strike_off(conn, cause):
            await self._add_connection(None)

    async def _reclaim(self, place: Place) -> None:
        """Put away what an interrupt kept *place* from putting away."""
        conn = self._forsaken(place)
        if conn is not None:
            await self._discard(conn, Cause.INTERRUPTED)

    async def _sweep(self) -> None:
        """Look at the idle connections, and replace those that cannot be lent."""
        for conn, cause in self._unfit_idle():
            await self._discard(conn, cause)

    async def _connect(self, timeout: float | None = None) -> AsyncConnection:
        began, generation = monotonic(), self._generation
        try:
            conn = await self._make()
        except asyncio.CancelledError:
            if asyncio.current_task() in self._workers:
                raise _WorkerCancelled from None
            raise
        except Exception as error:  # noted, and raised again
            self._not_connected(error)
            raise
        self._connected(conn, generation, monotonic() - began)
        return conn

    async def _add_connection(self, attempt: Any, growing: bool = False) -> None:
        try:
            conn = await self._connect()
        except Exception as error:  # whatever it is, it is tried again
            pool_base.logger.info("pool %s: no connection: %s", self.name, error)
            self._owe(growing)
            return
        await self._add_to_pool(conn)
        if growing and self._grows_on():
            self._errand("_add_connection", None, True)

    async def _add_to_pool(self, conn: AsyncConnection) -> None:
        if not self._put(conn):
            await self._close_connection(conn)

    async def _grow(self) -> None:
        if self._starts_growing():
            await self._add_connection(None, growing=True)

    async def _retry(self, due: float) -> None:
        if self._retry_begins(due):
            await self._add_connection(None)

    async def _watch(self) -> None:
        self._errand("_watch", after=self._leak_after / 2)
        self._report_leaks()

    def _errand(self, work: str, *arguments: Any, after: float = 0.0) -> None:
        errand = Errand(self, work, arguments)
        self.run_task(chores.Schedule(self, errand, after) if after else errand)

    def _start_initial_tasks(self) -> None:
        self._nconns = max(self._nconns, 1)  # start() has made one already
        for _ in range(self._nconns - 1):
            self._errand("_add_connection", None)
        self.run_task(chores.Schedule(self, chores.ShrinkPool(self), self.max_idle))
        if self._leak_after:
            self._errand("_watch")

    def _start_workers(self) -> None:
        self._sched._event = _Event()
        super()._start_workers()

    @classmethod
    async def worker(cls, q: Any) -> None:
        """Run maintenance tasks until told to stop, or until cancelled."""
        while not isinstance(task := await q.get(), chores.StopWorker):
            try:
                await task.run()
            except _WorkerCancelled:
                raise asyncio.CancelledError from None
            except Exception as error:  # one failed task must not end the worker
                pool_base.logger.warning("%s failed: %s: %s", task, type(error).__name__, error)
