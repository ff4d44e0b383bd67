"""How values and names travel: settings of a session that a role, a database or PGOPTIONS changed.

Names and messages travel in ``client_encoding``, which PGCLIENTENCODING, a role or a
database may have set to anything. A database in SQL_ASCII sets it to no encoding at all,
and psycopg then gives bytes where text is expected. The rows of a COPY are not concerned:
each statement names their encoding; but how a date is written does depend on settings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

# As parameter, so that the encoding that was there before goes back the same way.
_SET = "SELECT pg_catalog.set_config('client_encoding', %s, false)"

# As pg_dump has it. The order of day and month stays what it was: a condition may rely on it.
_EXACT = {"DateStyle": "ISO", "IntervalStyle": "postgres", "extra_float_digits": "1"}


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
        except BaseException:  # interrupts too: nobody else knows of this connection
            conn.close()
            raise
        return conn

    return opened


@contextmanager
def exact_text(conn: psycopg.Connection[Any]) -> Iterator[None]:
    """Have the server write values as every other one reads them, in the transaction of *conn*.

    A float with fewer digits is another number, and 02/03/2024 is two dates.
    """
    cursor = conn.cursor(row_factory=tuple_row)
    names = list(_EXACT)
    query = "SELECT " + ", ".join(["pg_catalog.current_setting(%s)"] * len(names))
    before = cursor.execute(query, names).fetchone()
    assert before is not None
    _set_local(conn, _EXACT)
    yield
    # Where it is the caller's transaction, it goes on.
    _set_local(conn, dict(zip(names, before, strict=True)))


def _set_local(conn: psycopg.Connection[Any], settings: Mapping[str, str]) -> None:
    query = "SELECT " + ", ".join(["pg_catalog.set_config(%s, %s, true)"] * len(settings))
    conn.execute(query, [word for item in settings.items() for word in item])


def _speak(conn: psycopg.Connection[Any], encoding: str) -> None:
    with conn.transaction():  # which leaves a connection idle that was idle
        conn.execute(_SET, [encoding])
