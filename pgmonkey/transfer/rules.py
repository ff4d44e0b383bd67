"""What a table asks of a row, read from the catalog: how text becomes each value, and its rules.

A rule here is an expression that is false for a row which the table is certain to refuse;
it is put into the WHERE of an INSERT, so that the row is passed over instead of failing the
statement. Certain it is only where no trigger of a user can change a row on its way in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from psycopg import sql
from psycopg.rows import tuple_row

if TYPE_CHECKING:
    import psycopg

    from pgmonkey.transfer.plan import Plan

# How the text of a column becomes its value. A cast runs the input function only where
# pg_cast has no function for text. It shortens where the INSERT, an assignment, refuses to:
# so those types go without their modifier, which the INSERT applies. Types that treat a
# modifier in ways of their own, and domains, are read by record_in() as part of a row.
_COLUMNS = sql.SQL("""
SELECT a.attname, a.attnotnull, t.typcategory = 'S' AS is_text,
       CASE WHEN a.atttypmod = -1 OR t.typname IN ('varchar', 'bpchar', 'bit', 'varbit')
            THEN pg_catalog.format('%%I.%%I', n.nspname, t.typname)
            ELSE pg_catalog.format_type(a.atttypid, a.atttypmod) END AS type,
       t.typtype <> 'd' AND t.typname <> 'char'
       AND (a.atttypmod = -1 OR (n.nspname = 'pg_catalog' AND t.typname IN
            ('numeric', 'time', 'timetz', 'timestamp', 'timestamptz',
             'varchar', 'bpchar', 'bit', 'varbit')))
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_cast c WHERE c.castsource = 25
                       AND c.casttarget = t.oid AND c.castmethod = 'f') AS plain,
       a.atttypmod <> -1 AND t.typname IN ('varchar', 'bpchar', 'bit', 'varbit') AS limited,
       a.atttypmod = -1 OR t.typname NOT IN ('bpchar', 'bit', 'varbit') AS whole
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
WHERE a.attrelid = %s::oid AND a.attnum > 0 AND NOT a.attisdropped
""")

_OID = sql.SQL("""
SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = %s
""")

# Whether what goes into the INSERT is what the rules are held against. ON CONFLICT cannot
# pass over a deferrable key, and rules of a partition are not the parent's.
_CERTAIN = sql.SQL("""
SELECT c.relkind = 'r'
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger t
                       WHERE t.tgrelid = c.oid AND NOT t.tgisinternal)
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid
                       AND (i.indisunique OR i.indisexclusion) AND NOT i.indimmediate)
FROM pg_catalog.pg_class c WHERE c.oid = %s::oid
""")

# Whether it makes no difference in which order rows go in, except for those that meet in a key.
_APART = sql.SQL("""
SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_constraint f
                   WHERE f.contype = 'f' AND f.conrelid = %s::oid AND f.confrelid = f.conrelid)
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a
                       LEFT JOIN pg_catalog.pg_attrdef d
                              ON d.adrelid = a.attrelid AND d.adnum = a.attnum
                       WHERE a.attrelid = %s::oid AND a.attname <> ALL (%s)
                       AND (a.attidentity <> '' OR pg_catalog.pg_get_expr(d.adbin, d.adrelid)
                            LIKE '%%nextval(%%'))
""")

# NOT ENFORCED and PERIOD came with PostgreSQL 18. A foreign key is looked up by the operator
# that the key itself uses, and only where this role may read the other table.
_CONSTRAINTS = sql.SQL("""
SELECT c.contype = 'f',
       ARRAY(SELECT a.attname::text FROM pg_catalog.unnest(c.conkey) WITH ORDINALITY k(num, i)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.num
             ORDER BY k.i),
       pg_catalog.pg_get_expr(c.conbin, c.conrelid),
       p.nspname, p.relname,
       ARRAY(SELECT a.attname::text FROM pg_catalog.unnest(c.confkey) WITH ORDINALITY k(num, i)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = k.num
             ORDER BY k.i),
       ARRAY(SELECT pg_catalog.format('OPERATOR(%%I.%%s)', n.nspname, o.oprname)
             FROM pg_catalog.unnest(c.conpfeqop) WITH ORDINALITY k(num, i)
             JOIN pg_catalog.pg_operator o ON o.oid = k.num
             JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace ORDER BY k.i)
