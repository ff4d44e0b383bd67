"""An import in words and as values: the plan of a dry run, and what was done in the end."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import NamedTuple

from pgmonkey.cli.common import Source
from pgmonkey.transfer.catalog import fold
from pgmonkey.transfer.dialect import Dialect
from pgmonkey.transfer.plan import Plan, Summary
from pgmonkey.transfer.request import Request
from pgmonkey.transfer.settingsfile import Chosen
from pgmonkey.transfer.sniff import Given


class PlannedField(NamedTuple):
    """One field of the file: where it goes, None for nowhere, and what an empty one means."""

    name: str
    column: str | None
    type: str
    empty: str


class Planned(NamedTuple):
    """What an import would do.

    Attributes:
        create: The CREATE TABLE; None where the table exists.
        settings: The settings file that was read; None for none.
        command: A command line which says all of it, whatever the settings file says then.
    """

    table: str
    files: tuple[str, ...]
    dialect: Dialect
    fields: tuple[PlannedField, ...]
    create: str | None
    mode: str
    key: tuple[str, ...]
    on_conflict: str
    on_error: str
    jobs: int
    why_one_job: str | None
    settings: str | None
    notes: tuple[str, ...]
    command: str
    kind: str = "plan"


class Imported(NamedTuple):
    """What an import did. ``bytes`` are those of the files, ``created`` is the CREATE TABLE."""

    table: str
    files: tuple[str, ...]
    rows: int
    rejected: int
    bytes: int
    seconds: float
    jobs: int
    why_one_job: str | None
    how: str
    created: str | None
    rejects: str | None
    settings: str | None
    kind: str = "import"


def planned_of(
    request: Request,
    plan: Plan,
    notes: tuple[str, ...],
    chosen: Chosen,
    paths: Sequence[str],
    source: Source,
) -> Planned:
    """Return the plan as a dry run reports it."""
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


def planned_fields(plan: Plan) -> tuple[PlannedField, ...]:
    """Return every field of *plan* with what becomes of it."""
    meaning = {"FORCE_NULL": "NULL", "FORCE_NOT_NULL": "''"}
    rule = "''" if plan.dialect.null else "NULL; '' in quotes"
    return tuple(
        PlannedField(
            f.name,
            f.column,
            f.type if f.column is not None else "",
            meaning.get(f.empty, rule) if f.column is not None else "",
        )
        for f in plan.fields
    )


def dialect_text(dialect: Dialect) -> str:
    """Return how a file is written, in one line."""
    d = dialect
    return given_text(
        Given(d.encoding, d.delimiter, d.quote, d.escape, d.header, d.skip_lines, d.null)
    )


def settings_text(chosen: Chosen) -> str:
    """Return which settings file is followed, and what it says of the CSV."""
    text = given_text(chosen.given)
    return f"settings: {chosen.path} ({text})" if text else f"settings: {chosen.path}"


def given_text(given: Given) -> str:
    """Return what is said about a file, in one line; nothing of what is usual anyway."""
    parts = [given.encoding] if given.encoding else []
    if given.delimiter:
        parts.append(f"delimiter {said(given.delimiter)}")
    quote = given.quote or '"'
    escape = given.escape or quote
    if quote != '"' or escape != '"':
        parts.append(f"quote {said(quote)}, escape {said(escape)}")
    if given.null is not None:
        parts.append(f"null {given.null!r}")
    if given.skip_lines:
        parts.append(f"{given.skip_lines} line{'' if given.skip_lines == 1 else 's'} skipped")
    if given.header is not None:
        parts.append("header" if given.header else "no header")
    return ", ".join(parts)


def said(char: str) -> str:
    """Return a delimiter as a user writes it."""
    return "'\\t'" if char == "\t" else f"'{char}'"


def plan_text(planned: Planned, width: int | None) -> str:
    """Return a dry run's answer for people."""
    from pgmonkey.cli.render.table import grid

    where = "to be created" if planned.create else "exists"
    how = f"{planned.mode}" + (f", key {', '.join(planned.key)}" if planned.key else "")
    if planned.on_conflict != "error":
        how += f", {planned.on_conflict} a row whose key exists"
    jobs = f"{planned.jobs} connections" if planned.jobs > 1 else "one connection"
    why = f": {planned.why_one_job}" if planned.why_one_job else ""
    lines = [
        f"file      {', '.join(planned.files)}",
        f"read as   {dialect_text(planned.dialect)}",
        f"table     {planned.table} ({where})",
        f"mode      {how}; at a bad row: {planned.on_error}",
        f"over      {jobs}{why}",
        f"settings  {planned.settings or 'none'}",
        *(f"note      {note}" for note in planned.notes),
        "",
    ]
    rows = [
        (field.name, field.column or "(left out)", field.type, field.empty)
        for field in planned.fields
    ]
    table = grid(("field", "column", "type", "empty field"), rows, width)
    create = f"\n{planned.create};\n" if planned.create else ""
    return "\n".join(lines) + table + create + f"\n{planned.command}\n"


