"""What leaves, as a COPY statement: a table or a query, its columns, rows and CSV form.

COPY of a table is not COPY of ``SELECT *``: it leaves out generated columns, which no
import could set, and what other tables inherit; of a partitioned table, a view or a
foreign table it is empty or refused (https://www.postgresql.org/docs/current/sql-copy.html).
So a table is copied as such where that says the same, and through a query elsewhere.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pgmonkey.errors import RequestError, TargetError
from pgmonkey.transfer.catalog import parse_name
from pgmonkey.transfer.plan import Table

if TYPE_CHECKING:
    import psycopg
    from psycopg import sql

# Blocks of a table below which a second connection costs more than it gains: 4 MiB.
FEW_BLOCKS = 512
# Of the server, the first to find rows by a range of ctid without reading the others.
TID_RANGE_SCAN = 140000

_FIND = """
SELECT c.oid, n.nspname, c.relname, c.relkind, a.amname, row_security_active(c.oid),
       CASE WHEN c.relkind IN ('r', 'm')
            THEN pg_relation_size(c.oid) / current_setting('block_size')::bigint ELSE 0 END,
       c.reltuples,
       ARRAY(SELECT attname::text FROM pg_catalog.pg_attribute
              WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped ORDER BY attnum),
       ARRAY(SELECT attname::text FROM pg_catalog.pg_attribute
              WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped AND attgenerated <> '')
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_catalog.pg_am a ON a.oid = c.relam
 WHERE c.oid = pg_catalog.to_regclass(%s)
"""
_NAME = re.compile(r'\s*("(?:[^"]|"")+"|[^\s",](?:[^",]*[^\s",])?)\s*(,|$)')
_KINDS = {"i": "an index", "I": "an index", "S": "a sequence", "c": "a type", "t": "a TOAST table"}


class Relation(NamedTuple):
    """A table, view or the like, as the catalog describes it.

    Attributes:
        kind: ``pg_class.relkind``: r table, p partitioned, v view, m materialized view,
            f foreign table.
        heap: Whether its rows are where a range of ctid finds them.
        hides_rows: Whether row-level security decides which rows this role sees.
        blocks: Its size; 0 where it has no storage of its own.
        rows: The planner's estimate; None before the first ANALYZE.
        columns: In the table's order.
        generated: Those which are computed, in no order.
    """

    table: Table
    kind: str
    heap: bool
    hides_rows: bool
    blocks: int
    rows: int | None
    columns: tuple[str, ...]
    generated: frozenset[str]


class Form(NamedTuple):
    """How values are written. The defaults are those of psql's ``\\copy ... csv header``."""

    delimiter: str = ","
    quote: str = '"'
    null: str = ""
    header: bool = True
    encoding: str = "utf-8"
    force_quote: tuple[str, ...] = ()

    @property
    def mark(self) -> bytes:
        """The byte order mark to begin with, which ``utf-8-sig`` asks for."""
        return b"\xef\xbb\xbf" if _plain(self.encoding) == "utf8sig" else b""


class Selection(NamedTuple):
    """Which rows and columns. Without a relation it is *query*, else the rest applies.

    Attributes:
        columns: As the catalog spells them; empty means all but generated ones.
        where, order_by: SQL, as the user wrote it.
    """

    relation: Relation | None = None
    query: str = ""
    columns: tuple[str, ...] = ()
    where: str = ""
    order_by: str = ""
    limit: int | None = None


class Range(NamedTuple):
    """Blocks of a table, from *first* up to and without *end*; None is the table's end."""

    first: int
    end: int | None


