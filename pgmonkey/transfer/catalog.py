"""What the catalog says of the table that a CSV goes into.

Names come in as a user types them and fold as PostgreSQL folds them: ``Orders`` is orders,
``"Orders"`` is not (https://www.postgresql.org/docs/current/sql-syntax-lexical.html). The
catalog is asked with quoted names and parameters only, so a name is never a statement.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from pgmonkey.errors import RequestError, TargetError
from pgmonkey.transfer.plan import Table

if TYPE_CHECKING:
    import psycopg

# NAMEDATALEN - 1: the server would cut a longer name off, with a notice.
NAME_BYTES = 63

_PART = re.compile(r'"((?:[^"]|"")+)"|((?:[A-Za-z_]|[^\x00-\x7f])(?:[\w$]|[^\x00-\x7f])*)')
_FOLD = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")


def fold(name: str) -> str:
    """Return *name* as PostgreSQL folds an unquoted one: ASCII capitals become small."""
    return name.translate(_FOLD)


def parse_name(text: str) -> tuple[str | None, str]:
    """Return schema (None where not given) and name of a table typed as ``[SCHEMA.]NAME``.

    Raises:
        RequestError: It is not a name as SQL has them.
    """
    parts: list[str] = []
    at = 0
    while True:
        found = _PART.match(text, at)
        if found is None:
            break
        parts.append(found[1].replace('""', '"') if found[1] else fold(found[2]))
        at = found.end()
        if text[at : at + 1] != ".":
            break
        at += 1
    if not parts or at < len(text) or text.endswith(".") or len(parts) > 2:
        quoted = text.replace('"', '""')
        hint = f"; quote it if it is one: '\"{quoted}\"'" if len(parts) < 3 else ""
        raise RequestError(f"{text!r} is not a table's name, [SCHEMA.]NAME{hint}")
    for part in parts:
        check_length(part)
    return (parts[0] if len(parts) == 2 else None), parts[-1]


def check_length(name: str) -> None:
    """Refuse a name that the server would shorten.

    Raises:
        RequestError: *name* has more than 63 bytes.
    """
    if len(name.encode("utf-8", "surrogatepass")) > NAME_BYTES:
        shown = name if len(name) <= 100 else name[:100] + "..."
        raise RequestError(f"the name {shown!r} is longer than {NAME_BYTES} bytes")


class Column(NamedTuple):
    """One column of a table.

    Attributes:
        type: As ``format_type`` writes it.
        text: Whether ``''`` is a value of it.
        string: Whether it is a type of text, for which an empty field may mean ``''``.
        generated: Whether the server computes it, so that nothing can be loaded into it.
        identity: ``a`` for GENERATED ALWAYS AS IDENTITY, ``d`` for BY DEFAULT, or nothing.
        default: Whether it has a default; an identity has one.
        numbered: Whether the default takes the next value of a sequence.
        sequence: The one that belongs to it, quoted as it has to be; None for none.
    """

    name: str
    type: str
    text: bool
    string: bool
    not_null: bool
    generated: bool = False
    identity: str = ""
    default: bool = False
    numbered: bool = False
    sequence: str | None = None


class Target(NamedTuple):
    """A table that exists.

    Attributes:
        kind: ``relkind`` of pg_class: r, p (partitioned), f (foreign), v (view).
        columns: In the table's order.
        keys: The columns of each unique index that could settle a conflict: complete,
            immediate, of plain columns. The primary key comes first.
        self_reference: Whether a foreign key of the table points at the table.
        statement_triggers: Whether an INSERT fires a trigger once for the statement.
        triggers: Whether it fires any trigger of a user, of the table or of a partition.
        temporary: Whether no other session sees it.
    """

    table: Table
    kind: str
    columns: tuple[Column, ...]
    keys: tuple[tuple[str, ...], ...] = ()
    self_reference: bool = False
    statement_triggers: bool = False
    triggers: bool = False
    temporary: bool = False

    def column(self, name: str) -> Column | None:
        """Return the column that the catalog spells *name*."""
        return next((column for column in self.columns if column.name == name), None)


_TABLE = """
SELECT c.oid, n.nspname, c.relname, c.relkind::text, pg_catalog.row_security_active(c.oid),
  EXISTS (SELECT FROM pg_catalog.pg_constraint WHERE conrelid = c.oid AND confrelid = c.oid),
  EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = c.oid AND NOT tgisinternal
    AND tgenabled <> 'D' AND tgtype & 1 = 0 AND tgtype & 4 > 0),
  EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE NOT tgisinternal AND tgenabled <> 'D'
    AND tgtype & 4 > 0 AND tgrelid IN (
      SELECT c.oid UNION SELECT relid FROM pg_catalog.pg_partition_tree(c.oid))),
  c.relpersistence = 't',
  EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = c.oid AND tgtype & 68 = 68)
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.oid = pg_catalog.to_regclass(%s)
"""

# For a domain, what it is in the end. Categories: pg_type.typcategory in the documentation.
_COLUMNS = """
WITH RECURSIVE base AS (
  SELECT a.attnum, a.atttypid AS oid, false AS not_null FROM pg_catalog.pg_attribute AS a
  WHERE a.attrelid = %(oid)s AND a.attnum > 0 AND NOT a.attisdropped
  UNION ALL
  SELECT base.attnum, t.typbasetype, base.not_null OR t.typnotnull
  FROM base JOIN pg_catalog.pg_type AS t ON t.oid = base.oid WHERE t.typtype = 'd'
)
SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), t.typname,
  t.typcategory::text, t.typtype::text, t.oid < 16384,
  EXISTS (SELECT FROM pg_catalog.pg_enum WHERE enumtypid = t.oid AND enumlabel = ''),
  a.attnotnull OR base.not_null, a.attgenerated <> '', a.attidentity::text,
  a.atthasdef OR a.attidentity <> '',
  a.attidentity <> '' OR COALESCE(pg_catalog.pg_get_expr(d.adbin, d.adrelid), '') LIKE 'nextval(%%',
  pg_catalog.pg_get_serial_sequence(a.attrelid::pg_catalog.regclass::text, a.attname)
