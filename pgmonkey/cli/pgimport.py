"""``pgmonkey pgimport``: CSV files into a table.

What is found out about a file is said before it is used, and written into a settings file
beside it; what would remove rows is asked for. The steps themselves are those of
``transfer.importing``.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgmonkey.cli.asked import files, request_of
from pgmonkey.cli.common import STDIN, Source, load
from pgmonkey.cli.exits import OK, REFUSED
from pgmonkey.cli.failures import CommandError, Failure
from pgmonkey.cli.interrupts import too_late
from pgmonkey.cli.meter import Meter
from pgmonkey.cli.output import Output, write
from pgmonkey.cli.render import Report, render

if TYPE_CHECKING:
    from pgmonkey.transfer import source as csv
    from pgmonkey.transfer.catalog import Target
    from pgmonkey.transfer.plan import Plan
    from pgmonkey.transfer.settingsfile import Chosen
    from pgmonkey.transfer.sniff import Head


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
    from pgmonkey.transfer.wire import in_utf8

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
        head = look(sources, request.given, lenient=request.on_error == "skip")
        if asked["encoding"] is None:
            warn_of_utf8(sources[0], chosen, out)
        conn = stack.enter_context(contextlib.closing(connect(settings, timeout)))
        stack.enter_context(in_utf8(conn))
        server = server_of(conn)
        table, target = locate(conn, request)
        known = chosen.path
        if not dry_run:
            chosen = write_settings(place, chosen, sources[0], head, target, out)
            if chosen.path is not None and known is None:
                stack.enter_context(removed_on_failure(chosen.path, out))
        if review:
            return reviewed(place, known, chosen.path, out)
        plan, notes = prepare(conn, sources, head, request, chosen, table, target)
        if dry_run:
            from pgmonkey.cli.render.imports import planned_of

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
            # Nobody else has the rows counted.
            on_progress=Meter(out).show if out.live else None,
            on_note=out.note,
            on_done=too_late,
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
    for row in done.first_rejects if plan.rejects is None else ():
        out.warning(row)
    if done.first_rejects and plan.rejects is None:
        out.note("rejected rows are not kept; --rejects FILE keeps all of them, with the reasons")
    out.note(summary_text(plan, done))
    return OK


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
    from pgmonkey.cli.render.imports import settings_text
    from pgmonkey.transfer.settingsfile import Chosen, read

    if place is None or not place.exists():
        return Chosen()
    chosen = read(place)
    if chosen is not None:
        out.note(settings_text(chosen))
    elif named is not None:
        raise CommandError(Failure("PGM201", f"{named} is not a settings file of an import"))
    else:
        out.note(f"{place} is not a settings file of an import, and is left alone")
    return chosen


def warn_of_utf8(first: csv.Source, chosen: Chosen, out: Output) -> None:
    """Warn where the settings file has UTF-8 read as if each byte were a character."""
    from pgmonkey.transfer.sniff import HEAD, misread

    encoding = chosen.given.encoding
    found = misread(first.peek(HEAD + 1)[:HEAD], encoding) if encoding else None
    if found is not None:
        problem = (
            f"{first.name} is valid UTF-8, and as {encoding} its {found[0]!r} is read as "
            f"{found[1]!r}; write utf-8 there, or --encoding utf-8"
        )
        out.warning(str(chosen.error("encoding", problem)))


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


@contextlib.contextmanager
def removed_on_failure(path: Path, out: Output) -> Iterator[None]:
    """Remove the settings file that this run wrote at *path* if the import fails.

    What it says may be why, and the file that is corrected next is read anew. It stays
    where the columns do not match, since there it is the place to say which is which.
    """
    from pgmonkey.errors import ColumnError

    written = path.read_bytes()
    try:
        yield
    except ColumnError:
        raise
    except BaseException:  # interrupts too: whoever asked for nothing keeps nothing
        with contextlib.suppress(OSError):
            if path.read_bytes() == written:  # nobody has edited it meanwhile
                path.unlink()
                out.note(f"{path} is removed again, since the import failed")
        raise


def reviewed(place: Path | None, before: Path | None, now: Path | None, out: Output) -> int:
    """Say what became of the settings file, *before* and *now*, for a review that ends here.

    Raises:
        CommandError: There is no file to review.
    """
    if now is None:
        where = f"{place} cannot be written" if place else "there is no place for a settings file"
        raise CommandError(
            Failure("PGM403", where, hint="name one with --import-config FILE", exit_code=REFUSED)
        )
    if before is not None:
        out.note(f"{now} was there and is untouched; delete it to start over")
    out.note("nothing was imported; the same command without --review does it")
    return OK


def show_plan(planned: Any, server: Any, out: Output) -> int:
    """Print a dry run's answer."""
    from pgmonkey.cli.render.imports import plan_text

    planned = planned._replace(command=out.scrub(planned.command))
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
