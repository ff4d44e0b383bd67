"""What a load will do, as a value: table, columns, dialect, mode. Made before anything happens.

A plan is complete: the importer asks nobody and decides nothing about meaning. COPY names
its columns, so their order in the file is free; a field without a column has to be read
past, which COPY cannot do. ``planning`` makes plans from options, file and catalog.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from pgmonkey.transfer.dialect import Dialect

if TYPE_CHECKING:
    from psycopg import sql

    from pgmonkey.transfer.shape import Shape

Mode: TypeAlias = Literal["append", "truncate", "replace", "upsert", "create"]
OnConflict: TypeAlias = Literal["error", "skip", "update"]
OnError: TypeAlias = Literal["stop", "skip"]

# What needs no quotes, as quote_ident has it; keywords are no statement in a --table.
_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")


class Table(NamedTuple):
    """A table, spelled as the catalog has it: no quotes, nothing to be folded any more."""

    schema: str
    name: str

    def sql(self) -> sql.Identifier:
        """Return the name for a statement, quoted as it has to be."""
        from psycopg import sql

        return sql.Identifier(self.schema, self.name)

    def __str__(self) -> str:
        """Return the name for people: without the schema where that is ``public``."""
        return self.name if self.schema == "public" else f"{self.schema}.{self.name}"

    @property
    def typed(self) -> str:
        """The name as one types it for ``--table``: in quotes where it would mean another."""
        parts = (self.name,) if self.schema == "public" else (self.schema, self.name)
        return ".".join(
            part if _PLAIN.fullmatch(part) else '"' + part.replace('"', '""') + '"'
            for part in parts
        )


class Field(NamedTuple):
    """One field of every record, in the order of the file.

    Attributes:
        position: Counted from 0.
        name: What the file calls it; the column's name where there is no header.
        column: The column it goes to, as the catalog spells it; None for a field to skip.
        type: Of the column, as ``format_type`` writes it: ``numeric(10,2)``.
        text: Whether ``''`` is a value of that type.
        not_null: Whether the column is NOT NULL.
        empty: What to ask of COPY for the column: nothing, FORCE_NULL or FORCE_NOT_NULL
            (https://www.postgresql.org/docs/current/sql-copy.html).
        identity_always: Whether an INSERT (never a COPY) has to say OVERRIDING SYSTEM VALUE.
    """

    position: int
    name: str
    column: str | None
    type: str = "text"
    text: bool = True
    not_null: bool = False
    empty: Literal["", "FORCE_NULL", "FORCE_NOT_NULL"] = ""
    identity_always: bool = False


class MaxErrors(NamedTuple):
    """How many rows may be rejected before the load is given up: a number, or a share.

    Without either there is no limit.
    """

    number: int | None = None
    percent: float | None = None

    def exceeded(self, rejected: int, rows: int, *, at_end: bool = False) -> bool:
        """Return whether *rejected* of *rows* met so far are too many.

        A share means something only when the last row is known (*at_end*).
        """
        if self.number is not None and rejected > self.number:
            return True
        if self.percent is None or not at_end:
            return False
        return rejected * 100 > rows * self.percent

    def __str__(self) -> str:
        if self.percent is not None:
            return f"{self.percent:g} %"
        return "no limit" if self.number is None else str(self.number)


class Plan(NamedTuple):
    """Everything that is decided before the first row is sent.

    Attributes:
        fields: Every field of a record. The COPY names ``columns`` in this order.
        create: The CREATE TABLE to run first, in the transaction of the load; None where
            the table exists.
        mode: ``append`` adds rows. ``truncate`` empties the table with TRUNCATE first,
            ``replace`` with DELETE, so that others read the old rows until the commit and
            foreign keys are heeded. ``upsert`` adds or updates by ``key``. ``create`` is
            append to a table which did not exist.
        key: The columns of the conflict, as the catalog spells them. Empty with
            ``on_conflict`` "skip" means any unique key of the table.
        on_conflict: ``error``: plain COPY. Otherwise what happens to a row whose key
            exists: it is skipped, or the stored row is updated.
        on_error: ``stop`` at the first bad row with nothing loaded, or ``skip`` it.
        max_errors: With "skip", when to give up and load nothing.
        rejects: With "skip", the file that receives the rejected rows; None for none.
        jobs: Connections to use at most, 1 or more.
        why_one_job: Why it is one although more were possible; None otherwise.
        commit_every: Rows after which to commit; None for all or nothing.
        divisible: Whether several COPYs of one transaction do what one does: no trigger and
            no row that refers to another can tell.
        shape: What every value must look like for the types of ``create`` to keep it as it
            is; None where the types are not ours. The importer calls ``shape.check(block)``
            before it sends a block.
    """

    table: Table
    fields: tuple[Field, ...]
    dialect: Dialect = Dialect()
    create: str | None = None
    mode: Mode = "append"
    key: tuple[str, ...] = ()
    on_conflict: OnConflict = "error"
    on_error: OnError = "stop"
    max_errors: MaxErrors = MaxErrors()
    rejects: Path | None = None
    jobs: int = 1
    why_one_job: str | None = None
    commit_every: int | None = None
    divisible: bool = False
    shape: Shape | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the file fills, in the order of its fields."""
        return tuple(f.column for f in self.fields if f.column is not None)

    @property
    def skipped(self) -> tuple[Field, ...]:
        """The fields that go nowhere."""
        return tuple(f for f in self.fields if f.column is None)


class Progress(NamedTuple):
    """How far a load has come.

    Attributes:
        rows: Records sent so far.
        bytes_read: Of the files as they are on disk, compressed or not.
        bytes_total: Their sizes; None where that is unknown (standard input, a pipe).
    """

    rows: int
    bytes_read: int
    bytes_total: int | None


class Summary(NamedTuple):
    """What a load did.

    Attributes:
        rows: Rows that are in the table because of this load.
        bytes: Read from the files, as they are on disk.
        seconds: From the first block to the last commit.
        rejected: Rows that went to the rejects file.
        jobs: Connections that sent rows.
        how: How it was made all or nothing, in words for people: ``one transaction``.
        first_rejects: The first three of the rejected rows: ``file:line: reason``.
    """

    rows: int
    bytes: int
    seconds: float
    rejected: int = 0
    jobs: int = 1
    how: str = "one transaction"
    first_rejects: tuple[str, ...] = ()
