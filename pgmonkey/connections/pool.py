"""psycopg_pool's pool, with a start that fails fast, and nothing lost on the way.

* ``start`` makes the first connection in the caller, so that a wrong password is reported
  as such, in the time of one login; psycopg_pool would retry and time out.
* Every connection is made by the function given, which is the one that single
  connections use too.
* ``abandon`` lets go of everything from any thread, for exit and garbage collection.

What is decided without I/O, and why, is in ``pool_base``; ``pool_aio`` is the twin.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from time import monotonic
from typing import Any, TypeAlias

import psycopg
from psycopg import generators
from psycopg_pool import ConnectionPool
from psycopg_pool import pool as chores

from pgmonkey.config.settings import PoolSettings
from pgmonkey.connections import pool_base, pool_place
from pgmonkey.connections.driver import Connection
from pgmonkey.connections.pool_base import CHECK_SECONDS, PoolBase
from pgmonkey.connections.pool_stats import Cause

Connect: TypeAlias = Callable[[], Connection]


class Place(pool_place.Place):
    """A place in the queue whose thread sleeps until it is woken."""

    __slots__ = ("_turn",)

    def __init__(self) -> None:
        super().__init__()
        # A bare lock: nothing of it is written in Python, where an interrupt could hit.
        self._turn = threading.Lock()
        self._turn.acquire()

    def wait(self, seconds: float) -> None:
        """Return when woken, or after *seconds*."""
        self._turn.acquire(timeout=min(max(0.0, seconds), threading.TIMEOUT_MAX))

    def wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # awake already
            self._turn.release()

    def fail(self, error: Exception) -> None:
        """Tell who waits here that there is nothing to wait for."""
        self.error = error
        self.wake()


class Errand(chores.MaintenanceTask):
    """A call of one of the pool's methods by a worker."""

    def __init__(self, pool: Pool, work: str, arguments: tuple[Any, ...]) -> None:
        super().__init__(pool)
        self._work, self._arguments = work, arguments

    def _run(self, pool: ConnectionPool[Any]) -> None:
        getattr(pool, self._work)(*self._arguments)


class Pool(PoolBase, ConnectionPool[Connection]):
    """A pool whose connections are made by *connect*.

    *wants_primary* says that a server which is not the primary any more will not do.
    """

    def __init__(self, connect: Connect, settings: PoolSettings, wants_primary: bool) -> None:
        self._make = connect
        super().__init__(settings, wants_primary)

    def __del__(self) -> None:
        self.abandon()

    def start(self) -> None:
        """Open the pool with one connection in it, or raise why that could not be made.

        The others, up to ``min_size``, are made in the background.
        """
        self._guard = self._lock
        first = self._connect()
        self.open()
        self._add_to_pool(first)

    def getconn(self, timeout: float | None = None) -> Connection:
        seconds = self.timeout if timeout is None else timeout
        began = monotonic()
        first = True
        while True:
            place = Place()
            try:
                self._take(place, first)
                if place.conn is None:
                    place.wait(began + seconds - monotonic())
                    self._wait_is_over(place, began, seconds)
                conn: Connection = place.conn
                cause = None if place.handed else self._unfit(conn)
                if cause is None and self._check_idle:
                    cause = self._silent(conn, began + seconds)
                if cause is None:
                    self._lend(place)
                    return conn
                self._discard(conn, cause)
                self._errand("_sweep")
            except BaseException:  # interrupts too: nobody else knows of this place
                self._leave(place)
                raise
            first = False

    def give_back(self, conn: Connection) -> None:
        """Return *conn*; one that is not idle and sound is closed and replaced."""
        place = conn.memory.place
        try:
            cause = self._verdict(conn)
            if cause is not None:
                self._discard(conn, cause)
            elif not self._put(conn):
                self._close_connection(conn)
        except BaseException:  # interrupts too: the place goes to the next one
            self._leave(place)
            raise

    def abandon(self, seconds: float = 0.0) -> None:
        """Close every idle connection and stop the threads, waiting *seconds* for them."""
        if getattr(self, "_closed", True):
            return
        self._closed = True
        while self._pool:
            self._pool.popleft().pgconn.finish()
        deadline = monotonic() + seconds
        for worker in self._signal_stop_worker():
            if worker is not threading.current_thread():
                worker.join(max(0.0, deadline - monotonic()))

    def forked(self) -> None:
        """Count as closed in a forked child, whose locks and threads are not to be trusted."""
        self._closed = True
        self._pool.clear()

    def _silent(self, conn: Connection, deadline: float) -> Cause | None:
        """Ask the server for a sign of life, without leaving a transaction open."""
        limit = min(CHECK_SECONDS, max(0.0, deadline - monotonic()))
        try:
            conn.pgconn.send_query(b"")
            conn.wait(generators.fetch_many(conn.pgconn), timeout=limit)
        except psycopg.Error:
            return Cause.STALLED
        return None

    def _discard(self, conn: Connection, cause: Cause) -> None:
        self._close_connection(conn)
        self._errand("_replace", conn, cause)

    def _replace(self, conn: Connection, cause: Cause) -> None:
        if self._strike_off(conn, cause):
            self._add_connection(None)

    def _reclaim(self, place: Place) -> None:
        """Put away what an interrupt kept *place* from putting away."""
        conn = self._forsaken(place)
        if conn is not None:
            self._discard(conn, Cause.INTERRUPTED)

    def _sweep(self) -> None:
        """Look at the idle connections, and replace those that cannot be lent."""
        for conn, cause in self._unfit_idle():
            self._discard(conn, cause)

    def _connect(self, timeout: float | None = None) -> Connection:
        began, generation = monotonic(), self._generation
        try:
            conn = self._make()
        except Exception as error:  # noted, and raised again
            self._not_connected(error)
            raise
        self._connected(conn, generation, monotonic() - began)
        return conn

    def _add_connection(self, attempt: Any, growing: bool = False) -> None:
        try:
            conn = self._connect()
        except Exception as error:  # whatever it is, it is tried again
            pool_base.logger.info("pool %s: no connection: %s", self.name, error)
            self._owe(growing)
            return
        self._add_to_pool(conn)
        if growing and self._grows_on():
            self._errand("_add_connection", None, True)

    def _add_to_pool(self, conn: Connection) -> None:
        if not self._put(conn):
            self._close_connection(conn)

    def _grow(self) -> None:
        if self._starts_growing():
            self._add_connection(None, growing=True)

    def _retry(self, due: float) -> None:
        if self._retry_begins(due):
            self._add_connection(None)

    def _watch(self) -> None:
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
        # Written in C, unlike psycopg_pool's: an interrupt cannot leave a task without its worker.
        self._tasks: Any = SimpleQueue()
        super()._start_workers()
