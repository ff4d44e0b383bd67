"""What both colours of connection decide alike: states, endings, messages. No I/O but one poll.

A block ends in one of a few ways, and which one depends only on the state libpq reports,
on whether the body raised, and on autocommit. That decision is here, once; ``sync`` and
``aio`` carry it out. So are the texts of the errors and the one statement that applies
the session settings.
"""

from __future__ import annotations

import atexit
import enum
import logging
import select
import threading
import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.pq import ConnStatus, TransactionStatus

from pgmonkey.config.settings import ConnectionType, Settings
from pgmonkey.connections import fork
from pgmonkey.errors import HandleBusyError, HandleError, SessionSettingError

if TYPE_CHECKING:
    from psycopg import BaseConnection
    from psycopg.pq.abc import PGconn

logger = logging.getLogger("pgmonkey.connections")

# A single connection is lent to one thread or task at a time; where the config gives no
# connect_timeout the others wait as long as the documented template would let them: 10 s.
DEFAULT_PATIENCE = 10.0


# Former borrowers are remembered by hash to tell a stale reference; the list is for a
# mistake right after a block, not for history.
FORMER_BORROWERS = 64


class Ending(enum.Enum):
    """How a block ends, in the order a connection's state is looked at."""

    NOTHING = enum.auto()  # no transaction is open
    COMMIT = enum.auto()
    ROLLBACK = enum.auto()
    LOST = enum.auto()  # it cannot be committed any more, and the body did not say so


def ending(conn: BaseConnection[Any], *, failed: bool) -> Ending:
    """Decide how a block on *conn* ends; *failed* says whether its body raised.

    With autocommit a block neither commits nor rolls back; a transaction that the body
    began by hand and left open is rolled back, since a connection must not be held
    idle in a transaction.
    """
    if conn.closed:
        # Closed by the body on purpose is not broken, and loses only what it chose to.
        lost = conn.broken and not failed and not conn.autocommit
        return Ending.LOST if lost else Ending.NOTHING
    status = conn.pgconn.transaction_status
    if status == TransactionStatus.IDLE:
        return Ending.NOTHING
    if status == TransactionStatus.INTRANS:
        return Ending.ROLLBACK if failed or conn.autocommit else Ending.COMMIT
    if status == TransactionStatus.INERROR:
        return Ending.ROLLBACK
    # In the middle of a command nothing can be sent; the connection is closed.
    return Ending.NOTHING if failed else Ending.LOST


def idle(conn: BaseConnection[Any]) -> bool:
    """Say whether *conn* may be kept: open, and in no transaction."""
    return conn.pgconn.transaction_status == TransactionStatus.IDLE


def warn_of_rollback(conn: BaseConnection[Any], memory: Memory) -> None:
    """Log why a block that ended without an exception is rolled back.

    PostgreSQL turns COMMIT of an aborted transaction into ROLLBACK without an error
    (PostgreSQL documentation, "COMMIT"), so this line is all that tells.
    """
    if conn.pgconn.transaction_status == TransactionStatus.INERROR:
        logger.warning(
            "a block ended without an exception, but its transaction had failed with"
            " SQLSTATE %s and was rolled back; let the error leave the block, or use"
            " conn.transaction() around the statement that may fail",
            memory.sqlstate,
        )
    else:
        logger.warning(
            "a block with autocommit left a transaction open, which was rolled back;"
            " end it with COMMIT, or use conn.transaction()"
        )


LOST_MESSAGE = (
    "the connection died, or was left in the middle of a command, inside the block;"
    " its transaction was rolled back"
)
INHERITED_MESSAGE = (
    "this block was opened before a fork and its connection is the parent's;"
    " open a block in the child instead"
)
SILENT_MESSAGE = "the server did not answer in time as the block began"
UNKNOWN_MESSAGE = "the connection died during COMMIT; the transaction may have been committed"


