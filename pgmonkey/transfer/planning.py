"""Make the plan: from what was asked, what the file begins with, and what the catalog says.

Everything here is a decision about values. The types of a new table are inferred from the
beginning of the file and travel with the plan as a ``Shape``, which the load holds against
every record; ``importing`` does the I/O on both sides.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple

from pgmonkey.errors import CsvError, RequestError, TargetError
from pgmonkey.transfer.catalog import Column, Target, fold
from pgmonkey.transfer.creation import column_types, ddl, quoted, shape_of
from pgmonkey.transfer.dialect import Dialect
from pgmonkey.transfer.mapping import columns, field_names
from pgmonkey.transfer.plan import Field, Mode, Plan, Table
from pgmonkey.transfer.request import Request
from pgmonkey.transfer.settingsfile import Chosen
from pgmonkey.transfer.shape import PATTERNS, Shape
from pgmonkey.transfer.sniff import Head

if TYPE_CHECKING:
    pass

# Bytes of a file from which a second connection pays for itself: below, the load takes
# under a second and the login shows.
WORTH_TWO_JOBS = 32 * 1024 * 1024
# One reader keeps two backends busy; four were no faster on two processors.
AUTO_JOBS = 2


class Files(NamedTuple):
    """What is known of the files before one of them is read.

    Attributes:
        names: For messages; at least one.
        size: Bytes on disk of all of them; None where one has no size (standard input).
        compressed: Whether the first one is.
    """

    names: tuple[str, ...]
    size: int | None
    compressed: bool = False


def make_plan(
    request: Request,
    chosen: Chosen,
    head: Head,
    target: Target | None,
    table: Table,
    files: Files,
) -> tuple[Plan, tuple[str, ...]]:
    """Return the plan, and notes about it for the user.

    Args:
        chosen: What the settings file says; options win over it.
        target: The table if it exists.
        table: Its name, or the name to create it by.

    Raises:
        TransferError: It cannot be done as asked, and why.
        ConfigError: The settings file asks for what cannot be done.
    """
    file = files.names[0]
    _exists(request, chosen, target, table, head, file)
    if head.dialect.null is not None and head.dialect.empty_as == "null":
        raise RequestError("--null and --empty-as null: COPY knows one text for NULL only")
    lowercase = request.lowercase if request.lowercase is not None else chosen.lowercase
    lowercase = lowercase is not False
    names = field_names(head, request, target, file)
    found, notes = columns(names, head, request, chosen, target, lowercase, file)
    if head.apostrophes:
        notes.append("""values in single quotes keep them; if those are quotes, say --quote "'\"""")
    if head.stray:
        notes.append(_loses_quotes(file, *head.stray))
    if target is not None:
        notes += [_numbers(table, c) for c in target.columns if c.numbered and c.name in found]
    key = _key(request, target, found)
    shape = None
    if target is None:
        types, inferred = column_types(names, found, request, chosen, head)
        said = {*chosen.types, *request.types}
        if head.first is None and head.text[1] and request.infer and len(said) < len(names):
            notes.append("no row shows what the new table's columns hold; they are text (--types)")
        fields = tuple(
            Field(i, name, column, kind, text=_text(kind))
            for i, (name, column, kind) in enumerate(zip(names, found, types, strict=True))
        )
        if any(kind in PATTERNS for kind in inferred):
            shape = shape_of(names, inferred, head.dialect, lossy_only=request.on_error == "skip")
    else:
        fields = tuple(
            _field(i, name, target.column(column) if column is not None else None)
            for i, (name, column) in enumerate(zip(names, found, strict=True))
        )
    fields = tuple(f._replace(empty=_empty(f, head.dialect, target)) for f in fields)
    plan = Plan(
        table=table,
        fields=fields,
        dialect=head.dialect,
        create=None if target else ddl(table, fields, key),
        mode=request.mode,
        key=key,
        on_conflict=request.conflict,
        on_error=request.on_error,
        max_errors=request.max_errors,
        rejects=request.rejects,
        commit_every=request.commit_every,
        divisible=target is None
        or not (target.kind == "v" or target.triggers or target.self_reference),
        shape=shape,
    )
    jobs, why = _jobs(request, plan, target, files)
    return plan._replace(jobs=jobs, why_one_job=why), tuple(notes)


def widened(plan: Plan, shape: Shape) -> Plan:
    """Return *plan* with the types of *shape* for the table that it creates."""
    fields = tuple(
        f._replace(type=kind, text=_text(kind)) if old in PATTERNS else f
        for f, kind, old in zip(plan.fields, shape.types, _shape(plan).types, strict=True)
    )
    fields = tuple(f._replace(empty=_empty(f, plan.dialect, None)) for f in fields)
    return plan._replace(fields=fields, create=ddl(plan.table, fields, plan.key), shape=shape)


def _numbers(table: Table, column: Column) -> str:
    """Return what is said of a *column* that has a sequence, and gets the file's numbers."""
    said = f"{column.name} gets the numbers of the file, and its sequence stays where it is"
    if column.sequence is None:
        return said
    sequence = "'" + column.sequence.replace("'", "''") + "'"
    highest = f"greatest(nextval({sequence}), max({quoted(column.name)}))"
    return f"{said}; to move it on: SELECT setval({sequence}, {highest}) FROM {table.typed}"


