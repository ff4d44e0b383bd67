"""Rows inserted by the server itself, all under its own guard: a bad row costs little.

A block is staged as text in a temporary table, and a function in PL/pgSQL reads it. Its
``EXCEPTION`` clause is a savepoint that costs microseconds, where one of ours costs round
trips. What is staged is what COPY would have given to the types' input functions, and it is
read by these. The function is in ``judging``, what it knows of the table in ``rules``;
``skipping`` decides when this is worth it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from pgmonkey.transfer.judging import AT, BROKEN, LONGEST_RUN, NUMBER, STAGE, function_body
from pgmonkey.transfer.rules import Column, read_rules, staged
from pgmonkey.transfer.staging import conflict
from pgmonkey.transfer.verdict import blames_a_row

if TYPE_CHECKING:
    from pgmonkey.transfer.plan import Plan

# As the server names it in errors.
STAGE_NAME = "pgmonkey_stage"
FUNCTION = sql.SQL("pg_temp.pgmonkey_insert")
# Statements that empty the staging tables; the next row gets the number 1.
CLEAR = (
    sql.SQL("TRUNCATE {}, {}").format(STAGE, BROKEN),
    sql.SQL("SELECT pg_catalog.setval({}, 1, false)").format(sql.Literal(NUMBER.as_string())),
)


class Refusal(NamedTuple):
    """What the server said of one staged row.

    Attributes:
        number: As staged: 1, 2, ... or negative for a row with too few fields.
    """

    number: int
    sqlstate: str
    message: str
    detail: str
    column: str


def guard_for(conn: psycopg.Connection[Any], plan: Plan, *, must: bool) -> Guard | None:
    """Return the guard for a load, or None where this table or role cannot have one.

    Args:
        must: Whether the load is impossible without.

    Raises:
        psycopg.Error: It is, or no row is to blame for what went wrong.
    """
    ruled = conn.cursor(row_factory=tuple_row).execute(
        "SELECT FROM pg_catalog.pg_rules WHERE schemaname = %s AND tablename = %s",
        (plan.table.schema, plan.table.name),
    )
    if ruled.fetchone() is not None and not must:
        return None  # rules are for INSERT; COPY knows none
    guard = Guard(conn, plan, conflict(plan) if plan.on_conflict != "error" else None)
    conn.execute("SAVEPOINT pgmonkey_guard")
    try:
        guard.make()
    except psycopg.Error as error:
        if must or not blames_a_row(error.sqlstate):
            raise
        conn.execute("ROLLBACK TO SAVEPOINT pgmonkey_guard")
        return None
    conn.execute("RELEASE SAVEPOINT pgmonkey_guard")
    return guard


class Guard:
    """The staging table and the function of one load, in the transaction of *conn*.

    ``make`` creates them, ``drop`` removes them before the commit; a rollback does, too.

    Attributes:
        apart: See ``Rules``.
        kept: What a row fulfils that breaks no rule which looks at it alone: a condition for
            COPY, None where that is not enough to go by. Rows that do not can be sent to
            ``BROKEN``, and ``broken`` tells which they were.
    """

    def __init__(
        self,
        conn: psycopg.Connection[Any],
        plan: Plan,
        on_conflict: sql.Composable | None = None,
    ) -> None:
        self._conn = conn
        self._plan = plan
        self._on_conflict = on_conflict
        self._run = LONGEST_RUN
        # Positions of the columns that had a text which did not convert, and whether a row
        # lacked its parent. Nothing else is looked at before the INSERT, which is cheaper as
        # long as nothing is found.
        self._tried: set[int] = set()
        self._parents = False
        self._columns: dict[str, Column] = {}
        self.made = False
        self.apart = False
        self.kept: sql.Composable | None = None
        self._holders: list[sql.Composable] = []

    def make(self) -> None:
        """Create what is needed.

        Raises:
            psycopg.Error: The role may not have temporary tables, for one.
        """
        rules = read_rules(self._conn, self._plan)
        self.apart = rules.apart
        if rules.apart and rules.local:
            self.kept = sql.SQL(" AND ").join(rules.local)
        self._columns = {column.name: column for column in rules.columns}
        texts = sql.SQL(", ").join(
            sql.SQL("{} text").format(sql.Identifier(staged(field.position)))
            for field in self._plan.fields
        )
        make = [
            sql.SQL("CREATE SEQUENCE {} CACHE 1000").format(NUMBER),
            sql.SQL("CREATE SEQUENCE {} CACHE 1000").format(AT),
            sql.SQL(
                "CREATE TEMPORARY TABLE pgmonkey_stage"
                " (n bigint DEFAULT pg_catalog.nextval({}), missing int NOT NULL DEFAULT 0, {})"
                " ON COMMIT DROP"
            ).format(sql.Literal(NUMBER.as_string()), texts),
        ]
        typed = sql.SQL(", ").join(
            # The catalog's own spelling; what no rule is about need not be converted.
            sql.SQL("{} {}").format(
                sql.Identifier(f.column), sql.SQL(f.type if f.column in rules.ruled else "text")
            )
            for f in self._plan.fields
            if f.column is not None
        )
        make.append(
            sql.SQL(
                "CREATE TEMPORARY TABLE pgmonkey_broken"
                " (pgmonkey_n bigint DEFAULT pg_catalog.nextval({}), {}) ON COMMIT DROP"
            ).format(sql.Literal(NUMBER.as_string()), typed)
        )
        for column in rules.columns:
            if not column.plain:
                self._holders.append(sql.SQL("pg_temp.{}").format(sql.Identifier(column.holder)))
                make.append(
                    sql.SQL(
                        "CREATE TEMPORARY TABLE {} ON COMMIT DROP AS SELECT {} AS v FROM {} LIMIT 0"
                    ).format(
                        sql.Identifier(column.holder),
                        sql.Identifier(column.name),
                        self._plan.table.sql(),
                    )
                )
        body = function_body(self._plan, rules, self._on_conflict)
        make.append(
            # To plan a run for just its rows takes longer than to insert them.
            sql.SQL(
                "CREATE FUNCTION {}(tried int[], doubts bigint[], parents bool, INOUT run int,"
                " OUT n bigint, OUT state text, OUT message text, OUT detail text, OUT col text) RETURNS SETOF record"
                " LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS {}"
            ).format(FUNCTION, sql.Literal(body.as_string(self._conn)))
        )
        for statement in make:
            self._conn.execute(statement)
        self.made = True

    def _ask(self, query: sql.SQL | sql.Composed, args: Sequence[Any]) -> psycopg.Cursor[Any]:
        return self._conn.cursor(row_factory=tuple_row).execute(query, args)

    def drop(self) -> None:
        """Remove everything again."""
        if self.made:
            self.made = False
            drops = [sql.SQL("DROP FUNCTION {}(int[], bigint[], bool, int)").format(FUNCTION)]
            drops += [sql.SQL("DROP TABLE {}").format(t) for t in (STAGE, BROKEN, *self._holders)]
            drops.append(sql.SQL("DROP SEQUENCE {}, {}").format(NUMBER, AT))
            self._conn.execute(sql.SQL("; ").join(drops))

    def broken(self) -> list[int]:
        """Return the numbers of the rows that were sent to ``BROKEN``, and begin anew."""
        query = "SELECT ARRAY(SELECT pgmonkey_n FROM {}), pg_catalog.setval({}, 1, false)"
        number = sql.Literal(NUMBER.as_string())
        told = self._ask(sql.SQL(query).format(BROKEN, number), ()).fetchone()
        assert told is not None
        return sorted(told[0])

    def insert(self, doubts: Sequence[int] | None = None) -> tuple[int, list[Refusal]]:
        """Insert what is staged.

        Args:
            doubts: The numbers of the rows that may have a text like those that did not
                convert before; None for any.

        Returns:
            The number of rows that are in, and what was refused in the order of the file.

        Raises:
            psycopg.Error: What no row is to blame for.
        """
        found: list[Refusal] = []
        inserted = 0
        query = sql.SQL(
            "SELECT n, state, message, detail, col, run FROM {}(%s, %s, %s, %s)"
        ).format(FUNCTION)
        told = self._ask(query, (sorted(self._tried), doubts, self._parents, self._run))
        for number, state, message, detail, column, run in told:
            if state is None:
                inserted, self._run = number, run
                continue
            found.append(Refusal(number, state, message, detail or "", column or ""))
            known = self._columns.get(column)
            if known and number > 0 and (state.startswith("22") or not known.plain):
                self._tried.add(known.position)
            self._parents |= state == "23503"
        return inserted, found
