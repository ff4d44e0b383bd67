"""pgmonkey's handles beside raw psycopg_pool, in one run: what a get and a block cost.

    python benchmarks/connections.py                     starts a server as the tests do
    python benchmarks/connections.py --dsn postgresql://app@localhost/app

Ours and raw take turns, a pair at a time, so that a busy machine slows both; medians of
the pairs are compared. Times of one machine mean nothing on another: the ratio and the
difference are the result. Exits 0 whether or not a target is met.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import psycopg
import yaml
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import AsyncConnectionPool, ConnectionPool
from tabulate import tabulate

from pgmonkey import PGConnectionManager

POOL_SIZE = 4
THREADS = 200
BLOCKS_PER_THREAD = 25
# What a block does; how many make one figure, some 10 ms, short enough that both of a pair
# meet the same weather; how many times as many pairs, since round trips scatter more.
BLOCKS = ((None, 1000, 1), ("SELECT 1", 20, 5))
OVERHEAD = 20

T = TypeVar("T")


class Row(NamedTuple):
    """One line of the table."""

    what: str
    ours: str
    raw: str
    compared: str
    target: str
    met: bool


@contextmanager
def a_server(dsn: str | None) -> Iterator[dict[str, Any]]:
    """Give libpq keywords of a database: the caller's, or one of a server of our own."""
    if dsn is not None:
        yield {**conninfo_to_dict(dsn)}
        return
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from support.certs import CertKit
    from support.choice import Wish, choose
    from support.server import PgServer
    from support.setup import Setup

    choice = choose(Wish.of(os.environ))
    if choice.provider is None:
        sys.exit("no PostgreSQL server; give one with --dsn\n" + "\n".join(choice.reasons))
    with tempfile.TemporaryDirectory() as folder:
        setup = Setup(CertKit(Path(folder)), tls=True)
        running = choice.provider.start(setup)
        try:
            server = PgServer(choice.provider, running, setup)
            print(f"server: {choice.provider.title}, verify-full")
            with server.database() as database:
                yield database.dsn_args()
        finally:
            running.stop()


def pairs(ours: Callable[[], T], raw: Callable[[], T], rounds: int) -> tuple[list[T], list[T]]:
    """Take *rounds* figures of each, by turns; a first pair warms up and is dropped."""
    ours(), raw()
    taken = [(ours(), raw()) if i % 2 else (raw(), ours())[::-1] for i in range(rounds)]
    return [a for a, _ in taken], [b for _, b in taken]


def each(call: Callable[[], Any], times: int) -> float:
    """Return the microseconds that one of *times* calls takes."""
    began = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - began) / times * 1e6


