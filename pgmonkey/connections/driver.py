"""psycopg's connection, which remembers three more things, and how one is opened and ended.

A swallowed error is worth a warning that names its SQLSTATE; a server that hung up on an
idle connection should be noticed before the next statement; and a reference kept beyond
its block must not roll back somebody else's. psycopg keeps none of these. Everything else
is psycopg's: ``isinstance(conn, psycopg.Connection)`` holds. ``driver_aio`` is the twin.
"""

from __future__ import annotations

from threading import get_ident
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg.rows import TupleRow, tuple_row

from pgmonkey.config.settings import ConnectionType, Settings
from pgmonkey.connections import base, fork
from pgmonkey.connections.base import Ending, Memory
from pgmonkey.errors import CommitUnknownError, HandleError, TransactionLostError

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
        fork.watch(self)

    def wait(self, gen: PQGen[_RV], *args: Any, **kwargs: Any) -> _RV:
        """Wait as psycopg does, but not beyond a deadline, and note the SQLSTATE of a failure."""
        if self.memory.deadline is not None:
            kwargs["timeout"] = max(0.0, self.memory.deadline - monotonic())
        try:
            return super().wait(gen, *args, **kwargs)
        except psycopg.Error as error:
            self.memory.sqlstate = error.sqlstate
            if isinstance(error, psycopg.InternalError) and error.sqlstate is None:
                # psycopg met another number of answers than it asked for, as when a pooler's
                # server ends: what is read next could be the answer to something else.
                self.pgconn.finish()
            raise

    def rollback(self) -> None:
        """Roll back as psycopg does, unless the caller's block is over and another's is on.

        A reference kept beyond its block may be to a connection that somebody else has
        borrowed since, whose work is not the caller's to throw away.
        """
        if not self.memory.stale(get_ident()):
            super().rollback()

    def add_notice_handler(self, callback: Any) -> None:
        """Add as psycopg does, but once: some libraries add theirs at every checkout."""
        if callback not in self._notice_handlers:
            super().add_notice_handler(callback)

    def close(self) -> None:
        """Close as psycopg does, or give back to its pool what is lent until it is closed."""
        give_back, self.memory.give_back = self.memory.give_back, None
        if give_back is None:
            super().close()
            return
        pool: Any = self._pool
        place = self.memory.place
        try:
            give_back(self, True)
        except BaseException:  # interrupts too: whoever lent it closes it once
            if pool is not None:
                pool.forsake(place)
            raise

    def _forked(self) -> None:
        self.memory.inherited = True
        self._pool = None
        if not self.closed:
            fork.silence(self.pgconn.socket)


def _arguments(settings: Settings) -> dict[str, Any]:
    return settings.connect_arguments()


def _dial(settings: Settings) -> Connection:
    arguments = _arguments(settings)
    extra = base.psycopg_arguments(settings)
    try:
        return Connection.connect(**arguments, **extra)
    except psycopg.OperationalError:
        # A secret from a file or a command may have been rotated between reading it and
        # using it. Only a changed one is worth a second attempt.
        fresh = _arguments(settings) if settings.rotates else arguments
        if fresh == arguments:
            raise
        return Connection.connect(**fresh, **extra)


def _configure(conn: Connection, settings: Settings, connection_type: ConnectionType) -> None:
    options, session = settings.options, settings.session(connection_type)
    conn.set_isolation_level(base.isolation_level(settings))
    conn.set_read_only(options.read_only)
    if session and options.pooler != "transaction":
        conn.execute(*base.settings_statement(session, local=False))
        conn.commit()


def open_connection(settings: Settings, connection_type: ConnectionType) -> Connection:
    """Make one connection, configured and idle.

    Raises:
        psycopg.OperationalError: libpq or the server refused, in their words without secrets.
        SessionSettingError: The server refused a session setting.
    """
    failure: Exception
    try:
        conn = _dial(settings)
    except psycopg.Error as error:
        failure = base.scrubbed(error, settings)
    else:
        try:
            _configure(conn, settings, connection_type)
            return conn
        except psycopg.Error as error:
            conn.close()
            failure = base.configure_failure(error, settings, connection_type)
        except BaseException:  # interrupts too: nobody else knows of this connection
            conn.close()
            raise
    raise failure


def begin(
    conn: Connection, settings: Settings, connection_type: ConnectionType, seconds: float
) -> None:
    """Send the session settings with the transaction, where a pooler forgets them otherwise.

    Raises:
        psycopg.OperationalError: The server does not answer within *seconds*, or refuses.
    """
    session = settings.session(connection_type)
    if session and settings.options.pooler == "transaction":
        conn.memory.deadline = monotonic() + seconds
        try:
            conn.execute(*base.settings_statement(session, local=True))
        except psycopg.OperationalError as error:
            if monotonic() < conn.memory.deadline:
                raise
            raise psycopg.OperationalError(base.SILENT_MESSAGE) from error
        finally:
            conn.memory.deadline = None


def end(conn: Connection, failed: bool) -> None:
    """Finish the transaction of a block; a connection that is not idle then is to be closed."""
    if conn.memory.inherited:
        if failed:
            return  # the body's exception says enough
        raise HandleError(base.INHERITED_MESSAGE)
    conn.memory.take_back()
    how = base.ending(conn, failed=failed)
    try:
        if how is Ending.COMMIT:
            conn.commit()
        elif how is Ending.ROLLBACK:
            if not failed:
                base.warn_of_rollback(conn, conn.memory)
            conn.rollback()
    except psycopg.Error as error:
        if how is Ending.COMMIT:
            if conn.closed:
                raise CommitUnknownError(base.UNKNOWN_MESSAGE) from error
            raise
        # The body's own exception, or its silence, says more than a failed rollback.
        base.logger.debug("rollback failed: %s", error)
    if how is Ending.LOST:
        raise TransactionLostError(base.LOST_MESSAGE)