def command_line(request: Request, plan: Plan, files: Sequence[str], source: Sequence[str]) -> str:
    """Return the command that does what *plan* says, with everything said in options.

    Args:
        files: As on the command line.
        source: The words that name the configuration.
    """
    d = plan.dialect
    words = ["pgmonkey", "pgimport", "--table", request.table, "--import_file", *files, *source]
    words += ["--encoding", d.encoding, "--delimiter", said(d.delimiter)[1:-1]]
    if d.quote != '"':
        words += ["--quote", d.quote]
    if d.escape != d.quote:
        words += ["--escape", d.escape]
    words += ["--header", "yes" if d.header else "no"]
    if d.skip_lines:
        words += ["--skip-lines", str(d.skip_lines)]
    if d.null is not None:
        words += ["--null", d.null]
    if d.empty_as != "auto":
        words += ["--empty-as", d.empty_as]
    if d.header:
        for f in plan.fields:
            if f.column is not None and f.column not in (f.name, fold(f.name.strip())):
                words += ["--map", f"{_name(f.name)}={f.column}"]
        for f in plan.skipped:
            words += ["--skip-columns", _name(f.name)]
    else:
        words += ["--columns", ",".join(_name(f.column or f.name) for f in plan.fields)]
    if plan.create is not None:
        for f in plan.fields:
            if f.column is not None:
                words += ["--types", f"{_name(f.column)}={f.type}"]
    words += ["--mode", plan.mode]
    if plan.key:
        words += ["--key", ",".join(map(_name, plan.key))]
    if request.on_conflict is not None:
        words += ["--on-conflict", request.on_conflict]
    if request.create is not None:
        words += ["--create", request.create]
    if plan.on_error != "stop":
        words += ["--on-error", plan.on_error]
        words += ["--rejects", str(plan.rejects)] if plan.rejects else []
        number, percent = plan.max_errors.number, plan.max_errors.percent
        words += ["--max-errors", str(number)] if number is not None else []
        words += ["--max-errors", f"{percent:g}%"] if percent is not None else []
    if request.jobs is not None:
        words += ["--jobs", str(request.jobs)]
    if plan.commit_every is not None:
        words += ["--commit-every", str(plan.commit_every)]
    return shlex.join(words)


def _name(name: str) -> str:
    """Return *name* for a list of names: in quotes where it would be cut or changed."""
    if name != name.strip() or any(c in name for c in ',="()'):
        return '"' + name.replace('"', '""') + '"'
    return name


def summary_text(plan: Plan, done: Summary) -> str:
    """Return one line about what was imported."""
    rows = f"{done.rows:,} row" + ("" if done.rows == 1 else "s")
    rate = f", {done.rows / done.seconds:,.0f} rows/s" if done.seconds > 0 else ""
    rejected = ""
    if plan.on_error == "skip":
        to = f" (see {plan.rejects})" if done.rejected and plan.rejects else ""
        rejected = f", {done.rejected:,} rejected{to}"
    over = f", {done.jobs} connections" if done.jobs > 1 else ""
    return f"imported {rows} into {plan.table} in {done.seconds:.1f} s{rate}{rejected}{over}; {done.how}"
