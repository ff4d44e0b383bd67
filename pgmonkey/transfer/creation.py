"""The table that an import creates: the types of its columns, and the statement.

Names come from the file and types from a user or from inference. A name is quoted whatever
is in it; a type is let through only in the form that a type has, and the server is asked
whether it is one, so that nothing in a file or an option can become a statement.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pgmonkey.errors import RequestError, TargetError
from pgmonkey.transfer.dialect import Dialect
from pgmonkey.transfer.plan import Field, Plan, Table
from pgmonkey.transfer.request import Request
from pgmonkey.transfer.settingsfile import Chosen
from pgmonkey.transfer.shape import PATTERNS, Shape
from pgmonkey.transfer.sniff import Head

if TYPE_CHECKING:
    import psycopg

# A type as SQL writes one, and nothing that could end it: names, a precision, brackets.
_TYPE = re.compile(
    r'(?:"[^"]+"|[A-Za-z_][\w$]*)(?:[ .](?:"[^"]+"|[A-Za-z_][\w$]*))*'
    r"(?:\s*\(\s*[0-9]+(?:\s*,\s*-?[0-9]+)?\s*\))?(?:\s+(?:with|without)\s+time\s+zone)?"
    r"(?:\s*\[\s*[0-9]*\s*\])*\Z",
    re.IGNORECASE,
)


def column_types(
    names: tuple[str, ...],
    found: tuple[str | None, ...],
    request: Request,
    chosen: Chosen,
    head: Head,
) -> tuple[list[str], list[str]]:
    """Return the type of each column of a new table; and the same with ``text`` where it was
    said, not inferred.

    Raises:
        RequestError, ConfigError: A type is none, or is for a column that is not there.
    """
    said: dict[str, str] = {}
    for types, fail in (
        (chosen.types, lambda key, problem: chosen.error(f"types.{key}", problem)),
        (request.types, lambda key, problem: RequestError(f"--types: {key}: {problem}")),
    ):
        for name, kind in types.items():
            if not _TYPE.match(kind):
                raise fail(name, f"{kind!r} is not a type")
            columns_ = [c for n, c in zip(names, found, strict=True) if c and name in (n, c)]
            if not columns_ and types is request.types:
                raise fail(name, "the file has no such column")
            said.update(dict.fromkeys(columns_, kind))
    # Without a header and without a record the names alone are known.
    known = request.infer and len(head.types) == len(names)
    inferred = head.types if known else (None,) * len(names)
    types_: list[str] = []
    checked: list[str] = []
    for column, guess in zip(found, inferred, strict=True):
        given = said.get(column) if column is not None else None
        types_.append(given or guess or "text")
        checked.append("text" if given or column is None else guess or "text")
    return types_, checked


def shape_of(
    names: tuple[str, ...], types: list[str], dialect: Dialect, *, lossy_only: bool
) -> Shape:
    """Return what the load has to check for the inferred *types*."""
    return Shape(
        names,
        tuple(types),
        dialect.delimiter,
        dialect.quote,
        dialect.escape,
        dialect.null,
        lossy_only,
    )


def ddl(table: Table, fields: tuple[Field, ...], key: tuple[str, ...]) -> str:
    """Return the CREATE TABLE for *fields*, with *key* as its primary key."""
    lines = [f"  {quoted(f.column)} {f.type}" for f in fields if f.column is not None]
    if key:
        lines.append(f"  PRIMARY KEY ({', '.join(map(quoted, key))})")
    body = ",\n".join(lines)
    return f"CREATE TABLE {quoted(table.schema)}.{quoted(table.name)} (\n{body}\n)"


def quoted(name: str) -> str:
    """Return *name* as a quoted identifier, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'


def check_types(conn: psycopg.Connection[Any], plan: Plan) -> None:
    """Ask the server about types that somebody typed.

    Raises:
        TargetError: It knows no such type.
    """
    import psycopg

    for f in plan.fields:
        if plan.create is None or f.column is None or f.type in PATTERNS or f.type == "text":
            continue
        try:
            with conn.transaction():
                row = conn.execute(
                    "SELECT pg_catalog.to_regtype(%s) IS NOT NULL", [f.type]
                ).fetchone()
        except psycopg.errors.SyntaxError:
            row = None
        if row is None or not (row[0] if isinstance(row, tuple) else next(iter(row.values()))):
            raise TargetError(f"column {f.column}: the server has no type {f.type!r}")
