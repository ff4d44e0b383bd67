"""``pgmonkey pgimport``: CSV files into a table.

What is found out about a file is said before it is used, and written into a settings file
beside it; what would remove rows is asked for. The steps themselves are those of
``transfer.importing``.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgmonkey.cli.common import STDIN, Source, load
from pgmonkey.cli.exits import OK, REFUSED
from pgmonkey.cli.failures import CommandError, Failure
from pgmonkey.cli.output import Output, write
from pgmonkey.cli.render import Report, render

if TYPE_CHECKING:
    from pgmonkey.transfer import source as csv
    from pgmonkey.transfer.catalog import Target
    from pgmonkey.transfer.plan import Plan, Progress
    from pgmonkey.transfer.request import Request
    from pgmonkey.transfer.settingsfile import Chosen
    from pgmonkey.transfer.sniff import Head

# Seconds between two looks at the progress line; faster than that nobody reads.
EVERY = 0.1


def import_files(
    *,
    source: Source,
    import_file: tuple[str, ...],
    import_config: str | None,
    dry_run: bool,
    review: bool,
    yes: bool,
    timeout: float | None,
    out: Output,
    **asked: Any,
) -> int:
    """Load files into a table, and return the exit code.

    Args:
        import_file: Paths, patterns, or ``-``.
        import_config: The settings file; None is the one beside the CSV.
        timeout: Seconds for the login.
        asked: The other options, see ``request_of``.
    """
    from pgmonkey.cli.connecting import connect, server_of
    from pgmonkey.transfer.importing import execute, locate, look, prepare
    from pgmonkey.transfer.settingsfile import Chosen
    from pgmonkey.transfer.source import open_source

    request = request_of(Chosen(), **asked)
    paths = files(import_file)
    check(source, paths, dry_run=dry_run, review=review)
    with ExitStack() as stack:
        sources = [stack.enter_context(open_source(path)) for path in paths]
        place = settings_place(sources, import_config, source)
        chosen = read_settings(place, import_config, out)
        if chosen is None:
            place, chosen = None, Chosen()
        request = request_of(chosen, **asked)
        settings = load(source, out)
        head = look(sources, request.given)
        conn = stack.enter_context(contextlib.closing(connect(settings, timeout)))
        server = server_of(conn)
        table, target = locate(conn, request)
        if not dry_run:
            chosen = write_settings(place, chosen, sources[0], head, target, out)
        if review:
            return OK
        plan, notes = prepare(conn, sources, head, request, chosen, table, target)
        if dry_run:
            planned = planned_of(request, plan, notes, chosen, paths, source)
            return show_plan(planned, server, out)
        for note in notes:
            out.note(note)
        if plan.create is not None:
            out.note(f"{plan.create};")
        if request.destroys and target is not None and not yes:
            ask(plan, paths)
        shown = plan.create
        plan, done = execute(
            conn,
            plan,
            sources,
            connect=functools.partial(connect, settings, timeout),
            on_progress=Meter(out).show,
            on_note=out.note,
        )
        if plan.create != shown:
            out.note(f"{plan.create};")
    from pgmonkey.cli.render.imports import Imported, summary_text

    imported = Imported(
        table=str(plan.table),
        files=tuple(s.name for s in sources),
        rows=done.rows,
        rejected=done.rejected,
        bytes=done.bytes,
        seconds=round(done.seconds, 3),
        jobs=done.jobs,
        why_one_job=plan.why_one_job,
        how=done.how,
        created=plan.create,
        rejects=str(plan.rejects) if plan.rejects and done.rejected else None,
        settings=str(chosen.path) if chosen.path else None,
    )
    if out.format != "table":
        out.result(render(Report("pgimport", OK, (imported,), server), out.format))
    out.note(summary_text(plan, done))
    return OK


def request_of(
    chosen: Chosen,
    *,
    table: str | None,
    mode: Any,
    key: tuple[str, ...],
    on_conflict: Any,
    create: Any,
    types: tuple[str, ...],
    encoding: str | None,
    delimiter: str | None,
    quote: str | None,
    escape: str | None,
    header: str,
    skip_lines: int | None,
    null: str | None,
    empty_as: Any,
    map: tuple[str, ...],
    columns: tuple[str, ...],
    skip_columns: tuple[str, ...],
    on_error: Any,
    rejects: str | None,
    max_errors: str | None,
    jobs: int | None,
    commit_every: int | None,
) -> Request:
    """Return what the options ask for, and what the settings file says where they are silent.

    Raises:
        CommandError, RequestError: They contradict each other.
    """
    from pgmonkey.transfer.request import Request, limit, names, pairs, split
    from pgmonkey.transfer.settingsfile import over
    from pgmonkey.transfer.sniff import Given

    if table is None:
        raise CommandError(Failure("PGM102", "into which table? give --table [SCHEMA.]NAME"))
    parts = [part.strip() for word in types for part in split(word)]
    general = [part for part in parts if part in ("infer", "text")]
    if len(set(general)) > 1:
        raise CommandError(Failure("PGM102", "--types infer and --types text exclude each other"))
    given = Given(
        encoding,
        delimiter,
        quote,
        escape,
        {"yes": True, "no": False}.get(header),
        skip_lines,
        null,
        empty_as,
    )
    return Request(
        table=table,
        given=over(given, chosen.given),
        columns=names(columns) if columns else None,
        skip_columns=names(skip_columns),
        renames=pairs(map, "--map"),
        types=pairs((part for part in parts if part not in general), "--types"),
        infer="text" not in general,
        mode=mode,
        key=names(key),
        on_conflict=on_conflict,
        create=create,
        on_error=on_error,
        max_errors=limit(max_errors),
        rejects=Path(rejects).expanduser() if rejects else None,
        jobs=jobs,
        commit_every=commit_every,
    )


def files(words: Sequence[str]) -> list[str]:
    """Return the files that *words* name; a pattern is every file it matches, in order.

    Raises:
        CommandError: None is named, or nothing matches.
    """
    if not words:
        raise CommandError(
            Failure("PGM102", "import what? give --import_file FILE, or - for standard input")
        )
    found: list[str] = []
    for word in words:
        path = str(Path(word).expanduser())
        if word == STDIN or Path(path).exists() or not glob.has_magic(path):
            found.append(word if word == STDIN else path)
        elif matching := sorted(glob.glob(path, recursive=True)):  # noqa: PTH207  # Path.glob wants a folder
            found += matching
        else:
            raise CommandError(Failure("PGM403", f"no file matches {word!r}", exit_code=REFUSED))
    return found


def check(source: Source, paths: Sequence[str], *, dry_run: bool, review: bool) -> None:
    """Refuse what is asked wrongly whatever the files and the server say.

    Raises:
        CommandError: And what to do.
    """
    problem = ""
    if STDIN in paths and len(paths) > 1:
        problem = "standard input cannot be imported together with other files"
    elif STDIN in paths and source.path == STDIN:
        problem = "-c - and --import_file - both want standard input"
    elif dry_run and review:
        problem = "--dry-run writes nothing, and --review writes the settings file; give one"
    if problem:
        raise CommandError(Failure("PGM102", problem))


def settings_place(
    sources: Sequence[csv.Source], import_config: str | None, source: Source
) -> Path | None:
    """Return where the settings file is, or would be; None where there is to be none.

    Several files have none unless it is named; the connection's configuration is never one.
    """
    from pgmonkey.transfer.settingsfile import beside

    if import_config is not None:
        return Path(import_config).expanduser()
    path = sources[0].path
    place = beside(path) if len(sources) == 1 and path is not None else None
    if place is None or source.path in (None, STDIN):
        return place
    config = Path(str(source.path)).expanduser()
    return None if config.exists() and place.exists() and config.samefile(place) else place


def read_settings(place: Path | None, named: str | None, out: Output) -> Chosen | None:
    """Return what the settings file says; None where the file there is not one.

    Raises:
        CommandError: The one that was named is not one.
        ConfigError: It is wrong.
    """
    from pgmonkey.transfer.settingsfile import Chosen, read

    if place is None or not place.exists():
        return Chosen()
    chosen = read(place)
    if chosen is not None:
        out.note(f"settings: {place}")
    elif named is not None:
        raise CommandError(Failure("PGM201", f"{named} is not a settings file of an import"))
    else:
        out.note(f"{place} is not a settings file of an import, and is left alone")
    return chosen


def write_settings(
    place: Path | None,
    chosen: Chosen,
    first: csv.Source,
    head: Head,
    target: Target | None,
    out: Output,
) -> Chosen:
    """Write down what was found out about the file, where nothing is there yet.

    Returns:
        *chosen*, with the path of the file for messages.
    """
    from dataclasses import replace

    from pgmonkey.cli.render.imports import dialect_text
    from pgmonkey.transfer.mapping import suggested
    from pgmonkey.transfer.settingsfile import template, write

    found = f"{first.name}: {dialect_text(head.dialect)}"
    if place is None or first.path is None or place.exists():
        (out.note if chosen.path is None else out.detail)(found)
        return chosen
    lowercase = chosen.lowercase is not False
    text = template(first.name, head.dialect, suggested(head, target, lowercase))
    if not write(place, first.path, text):
        out.note(found)
        return chosen
    out.note(f"{found}; written to {place}, edit it where that is wrong")
    return replace(chosen, path=place)


def planned_of(
    request: Request,
    plan: Plan,
    notes: tuple[str, ...],
    chosen: Chosen,
    paths: Sequence[str],
    source: Source,
) -> Any:
    """Return the plan as a dry run reports it."""
    from pgmonkey.cli.render.imports import Planned, command_line, planned_fields

    words: list[str] = []
    if source.path is not None:
        words += ["-c", source.path]
    if source.dsn is not None:
        words += ["--dsn", source.dsn]
    for flag, on in (
        ("--resolve-env", source.resolve_env),
        ("--allow-sensitive-defaults", source.allow_sensitive_defaults),
        ("--strict", source.strict),
        ("-W", source.ask_password),
    ):
        words += [flag] if on else []
    return Planned(
        table=str(plan.table),
        files=tuple(paths),
        dialect=plan.dialect,
        fields=planned_fields(plan),
        create=plan.create,
        mode=plan.mode,
        key=plan.key,
        on_conflict=plan.on_conflict,
        on_error=plan.on_error,
        jobs=plan.jobs,
        why_one_job=plan.why_one_job,
        settings=str(chosen.path) if chosen.path else None,
        notes=notes,
        command=command_line(request, plan, paths, words),
    )


def show_plan(planned: Any, server: Any, out: Output) -> int:
    """Print a dry run's answer."""
    from dataclasses import replace

    from pgmonkey.cli.render.imports import plan_text

    planned = replace(planned, command=out.scrub(planned.command))
    if out.format == "table":
        out.result(plan_text(planned, out.width()))
    else:
        out.result(render(Report("pgimport", OK, (planned,), server), out.format))
    out.note("a dry run: nothing was changed")
    return OK