FROM pg_catalog.pg_attribute AS a
  JOIN base USING (attnum) JOIN pg_catalog.pg_type AS t ON t.oid = base.oid
  LEFT JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = %(oid)s AND t.typtype <> 'd'
ORDER BY a.attnum
"""

_KEYS = """
SELECT (SELECT pg_catalog.array_agg(a.attname::text ORDER BY k.place)
  FROM pg_catalog.unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, place)
  JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
  WHERE k.place <= i.indnkeyatts)
FROM pg_catalog.pg_index AS i
WHERE i.indrelid = %s AND i.indisunique AND i.indimmediate AND i.indisvalid
  AND i.indpred IS NULL AND i.indexprs IS NULL
ORDER BY i.indisprimary DESC, i.indexrelid
"""

_REFERENCES = """
SELECT c.conrelid::pg_catalog.regclass::text, c.conname, c.confdeltype::text
FROM pg_catalog.pg_constraint AS c
WHERE c.contype = 'f' AND c.confrelid = %s::pg_catalog.regclass AND c.conrelid <> c.confrelid
  AND c.conparentid = 0 AND c.confdeltype IN ('c', 'n', 'd')
ORDER BY c.conrelid::pg_catalog.regclass::text, c.conname
"""

# Built-in types outside the categories below for which '' is no value.
_NEVER_EMPTY = frozenset(
    [
        "uuid",
        "json",
        "jsonb",
        "jsonpath",
        "macaddr",
        "macaddr8",
        "pg_lsn",
        "xid",
        "xid8",
        "cid",
        "tid",
        "txid_snapshot",
        "pg_snapshot",
        "money",
    ]
)
# Of the category of arrays, and empty when there is nothing in them.
_VECTORS = frozenset(("int2vector", "oidvector"))
# Arrays, booleans, composites, dates, geometry, networks, numbers, ranges, intervals.
_NEVER_EMPTY_CATEGORIES = frozenset("ABCDGINRT")


def look_up(
    conn: psycopg.Connection[Any], schema: str | None, name: str, *, shown: str
) -> Target | None:
    """Return what the catalog says of a table; None where there is no such table.

    Args:
        conn: Open; without *schema*, its search_path decides.
        shown: The name as the user typed it.

    Raises:
        TargetError: It exists and COPY cannot load into it.
    """
    from psycopg import sql
    from psycopg.rows import tuple_row

    parts = (name,) if schema is None else (schema, name)
    with conn.cursor(row_factory=tuple_row) as cursor:
        found = cursor.execute(_TABLE, [sql.Identifier(*parts).as_string(conn)]).fetchone()
        if found is None:
            return None
        oid, in_schema, relname, kind, rls, refers, each_statement, any_, temporary, instead = found
        refuse(kind, shown, rls=rls, instead_of=instead, role=conn.info.user)
        columns = tuple(map(_column, cursor.execute(_COLUMNS, {"oid": oid}).fetchall()))
        keys = tuple(tuple(row[0]) for row in cursor.execute(_KEYS, [oid]).fetchall() if row[0])
    table = Table(in_schema, relname)
    return Target(table, kind, columns, keys, refers, each_statement, any_, temporary)


def refuse(kind: str, shown: str, *, rls: bool, instead_of: bool, role: str) -> None:
    """Refuse a relation into which COPY cannot load.

    Args:
        kind: ``relkind`` of pg_class.
        rls: Whether row-level security applies to *role* here.
        instead_of: Whether a view has an INSTEAD OF INSERT trigger.

    Raises:
        TargetError: And why.
    """
    what = {
        "v": "is a view; import into the table behind it, or give the view an INSTEAD OF "
        "INSERT trigger",
        "m": "is a materialized view; import into a table it reads, then refresh it",
        "S": "is a sequence, not a table",
        "i": "is an index, not a table",
        "I": "is an index, not a table",
        "c": "is a composite type, not a table",
        "t": "is a TOAST table",
    }
    if kind in what and not (kind == "v" and instead_of):
        raise TargetError(f"{shown} {what[kind]}")
    if rls:
        raise TargetError(
            f"{shown} has row-level security that applies to {role}, which COPY cannot obey; "
            "import as a role with BYPASSRLS, or as the owner unless it is forced on the owner"
        )


def affected(conn: psycopg.Connection[Any], table: Table) -> tuple[str, ...]:
    """Return what becomes of rows of other tables where rows of *table* are deleted."""
    from psycopg.rows import tuple_row

    means = {"c": "are deleted too", "n": "lose that reference", "d": "get the default there"}
    with conn.cursor(row_factory=tuple_row) as cursor:
        found = cursor.execute(_REFERENCES, [table.sql().as_string(conn)]).fetchall()
    return tuple(
        f"rows of {other} that refer to a row of {table} {means[action]} (its {constraint})"
        for other, constraint, action in found
    )


def schema_for_new(conn: psycopg.Connection[Any], schema: str | None) -> str:
    """Return the schema in which a new table would be made.

    Raises:
        TargetError: There is none of that name, or none in the search_path.
    """
    from psycopg.rows import tuple_row

    with conn.cursor(row_factory=tuple_row) as cursor:
        if schema is None:
            row = cursor.execute("SELECT pg_catalog.current_schema()").fetchone()
        else:
            query = "SELECT nspname FROM pg_catalog.pg_namespace WHERE nspname = %s"
            row = cursor.execute(query, [schema]).fetchone()
    if row is None:
        raise TargetError(f"there is no schema {schema!r}; create it first")
    if row[0] is None:
        raise TargetError("no schema of the search_path exists; name one: --table SCHEMA.NAME")
    return str(row[0])


def _column(row: tuple[Any, ...]) -> Column:
    (name, type_, base, category, typtype, built_in, empty_label, not_null, *rest) = row
    generated, identity, default, numbered, sequence = rest
    if typtype == "e":
        text = empty_label
    elif built_in and base in _VECTORS:
        text = True
    elif built_in or typtype in ("r", "m", "c"):
        text = category not in _NEVER_EMPTY_CATEGORIES and base not in _NEVER_EMPTY
    else:  # an extension's: whoever made it knows
        text = category != "A"
    string = category == "S" and typtype != "e"
    return Column(
        name, type_, text, string, not_null, generated, identity, default, numbered, sequence
    )