FROM pg_catalog.pg_constraint c
LEFT JOIN (SELECT r.oid, n.nspname, r.relname, r.relrowsecurity
           FROM pg_catalog.pg_class r JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace
           WHERE pg_catalog.has_table_privilege(r.oid, 'SELECT')
           AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')) p
       ON p.oid = c.confrelid
WHERE c.conrelid = %s::oid
AND (c.contype = 'c' AND c.conkey IS NOT NULL AND 0 <> ALL (c.conkey)
     OR c.contype = 'f' AND c.confmatchtype = 's' AND c.confrelid <> c.conrelid
        AND NOT p.relrowsecurity)
AND pg_catalog.to_jsonb(c) ->> 'conenforced' IS DISTINCT FROM 'false'
AND pg_catalog.to_jsonb(c) ->> 'conperiod' IS DISTINCT FROM 'true'
""")


def staged(position: int) -> str:
    """Return the column of the staging table for the field at *position*."""
    return f"f{position + 1}"


class Column(NamedTuple):
    """A column that the file fills, and how its staged text is read.

    Attributes:
        type: What to cast to.
        plain: Whether a cast does it.
        tried: Whether to look for texts that do not convert before the INSERT.
        not_null: Whether the column is NOT NULL.
        whole: Whether the value read is the value stored, if the INSERT takes it; but for
            blanks at the end of a varchar.
    """

    name: str
    position: int
    type: str
    plain: bool
    tried: bool
    not_null: bool
    whole: bool

    @property
    def staged(self) -> sql.Identifier:
        """Its column in the staging table."""
        return sql.Identifier(staged(self.position))

    @property
    def holder(self) -> str:
        """The name of a temporary table of this column alone, whose type is a row of it."""
        return f"pgmonkey_as{self.position}"

    @property
    def variable(self) -> sql.Identifier:
        """A variable of its type in the function."""
        return sql.Identifier(f"v_{self.position}")

    def value(self, row: str) -> sql.Composed:
        """Return the expression that reads the staged text of *row*."""
        text = sql.SQL("{}.{}").format(sql.SQL(row), self.staged)
        if self.plain:
            # The type is the catalog's own spelling.
            return sql.SQL("{}::{}").format(text, sql.SQL(self.type))
        # (x) with x quoted is a row of one field; () is one whose field is NULL.
        quoted = sql.SQL(
            r"""'(' || coalesce('"' || replace(replace({}, E'\\', E'\\\\'), '"', '""') || '"', '')"""
            r""" || ')'"""
        ).format(text)
        return sql.SQL("(({})::pg_temp.{}).v").format(quoted, sql.Identifier(self.holder))


class Rules(NamedTuple):
    """A table as its rows are read and judged.

    Attributes:
        columns: Those that the file fills.
        certain: Whether ``local`` and ``foreign`` may decide about a row.
        apart: Whether rows may go in in another order than that of the file, except for those
            that meet in a key.
        local: What looks at the row alone; columns go by their names.
        foreign: What looks into another table.
        ruled: The columns that ``local`` is about.
    """

    columns: tuple[Column, ...]
    certain: bool
    apart: bool
    local: tuple[sql.Composable, ...]
    foreign: tuple[sql.Composable, ...]
    ruled: frozenset[str]


def read_rules(conn: psycopg.Connection[Any], plan: Plan) -> Rules:
    """Ask the catalog about the table of *plan*."""

    def ask(query: sql.SQL, *args: Any) -> Sequence[Any]:
        return conn.cursor(row_factory=tuple_row).execute(query, args).fetchall()

    ((oid,),) = ask(_OID, plan.table.schema, plan.table.name)
    known = {name: rest for name, *rest in ask(_COLUMNS, oid)}
    columns = []
    for field in plan.fields:
        if field.column is not None:
            not_null, is_text, kind, plain, limited, whole = known[field.column]
            tried = limited or not (plain and is_text)
            columns.append(
                Column(field.column, field.position, kind, plain, tried, not_null, whole)
            )
    ((certain,),) = ask(_CERTAIN, oid)
    ((apart,),) = ask(_APART, oid, oid, list(plan.columns))
    usable = {column.name for column in columns if column.whole}
    local: list[sql.Composable] = [
        sql.SQL("{} IS NOT NULL").format(sql.Identifier(c.name)) for c in columns if c.not_null
    ]
    foreign: list[sql.Composable] = []
    ruled = {c.name for c in columns if c.not_null}
    for is_foreign, names, check, schema, parent, keys, operators in ask(_CONSTRAINTS, oid):
        if not usable.issuperset(names):
            continue
        if is_foreign:
            foreign.append(_has_parent(names, sql.Identifier(schema, parent), keys, operators))
        else:
            # The table's own words, as the server writes them.
            local.append(sql.SQL("({}) IS NOT FALSE").format(sql.SQL(check)))
            ruled |= set(names)
    apart = certain and apart
    return Rules(tuple(columns), certain, apart, tuple(local), tuple(foreign), frozenset(ruled))


def _has_parent(
    names: Sequence[str], parent: sql.Composable, keys: Sequence[str], operators: Sequence[str]
) -> sql.Composed:
    columns = [sql.SQL("r.{}").format(sql.Identifier(name)) for name in names]
    null = sql.SQL(" OR ").join(sql.SQL("{} IS NULL").format(column) for column in columns)
    equal = sql.SQL(" AND ").join(
        sql.SQL("p.{} {} {}").format(sql.Identifier(key), sql.SQL(operator), column)
        for key, operator, column in zip(keys, operators, columns, strict=True)
    )
    # As a value, one row at a time: a join would change the order of the rows.
    return sql.SQL("({} OR (SELECT true FROM {} p WHERE {} LIMIT 1))").format(null, parent, equal)
