"""Load every good row and put every bad one aside, as inserting them one by one would.

A block goes to the server in one COPY under a savepoint. If that fails, the row which the
server names is tried alone, after the rows before it and before those after it; so the line
in an error only says where to look first, and rows are judged in the order of the file.
Each bad row costs about a block that way. From the second one in a block on, ``guarded``
takes over: three times the work of a clean COPY, and hardly more for many bad rows.

Deferred constraints are looked at immediately, row by row. The transaction is the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
from psycopg.rows import tuple_row

from pgmonkey.errors import RejectLimitError
from pgmonkey.transfer import staging, verdict
from pgmonkey.transfer.ahead import ahead
from pgmonkey.transfer.copying import Sender, copy_statement, preamble
from pgmonkey.transfer.guarded import STAGE_NAME, Guard
from pgmonkey.transfer.judging import STAGE
from pgmonkey.transfer.plan import Field, Plan
from pgmonkey.transfer.reader import Block
from pgmonkey.transfer.rejects import Reject
from pgmonkey.transfer.rows import Rows, Sorted, assembled, pieces, sort
from pgmonkey.transfer.rules import staged

_T = TypeVar("_T")

# Bytes of one COPY. What a bad row costs grows with it, what a savepoint costs shrinks: a
# quarter of a megabyte is some 6 ms of the server's time, and a savepoint 0.1 ms.
PIECE = 256 * 1024
# Bad rows in one piece from which on the rest of it, and the next one, is staged.
MANY = 2
# Rows staged at a time, so that the rest of a file is not staged at once; see rows._closed.
WINDOW = 16 * 1024


@dataclass(frozen=True)
class Outcome:
    """How many rows are in the table, and how many were rejected."""

    rows: int
    rejected: int


def load_skipping(
    conn: psycopg.Connection[Any],
    plan: Plan,
    blocks: Iterable[Block],
    *,
    write: Callable[[Reject], None],
    on_block: Callable[[int], None] | None = None,
) -> Outcome:
    """Load *blocks* in the transaction that is open on *conn*, and *write* what is rejected.

    Args:
        blocks: One file after the other.
        on_block: Called after each with the number of rows met so far.

    Raises:
        RejectLimitError: More rows are bad than ``plan.max_errors`` allows.
        psycopg.Error: What no row is to blame for. The caller rolls back after either.
    """
    load = _Load(conn, plan, write)
    with closing(ahead(load.prepared(blocks))) as prepared:
        for all_rows in prepared:
            for rows in all_rows:
                load.take(rows)
            if on_block is not None:
                on_block(load.rows + load.rejected)
    load.finish()
    return Outcome(load.rows, load.rejected)


class _Load:
    def __init__(
        self, conn: psycopg.Connection[Any], plan: Plan, write: Callable[[Reject], None]
    ) -> None:
        self._conn = conn
        self._plan = plan
        self._write = write
        self._last: Reject | None = None
        self.rows = 0
        self.rejected = 0
        # What COPY cannot do by itself is staged whatever the rows are like.
        self._must = staging.wanted(plan)
        self.staging = self._must
        self._names = {f.column: f.name for f in plan.fields}
        conn.execute("SET CONSTRAINTS ALL IMMEDIATE")
        self._guard = self._make_guard()
        to_stage = [(f, staged(f.position)) for f in plan.fields]
        also = [(Field(-1, name, name), name) for name in ("n", "missing")]
        self._copy_rows = copy_statement(plan, plan.table.sql()).as_bytes(conn)
        self._copy_staged = copy_statement(plan, STAGE, to_stage).as_bytes(conn)
        self._copy_short = copy_statement(plan, STAGE, [*also, *to_stage]).as_bytes(conn)
        # It is there whenever rows are tried, and what they came to is kept or undone.
        conn.execute("SAVEPOINT pgmonkey_rows")

    def _make_guard(self) -> Guard | None:
        """Return the guard, or None where this table or role cannot have one."""
        table = self._plan.table
        ruled = self._conn.cursor(row_factory=tuple_row).execute(
            "SELECT FROM pg_catalog.pg_rules WHERE schemaname = %s AND tablename = %s",
            (table.schema, table.name),
        )
        if ruled.fetchone() is not None and not self._must:
            return None  # rules are for INSERT; COPY knows none
        clause = staging.conflict(self._plan) if self._plan.on_conflict != "error" else None
        guard = Guard(self._conn, self._plan, clause)
        self._conn.execute("SAVEPOINT pgmonkey_guard")
        try:
            guard.make()
        except psycopg.Error as error:
            if self._must or not verdict.blames_a_row(error.sqlstate):
                raise
            self._conn.execute("ROLLBACK TO SAVEPOINT pgmonkey_guard")
            return None
        self._conn.execute("RELEASE SAVEPOINT pgmonkey_guard")
        return guard

    def prepared(self, blocks: Iterable[Block]) -> Iterator[list[Rows]]:
        """Yield each block as it will be taken, as far as one can tell; in another thread."""
        for block in assembled(blocks):
            if not self.staging:
                yield [Rows(piece) for piece in pieces(block, PIECE)]
                continue
            rows = Rows(block)
            for part in _windows(0, len(rows)):
                rows.sorted[part] = sort(rows, part, len(self._plan.fields))
            yield [rows]

    def take(self, rows: Rows) -> None:
        """Load one block, or a piece of one."""
        block = rows.block
        error = None if self.staging else self._attempt(block.wire, block.eol)
        if error is None and not self.staging:
            return
        before, staged, stageable = self.rejected, self.staging, self._guard is not None
        # What is left to do, the next last.
        todo = _windows(0, len(rows))
        if error is not None and len(rows) > 1:
            todo = _cut(range(len(rows)), self._place(error, rows, range(len(rows))))
        while todo:
            if stageable and not staged and self.rejected - before >= MANY:
                staged, todo = True, _windows(todo[-1].start, len(rows))
            part = todo.pop()
            error = self._stage(rows, part) if staged else self._attempt(rows.wire(part), block.eol)
            if error is None:
                continue
            if staged and not self._must:  # something in this block cannot be staged
                staged = stageable = False
                todo.append(part)
            elif len(part) == 1:
                self._reject(rows, part[0], *_said(error, self._plan))
            else:
                todo += _cut(part, self._place(error, rows, part))
        many = (self.rejected - before) * PIECE >= MANY * len(block.data)
        self.staging = self._must or (stageable and many)

    def finish(self) -> None:
        """Clear away what the load needed.

        Raises:
            RejectLimitError: More rows were bad than the share that is allowed.
        """
        self._conn.execute("RELEASE SAVEPOINT pgmonkey_rows")
        if self._guard:
            self._guard.drop()
        self._check_limit(at_end=True)

    def _attempt(self, data: bytes, eol: bytes) -> psycopg.Error | None:
        """Send rows in one COPY, and return what made them all fail."""
        try:
            self.rows += self._copy_in(self._copy_rows, data, eol)
        except _RowError as error:
            self._undo()
            return error.error
        self._keep()
        return None

    def _keep(self) -> None:
        self._conn.execute("RELEASE SAVEPOINT pgmonkey_rows; SAVEPOINT pgmonkey_rows")

    def _undo(self) -> None:
        self._conn.execute("ROLLBACK TO SAVEPOINT pgmonkey_rows")

    def _stage(self, rows: Rows, part: range) -> psycopg.Error | None:
        """Stage rows and have the server insert them, or return why they cannot be staged."""
        guard = self._guard
        assert guard is not None
        found = rows.sorted.get(part) or sort(rows, part, len(self._plan.fields))
        # Outside of the savepoint, where TRUNCATE need not keep the old file for a roll-back.
        self._conn.execute("RELEASE SAVEPOINT pgmonkey_rows")
        guard.clear()
        self._conn.execute("SAVEPOINT pgmonkey_rows")
        try:
            self._copy_in(self._copy_staged, rows.wire(found.good), rows.eol)
            if found.short:
                self._copy_in(self._copy_short, _padded(rows, found, self._plan), b"\n")
            inserted, refusals = _tried(guard.insert)
        except _RowError as error:
            self._undo()
            return error.error
        self._keep()
        self.rows += inserted
        rejected = [(i, state, message, "") for i, state, message in found.bad]
        for r in refusals:
            i = found.good[r.number - 1] if r.number > 0 else found.short[-r.number - 1][0]
            rejected.append(
                (i, r.sqlstate, verdict.reason(r.sqlstate, r.message, r.detail), r.column)
            )
        for i, state, reason, column in sorted(rejected):
            self._reject(rows, i, state, reason, column)
        return None

    def _copy_in(self, statement: bytes, data: bytes, eol: bytes) -> int:
        """Send *data*; return the number of rows.

        Raises:
            _RowError: A row is to blame.
            psycopg.Error: None is, or the server did not even want to see them.
        """
        if not data:
            return 0
        cursor, started = self._conn.cursor(), False
        try:
            with cursor.copy(statement, writer=Sender(cursor)) as copy:
                started = True
                copy.write(preamble(eol) + data)
        except psycopg.Error as error:
            if started and verdict.blames_a_row(error.sqlstate):
                raise _RowError(error) from error
            raise
        return cursor.rowcount

    def _place(self, error: psycopg.Error, rows: Rows, part: range) -> int | None:
        relation = STAGE_NAME if self._must else self._plan.table.name
        line = verdict.line_in(error.diag.context, relation)
        return None if line is None else rows.at_line(line - 1, part)

    def _reject(self, rows: Rows, index: int, sqlstate: str, reason: str, column: str) -> None:
        self._last = Reject(
            rows.file,
            rows.line(index),
            self._names.get(column, column),
            sqlstate,
            verdict.shortened(reason),
            rows.text(index),
        )
        self.rejected += 1
        self._check_limit()
        self._write(self._last)

    def _check_limit(self, *, at_end: bool = False) -> None:
        limit, last = self._plan.max_errors, self._last
        if last and limit.exceeded(self.rejected, self.rows + self.rejected, at_end=at_end):
            raise RejectLimitError(
                f"{self.rejected} rows are bad, and --max-errors allows {limit}; nothing was"
                f" imported. The last one: {last.reason}",
                file=last.file,
                line=last.line,
            )


class _RowError(Exception):
    def __init__(self, error: psycopg.Error) -> None:
        self.error = error


def _tried(insert: Callable[[], _T]) -> _T:
    try:
        return insert()
    except psycopg.Error as error:
        if verdict.blames_a_row(error.sqlstate):
            raise _RowError(error) from error
        raise


def _windows(start: int, stop: int) -> list[range]:
    """Return what to stage at a time from *start* on, the first last."""
    return [range(i, min(i + WINDOW, stop)) for i in range(start, stop, WINDOW)][::-1]


def _cut(part: range, at: int | None) -> list[range]:
    """Return what to try after *part* failed, the first last: around its row at *at*, or halves."""
    if at is None:
        pieces = [part[: len(part) // 2], part[len(part) // 2 :]]
    else:
        pieces = [part[:at], part[at : at + 1], part[at + 1 :]]
    return [piece for piece in reversed(pieces) if piece]


def _said(error: psycopg.Error, plan: Plan) -> tuple[str, str, str]:
    """Return SQLSTATE, reason and column of the refusal of one row."""
    column = error.diag.column_name or verdict.column_in(
        error.diag.context, plan.table.name, plan.columns
    )
    return error.sqlstate or "", verdict.reason_of(error), column


def _padded(rows: Rows, found: Sorted, plan: Plan) -> bytes:
    """Return the rows with too few fields as they are staged: number, first field missing."""
    delimiter = plan.dialect.delimiter.encode()
    padded = []
    for number, (i, fields) in enumerate(found.short, 1):
        head = f"-{number}{plan.dialect.delimiter}{fields + 1}{plan.dialect.delimiter}".encode()
        tail = delimiter * (len(plan.fields) - fields)
        padded.append(head + rows.text(i) + tail + b"\n")
    return b"".join(padded)
