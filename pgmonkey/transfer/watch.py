"""A second pair of eyes on sessions that are busy with a COPY.

While data goes to the server, libpq hands out neither an error that came back nor the fact
that the session waits for a lock. Another session can ask for both.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.rows import tuple_row

if TYPE_CHECKING:
    from types import TracebackType

# Seconds between two questions.
PAUSE = 0.5

# The state of a session whose transaction has failed: the server drops what still comes.
_REFUSED = "SELECT state = 'idle in transaction (aborted)' FROM pg_stat_activity WHERE pid = %s"

# A lock on a transaction is released when that transaction ends, and on a tuple soon after.
# Others (extending a relation) are held for moments only.
_WAITING = """
SELECT waiting.pid, blocker
FROM pg_catalog.pg_locks AS waiting, unnest(pg_catalog.pg_blocking_pids(waiting.pid)) AS blocker
WHERE NOT waiting.granted AND waiting.pid = ANY(%(pids)s) AND blocker = ANY(%(pids)s)
  AND waiting.locktype IN ('transactionid', 'tuple', 'virtualxid')
"""


class Watch:
    """Asks about sessions, over *conn* or one that is opened at the first question.

    A server which has no connection left, or hides its sessions, gets no questions: they
    only make an end come sooner.
    """

    def __init__(
        self,
        connect: Callable[[], psycopg.Connection[Any]] | None = None,
        conn: psycopg.Connection[Any] | None = None,
    ) -> None:
        self._connect = connect
        self._conn = conn
        self._lent = conn is not None
        self._asked: dict[int | None, float] = {}

    def refused(self, pid: int) -> bool | None:
        """Return whether the transaction of session *pid* has failed; None if asked too soon."""
        if self._too_soon(pid):
            return None
        return self._ask(_REFUSED, [pid]) == [(True,)]

    def waiting(self, pids: Sequence[int]) -> tuple[int, int] | None:
        """Return one of *pids* that waits for the transaction of another, and that other."""
        if self._too_soon(None):
            return None
        rows = self._ask(_WAITING, {"pids": list(pids)})
        return rows[0] if rows else None

    def _too_soon(self, what: int | None) -> bool:
        now = time.monotonic()
        if now - self._asked.get(what, -PAUSE) < PAUSE:
            return True
        self._asked[what] = now
        return False

    def _ask(self, query: str, parameters: Any) -> list[Any]:
        try:
            if self._conn is None:
                if self._connect is None:
                    return []
                self._conn = self._connect()
            with self._conn.transaction(), self._conn.cursor(row_factory=tuple_row) as cursor:
                return cursor.execute(query, parameters).fetchall()
        except Exception:  # whoever connects says in a class of its own that it cannot be done
            self.close()
            self._conn = self._connect = None
            return []

    def close(self) -> None:
        """Close the connection, if one was opened."""
        if self._conn is not None and not self._lent:
            self._conn.close()

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