class Memory:
    """What a connection remembers that psycopg forgets.

    Attributes:
        sqlstate: SQLSTATE of the last statement that failed, or None.
        doomed: Whether the server has said its last words while the connection was idle.
        inherited: Whether it came over a fork, and is the parent's.
        borrower: The thread (its ident) or task whose block has the connection, or None.
        deadline: Until when its server has to answer (monotonic seconds), or None.
        give_back: What ``close`` calls in place of closing, or None.
        place: Whose it is in a pool: a ``Place``, or None while it is idle.
        generation: Of its pool's generations, the one it was made in.
        discarded: Whether its pool has given it up.
    """

    def __init__(self) -> None:
        self.sqlstate: str | None = None
        self.doomed = False
        self.inherited = False
        self.borrower: object = None
        self.deadline: float | None = None
        self.give_back: Callable[[Any, bool], Any] | None = None
        self.place: Any = None
        self.generation = 0
        self.discarded = False
        self._former: set[object] = set()

    def lend(self, borrower: object) -> None:
        """Note who has the connection now."""
        self.borrower = borrower
        self.sqlstate = None

    def take_back(self) -> None:
        """Note that the block is over; its borrower may still hold a reference."""
        if len(self._former) >= FORMER_BORROWERS:
            self._former.clear()
        self._former.add(hash(self.borrower))
        self.borrower = None

    def stale(self, caller: object) -> bool:
        """Say whether *caller* had the connection once and somebody else has it now."""
        return self.borrower not in (None, caller) and hash(caller) in self._former

    def notice(self, diag: psycopg.errors.Diagnostic) -> None:
        """Take in a notice: libpq reports as one what a server says before it hangs up."""
        if diag.severity_nonlocalized in ("FATAL", "PANIC"):
            self.doomed = True


def alive(pgconn: PGconn, memory: Memory) -> bool:
    """Say whether an idle connection still has a server, without sending anything.

    An idle server is silent. If there is something to read it is a notification, which
    libpq takes in and keeps, or the end: the server's last words, or EOF.
    """
    poll = select.poll()
    while pgconn.status == ConnStatus.OK and not memory.doomed:
        poll.register(pgconn.socket, select.POLLIN)
        if not poll.poll(0):
            return True
        try:
            pgconn.consume_input()
            pgconn.is_busy()  # has libpq parse what it read
        except psycopg.OperationalError:
            return False
    return False


def psycopg_arguments(settings: Settings) -> dict[str, Any]:
    """Return what ``connect`` takes besides libpq's keywords."""
    options = settings.options
    # A transaction pooler hands each transaction to another server session, which
    # knows nothing of statements prepared in the last one.
    threshold = None if options.pooler == "transaction" else options.prepare_threshold
    return {"autocommit": options.autocommit, "prepare_threshold": threshold}


def isolation_level(settings: Settings) -> psycopg.IsolationLevel | None:
    """Return psycopg's name for the configured isolation level."""
    name = settings.options.isolation_level
    return psycopg.IsolationLevel[name.upper().replace(" ", "_")] if name else None


def settings_statement(session: Mapping[str, str], *, local: bool) -> tuple[str, list[str]]:
    """Return one SELECT that applies all session settings, and its parameters.

    ``set_config`` takes name and value as values, so that lists such as search_path and
    any quote arrive as given (PostgreSQL documentation, "System Administration
    Functions"). *local* limits them to the transaction.
    """
    calls = ", ".join([f"set_config(%s, %s, {'true' if local else 'false'})"] * len(session))
    return f"SELECT {calls}", [part for pair in session.items() for part in pair]


# SQLSTATE classes that say something about the server or the network, not about the
# setting (PostgreSQL documentation, "PostgreSQL Error Codes").
_NOT_THE_SETTING = ("08", "53", "57", "58")


def configure_failure(
    error: psycopg.Error, settings: Settings, connection_type: ConnectionType
) -> Exception:
    """Turn the server's refusal of a session setting into an error that names its line."""
    if error.sqlstate is None or error.sqlstate[:2] in _NOT_THE_SETTING:
        return scrubbed(error, settings)
    section = "async_settings" if connection_type.startswith("async") else "sync_settings"
    words = settings.scrub(error.diag.message_primary or str(error).strip())
    named = [name for name in settings.session(connection_type) if f'"{name}"' in words]
    key = f"{section}.{named[0]}" if named else section
    mark = settings.mark(key)
    return SessionSettingError(
        f"the server says: {words}", file=mark.file, line=mark.line, column=mark.column, key=key
    )


def scrubbed(error: psycopg.Error, settings: Settings) -> psycopg.Error:
    """Return *error* with no secret in its text and none in the frames behind it.

    psycopg's own frames hold the password as a local variable, which error reporters
    that record locals would send on; hence no traceback, no context, no cause.
    """
    text = str(error)
    clean = settings.scrub(text)
    if clean != text:
        error = type(error)(clean)
    error.__context__ = error.__cause__ = None
    return error.with_traceback(None)


