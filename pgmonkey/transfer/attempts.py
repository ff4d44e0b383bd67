"""Rows sent under a savepoint in one of three ways, to be kept or undone together.

A COPY takes all of them or none. With a WHERE it passes over those that break a rule of the
table, and a second one, which stores nothing but them, tells which they were. Staged as
text they are inserted by a function that judges each one (``guarded``). Which rows go which
way is decided in ``skipping``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import psycopg
from psycopg import sql

from pgmonkey.transfer import verdict
from pgmonkey.transfer.copying import Sender, copy_statement, preamble
from pgmonkey.transfer.guarded import CLEAR, STAGE_NAME, guard_for
from pgmonkey.transfer.judging import BROKEN, STAGE
from pgmonkey.transfer.plan import Field, Plan
from pgmonkey.transfer.rows import Rows, Sorted, padded, sort
from pgmonkey.transfer.rules import staged
from pgmonkey.transfer.screen import BAD_FORMAT

if TYPE_CHECKING:
    from psycopg.abc import Buffer

_T = TypeVar("_T")

# Position of a row, SQLSTATE, reason and column.
Refusal: TypeAlias = "tuple[int, str, str, str]"


class RowError(Exception):
    """Rows were refused together, and one of them is to blame."""

    def __init__(self, error: psycopg.Error) -> None:
        # Its frames hold the rows, in a circle which only the collector would break.
        self.error = error.with_traceback(None)


class Attempts:
    """What one load sends, in the transaction that is open on *conn*.

    Attributes:
        stageable: Whether rows can be staged.
        apart: Whether rows may go in in another order than that of the file; see ``Rules``.
        ruled: Whether the table has rules that COPY can hold rows against.
        on_sent: Called when rows are on their way, before the server has answered.
    """

    def __init__(self, conn: psycopg.Connection[Any], plan: Plan, *, must: bool) -> None:
        """Get ready.

        Args:
            must: Whether all rows have to be staged.
        """
        self._conn = conn
        self._plan = plan
        self._must = must
        # Whether a row was met that has too few fields, and enough delimiters.
        self._exact = False
        self.on_sent: Callable[[], None] = lambda: None
        conn.execute("SET CONSTRAINTS ALL IMMEDIATE")
        self._guard = guard = guard_for(conn, plan, must=must)
        self.stageable = guard is not None
        self.apart = guard is not None and guard.apart and not must
        to_stage = [(f, staged(f.position)) for f in plan.fields]
        also = [(Field(-1, name, name), name) for name in ("n", "missing")]
        self._rows = copy_statement(plan, plan.table.sql()).as_bytes(conn)
        self._staged = copy_statement(plan, STAGE, to_stage).as_bytes(conn)
        self._short = copy_statement(plan, STAGE, [*also, *to_stage]).as_bytes(conn)
        kept = guard.kept if guard is not None and self.apart else None
        self.ruled = kept is not None
        if kept is not None:
            broken = sql.SQL("NOT ({})").format(kept)
            self._kept = copy_statement(plan, plan.table.sql(), where=kept).as_bytes(conn)
            self._broken = copy_statement(plan, BROKEN, where=broken).as_bytes(conn)
        # It is there whenever rows are tried, and what they came to is kept or undone.
        conn.execute("SAVEPOINT pgmonkey_rows")

    def end(self, *, keep: bool, staged: bool = False) -> None:
        """Keep or undo what was tried, and be ready for the next rows.

        What was *staged* goes outside of a savepoint, where TRUNCATE need not keep the old
        file for a roll-back; and now, not when the next block is being prepared.
        """
        steps: list[sql.Composable] = (
            [] if keep else [sql.SQL("ROLLBACK TO SAVEPOINT pgmonkey_rows")]
        )
        steps.append(sql.SQL("RELEASE SAVEPOINT pgmonkey_rows"))
        if staged:
            steps += CLEAR
        steps.append(sql.SQL("SAVEPOINT pgmonkey_rows"))
        self._conn.execute(sql.SQL("; ").join(steps))

    def finish(self) -> None:
        """Clear away what the load needed."""
        self._conn.execute("RELEASE SAVEPOINT pgmonkey_rows")
        if self._guard:
            self._guard.drop()

    def copy(self, data: Sequence[Buffer], eol: bytes) -> int:
        """Load rows into the table; return how many.

        Raises:
            RowError: One of them is to blame.
            psycopg.Error: None is, or the server did not even want to see them.
        """
        return self._send(self._rows, data, eol)

    def copy_by_rules(self, rows: Rows) -> tuple[int, Sequence[int]]:
        """Load the rows that break no rule of the table; return how many, and the others.

        A rule that says one thing now and another then, or goes by a collation, may be wrong
        about these: see ``accounted``.

        Raises:
            RowError, psycopg.Error: As ``copy``.
        """
        assert self._guard is not None
        doubts = rows.doubts or frozenset()
        certain: Sequence[int] = range(len(rows))
        data = rows.block.wire
        if doubts:
            certain = [i for i in certain if i not in doubts]
            data = rows.wire(certain)
        inserted = self._send(self._kept, [data], rows.eol)
        others = [*doubts]
        if inserted < len(certain):
            self._send(self._broken, [data], rows.eol)
            others += [certain[number - 1] for number in self._guard.broken()]
        part = tuple(sorted(others))
        rows.sorted[part] = self.sorted(rows, part, exact=True)
        return inserted, part

    def accounted(
        self, rows: Rows, inserted: int, others: Sequence[int], refused: Sequence[Refusal]
    ) -> bool:
        """Return whether each row went in once or was refused, after ``copy_by_rules``.

        Whatever breaks a rule is refused by its own INSERT, too.
        """
        known = {i for i, *_ in refused} | (rows.doubts or frozenset())
        return inserted + len(others) == len(rows) and known.issuperset(others)

    def judge(self, rows: Rows, part: Sequence[int]) -> tuple[int, list[Refusal]]:
        """Insert rows by way of the staging table.

        Returns:
            The number of rows that are in, and of each other its refusal, in the order of
            the file.

        Raises:
            RowError: They cannot be staged.
            psycopg.Error: As ``copy``.
        """
        assert self._guard is not None
        found = rows.sorted.get(part) or self.sorted(rows, part)
        self._send(self._staged, [rows.wire(found.good)], rows.eol)
        if found.short:
            self._send(self._short, [padded(rows, found, len(self._plan.fields))], b"\n")
        doubts = None
        if rows.doubts is not None:
            doubts = [n for n, i in enumerate(found.good, 1) if i in rows.doubts]
        inserted, refusals = _tried(partial(self._guard.insert, doubts))
        refused = [(i, state, message, "") for i, state, message in found.bad]
        for r in refusals:
            i = found.good[r.number - 1] if r.number > 0 else found.short[-r.number - 1][0]
            reason = verdict.reason(r.sqlstate, r.message, r.detail)
            refused.append((i, r.sqlstate, reason, r.column))
        return inserted, sorted(refused)

    def sorted(self, rows: Rows, part: Sequence[int], *, exact: bool = False) -> Sorted:
        """Return which rows can be staged."""
        return sort(rows, part, len(self._plan.fields), exact=exact or self._exact)

    def looks_closer(self, error: psycopg.Error, rows: Rows, part: range) -> bool:
        """Return whether rows that could not be staged can be, sorted more carefully.

        One may have too few fields and enough delimiters.
        """
        found = rows.sorted.get(part)
        if error.sqlstate != BAD_FORMAT or (found.exact if found else self._exact):
            return False
        self._exact = True
        rows.sorted.clear()
        return True

    def place(self, error: psycopg.Error, rows: Rows, part: range) -> int | None:
        """Return where in *part* the row is that the server named, if it did."""
        relation = STAGE_NAME if self._must else self._plan.table.name
        line = verdict.line_in(error.diag.context, relation)
        return None if line is None else rows.at_line(line - 1, part)

    def _send(self, statement: bytes, data: Sequence[Buffer], eol: bytes) -> int:
        if not any(data):
            return 0
        cursor, started = self._conn.cursor(), False
        try:
            with cursor.copy(statement, writer=Sender(cursor)) as copy:
                started = True
                copy.write(b"".join([preamble(eol), *data]))
                self.on_sent()
        except psycopg.Error as error:
            if started and verdict.blames_a_row(error.sqlstate):
                raise RowError(error) from error
            raise
        return cursor.rowcount


def _tried(insert: Callable[[], _T]) -> _T:
    try:
        return insert()
    except psycopg.Error as error:
        if verdict.blames_a_row(error.sqlstate):
            raise RowError(error) from error
        raise
