"""The encoding of what is said to the server, apart from that of a file.

Names and messages travel in ``client_encoding``, which PGCLIENTENCODING, a role or a
database may have set to anything. A database in SQL_ASCII sets it to no encoding at all,
and psycopg then gives bytes where text is expected. The rows of a COPY are not concerned:
each statement names their encoding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

# As parameter, so that the encoding that was there before goes back the same way.
_SET = "SELECT pg_catalog.set_config('client_encoding', %s, false)"


@contextmanager
def in_utf8(conn: psycopg.Connection[Any]) -> Iterator[None]:
    """Have *conn* speak UTF-8 meanwhile, whose names and messages have every character."""
    if conn.info.encoding == "utf-8":
        yield
        return
    before = conn.info.parameter_status("client_encoding")
    _speak(conn, "UTF8")
    try:
        yield
    finally:
        # In a failed transaction of the caller's, its roll-back is what undoes ours.
        usable = (TransactionStatus.IDLE, TransactionStatus.INTRANS)
        if before and conn.info.transaction_status in usable:
            _speak(conn, before)


def opens_utf8(
    connect: Callable[[], psycopg.Connection[Any]] | None,
) -> Callable[[], psycopg.Connection[Any]] | None:
    """Return *connect*, its connections speaking UTF-8."""
    if connect is None:
        return None

    def opened() -> psycopg.Connection[Any]:
        conn = connect()
        try:
            if conn.info.encoding != "utf-8":
                _speak(conn, "UTF8")
        except BaseException:
            conn.close()
            raise
        return conn

    return opened


def _speak(conn: psycopg.Connection[Any], encoding: str) -> None:
    with conn.transaction():  # which leaves a connection idle that was idle
        conn.execute(_SET, [encoding])
