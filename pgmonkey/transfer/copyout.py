"""Reading the answer of a COPY ... TO STDOUT, as fast as libpq hands it out.

The server sends one message a row ("Messages sent from the backend will always correspond
to single data rows": https://www.postgresql.org/docs/current/protocol-message-formats.html),
so what is done for each of them is what an export costs. psycopg's ``Copy.read`` runs a
generator for every row; here libpq is asked directly for what it has received. And who
sleeps until something arrives is woken by every 8 KiB that the server sends, which costs
the server more than sending them: so nothing is waited for before there was time for more.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from typing import Any, TypeAlias

import psycopg
from psycopg import pq
from psycopg.errors import error_from_result

Rows: TypeAlias = "list[memoryview]"
Others: TypeAlias = "dict[int, Callable[[], None]]"

# Bytes of rows that are handed on together: beyond this, a larger block gains nothing.
BLOCK = 64 * 1024
# Seconds to let pass when nothing has arrived: a quarter of a megabyte at the server's pace,
# which the network's buffers hold.
PAUSE = 0.002
# Seconds in which a cancelled COPY has to end; a server that does not is hung up on.
CANCEL_SECONDS = 5.0


def copy_out(
    conn: psycopg.Connection[Any],
    statement: bytes,
    take: Callable[[Rows, int], None],
    others: Others | None = None,
) -> int:
    """Run *statement*, one COPY ... TO STDOUT, and return how many rows it had.

    It is sent as a single statement (the protocol's Parse refuses a second one).

    Args:
        take: Is given the rows, each a whole line of CSV and the first one the header if
            there is any, and the number of their bytes.
        others: Descriptors to watch meanwhile, with what to call when one has something
            to read. Who is called may take its descriptor out of this dictionary.

    Raises:
        psycopg.Error: The server refused or failed, or the connection was lost. As after
            any exception, *take*'s included, the connection is closed or ready for the
            end of its transaction.
    """
    pgconn = conn.pgconn
    wait = _Wait(conn, {} if others is None else others)
    try:
        wait.send(statement)
        answer = wait.result()
        if answer is None or answer.status != pq.ExecStatus.COPY_OUT:
            raise _error(conn, answer)
        rows: Rows = []
        held = 0
        before = 0  # what was held when libpq was last asked to look
        get = pgconn.get_copy_data
        while True:
            size, row = get(1)
            if size > 0:
                rows.append(row)
                held += size
                if held >= BLOCK:
                    take(rows, held)
                    rows, held = [], 0
                    wait.glance()
            elif size == 0:
                if held == before:
                    time.sleep(PAUSE)
                    wait.readable()
                pgconn.consume_input()
                before = held
            else:
                break
        if held:
            take(rows, held)
        last = wait.result()
        if last is None or last.status != pq.ExecStatus.COMMAND_OK:
            raise _error(conn, last)
        while wait.result() is not None:
            pass
        return last.command_tuples or 0
    except BaseException:  # interrupts too: the COPY goes on in the server otherwise
        _abandon(conn)
        raise


class _Wait:
    """Waiting for the server, with an eye on other descriptors."""

    def __init__(self, conn: psycopg.Connection[Any], others: Others) -> None:
        self._pgconn = conn.pgconn
        self._socket = conn.pgconn.socket
        self._others = others
        self._poll = select.poll()
        for fd in (self._socket, *others):
            self._poll.register(fd, select.POLLIN)

    def readable(self, seconds: float | None = None) -> bool:
        """Wait for the server to send something, or for *seconds*; return whether it did."""
        while True:
            ready = self._poll.poll(None if seconds is None else seconds * 1000)
            self._call(ready)
            if any(fd == self._socket for fd, _ in ready):
                return True
            if not ready:
                return False

    def glance(self) -> None:
        """Call whoever's descriptor has something, without waiting."""
        if self._others:
            self._call(self._poll.poll(0))

    def send(self, statement: bytes) -> None:
        self._pgconn.send_query_params(statement, None)
        while self._pgconn.flush():
            select.select([], [self._socket], [], 1.0)
            self._pgconn.consume_input()

    def result(self) -> pq.abc.PGresult | None:
        """Return the next result, None when there is no more."""
        while self._pgconn.is_busy():
            self.readable()
            self._pgconn.consume_input()
        return self._pgconn.get_result()

    def _call(self, ready: list[tuple[int, int]]) -> None:
        for fd, _ in ready:
            if fd in self._others:
                self._others[fd]()
                if fd not in self._others:
                    self._poll.unregister(fd)


def _error(conn: psycopg.Connection[Any], answer: pq.abc.PGresult | None) -> psycopg.Error:
    if answer is None or answer.status != pq.ExecStatus.FATAL_ERROR:
        return psycopg.ProgrammingError("the statement is not one COPY ... TO STDOUT")
    return error_from_result(answer, encoding=conn.info.encoding)


def _abandon(conn: psycopg.Connection[Any]) -> None:
    """Have the server end the COPY, and read what is still on its way."""
    pgconn = conn.pgconn
    if conn.closed or pgconn.transaction_status != pq.TransactionStatus.ACTIVE:
        return
    wait = _Wait(conn, {})
    deadline = time.monotonic() + CANCEL_SECONDS
    try:
        conn.cancel_safe(timeout=CANCEL_SECONDS)
        while pgconn.transaction_status == pq.TransactionStatus.ACTIVE:
            if pgconn.is_busy() and not wait.readable(max(0.0, deadline - time.monotonic())):
                break
            pgconn.consume_input()
            if pgconn.is_busy():
                continue
            answer = pgconn.get_result()
            if answer is not None and answer.status == pq.ExecStatus.COPY_OUT:
                _drain(pgconn, wait, deadline)
    except (psycopg.Error, OSError):
        pass  # why it ends is known already; that this failed shows in the next line
    except BaseException:  # a second Ctrl-C: no more patience
        conn.close()
        raise
    if pgconn.transaction_status in (pq.TransactionStatus.ACTIVE, pq.TransactionStatus.UNKNOWN):
        conn.close()


def _drain(pgconn: pq.abc.PGconn, wait: _Wait, deadline: float) -> None:
    while (size := pgconn.get_copy_data(1)[0]) >= 0:
        if size == 0:
            if not wait.readable(max(0.0, deadline - time.monotonic())):
                raise psycopg.OperationalError("the server did not end the COPY")
            pgconn.consume_input()