def find_relation(conn: psycopg.Connection[Any], name: str) -> Relation:
    """Return what *name* is, written as in SQL: ``orders``, ``sales.orders``, ``"Full Name"``.

    Raises:
        RequestError: It is not a name as SQL has them.
        TargetError: There is nothing of that name, or something without rows.
    """
    from psycopg import sql
    from psycopg.rows import tuple_row

    parts = [part for part in parse_name(name) if part is not None]
    cursor = conn.cursor(row_factory=tuple_row)
    found = cursor.execute(_FIND, [sql.Identifier(*parts).as_string(conn)]).fetchone()
    if found is None:
        # Users write Orders for a table that was created as "Orders".
        exact = sql.Identifier(*name.split(".", 1)).as_string(conn)
        near = cursor.execute(_FIND, [exact]).fetchone()
        hint = f"; did you mean '{exact}'?" if near else ""
        raise TargetError(f"there is no table {name!r} that this role can see{hint}")
    _, schema, table, kind, method, security, blocks, rows, columns, generated = found
    if kind in _KINDS:
        raise TargetError(f"{name!r} is {_KINDS[kind]}, not a table")
    return Relation(
        Table(schema, table),
        kind,
        kind == "r" and method == "heap",
        security,
        int(blocks),
        int(rows) if rows >= 0 else None,
        tuple(columns),
        frozenset(generated),
    )


def check_encoding(conn: psycopg.Connection[Any], encoding: str) -> None:
    """Refuse an encoding that the server does not have.

    Raises:
        RequestError: It has none of that name.
    """
    from psycopg.rows import tuple_row

    query = "SELECT pg_catalog.pg_char_to_encoding(%s)"
    found = conn.cursor(row_factory=tuple_row).execute(query, [server_encoding(encoding)])
    if found.fetchone() == (-1,):
        # https://www.postgresql.org/docs/current/multibyte.html#CHARSET-TABLE
        raise RequestError(
            f"--encoding: the server cannot write {encoding!r}; it takes its own names and "
            "their usual spellings, such as utf-8, latin1, iso-8859-15, cp1252, win1251 or "
            "euc_jp, and no UTF-16"
        )


def names(text: str) -> tuple[str, ...]:
    """Split a list of column names as SQL writes them, their quotes kept: ``id, "a, b"``.

    Raises:
        RequestError: A name is missing, or a quote never ends.
    """
    found: list[str] = []
    at = 0
    while match := _NAME.match(text, at):
        found.append(match[1])
        at = match.end()
        if not match[2]:
            return tuple(found)
    raise RequestError(f'{text!r} is not a list of columns such as id,"Full Name"')


def pick(wanted: tuple[str, ...], relation: Relation) -> tuple[str, ...]:
    """Return the columns that *wanted* means: folded to lower case unless quoted, as in SQL.

    Raises:
        RequestError: The table has no such column, or it is named twice.
    """
    picked: list[str] = []
    for name in wanted:
        exact = name[1:-1].replace('""', '"') if name.startswith('"') else name
        spellings = (exact,) if name.startswith('"') else (name.lower(), name)
        column = next((s for s in spellings if s in relation.columns), None)
        if column is None:
            from difflib import get_close_matches

            near = get_close_matches(exact, relation.columns, n=1)
            hint = f"did you mean {near[0]!r}?" if near else ", ".join(relation.columns[:20])
            raise RequestError(f"{relation.table} has no column {exact!r}; {hint}")
        if column in picked:
            raise RequestError(f"column {column!r} is named twice")
        picked.append(column)
    return tuple(picked)


def fold(name: str) -> str:
    """Return the column that *name* means where no table says which there are."""
    return name[1:-1].replace('""', '"') if name.startswith('"') else name.lower()


def statement(
    selection: Selection, form: Form, blocks: Range | None = None, *, header: bool | None = None
) -> sql.Composed:
    """Return the COPY that sends *selection*, or its rows in *blocks*, in *form*.

    Args:
        header: Whether this part has the header; None means as *form* says.
    """
    from psycopg import sql

    what = _query(selection, blocks) or _table(selection)
    options = [
        sql.SQL("FORMAT csv"),
        sql.SQL("HEADER {}").format(sql.Literal(form.header if header is None else header)),
        sql.SQL("ENCODING {}").format(sql.Literal(server_encoding(form.encoding))),
    ]
    for word, value, default in (
        ("DELIMITER", form.delimiter, ","),
        ("QUOTE", form.quote, '"'),
        ("NULL", form.null, ""),
    ):
        if value != default:
            options.append(_sql(word + " ") + sql.Literal(value))
    if form.force_quote == ("*",):
        options.append(sql.SQL("FORCE_QUOTE *"))
    elif form.force_quote:
        options.append(sql.SQL("FORCE_QUOTE ({})").format(_identifiers(form.force_quote)))
    return sql.SQL("COPY {} TO STDOUT ({})").format(what, sql.SQL(", ").join(options))