def pool_timeout_message(
    size: int, max_size: int, in_use: int, waiting: int, seconds: float, error: Exception | None
) -> str:
    """Say why a pool had no connection to lend, with the numbers that tell the causes apart."""
    text = (
        f"no connection from the pool within {seconds:g} s: size {size} of at most"
        f" {max_size}, in use {in_use}, waiting {waiting}"
    )
    return text if error is None else f"{text}; the last attempt failed: {error}"


def wants_primary(settings: Settings) -> bool:
    """Say whether only a server that takes writes will do."""
    return settings.connection.get("target_session_attrs") in ("read-write", "primary")


# What a client of a primary is told when it is none any more, or goes away (PostgreSQL
# documentation, "PostgreSQL Error Codes"): read_only_sql_transaction; admin_shutdown,
# crash_shutdown and cannot_connect_now; the class of connection exceptions.
_READ_ONLY = "25006"
_GOING_AWAY = ("57P01", "57P02", "57P03", "08")


def demoted(conn: BaseConnection[Any], memory: Memory) -> bool:
    """Say whether the block that ends on *conn* met a server that is no primary any more.

    A statement is also refused as read only because its transaction was asked to be so.
    Servers of 14 and later report what they are themselves; before, the doubt counts
    against the server, and costs a reconnection.
    """
    state = memory.sqlstate or ""
    if state != _READ_ONLY:
        return state.startswith(_GOING_AWAY)
    names = (b"in_hot_standby", b"default_transaction_read_only")
    reported = [conn.pgconn.parameter_status(name) for name in names]
    return conn.read_only is not True and reported != [b"off", b"off"]


class Handle:
    """What every handle is: settings, a type, and a place in its manager's cache.

    Args:
        settings: The configuration it connects with.
        connection_type: One of the four.
        forget: Called with the handle when it is disconnected, to drop it from a cache.

    Attributes:
        closed: True before ``connect`` and after ``disconnect``.
    """

    _borrower_word = "thread"
    _block_words = "with"

    def __init__(
        self,
        settings: Settings,
        connection_type: ConnectionType,
        forget: Callable[[Any], None] | None = None,
    ) -> None:
        self.settings = settings
        self.connection_type: ConnectionType = connection_type
        self.closed = True
        self._forget = forget
        _handles.add(self)
        fork.watch(self)

    def __repr__(self) -> str:
        state = "disconnected" if self.closed else "connected"
        return f"<{type(self).__name__} {self.settings.target} {state}>"

    def __del__(self) -> None:
        # Nobody holds it, nor the manager that cached it: the server gets its sessions back.
        if not getattr(self, "closed", True):
            self._abandon()

    @property
    def _patience(self) -> float:
        text = self.settings.connection.get("connect_timeout")
        seconds = float(text) if isinstance(text, str) else DEFAULT_PATIENCE
        return seconds if seconds > 0 else threading.TIMEOUT_MAX  # libpq: 0 waits for ever

    def _forked(self) -> None:
        """Forget what the parent has, without touching it; the next block connects anew."""
        raise NotImplementedError

    def _abandon(self, seconds: float = 0.0) -> None:
        """Drop every idle connection at once, from any thread; wait *seconds* at most."""
        raise NotImplementedError

    def _opened(self) -> None:
        self.closed = False

    def _evict(self) -> None:
        self.closed = True
        if self._forget is not None:
            self._forget(self)

    def _check_open(self) -> None:
        if self.closed:
            raise self._not_open()

    def _not_open(self) -> HandleError:
        return HandleError(f"{self!r}: get a new one from the manager, or call connect()")

    def _no_block(self, what: str) -> HandleError:
        return HandleError(
            f"{what} needs an open block of this {self._borrower_word}, and of this process;"
            f" write: {self._block_words} handle as conn: ..."
        )

    def _busy(self) -> HandleBusyError:
        return HandleBusyError(
            f"{self!r} has been in use elsewhere for {self._patience:g} s; one connection"
            " serves one user at a time, use a pool type for more"
        )

    def _all_held(self, max_size: int) -> HandleError:
        return HandleError(
            f"this {self._borrower_word} holds all {max_size} connections of the pool already;"
            " waiting for another would be waiting for itself"
        )


_handles: weakref.WeakSet[Handle] = weakref.WeakSet()

# How long exit waits for the threads of one pool: they stop at once unless one is
# connecting to a host that does not answer, and as daemons they hold nothing up.
EXIT_SECONDS = 0.5


@atexit.register
def _close_at_exit() -> None:
    """Give the server its sessions back; the references are weak, so this keeps nothing alive."""
    for handle in list(_handles):
        if not handle.closed:
            handle._abandon(EXIT_SECONDS)