def ask(plan: Plan, paths: Sequence[str]) -> None:
    """Ask on the terminal whether the rows of the table may go.

    Raises:
        CommandError: There is no terminal to ask on, or the answer is no.
    """
    if STDIN in paths or not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
        raise CommandError(
            Failure(
                "PGM102",
                f"--mode {plan.mode} removes every row of {plan.table} first, and there is no "
                "terminal to ask on",
                hint="add --yes if that is meant",
            )
        )
    write(sys.stderr, f"remove every row of {plan.table}, and import? [y/N] ")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise CommandError(
            Failure("PGM410", "not confirmed; nothing was changed", exit_code=REFUSED)
        )


class Meter:
    """The line of progress: rows, bytes, rate, and the time left by the bytes read."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._began = self._shown = time.monotonic()

    def show(self, progress: Progress) -> None:
        """Show *progress*, unless the last time was a moment ago."""
        now = time.monotonic()
        if now - self._shown < EVERY:
            return
        self._shown = now
        self._out.progress(meter_text(progress, now - self._began))


def meter_text(progress: Progress, seconds: float) -> str:
    """Return *progress* after *seconds* in one line."""
    from pgmonkey.cli.pgexport import megabytes

    rate = progress.bytes_read / seconds if seconds > 0 else 0.0
    parts = [f"{progress.rows:,} rows", megabytes(progress.bytes_read)]
    if progress.bytes_total:
        share = min(100, progress.bytes_read * 100 // progress.bytes_total)
        parts[1] = f"{share} % of {megabytes(progress.bytes_total)}"
    parts.append(f"{rate / 1e6:.1f} MB/s")
    if progress.bytes_total and rate:
        left = max(0, progress.bytes_total - progress.bytes_read) / rate
        parts.append(f"{left:.0f} s left" if left < 100 else f"{left / 60:.0f} min left")
    return ", ".join(parts)
