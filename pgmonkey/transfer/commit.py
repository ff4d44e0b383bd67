"""The end of a load: one moment at which it is in, and the truth about it if that goes wrong.

A commit may arrive and its answer be lost with the connection, so the server is asked
afterwards, by the transaction's number. An interrupt during the commit would leave nobody
knowing either: it waits the milliseconds that this takes (half a minute where the connection
is lost just then), until all that belongs to the load is in its place, and comes too late to
undo.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.rows import tuple_row

from pgmonkey.errors import CommitUnknownError, LostError
from pgmonkey.signals import deferred

if TYPE_CHECKING:
    from typing_extensions import Self

# Seconds that a roll-back may take before the connection is cut: the server undoes the work
# by itself when it notices.
PATIENCE = 5.0
# Seconds to reach a server that was lost during COMMIT, and between two attempts.
SETTLE_SECONDS = 20.0
SETTLE_PAUSE = 0.2

Connect = Callable[[], "psycopg.Connection[Any]"]


class Deadline:
    """Cuts a connection some time after ``set``: without it Ctrl-C would wait for ever where
    the network is silent."""

    def __init__(self, conn: psycopg.Connection[Any], seconds: float = PATIENCE) -> None:
        self._conn = conn
        self._seconds = seconds
        self._timer: threading.Timer | None = None
        self._over = False

    def set(self) -> None:
        """Begin to count the seconds, once, and not after the end."""
        if self._timer is None and not self._over:
            self._timer = threading.Timer(self._seconds, cut, [self._conn])
            self._timer.daemon = True
            self._timer.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._over = True
        if self._timer is not None:
            self._timer.cancel()


def cut(conn: psycopg.Connection[Any]) -> None:
    """End the TCP connection under *conn*, from any thread; who waits on it gets an error."""
    with (
        contextlib.suppress(Exception),  # it may be closed, or be closing right now
        socket.socket(fileno=os.dup(conn.pgconn.socket)) as duplicate,
    ):
        duplicate.shutdown(socket.SHUT_RDWR)


@contextmanager
def transaction(conn: psycopg.Connection[Any], ending: contextlib.ExitStack) -> Iterator[None]:
    """Be one transaction, or a savepoint within the caller's; rolled back in bounded time.

    Args:
        ending: From the commit to its end, interrupts wait.
    """
    with Deadline(conn) as deadline, conn.transaction():
        try:
            yield
            ending.enter_context(deferred(deadline.set))
        except BaseException:  # interrupts too: they must not wait for a silent network
            deadline.set()
            raise


def number(conn: psycopg.Connection[Any]) -> str | None:
    """Return the number of the open transaction; None as long as it has written nothing."""
    with conn.cursor(row_factory=tuple_row) as cursor:
        row = cursor.execute("SELECT pg_catalog.pg_current_xact_id_if_assigned()::text").fetchone()
    return row[0] if row else None


def settle(xid: str | None, connect: Connect | None, error: psycopg.Error) -> None:
    """Find out how the transaction ended whose COMMIT got no answer; return if it is in.

    https://www.postgresql.org/docs/current/functions-info.html (pg_xact_status)

    Raises:
        LostError: It was rolled back.
        CommitUnknownError: The server could not be asked.
    """
    if xid is None:
        return  # it had written nothing
    status = ask(connect, lambda conn: _status(conn, xid))
    if status == "committed":
        return
    if status == "aborted":
        raise LostError("the connection was lost during COMMIT; nothing was imported") from error
    raise CommitUnknownError(
        "the connection was lost during COMMIT, and the server does not answer; ask it later:"
        f" SELECT pg_xact_status('{xid}') says committed or aborted"
    ) from error


def ask(connect: Connect | None, question: Callable[[psycopg.Connection[Any]], Any]) -> Any:
    """Return what *question* finds over a fresh connection; None while that is impossible.

    A question that returns None is asked again.
    """
    deadline = time.monotonic() + SETTLE_SECONDS
    while connect is not None:
        # Whoever connects says in a class of its own that it cannot be done.
        with contextlib.suppress(Exception):
            conn = connect()
            with contextlib.closing(conn):
                if (answer := question(conn)) is not None:
                    return answer
        if time.monotonic() > deadline:
            break
        time.sleep(SETTLE_PAUSE)
    return None


def _status(conn: psycopg.Connection[Any], xid: str) -> str | None:
    with conn.cursor(row_factory=tuple_row) as cursor:
        row = cursor.execute("SELECT pg_catalog.pg_xact_status(%s::xid8)", [xid]).fetchone()
    return row[0] if row and row[0] != "in progress" else None