def cached_get(manager: PGConnectionManager, config: dict[str, Any], rounds: int) -> list[Row]:
    """How long it takes to be given the handle that is there already."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "config.yaml")
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        gets: list[tuple[str, int, Callable[[], Any]]] = [
            ("dict", 20, partial(manager.get_database_connection_from_dict, config, "pool")),
            ("file", 50, partial(manager.get_database_connection, path, "pool")),
        ]
        rows = []
        for what, limit, get in gets:
            get()
            took = statistics.median(each(get, 1000) for _ in range(rounds))
            name = f"cached get from a {what}"
            rows.append(Row(name, f"{took:.1f} us", "", "", f"<= {limit} us", took <= limit))
    return rows


def compare(what: str, times: tuple[list[float], list[float]]) -> Row:
    """Compare microseconds by the median difference of a pair."""
    ours, raw = times
    more = statistics.median(x - y for x, y in zip(ours, raw, strict=True))
    return Row(
        what,
        f"{statistics.median(ours):.1f} us",
        f"{statistics.median(raw):.1f} us",
        f"{more:+.1f} us",
        f"<= +{OVERHEAD} us",
        more <= OVERHEAD,
    )


def sync_blocks(handle: Any, pool: ConnectionPool, rounds: int) -> list[Row]:
    """A block with nothing in it, and one with a statement and its commit."""

    def time_of(enter: Callable[[], Any], query: str | None, times: int) -> float:
        began = time.perf_counter()
        for _ in range(times):
            with enter() as conn:
                if query:
                    conn.execute(query)
        return (time.perf_counter() - began) / times * 1e6

    return [
        compare(
            f"block of pool, {query or 'empty'}",
            pairs(
                partial(time_of, lambda: handle, query, times),
                partial(time_of, pool.connection, query, times),
                rounds * factor,
            ),
        )
        for query, times, factor in BLOCKS
    ]


def async_blocks(config: dict[str, Any], conninfo: dict[str, Any], rounds: int) -> list[Row]:
    """The same for async_pool."""
    loop = asyncio.new_event_loop()
    manager = PGConnectionManager()

    async def opened() -> tuple[Any, AsyncConnectionPool]:
        handle = await manager.get_database_connection_from_dict(config, "async_pool")
        pool = AsyncConnectionPool(
            kwargs=conninfo, min_size=POOL_SIZE, max_size=POOL_SIZE, open=False
        )
        await pool.open(wait=True)
        return handle, pool

    async def closed() -> None:
        await pool.close()
        await manager.clear_cache_async()

    async def time_of(enter: Callable[[], Any], query: str | None, times: int) -> float:
        began = time.perf_counter()
        for _ in range(times):
            async with enter() as conn:
                if query:
                    await conn.execute(query)
        return (time.perf_counter() - began) / times * 1e6

    def run(enter: Callable[[], Any], query: str | None, times: int) -> float:
        return loop.run_until_complete(time_of(enter, query, times))

    handle, pool = loop.run_until_complete(opened())
    rows = [
        compare(
            f"block of async_pool, {query or 'empty'}",
            pairs(
                partial(run, lambda: handle, query, times),
                partial(run, pool.connection, query, times),
                rounds * factor,
            ),
        )
        for query, times, factor in BLOCKS
    ]
    loop.run_until_complete(closed())
    loop.close()
    return rows


def crowd(enter: Callable[[], Any]) -> tuple[float, float]:
    """Let many threads share the pool; return blocks a second and the 99th percentile in ms.

    The percentile is of the wait between asking for a connection and having it.
    """
    waits: list[float] = []
    start = threading.Barrier(THREADS + 1)

    def work() -> None:
        start.wait()
        for _ in range(BLOCKS_PER_THREAD):
            asked = time.perf_counter()
            with enter() as conn:
                waits.append(time.perf_counter() - asked)
                conn.execute("SELECT 1")

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    start.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - began
    assert len(waits) == THREADS * BLOCKS_PER_THREAD  # none of them failed
    return len(waits) / took, statistics.quantiles(waits, n=100)[98] * 1000


def crowds(handle: Any, pool: ConnectionPool, rounds: int) -> list[Row]:
    """Throughput and the longest waits of many threads on few connections."""
    ours, raw = pairs(lambda: crowd(lambda: handle), lambda: crowd(pool.connection), rounds)
    rows = []
    for i, (what, unit, target) in enumerate(
        (("throughput", "/s", ">= 0.95"), ("p99 wait", " ms", "<= 1.1"))
    ):
        ratio = statistics.median(x[i] / y[i] for x, y in zip(ours, raw, strict=True))
        rows.append(
            Row(
                f"{THREADS} threads on {POOL_SIZE} connections, {what}",
                f"{statistics.median(x[i] for x in ours):.0f}{unit}",
                f"{statistics.median(y[i] for y in raw):.0f}{unit}",
                f"x {ratio:.2f}",
                f"{target} x",
                ratio >= 0.95 if i == 0 else ratio <= 1.1,
            )
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--dsn", metavar="URI", help="a database to use; default: a server of ours")
    parser.add_argument("--rounds", type=int, default=51, help="pairs of each figure (%(default)s)")
    options = parser.parse_args()
    sizes = {"min_size": POOL_SIZE, "max_size": POOL_SIZE}
    with a_server(options.dsn) as conninfo:
        config = {
            "connection_settings": conninfo,
            "pool_settings": sizes,
            "async_pool_settings": sizes,
        }
        manager = PGConnectionManager()
        handle = manager.get_database_connection_from_dict(config, "pool")
        with ConnectionPool(
            kwargs=conninfo, min_size=POOL_SIZE, max_size=POOL_SIZE, open=False
        ) as pool:
            pool.wait()
            rows = cached_get(manager, config, options.rounds)
            rows += sync_blocks(handle, pool, options.rounds)
            rows += async_blocks(config, conninfo, options.rounds)
            rows += crowds(handle, pool, max(3, options.rounds // 5))
        manager.clear_cache()
    print(f"python {sys.version.split()[0]}, psycopg {psycopg.__version__} ({psycopg.pq.__impl__})")
    print(
        tabulate(
            [(*row[:-1], "yes" if row.met else "NO") for row in rows],
            headers=("", "pgmonkey", "raw", "compared", "target", "met"),
            colalign=("left", "right", "right", "right", "left", "left"),
        )
    )


if __name__ == "__main__":
    main()
