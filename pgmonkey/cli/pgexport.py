"""``pgmonkey pgexport``: a table or a query into CSV files, or onto standard output."""

from __future__ import annotations

import contextlib
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgmonkey.cli.common import STDIN, Source, load, standard_input
from pgmonkey.cli.exits import OK, REFUSED
from pgmonkey.cli.failures import CommandError, Failure
from pgmonkey.cli.interrupts import too_late
from pgmonkey.cli.output import Output
from pgmonkey.cli.render import Report, render

if TYPE_CHECKING:
    from pgmonkey.transfer.delivery import ExportProgress
    from pgmonkey.transfer.exporter import Exported
    from pgmonkey.transfer.sniff import Given

STDOUT = "-"


def export(
    *,
    source: Source,
    table: str | None,
    query: str | None,
    export_file: str | None,
    overwrite: bool,
    columns: tuple[str, ...] | None,
    where: str | None,
    order_by: str | None,
    limit: int | None,
    delimiter: str | None,
    null: str | None,
    no_header: bool,
    encoding: str | None,
    force_quote: tuple[str, ...] | None,
    compression: Any,
    split_rows: int | None,
    manifest: bool,
    jobs: int,
    timeout: float | None,
    out: Output,
) -> int:
    """Write a table or the result of a query to *export_file*, and return the exit code.

    Args:
        query: SQL, or ``@FILE``; ``@-`` is standard input.
        export_file: None names the file after the table, ``-`` is standard output.
        delimiter, null, encoding: None is what the settings file beside the CSV says, if
            an import made one, else the usual.
        timeout: Seconds for the login.
    """
    from pgmonkey.cli.connecting import connect, server_of
    from pgmonkey.transfer.delivery import check_target
    from pgmonkey.transfer.exporter import export_csv

    check(table, query, export_file, out.format)
    if query is not None and query.startswith("@"):
        query = read_query(query[1:], source)
    file = None if export_file is None else str(Path(export_file).expanduser())
    said = written_like(file, table, source, out)
    settings = load(source, out)
    try:
        if file is not None and file != STDOUT:
            check_target(file, overwrite=overwrite, split=split_rows is not None)
        with contextlib.closing(connect(settings, timeout)) as conn:
            server = server_of(conn)
            done = export_csv(
                conn,
                file,
                table=table,
                query=query,
                columns=columns or (),
                where=where or "",
                order_by=order_by or "",
                limit=limit,
                delimiter=delimiter or said.delimiter or ",",
                quote=said.quote or '"',
                null=said.null or "" if null is None else null,
                header=not no_header,
                encoding=encoding or said.encoding or "utf-8",
                force_quote=force_quote or (),
                compression=compression,
                split_rows=split_rows,
                jobs=jobs,
                connect=functools.partial(connect, settings, timeout),
                manifest=manifest,
                overwrite=overwrite,
                on_progress=functools.partial(show_progress, out),
                on_done=too_late,
            )
    except BrokenPipeError:
        return OK  # whoever read has read enough
    except FileExistsError as error:
        raise CommandError(
            Failure(
                "PGM402",
                f"{error.filename} exists already and was not touched",
                hint="another name with -o FILE, or --overwrite to replace it",
                exit_code=REFUSED,
            )
        ) from None
    if done.hides_rows:
        out.warning("row-level security applies: only the rows which this role may see are there")
    for path in done.removed:
        out.note(f"removed {path}, a part of an earlier export")
    if done.why_one_job:
        out.note(f"one connection was used: {done.why_one_job}")
    if out.format != "table":
        out.result(render(Report("pgexport", OK, (done,), server), out.format))
    out.note(summary(done))
    return OK


def check(table: str | None, query: str | None, export_file: str | None, format: str) -> None:
    """Refuse what is asked wrongly whatever the server would say.

    Raises:
        CommandError: And what to give.
    """
    problem = ""
    if table is None and query is None:
        problem = "export what? give --table [SCHEMA.]NAME or --query SQL"
    elif table is not None and query is not None:
        problem = "--table and --query exclude each other"
    elif query is not None and export_file is None:
        problem = "--query needs a file: --export_file FILE, or - for standard output"
    elif export_file == STDOUT and format != "table":
        problem = f"--format {format} and -o - both want standard output"
    if problem:
        raise CommandError(Failure("PGM102", problem))


def written_like(file: str | None, table: str | None, source: Source, out: Output) -> Given:
    """Return what the settings file beside the CSV says; nothing where there is none.

    Raises:
        ConfigError: It is wrong.
        RequestError: *table* is not a name.
    """
    from pgmonkey.cli.render.imports import settings_text
    from pgmonkey.transfer.catalog import parse_name
    from pgmonkey.transfer.exporter import default_name
    from pgmonkey.transfer.plan import Table
    from pgmonkey.transfer.settingsfile import place_of, read
    from pgmonkey.transfer.sniff import Given

    if file is None and table is not None:
        schema, name = parse_name(table)
        file = default_name(Table(schema or "public", name), "none")
    place = place_of(Path(file)) if file not in (None, STDOUT) else None
    if place is None or not place.is_file():
        return Given()
    if source.path not in (None, STDIN) and place.samefile(Path(str(source.path)).expanduser()):
        return Given()
    chosen = read(place)
    if chosen is None:  # somebody else's, such as a connection configuration
        return Given()
    out.note(settings_text(chosen))
    return chosen.given


def read_query(name: str, source: Source) -> str:
    """Return the SQL in the file *name*; ``-`` is standard input.

    Raises:
        CommandError: Standard input was to be the configuration too.
        OSError: The file cannot be read.
    """
    from pgmonkey.transfer.selection import read_sql

    if name != STDIN:
        return read_sql(Path(name).expanduser())
    if source.path == STDIN:
        raise CommandError(Failure("PGM102", "-c - and --query @- both want standard input"))
    return standard_input().read()


def show_progress(out: Output, progress: ExportProgress) -> None:
    """Show how far the export is, on a terminal."""
    share = ""
    if progress.rows_total:
        # The planner's estimate: it may be exceeded.
        share = f" ({min(99, progress.rows * 100 // progress.rows_total)} %)"
    out.progress(f"{progress.rows:,} rows{share}, {megabytes(progress.bytes)}")


def summary(done: Exported) -> str:
    """Return one line about what was exported."""
    names = [file.file for file in done.files]
    where = "standard output" if names == [STDOUT] else names[0]
    if len(names) > 1:
        where = f"{len(names)} files, {names[0]} to {Path(names[-1]).name}"
    rate = f", {done.rows / done.seconds:,.0f} rows/s" if done.seconds > 0 else ""
    how = f", {done.jobs} connections" if done.jobs > 1 else ""
    rows = f"{done.rows:,} row" + ("" if done.rows == 1 else "s")
    size = megabytes(done.bytes)
    return f"exported {rows} to {where}: {size} in {done.seconds:.1f} s{rate}{how}"


def megabytes(size: int) -> str:
    """Return *size* bytes for people."""
    return f"{size:,} bytes" if size < 100_000 else f"{size / 1e6:,.1f} MB"
