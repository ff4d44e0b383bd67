"""psycopg's connections, which remember three more things.

A swallowed error is worth a warning that names its SQLSTATE; a server that hung up on an
idle connection should be noticed before the next statement; and a reference kept beyond
its block must not roll back somebody else's. psycopg keeps none of these. Everything else
is psycopg's: ``isinstance(conn, psycopg.Connection)`` holds.
"""

from __future__ import annotations

from asyncio import current_task
from threading import get_ident
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg.rows import TupleRow, tuple_row

from pgmonkey.connections.base import Memory

if TYPE_CHECKING:
    from psycopg.abc import PQGen
    from psycopg.pq.abc import PGconn

_RV = TypeVar("_RV")


class Connection(psycopg.Connection[TupleRow]):
    """A ``psycopg.Connection`` in every respect."""

    def __init__(self, pgconn: PGconn, row_factory: Any = tuple_row) -> None:
        super().__init__(pgconn, row_factory)
        self.memory = Memory()
        self.add_notice_handler(self.memory.notice)

    def wait(self, gen: PQGen[_RV], *args: Any, **kwargs: Any) -> _RV:
        """Wait as psycopg does, and note the SQLSTATE of a failure."""
        try:
            return super().wait(gen, *args, **kwargs)
        except psycopg.Error as error:
            self.memory.sqlstate = error.sqlstate
            raise

    def rollback(self) -> None:
        """Roll back as psycopg does, unless the caller's block is over and another's is on.

        A reference kept beyond its block may be to a connection that somebody else has
        borrowed since, whose work is not the caller's to throw away.
        """
        if not self.memory.stale(get_ident()):
            super().rollback()


class AsyncConnection(psycopg.AsyncConnection[TupleRow]):
    """A ``psycopg.AsyncConnection`` in every respect."""

    def __init__(self, pgconn: PGconn, row_factory: Any = tuple_row) -> None:
        super().__init__(pgconn, row_factory)
        self.memory = Memory()
        self.add_notice_handler(self.memory.notice)

    async def wait(self, gen: PQGen[_RV], *args: Any, **kwargs: Any) -> _RV:
        """Wait as psycopg does, and note the SQLSTATE of a failure."""
        try:
            return await super().wait(gen, *args, **kwargs)
        except psycopg.Error as error:
            self.memory.sqlstate = error.sqlstate
            raise

    async def rollback(self) -> None:
        """Roll back as psycopg does, unless the caller's block is over and another's is on."""
        if not self.memory.stale(current_task()):
            await super().rollback()
