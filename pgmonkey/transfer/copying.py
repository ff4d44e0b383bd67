"""COPY ... FROM STDIN: its statement, and the bytes on their way to the server.

libpq keeps what the network does not take yet, without any limit, so every piece is
flushed before the next one is given. And it does not look at an error that arrives while
data is being sent: the server reads and drops the rest, and answers at the end. So a
sender notices that something arrived, and whoever sends can ask what the matter is.
"""

from __future__ import annotations

import contextlib
import select
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from psycopg import errors, sql
from psycopg.copy import LibpqWriter
from psycopg.pq import ConnStatus, DiagnosticField
from psycopg.waiting import Ready, Wait

from pgmonkey.transfer.commit import Deadline
from pgmonkey.transfer.encodings import server_encoding
from pgmonkey.transfer.plan import Field, Plan

if TYPE_CHECKING:
    import psycopg
    from psycopg.abc import Buffer, PQGen

# What libpq is given at once: it copies this into a buffer of its own, which it keeps, and
# moves what is left of it after every partial write.
PIECE = 64 * 1024
# What the text format does not take for a delimiter (ProcessCopyOptions in copy.c).
NO_DELIMITER = "\\.abcdefghijklmnopqrstuvwxyz0123456789"


def copy_statement(
    plan: Plan,
    target: sql.Composable,
    columns: Iterable[tuple[Field, str]] | None = None,
    where: sql.Composable | None = None,
    *,
    text: bool = False,
) -> sql.Composed:
    """Return the COPY for the fields of *plan*; CSV data must begin with ``preamble``.

    https://www.postgresql.org/docs/current/sql-copy.html

    Args:
        target: The table, quoted.
        columns: Which column of *target* each field of a record goes to; by default the
            plan's own, which then may not skip any field.
        where: What rows have to fulfil, the others being passed over; None for nothing.
        text: Whether the data is read as COPY's text format, and has no preamble.
    """
    pairs = list(columns) if columns is not None else [(f, f.column or "") for f in plan.fields]
    dialect = plan.dialect
    options: list[sql.Composable] = [
        sql.SQL("FORMAT text" if text else "FORMAT csv, HEADER true"),
        sql.SQL("ENCODING {}").format(sql.Literal(server_encoding(dialect))),
        sql.SQL("DELIMITER {}").format(sql.Literal(dialect.delimiter)),
        sql.SQL("NULL {}").format(sql.Literal(dialect.null or "")),
    ]
    if not text:
        options.append(sql.SQL("QUOTE {}").format(sql.Literal(dialect.quote)))
        options.append(sql.SQL("ESCAPE {}").format(sql.Literal(dialect.escape)))
        for option in ("FORCE_NULL", "FORCE_NOT_NULL"):
            names = [name for field, name in pairs if field.empty == option]
            if names:
                options.append(sql.SQL(f"{option} ({{}})").format(identifiers(names)))
    return sql.SQL("COPY {} ({}) FROM STDIN WITH ({}){}").format(
        target,
        identifiers(name for _, name in pairs),
        sql.SQL(", ").join(options),
        sql.SQL(" WHERE {}").format(where) if where is not None else sql.SQL(""),
    )


class Copies(NamedTuple):
    """The COPY for all blocks of a file, and one that reads plain blocks sooner.

    Looking for quotes costs the server a tenth of a load of texts. Its text format needs
    not, and reads records that have none the same.

    Attributes:
        csv: For every block.
        text: For those that are ``plain``; None where it would not be the same.
    """

    csv: sql.Composed
    text: sql.Composed | None


def copies(
    plan: Plan, target: sql.Composable, columns: Iterable[tuple[Field, str]] | None = None
) -> Copies:
    """Return the statements to load the fields of *plan*; see ``copy_statement``."""
    pairs = list(columns) if columns is not None else None
    # The text format has no FORCE_NOT_NULL; to FORCE_NULL plain records give no occasion.
    same = (
        plan.divisible  # quotes further down need the other statement
        and plan.dialect.delimiter not in NO_DELIMITER
        and not any(f.empty == "FORCE_NOT_NULL" for f in plan.fields)
    )
    return Copies(
        copy_statement(plan, target, pairs),
        copy_statement(plan, target, pairs, text=True) if same else None,
    )


def identifiers(names: Iterable[str]) -> sql.Composed:
    """Return *names* quoted, with commas between them."""
    return sql.SQL(", ").join(map(sql.Identifier, names))


def preamble(eol: bytes) -> bytes:
    """Return the line to send before the first record: an empty header.

    The server learns from its first line how lines end, and only then counts those inside
    quotes rightly. With this one it knows before any data, and "line N" in its errors is
    right from the first record on, one too many.
    """
    return eol


class Sender(LibpqWriter):
    """Sends the data of one COPY and holds none of it: ``cursor.copy(..., writer=sender)``.

    Attributes:
        heard: Whether the server has said something since this was last set to False. In
            the middle of a COPY that is a notice, or the error that ends it.
    """

    def __init__(self, cursor: psycopg.Cursor[Any]) -> None:
        super().__init__(cursor)
        self.heard = False

    def write(self, data: Buffer) -> None:
        """Send *data*, and return when the network has taken all of it."""
        view = memoryview(data)
        with self._last_words():
            for start in range(0, len(view), PIECE):
                self.connection.wait(self._sent(view[start : start + PIECE]))
            poll = select.poll()
            poll.register(self._pgconn.socket, select.POLLIN)
            if poll.poll(0):
                self._hear()

    def finish(self, exc: BaseException | None = None) -> None:
        """End the COPY; *exc* makes it fail. A connection that is lost has failed already."""
        if exc is None:
            with self._last_words():
                super().finish()
        elif self._pgconn.status != ConnStatus.BAD:
            # The server's answer matters no more, and where the network is silent none comes.
            with Deadline(self.connection) as deadline, contextlib.suppress(errors.Error):
                deadline.set()
                super().finish(exc)

    def _sent(self, piece: memoryview) -> PQGen[None]:
        while self._pgconn.put_copy_data(piece) == 0:
            yield Wait.W
        # https://www.postgresql.org/docs/current/libpq-async.html, PQflush: wait for both,
        # since a server that wants to be heard first takes no more data.
        while self._pgconn.flush():
            # None where psycopg goes on with this after Ctrl-C.
            if ((yield Wait.RW) or Ready.NONE) & Ready.R:
                self._hear()

    def _hear(self) -> None:
        self.heard = True
        self._pgconn.consume_input()

    @contextmanager
    def _last_words(self) -> Iterator[None]:
        """Raise what the server said before it hung up, in place of libpq's or psycopg's error.

        libpq has read it, or can, and looks at it when it waits for an answer only.
        """
        try:
            yield
        except errors.OperationalError as error:
            if error.sqlstate is not None:  # the server's words already
                raise
            with contextlib.suppress(errors.Error):
                self._pgconn.consume_input()
            with contextlib.suppress(errors.Error):
                self._pgconn.put_copy_end(b"the connection was lost")
            result = self._pgconn.get_result()
            if result is None or not result.error_field(DiagnosticField.SQLSTATE):
                raise
            raise errors.error_from_result(result, self.connection.info.encoding) from error
