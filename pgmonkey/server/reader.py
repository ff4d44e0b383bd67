"""One connection, read without changing anything: the only way an audit sends statements.

Every query is a transaction of its own: ``BEGIN READ ONLY``, ``SET LOCAL``, one ``SELECT``,
``ROLLBACK``. A failed statement aborts its transaction, so a shared one would let a single
missing right hide everything after it. Nothing is set for the session, since behind a
pooler the session is somebody else's next. Errors are told apart by SQLSTATE, since their
words come in the language of the server. What is asked is in ``collect``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from pgmonkey.server.evidence import Unread

if TYPE_CHECKING:
    import psycopg

T = TypeVar("T")
Row = tuple[Any, ...]

# A catalogue query that takes longer, or waits that long for a lock, meets a server in
# trouble: the audit must not add to it.
BEGIN = (
    "BEGIN READ ONLY; SET LOCAL statement_timeout = '5s'; SET LOCAL lock_timeout = '1s'; "
    "SET LOCAL client_encoding = 'UTF8'; SET LOCAL search_path = pg_catalog"
)


@dataclass(frozen=True)
class Reader:
    """One connection, and the only way anything is sent over it."""

    conn: psycopg.Connection[Any]

    def ask(self, query: str, parameters: Sequence[object] = ()) -> list[Row]:
        """Run one SELECT in a read-only transaction of its own.

        Raises:
            psycopg.Error: The server refused it; the transaction is over all the same.
        """
        self.conn.execute(BEGIN)
        try:
            # Never prepared: a pooler may send the next query to another server process.
            return self.conn.execute(query, parameters or None, prepare=False).fetchall()
        finally:
            if not self.conn.closed:
                self.conn.execute("ROLLBACK")

    def read(self, how: Callable[[Reader], T], grant: str = "") -> T | Unread:
        """Return what *how* reads, or why it cannot be read, and the *grant* that opens it."""
        import psycopg

        try:
            return how(self)
        except psycopg.errors.InsufficientPrivilege as error:
            return Unread("the role may not read it", grant, error.sqlstate or "")
        except psycopg.errors.QueryCanceled as error:
            return Unread("the server took longer than 5 s to answer", "", error.sqlstate or "")
        except psycopg.Error as error:
            if self.conn.closed:
                raise
            state = error.sqlstate or type(error).__name__
            return Unread(f"the server refused the query (SQLSTATE {state})", "", state)


def regex(conn: psycopg.Connection[Any]) -> Callable[[str, str], bool | None]:
    """Return a function that lets the server of *conn* match a pattern of pg_hba.conf.

    Python's regular expressions differ from PostgreSQL's. It returns None for a pattern
    that the server does not understand, and once the connection is closed.
    """
    reader = Reader(conn)

    def match(pattern: str, text: str) -> bool | None:
        if conn.closed:
            return None
        found = reader.read(
            lambda r: r.ask(
                'SELECT %s::pg_catalog.text COLLATE pg_catalog."C" OPERATOR(pg_catalog.~) '
                "%s::pg_catalog.text",
                (text, pattern),
            )
        )
        return None if isinstance(found, Unread) else bool(found[0][0])

    return match