def _shape(plan: Plan) -> Shape:
    assert plan.shape is not None  # nothing else can have been violated
    return plan.shape


def _loses_quotes(file: str, field: str, line: int) -> str:
    """Return what is said of the *field* that has quotes beside other text."""
    shown = field if len(field) <= 40 else field[:40] + "..."
    return (
        f"{file}:{line}: {shown!r} has quotes beside other text, which PostgreSQL takes away; "
        "to keep all quotes, say --quote with a character that the file does not have"
    )


def _exists(
    request: Request,
    chosen: Chosen,
    target: Target | None,
    table: Table,
    head: Head,
    file: str,
) -> None:
    """Refuse what the table's being there, or not, makes impossible."""
    if target is not None:
        if request.mode == "create":
            raise TargetError(f"{table} exists already; --mode append adds to it")
        return
    create = request.create != "never" if request.create is not None else chosen.create is not False
    if not create and request.mode != "create":
        why = "--create never" if request.create else f"auto_create_table: false in {chosen.path}"
        raise TargetError(f"{table} does not exist, and {why} forbids to create it")
    if head.doubtful is not None:
        raise CsvError(
            f"{table} does not exist, and the first record looks like data, not like the names "
            f"of its columns: {head.doubtful!r}; say --header yes, or --header no with --columns",
            file=file,
            line=head.dialect.skip_lines + 1,
        )


def _key(request: Request, target: Target | None, found: tuple[str | None, ...]) -> tuple[str, ...]:
    """Return the key as the catalog spells it."""
    key: list[str] = []
    known = [c for c in found if c is not None]
    for name in request.key:
        column = next((c for c in known if c in (name, fold(name))), None)
        if column is None:
            raise RequestError(f"--key: {name!r} is not among the columns that are loaded")
        key.append(column)
    if target is None or request.conflict == "error" or not key:
        return tuple(key)
    if not any(set(unique) == set(key) for unique in target.keys):
        has = "; it has " + ", ".join(f"({', '.join(k)})" for k in target.keys)
        raise TargetError(
            f"--key: {target.table} has no unique key on ({', '.join(key)})"
            f"{has if target.keys else ', and no other'}"
        )
    return tuple(key)


def _field(position: int, name: str, column: Column | None) -> Field:
    if column is None:
        return Field(position, name, None)
    return Field(
        position,
        name,
        column.name,
        column.type,
        text=column.text,
        not_null=column.not_null,
        identity_always=column.identity == "a",
    )


def _text(kind: str) -> bool:
    """Return whether '' is a value of the type of a new column, as far as its name tells."""
    return kind not in PATTERNS


def _empty(
    field: Field, dialect: Dialect, target: Target | None
) -> Literal["", "FORCE_NULL", "FORCE_NOT_NULL"]:
    """Return what COPY has to be told so that an empty field means what it should."""
    if field.column is None:
        return ""
    if not field.text:
        return "FORCE_NULL"
    if dialect.null:  # then an empty field is '' already, quoted or not
        return ""
    if dialect.empty_as == "null":
        return "FORCE_NULL"
    column = target.column(field.column) if target else None
    string = column.string if column else True
    if string and (dialect.empty_as == "text" or field.not_null):
        return "FORCE_NOT_NULL"
    return ""


def _jobs(
    request: Request, plan: Plan, target: Target | None, files: Files
) -> tuple[int, str | None]:
    """Return the connections to use, and why it is one although more are possible."""
    if request.jobs == 1:
        return 1, None
    wanted = request.jobs or AUTO_JOBS
    modes: Mapping[Mode, str] = {
        "truncate": "no other connection sees the table emptied before the commit",
        "replace": "no other connection sees the table emptied before the commit",
    }
    if target is None:
        return 1, "no other connection sees the new table before the commit"
    if plan.mode in modes:
        return 1, modes[plan.mode]
    if plan.on_conflict != "error":
        return 1, "two connections with the same key would wait for each other"
    if plan.on_error == "skip":
        return 1, "rejected rows are found in the order of the file"
    if plan.commit_every is not None:
        return 1, "rows are committed in the order of the file"
    if target.temporary:
        return 1, f"{target.table} is temporary, and no other connection sees it"
    if target.kind == "v" or target.statement_triggers:
        return 1, f"a trigger of {target.table} fires once for each statement"
    if target.self_reference:
        return 1, f"rows of {target.table} refer to each other"
    loaded = set(plan.columns)
    numbered = next((c.name for c in target.columns if c.numbered and c.name not in loaded), None)
    if numbered is not None:
        return 1, f"{numbered} is numbered in the order of the file"
    if request.jobs is None:
        if files.size is None:
            return 1, "the size of the input is not known; --jobs 2 uses two all the same"
        if files.size * (4 if files.compressed else 1) < WORTH_TWO_JOBS:
            return 1, "the input is small"
    return wanted, None