def ranges(blocks: int, jobs: int) -> tuple[Range, ...]:
    """Divide a table of *blocks* into *jobs* ranges of about one size; the last is open."""
    cuts = [blocks * i // jobs for i in range(jobs)]
    return tuple(Range(first, end) for first, end in zip(cuts, [*cuts[1:], None], strict=True))


def why_one(selection: Selection, server_version: int) -> str | None:
    """Return why *selection* cannot be divided among connections; None when it can."""
    relation = selection.relation
    if relation is None:
        return "a query is one stream"
    if selection.order_by:
        return "--order-by needs one stream"
    if selection.limit is not None:
        return "--limit needs one stream"
    if not relation.heap:
        return f"{relation.table} is not a plain table"
    if server_version < TID_RANGE_SCAN:
        return "PostgreSQL before 14 would read the whole table in each of them"
    if relation.blocks < FEW_BLOCKS:
        return "the table is small"
    return None


def server_encoding(name: str) -> str:
    """Return the server's name for an encoding; it knows most of Python's names itself.

    PostgreSQL ignores case and punctuation ("Latin-1", "utf8", "ISO 8859-15").
    """
    plain = _plain(name)
    if plain == "utf8sig":
        return "UTF8"
    if match := re.fullmatch(r"cp(125\d|866|874)", plain):
        return f"WIN{match[1]}"
    return name


def read_sql(path: Path) -> str:
    """Return the statement in the file *path*.

    Raises:
        OSError: It cannot be read.
        RequestError: It is not UTF-8, or is empty.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise RequestError("is not UTF-8", file=str(path)) from error
    if not text.strip():
        raise RequestError("has no statement in it", file=str(path))
    return text


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _table(selection: Selection) -> sql.Composable:
    from psycopg import sql

    relation = selection.relation
    assert relation is not None
    columns = _columns(selection, relation)
    if not columns:  # a table may have none
        return relation.table.sql()
    return sql.SQL("{} ({})").format(relation.table.sql(), _identifiers(columns))


def _query(selection: Selection, blocks: Range | None) -> sql.Composable | None:
    """Return the query in parentheses, or None where the table can be named instead."""
    from psycopg import sql

    relation = selection.relation
    if relation is None:
        # The line break ends a comment that the user's SQL may end with.
        return _sql("(" + selection.query.strip().rstrip(";") + "\n)")
    columns = _columns(selection, relation)
    conditions: list[sql.Composable] = []
    if blocks is not None:
        conditions.append(sql.SQL("ctid >= {}::tid").format(sql.Literal(f"({blocks.first},0)")))
        if blocks.end is not None:
            conditions.append(sql.SQL("ctid < {}::tid").format(sql.Literal(f"({blocks.end},0)")))
    if selection.where:
        conditions.append(_sql("(" + selection.where + "\n)"))
    plain = relation.kind == "r" and not relation.generated.intersection(columns)
    if plain and not (conditions or selection.order_by or selection.limit is not None):
        return None
    query = sql.SQL("SELECT {} FROM {}{}").format(
        _identifiers(columns),
        sql.SQL("ONLY " if relation.kind == "r" else ""),
        relation.table.sql(),
    )
    if conditions:
        query += sql.SQL(" WHERE ") + sql.SQL(" AND ").join(conditions)
    if selection.order_by:
        query += _sql(" ORDER BY " + selection.order_by + "\n")
    if selection.limit is not None:
        query += sql.SQL(" LIMIT {}").format(sql.Literal(selection.limit))
    return sql.SQL("({})").format(query)


def _columns(selection: Selection, relation: Relation) -> tuple[str, ...]:
    if selection.columns:
        return selection.columns
    return tuple(c for c in relation.columns if c not in relation.generated)


def _identifiers(columns: tuple[str, ...]) -> sql.Composed:
    from psycopg import sql

    return sql.SQL(", ").join(map(sql.Identifier, columns))


def _sql(text: str) -> sql.SQL:
    """Return SQL that the user wrote, who may run any with this role."""
    from psycopg import sql

    return sql.SQL(text)
