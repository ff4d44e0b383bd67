"""An import from beginning to end: look at the files, plan, load.

``import_csv`` is the whole of it for programs. The command line takes the same steps one by
one, since it shows the plan and asks in between. What is decided on the way is in
``sniff``, ``mapping`` and ``planning``; what moves the rows is in ``importer``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pgmonkey.errors import CsvError, ShapeError, TransferError
from pgmonkey.transfer.catalog import Target, affected, look_up, parse_name, schema_for_new
from pgmonkey.transfer.creation import check_types
from pgmonkey.transfer.manifest import verify
from pgmonkey.transfer.plan import Mode, OnConflict, OnError, Plan, Summary, Table
from pgmonkey.transfer.planning import Files, make_plan, widened
from pgmonkey.transfer.reader import blocks
from pgmonkey.transfer.request import Create, Request, limit
from pgmonkey.transfer.settingsfile import Chosen, over, read
from pgmonkey.transfer.sniff import HEAD, Given, Head, sniff
from pgmonkey.transfer.source import Source, open_source
from pgmonkey.transfer.wire import in_utf8, opens_utf8

if TYPE_CHECKING:
    import psycopg

    from pgmonkey.transfer.dialect import EmptyAs
    from pgmonkey.transfer.plan import Progress
    from pgmonkey.transfer.shape import Shape

    Connection: TypeAlias = psycopg.Connection[Any]

CsvPath: TypeAlias = "str | os.PathLike[str]"


def look(sources: Sequence[Source], given: Given, *, lenient: bool = False) -> Head:
    """Return how *sources* are written, by the first of them; the others have to agree.

    Args:
        lenient: As of ``sniff``.

    Raises:
        CsvError: One is no CSV, or has another header than the first.
        RequestError: *given* cannot be.
    """
    first = _head(sources[0], given, lenient)
    d = first.dialect
    same = given._replace(
        encoding=d.encoding, delimiter=d.delimiter, quote=d.quote, header=d.header
    )
    for source in sources[1:]:
        other = _head(source, same, lenient)
        if other.names != first.names:
            raise CsvError(
                f"its header is not that of {sources[0].name}; import it by itself",
                file=source.name,
                line=d.skip_lines + 1,
            )
    return first


def _head(source: Source, given: Given, lenient: bool) -> Head:
    data = source.peek(HEAD + 1)
    return sniff(data[:HEAD], given, source.name, complete=len(data) <= HEAD, lenient=lenient)


def locate(conn: Connection, request: Request) -> tuple[Table, Target | None]:
    """Return the table by its name in the catalog, and what it is if it exists.

    Raises:
        TransferError: It cannot be loaded into, or its name or schema cannot be.
        psycopg.Error: The server refused to answer.
    """
    schema, name = parse_name(request.table)
    with conn.transaction():
        target = look_up(conn, schema, name, shown=request.table)
        return (target.table if target else Table(schema_for_new(conn, schema), name)), target


def prepare(
    conn: Connection,
    sources: Sequence[Source],
    head: Head,
    request: Request,
    chosen: Chosen,
    table: Table,
    target: Target | None,
) -> tuple[Plan, tuple[str, ...]]:
    """Return the plan, and notes about it; files that have a manifest are held against it.

    Raises:
        TransferError: It cannot be done as asked, and why.
        ConfigError: The settings file asks for what cannot be done.
        psycopg.Error: The server refused to answer.
    """
    sizes = [source.size for source in sources]
    files = Files(
        tuple(source.name for source in sources),
        None if None in sizes else sum(size or 0 for size in sizes),
        bool(sources[0].compression),
    )
    plan, notes = make_plan(request, chosen, head, target, table, files)
    with conn.transaction():
        check_types(conn, plan)
        if plan.mode == "replace" and target is not None:
            notes += affected(conn, plan.table)
    for source in sources:
        if source.path is not None and source.rereadable:
            verify(source.path)
    return plan, notes


def execute(
    conn: Connection,
    plan: Plan,
    sources: Sequence[Source],
    *,
    connect: Callable[[], Connection] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    on_note: Callable[[str], None] | None = None,
    on_done: Callable[[], None] | None = None,
) -> tuple[Plan, Summary]:
    """Load *sources* as *plan* says; return the plan as it was in the end, and what it did.

    Where a value further down does not stay what it is in a type that was inferred from
    the beginning, the load is rolled back, the files are read to their end without the
    server, and loaded again with types which fit. From a pipe nothing can be read twice:
    there the value is an error.

    Args:
        connect: Opens a further connection to the same database; None: there is only one.
        on_done: As of ``load``.

    Raises:
        TransferError: And nothing was changed, unless the text says what was.
        psycopg.Error: The server refused; nothing was changed.
    """
    from pgmonkey.transfer.importer import load

    connect = opens_utf8(connect)
    run = partial(
        load,
        conn=conn,
        connect=connect,
        on_progress=on_progress,
        on_note=on_note,
        on_done=on_done,
    )
    try:
        return plan, run(plan, sources)
    except ShapeError as error:
        if not all(source.rereadable for source in sources):
            raise
        if on_note:
            on_note(f"{error.problem.partition(';')[0]} ({error.file}:{error.line}); reading on")
    paths = [source.path for source in sources if source.path is not None]
    for source in sources:
        source.close()
    assert plan.shape is not None  # nothing else raises ShapeError
    plan = widened(plan, settled(plan.shape, paths, plan))
    with ExitStack() as stack:
        again = [stack.enter_context(open_source(path)) for path in paths]
        return plan, run(plan, again)


def settled(shape: Shape, paths: Iterable[Path], plan: Plan) -> Shape:
    """Return *shape* with types wide enough for every value in the files.

    A column only ever becomes wider, so what was checked before still fits.
    """
    for path in paths:
        with open_source(path) as source:
            for block in blocks(source, plan.dialect):
                if not block.starts or block.more:
                    continue
                while True:
                    try:
                        shape.check(block.data, block.first_line, source.name)
                        break
                    except ShapeError as error:
                        shape = shape.widened(error)
    return shape


def import_csv(
    conn: Connection,
    source: CsvPath | Sequence[CsvPath],
    table: str,
    *,
    encoding: str | None = None,
    delimiter: str | None = None,
    quote: str | None = None,
    escape: str | None = None,
    header: bool | None = None,
    skip_lines: int | None = None,
    null: str | None = None,
    empty_as: EmptyAs | None = None,
    columns: Sequence[str] | None = None,
    skip_columns: Sequence[str] = (),
    map: Mapping[str, str] | None = None,
    types: Literal["infer", "text"] | Mapping[str, str] = "infer",
    mode: Mode = "append",
    key: Sequence[str] = (),
    on_conflict: OnConflict | None = None,
    create: Create | None = None,
    on_error: OnError = "stop",
    rejects: CsvPath | None = None,
    max_errors: int | str | None = None,
    jobs: int | None = None,
    commit_every: int | None = None,
    import_config: CsvPath | None = None,
    connect: Callable[[], Connection] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    on_note: Callable[[str], None] | None = None,
    on_done: Callable[[], None] | None = None,
) -> Summary:
    """Load CSV files into a table, all or nothing.

    What is not said about the file is found out from its beginning, and checked to its
    end. On a connection that is in no transaction the load is one of its own, committed at
    the end; inside a transaction of yours it is a savepoint, and yours to commit.

    Args:
        conn: Any open psycopg connection; it is not closed.
        source: One path or several with the same header; ``-`` is standard input.
        table: ``[SCHEMA.]NAME``, folded as PostgreSQL folds: ``Orders`` is orders.
        header: False for a file that begins with data; None assumes a header and refuses
            one that looks like data.
        skip_lines: Physical lines before the header.
        columns: With a header, the only columns to load; without, the names of the fields.
        map: Name in the file to column of the table, where they differ.
        types: For a table to be created: inferred, all text, or column to type (the
            others are inferred).
        mode: ``append``, ``truncate``, ``replace``, ``upsert`` or ``create``; see ``Plan``.
        key: The columns of the conflict, and the primary key of a table to be created.
        max_errors: With *on_error* "skip": rows, or a share such as ``"1%"``.
        import_config: A settings file. Without it none is looked for, and none is written.
        connect: Opens a further connection; without it, one connection does everything.
        on_progress: Is called now and then, maybe from another thread.
        on_note: Is called with what a user should know.
        on_done: Is called when everything is in its place, while SIGINT and SIGTERM, which
            wait from the commit on, still do.

    Raises:
        TransferError: And nothing was changed, unless the text says what was. Its
            subclasses say what was wrong: the file, the table or the request.
        ConfigError: The settings file is wrong.
        OSError: A file could not be read.
        psycopg.Error: The server refused; nothing was changed.
    """
    chosen = Chosen()
    if import_config is not None:
        found = read(Path(import_config))
        if found is None:
            raise TransferError(
                "is not a settings file of an import", file=os.fspath(import_config)
            )
        chosen = found
    given = Given(encoding, delimiter, quote, escape, header, skip_lines, null, empty_as)
    request = Request(
        table,
        over(given, chosen.given),
        tuple(columns) if columns is not None else None,
        tuple(skip_columns),
        dict(map or {}),
        dict(types) if not isinstance(types, str) else {},
        types != "text",
        mode,
        tuple(key),
        on_conflict,
        create,
        on_error=on_error,
        rejects=Path(rejects) if rejects is not None else None,
        max_errors=limit(max_errors),
        jobs=jobs if connect is not None else 1,
        commit_every=commit_every,
    )
    paths = [source] if isinstance(source, str | os.PathLike) else list(source)
    with ExitStack() as stack:
        sources = [stack.enter_context(open_source(os.fspath(path))) for path in paths]
        head = look(sources, request.given, lenient=request.on_error == "skip")
        stack.enter_context(in_utf8(conn))
        plan, notes = prepare(conn, sources, head, request, chosen, *locate(conn, request))
        if on_note:
            for note in notes:
                on_note(note)
        _, summary = execute(
            conn,
            plan,
            sources,
            connect=connect,
            on_progress=on_progress,
            on_note=on_note,
            on_done=on_done,
        )
    return summary
