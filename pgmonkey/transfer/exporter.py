"""A table or a query into CSV files: whole files or none, one connection or several.

The server writes the CSV, byte for byte what psql's ``\\copy ... csv header`` gives; here
it is brought to a file. Everything happens in a read-only transaction. What is asked of
the server is in ``selection``, reading its answer in ``copyout``, the files are in
``outfile``, further processes in ``parts``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import psycopg
from psycopg import pq

from pgmonkey.errors import RequestError, TransferError
from pgmonkey.transfer import manifest as manifests
from pgmonkey.transfer.delivery import Delivery, ExportedFile, ExportProgress
from pgmonkey.transfer.outfile import STDOUT
from pgmonkey.transfer.packing import Packing, check_installed, packing_of, suffix_of
from pgmonkey.transfer.parts import why_not_fork
from pgmonkey.transfer.plan import Table
from pgmonkey.transfer.selection import (
    Form,
    Selection,
    check_encoding,
    find_relation,
    fold,
    pick,
    why_one,
)
from pgmonkey.transfer.wire import in_utf8, opens_utf8


class Exported(NamedTuple):
    """What an export did.

    Attributes:
        bytes: Of all files, as they are on disk.
        seconds: From the first statement to the last file in its place.
        jobs: Connections that were used.
        why_one_job: Why it is one although more were asked for; None otherwise.
        manifest: The manifest's path, or None.
        hides_rows: Whether row-level security decided which rows were exported.
        removed: Higher parts of an earlier export of that name.
    """

    files: tuple[ExportedFile, ...]
    rows: int
    bytes: int
    seconds: float
    jobs: int = 1
    why_one_job: str | None = None
    manifest: str | None = None
    hides_rows: bool = False
    removed: tuple[str, ...] = ()


def export_csv(
    conn: psycopg.Connection[Any],
    file: str | os.PathLike[str] | None = None,
    *,
    table: str | None = None,
    query: str | None = None,
    columns: Sequence[str] = (),
    where: str = "",
    order_by: str = "",
    limit: int | None = None,
    delimiter: str = ",",
    quote: str = '"',
    null: str = "",
    header: bool = True,
    encoding: str = "utf-8",
    force_quote: Sequence[str] = (),
    compression: Packing | Literal["auto", "none"] = "auto",
    split_rows: int | None = None,
    jobs: int = 1,
    connect: Callable[[], psycopg.Connection[Any]] | None = None,
    manifest: bool = False,
    overwrite: bool = False,
    on_progress: Callable[[ExportProgress], None] | None = None,
    on_done: Callable[[], None] | None = None,
) -> Exported:
    """Write a table or the result of a query to a CSV file, whole or not at all.

    Args:
        conn: Outside a transaction one is begun, read-only, and ended; inside one, its
            snapshot is what is exported.
        file: ``-`` is standard output. None names the file after the table, as SQL spells
            it: ``orders.csv``, ``sales.orders.csv``, ``"Full Name".csv``.
        table: As in SQL: ``orders``, ``sales.orders``, ``"Full Name"``.
        columns, force_quote: As in SQL too: folded to lower case unless quoted. Without
            columns, all but generated ones; ``["*"]`` forces quotes on every column.
        where, order_by: SQL.
        limit: Rows at most; None for all.
        encoding: Of the file: any name the server or Python has for one the server can
            write. ``utf-8-sig`` begins with a byte order mark, as Excel likes it.
        compression: ``auto`` goes by the file's suffix.
        split_rows: Rows for each of several files, ``name-0001.csv`` and so on, each with
            the header; None for one file.
        jobs: Connections at most. Further ones are opened by *connect*, idle, in forked
            processes, and see the same snapshot; the rows keep their order.
        manifest: Whether to write ``<file>.manifest.json``, which an import verifies.
        overwrite: Whether to replace existing files.
        on_progress: Called in this thread a few times a second.
        on_done: Called when every file has its name, while interrupts still wait.

    Raises:
        RequestError: The arguments contradict each other, or a column is unknown.
        TransferError: It failed, or the connection was lost. No file was touched.
        FileExistsError: There is a file, and *overwrite* is false.
        OSError: A file cannot be written, and none was touched.
        psycopg.Error: The server refused.
    """
    began = time.monotonic()
    to_stdout = file is not None and os.fspath(file) == STDOUT
    if (table is None) == (query is None):
        raise RequestError("give a table or a query, and not both")
    if query is not None and (columns or where or order_by or limit is not None):
        raise RequestError("columns, where, order by and limit belong into the query itself")
    if query is not None and file is None:
        raise RequestError("a query has no name for its file; give one")
    if to_stdout and (split_rows or manifest):
        raise RequestError("standard output has no place for several files or a manifest")
    idle = conn.info.transaction_status == pq.TransactionStatus.IDLE
    connect = opens_utf8(connect)
    try:
        with in_utf8(conn):
            with conn.transaction():
                relation = find_relation(conn, table) if table is not None else None
                check_encoding(conn, encoding)
            selection = Selection(
                relation,
                query or "",
                pick(tuple(columns), relation) if relation else (),
                where,
                order_by,
                limit,
            )
            if force_quote and tuple(force_quote) != ("*",):
                names = tuple(force_quote)
                force_quote = pick(names, relation) if relation else tuple(map(fold, names))
            form = Form(delimiter, quote, null, header, encoding, tuple(force_quote))
            if file is None:
                assert relation is not None
                file = default_name(relation.table, compression)
            packing = packing_of(os.fspath(file)) if compression == "auto" else None
            if compression not in ("auto", "none"):
                packing = compression  # type: ignore[assignment]  # mypy does not narrow by `not in`
            check_installed(packing)
            why = None
            if jobs > 1:
                why = _why_one(selection, conn, idle, connect, to_stdout, split_rows)
                jobs = 1 if why else jobs
            delivery = Delivery(
                conn,
                selection,
                form,
                os.fspath(file),
                packing,
                manifest,
                overwrite,
                on_progress,
                on_done,
            )
            if split_rows:
                files = delivery.split(split_rows, idle)
            elif jobs > 1 and connect is not None:
                files = delivery.parallel(jobs, connect)
            else:
                files = delivery.single(idle)
    except psycopg.OperationalError as error:
        if error.sqlstate is None:  # libpq's own: nobody is there any more
            raise TransferError(
                f"the connection was lost: {' '.join(str(error).split())}; no file was written",
                file=None if file is None else os.fspath(file),
            ) from error
        raise
    return Exported(
        files,
        sum(f.rows for f in files),
        sum(f.bytes for f in files),
        time.monotonic() - began,
        jobs,
        why,
        str(manifests.path_of(Path(file))) if manifest else None,
        relation is not None and relation.hides_rows,
        delivery.removed,
    )


def default_name(table: Table, compression: str) -> str:
    """Return the file for *table*, in the working folder; its stem is what ``--table`` takes."""
    packing = None if compression in ("auto", "none") else compression
    return table.typed.replace("/", "_") + ".csv" + suffix_of(packing)  # type: ignore[arg-type]


def _why_one(
    selection: Selection,
    conn: psycopg.Connection[Any],
    idle: bool,
    connect: Callable[[], psycopg.Connection[Any]] | None,
    to_stdout: bool,
    split_rows: int | None,
) -> str | None:
    """Return why one connection has to do, None where several can be used."""
    if to_stdout:
        return "standard output is one stream"
    if split_rows:
        return "--split-rows needs one stream"
    if not idle:
        return "the connection is inside a transaction, which others cannot see"
    if connect is None:
        return "there is no way to open another connection"
    return why_one(selection, conn.info.server_version) or why_not_fork()
