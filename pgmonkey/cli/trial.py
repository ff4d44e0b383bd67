"""One connection type tried for real: log in through the library, query, fill the pool.

Each trial runs in a thread of its own, so that whatever stalls (a server that accepts and
says nothing, a network that swallows packets) costs the time allowed and no more, and
Ctrl-C is answered at once.
"""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any, NamedTuple

import psycopg

from pgmonkey.cli.render import PoolFill, Server, TypeResult
from pgmonkey.config.settings import ConnectionType, Settings
from pgmonkey.connections.ladder import Ladder
from pgmonkey.connections.manager import PGConnectionManager
from pgmonkey.connections.pool_stats import PoolStats
from pgmonkey.connections.probe import probe
from pgmonkey.errors import PGMonkeyError

# What the connection itself reports about TLS is only whether there is any; this view
# knows which. Behind a pooler it speaks of the pooler's connection.
QUERY = (
    "SELECT current_user, current_database(), current_setting('server_version'),"
    " s.version, s.cipher FROM (SELECT) AS one"
    " LEFT JOIN pg_catalog.pg_stat_ssl AS s ON s.pid = pg_catalog.pg_backend_pid()"
)

# Beyond the time allowed, so that psycopg's own timeout, which names the host, comes first.
GRACE = 0.5

# psycopg_pool tells by its figures how full it is, and by nothing one could wait for.
POLL = 0.005


class Outcome(NamedTuple):
    """What a trial ended with.

    Attributes:
        error: What went wrong, or None. The result's own ``error`` is not filled in yet.
        ladder: Climbed while a pool that could not be filled still held its connections.
        version: Of the server, as libpq counts: 170004. None without a connection.
    """

    result: TypeResult
    error: Exception | None = None
    ladder: Ladder | None = None
    version: int | None = None


class PoolNotFilled(Exception):
    """The pool logged in once and then got fewer than ``min_size`` connections."""


class NoAnswer(Exception):
    """Nothing came back in the time allowed."""


class Trial:
    """One type being tried, from now on.

    Args:
        seconds: Time for everything, from the name lookup to the filled pool.
    """

    def __init__(self, settings: Settings, kind: ConnectionType, seconds: float) -> None:
        self._kind = kind
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds
        self._ended: list[Outcome | BaseException] = []
        # A daemon: one that is stuck in a system call must not keep the process.
        self._thread = threading.Thread(target=self._run, args=(settings,), daemon=True)
        self._thread.start()

    def outcome(self) -> Outcome:
        """Wait for the end, at most until the time is over."""
        self._thread.join(max(0.0, self._deadline - time.monotonic()) + GRACE)
        if not self._ended:
            error = NoAnswer(f"no answer within {self._seconds:g} s")
            return Outcome(TypeResult(self._kind, ok=False), error)
        ended = self._ended[0]
        if isinstance(ended, BaseException):
            raise ended
        return ended

    def _run(self, settings: Settings) -> None:
        try:
            if self._kind in ("async", "async_pool"):
                self._ended.append(asyncio.run(_try_async(settings, self._kind, self._deadline)))
            else:
                self._ended.append(_try_sync(settings, self._kind, self._deadline))
        except (psycopg.Error, PGMonkeyError) as error:
            self._ended.append(Outcome(TypeResult(self._kind, ok=False), error))
        except BaseException as error:  # raised where it is seen, in the main thread
            self._ended.append(error)


def _try_sync(settings: Settings, kind: ConnectionType, deadline: float) -> Outcome:
    watch = _Watch()
    manager = PGConnectionManager()
    handle = manager.get_from_settings(settings, kind)
    watch.connected()
    try:
        with handle as conn:
            watch.answered(conn, conn.execute(QUERY).fetchone())
        if kind == "pool":
            while watch.filling(handle.stats(), deadline):
                time.sleep(POLL)
        return watch.outcome(settings, kind, deadline)
    finally:
        handle.disconnect()


async def _try_async(settings: Settings, kind: ConnectionType, deadline: float) -> Outcome:
    watch = _Watch()
    manager = PGConnectionManager()
    handle = await manager.get_from_settings(settings, kind)
    watch.connected()
    try:
        async with handle as conn:
            watch.answered(conn, await (await conn.execute(QUERY)).fetchone())
        if kind == "async_pool":
            while watch.filling(handle.stats(), deadline):  # noqa: ASYNC110  # see POLL
                await asyncio.sleep(POLL)
        return watch.outcome(settings, kind, deadline)
    finally:
        await handle.disconnect()


class _Watch:
    """What both colours note down on the way."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._connect_ms = self._query_ms = 0.0
        self._server: Server | None = None
        self._version = 0
        self._fill: PoolFill | None = None

    def connected(self) -> None:
        self._connect_ms = self._lap()

    def answered(self, conn: Any, row: tuple[Any, ...]) -> None:
        self._query_ms = self._lap()
        user, database, version, tls, cipher = row
        secure = conn.pgconn.ssl_in_use
        self._version = conn.info.server_version
        self._server = Server(
            host=conn.info.host,
            port=conn.info.port,
            database=database,
            user=user,
            version=version.split()[0],
            tls=(tls or "TLS") if secure else None,
            cipher=cipher if secure else None,
        )

    def filling(self, figures: PoolStats, deadline: float) -> bool:
        """Note how full the pool is; return whether waiting longer makes sense."""
        fill = PoolFill(figures.idle, figures.min_size, figures.max_size)
        self._fill = fill
        if fill.open >= fill.min_size or figures.connect_errors:
            return False
        return time.monotonic() < deadline

    def outcome(self, settings: Settings, kind: ConnectionType, deadline: float) -> Outcome:
        result = TypeResult(
            kind,
            ok=True,
            connect_ms=self._connect_ms,
            query_ms=self._query_ms,
            server=self._server,
            pool=self._fill,
        )
        fill = self._fill
        if fill is None or fill.open >= fill.min_size:
            return Outcome(result, version=self._version)
        error = PoolNotFilled(f"the pool has {fill.open} of min_size {fill.min_size} connections")
        # While the pool holds what it has, one more login meets what stopped it.
        ladder = probe(settings, max(1.0, deadline - time.monotonic()))
        return Outcome(result, error, ladder, self._version)

    def _lap(self) -> float:
        """Return milliseconds since the last call."""
        before, self._began = self._began, time.perf_counter()
        return round((self._began - before) * 1000, 3)
