"""Writers that keep books: what was acknowledged to them must be in the table afterwards.

``Ours`` and ``Raw`` are a pool of pgmonkey's and one of psycopg_pool's for the same
configuration, so that a fault can be tried on both.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import psycopg
from psycopg_pool import ConnectionPool

from pgmonkey import PGConnectionManager, PGMonkeyError
from support.wait import until

# What a program has to expect while servers come and go; anything else fails the test.
EXPECTED = (
    psycopg.OperationalError,
    psycopg.InternalError,  # a pooler's server ended between two answers
    psycopg.errors.ReadOnlySqlTransaction,
    PGMonkeyError,
)


class Ours:
    """pgmonkey's pool."""

    name = "pgmonkey"

    def __init__(self, args: dict[str, Any], **pool: Any) -> None:
        self._manager = PGConnectionManager()
        self.handle = self._manager.get_database_connection_from_dict(
            {"connection_settings": args, "pool_settings": pool}, "pool"
        )

    def block(self) -> AbstractContextManager[Any]:
        return self.handle.connection()

    def close(self) -> None:
        self._manager.clear_cache()


class Raw:
    """psycopg_pool's pool, as its documentation has it."""

    name = "psycopg_pool"

    def __init__(self, args: dict[str, Any], **pool: Any) -> None:
        self.pool = ConnectionPool(kwargs=args, open=False, **pool)
        self.pool.open(wait=True)

    def block(self) -> AbstractContextManager[Any]:
        return self.pool.connection()

    def close(self) -> None:
        self.pool.close()


@contextmanager
def opened(kind: type[Ours] | type[Raw], args: dict[str, Any], **pool: Any) -> Iterator[Any]:
    """Give a pool of *kind*, and close it."""
    contender = kind(args, **pool)
    try:
        yield contender
    finally:
        contender.close()


class Ledger:
    """Threads that commit a row a block, on and on, and note which commits were acknowledged.

    Each rests for *pause* seconds after a row.

    Attributes:
        acknowledged: The rows whose commit returned, with the time (monotonic seconds).
        errors: What writers met that is to be expected.
        surprises: What is not.
    """

    def __init__(self, contender: Any, writers: int, pause: float = 0.0) -> None:
        self._contender, self._pause = contender, pause
        self._stop = threading.Event()
        self.acknowledged: dict[int, float] = {}
        self.errors: list[Exception] = []
        self.surprises: list[Exception] = []
        self._threads = [
            threading.Thread(target=self._write, args=[n, writers]) for n in range(writers)
        ]

    @staticmethod
    def create(server: Any, dbname: str = "postgres") -> None:
        """Make the table."""
        with server.admin(dbname) as conn:
            conn.execute("DROP TABLE IF EXISTS ledger")
            conn.execute("CREATE TABLE ledger (row bigint PRIMARY KEY)")
            conn.execute("GRANT ALL ON ledger TO PUBLIC")

    def __enter__(self) -> Ledger:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: Any) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _write(self, row: int, step: int) -> None:
        while not self._stop.is_set():
            try:
                with self._contender.block() as conn:
                    conn.execute("INSERT INTO ledger VALUES (%s)", [row])
                self.acknowledged[row] = time.monotonic()
            except EXPECTED as error:
                self.errors.append(error)
                time.sleep(0.001)  # some mercy for a server that is down
            except Exception as error:
                self.surprises.append(error)
            row += step
            time.sleep(self._pause)

    def goes_on(self) -> None:
        """Return when every writer could have committed a few rows more."""
        enough = len(self.acknowledged) + 5 * len(self._threads)
        until(lambda: len(self.acknowledged) >= enough)

    def returns_after(self, moment: float) -> float:
        """Wait for a commit after *moment*; return after how many seconds it was acknowledged."""

        def later() -> list[float]:
            return [at for at in list(self.acknowledged.values()) if at > moment]

        until(lambda: bool(later()))
        return min(later()) - moment

    def settle(self, server: Any, dbname: str = "postgres") -> tuple[int, int]:
        """Check the rows acknowledged so far and forget them, here and there.

        Returns:
            How many are lost, and how many were acknowledged.
        """
        rows = list(self.acknowledged)
        with server.admin(dbname) as conn:
            deleted = conn.execute("DELETE FROM ledger WHERE row = ANY(%s)", [rows]).rowcount
        for row in rows:
            del self.acknowledged[row]
        return len(rows) - deleted, len(rows)

    def lost(self, server: Any, dbname: str = "postgres") -> int:
        """Count the rows that were acknowledged and are not there."""
        with server.admin(dbname) as conn:
            there = {row for (row,) in conn.execute("SELECT row FROM ledger")}
        return len(self.acknowledged.keys() - there)


def both_slots(pool: Any, size: int) -> bool:
    """Say whether a pool of *size* can lend all of its connections at once, and each answers."""
    held = []
    try:
        for _ in range(size):
            block = pool.block()
            held.append((block, block.__enter__()))
        return all(conn.execute("SELECT 1").fetchone() == (1,) for _, conn in held)
    except psycopg.OperationalError:
        return False
    finally:
        for block, _ in reversed(held):
            block.__exit__(None, None, None)
