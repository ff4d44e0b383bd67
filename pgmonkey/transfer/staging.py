"""The slower way into a table: COPY into a temporary one, then INSERT ... SELECT.

COPY can neither pass over a field nor meet a row that exists already. The temporary table
lives as long as the transaction, so there is nothing to clean up whatever happens; and
INSERT costs 1.2 to 1.4 times as much as COPY alone.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from psycopg import errors, sql

from pgmonkey.transfer.copying import identifiers
from pgmonkey.transfer.plan import Field, Plan

if TYPE_CHECKING:
    import psycopg

# The order of the file, for "the last row of a key wins".
ORDER = "n"


def wanted(plan: Plan) -> bool:
    """Return whether *plan* cannot be carried out by COPY alone."""
    return plan.on_conflict != "error" or bool(plan.skipped)


class Stage:
    """A temporary table with a column for each field, and the INSERT out of it.

    Attributes:
        name: Of the temporary table, as the server says it in errors.
        target: The same for a statement.
        columns: Each field with its column there.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.name = f"pgmonkey_{secrets.token_hex(6)}"
        self.target = sql.Identifier("pg_temp", self.name)
        self.columns: list[tuple[Field, str]] = [(f, f"f{f.position}") for f in plan.fields]

    def create(self, conn: psycopg.Connection[Any]) -> None:
        """Make the table; skipped fields are text, since nobody cares what they hold."""
        columns: list[sql.Composable] = [
            # The type's name is the catalog's own spelling, or passed as one by planning.
            sql.SQL("{} {}").format(
                sql.Identifier(name),
                sql.SQL(f.type if f.column is not None else "text"),
            )
            for f, name in self.columns
        ]
        if self.plan.on_conflict == "update":
            order = sql.Identifier(ORDER)
            columns.append(sql.SQL("{} bigint GENERATED ALWAYS AS IDENTITY").format(order))
        conn.execute(
            sql.SQL("CREATE TEMPORARY TABLE {} ({}) ON COMMIT DROP").format(
                sql.Identifier(self.name), sql.SQL(", ").join(columns)
            )
        )

    def insert(self, conn: psycopg.Connection[Any]) -> int:
        """Move the rows into the table of the plan; return how many were added or updated.

        With ``on_conflict`` "update" rows of the file with one key count as one: the last.
        """
        if self.plan.on_conflict != "update":
            return conn.execute(self._insert(self.target)).rowcount
        try:
            # Mostly no key is in a file twice, and looking for such costs a sort.
            with conn.transaction():
                return conn.execute(self._insert(self.target)).rowcount
        except errors.CardinalityViolation:
            return conn.execute(self._insert(self._last_of_each_key())).rowcount

    def _insert(self, rows: sql.Composable) -> sql.Composed:
        plan = self.plan
        loaded = [(f.column, name) for f, name in self.columns if f.column is not None]
        always = any(f.identity_always for f in plan.fields)
        return sql.SQL("INSERT INTO {} ({}) {}SELECT {} FROM {}{}").format(
            plan.table.sql(),
            identifiers(column for column, _ in loaded),
            sql.SQL("OVERRIDING SYSTEM VALUE " if always else ""),
            identifiers(name for _, name in loaded),
            rows,
            conflict(plan),
        )

    def _last_of_each_key(self) -> sql.Composable:
        """Return the staged rows without those that a later one of the file replaces.

        A NULL in a key equals nothing, so such rows all stay.
        """
        key = [name for f, name in self.columns if f.column in self.plan.key]
        null = sql.SQL(" OR ").join(
            sql.SQL("{} IS NULL").format(sql.Identifier(name)) for name in key
        )
        return sql.SQL(
            "(SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY {} ORDER BY {} DESC)"
            " AS later FROM {}) AS numbered WHERE later = 1 OR {}) AS latest"
        ).format(identifiers(key), sql.Identifier(ORDER), self.target, null)


def conflict(plan: Plan) -> sql.Composable:
    """Return the clause that says what becomes of a row whose key exists; empty for an error."""
    if plan.on_conflict == "error":
        return sql.SQL("")
    key = sql.SQL(" ({})").format(identifiers(plan.key)) if plan.key else sql.SQL("")
    others = [column for column in plan.columns if column not in plan.key]
    if plan.on_conflict == "skip" or not others:
        return sql.SQL(" ON CONFLICT{} DO NOTHING").format(key)
    changes = sql.SQL(", ").join(
        sql.SQL("{0} = EXCLUDED.{0}").format(sql.Identifier(column)) for column in others
    )
    return sql.SQL(" ON CONFLICT{} DO UPDATE SET {}").format(key, changes)
