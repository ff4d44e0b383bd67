"""Rows inserted by the server itself, run by run, each run under guard: a bad row costs little.

A block is staged as text in a temporary table, and a function in PL/pgSQL reads it. Its
``EXCEPTION`` clause is a savepoint that costs microseconds, where one of ours costs round
trips. Conversions are tried first, a column at a time, so that the commonest bad rows never
break a run; then runs of rows are inserted with one statement, and a sequence, which no
rollback sets back, tells which row of a run failed. What is staged is what COPY would have
given to the types' input functions, and it is read by these (``_Column.value``).

``skipping`` decides when this is worth it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql
from psycopg.rows import tuple_row

from pgmonkey.transfer.verdict import NOT_OF_THE_ROW

if TYPE_CHECKING:
    import psycopg

    from pgmonkey.transfer.plan import Plan

STAGE_NAME = "pgmonkey_stage"
STAGE = sql.SQL("pg_temp.pgmonkey_stage")
NUMBER = sql.SQL("pg_temp.pgmonkey_number")
AT = sql.SQL("pg_temp.pgmonkey_at")
FUNCTION = sql.SQL("pg_temp.pgmonkey_insert")
# Rows of the longest run, which is also the first. More than are staged at a time: while all
# goes well there is one run, without a look at where its rows are.
LONGEST_RUN = 1 << 20
# Rows whose places are kept at hand: to take some out of an array, PL/pgSQL copies it.
SLICE = 256

# How the text of a column becomes its value. A cast runs the input function only where
# pg_cast has no function for text, and gives it no type modifier: the INSERT applies that,
# as an assignment, which refuses to shorten. Types that treat their modifier otherwise, and
# domains, whose cast would shorten silently, are read by record_in() as part of a row.
_COLUMNS = sql.SQL("""
SELECT a.attname, n.nspname, t.typname, t.typcategory = 'S' AS is_text,
       t.typtype <> 'd' AND t.typname <> 'char'
       AND (a.atttypmod = -1 OR (n.nspname = 'pg_catalog' AND t.typname IN
            ('numeric', 'varchar', 'bpchar', 'time', 'timetz', 'timestamp', 'timestamptz',
             'bit', 'varbit')))
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_cast c WHERE c.castsource = 25
                       AND c.casttarget = t.oid AND c.castmethod = 'f') AS plain
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
WHERE a.attrelid = (SELECT c.oid FROM pg_catalog.pg_class c
                    JOIN pg_catalog.pg_namespace s ON s.oid = c.relnamespace
                    WHERE s.nspname = %s AND c.relname = %s)
AND a.attnum > 0 AND NOT a.attisdropped
""")


@dataclass(frozen=True)
class _Column:
    """A column that the file fills, and how its staged text is read."""

    name: str
    position: int
    type: sql.Composable
    plain: bool
    checked: bool

    @property
    def staged(self) -> sql.Identifier:
        return sql.Identifier(staged(self.position))

    @property
    def holder(self) -> sql.Composable:
        """A type that is a row of this column alone."""
        return sql.SQL("pg_temp.{}").format(sql.Identifier(f"pgmonkey_as{self.position}"))

    @property
    def variable(self) -> sql.Identifier:
        return sql.Identifier(f"v_{self.position}")

    def value(self, row: str) -> sql.Composed:
        """Return the expression that reads the staged text of *row*."""
        text = sql.SQL("{}.{}").format(sql.SQL(row), self.staged)
        if self.plain:
            return sql.SQL("{}::{}").format(text, self.type)
        # (x) with x quoted is a row of one field; () is one whose field is NULL.
        quoted = sql.SQL(
            r"""'(' || coalesce('"' || replace(replace({}, E'\\', E'\\\\'), '"', '""') || '"', '')"""
            r""" || ')'"""
        ).format(text)
        return sql.SQL("(({})::{}).v").format(quoted, self.holder)


def staged(position: int) -> str:
    """Return the column of the staging table for the field at *position*."""
    return f"f{position + 1}"


@dataclass(frozen=True)
class Refusal:
    """What the server said of one staged row.

    Attributes:
        number: As staged: 1, 2, ... or negative for a row with too few fields.
    """

    number: int
    sqlstate: str
    message: str
    detail: str
    column: str


class Guard:
    """The staging table and the function of one load, in the transaction of *conn*.

    ``make`` creates them, ``drop`` removes them before the commit; a rollback does, too.
    """

    def __init__(
        self,
        conn: psycopg.Connection[Any],
        plan: Plan,
        on_conflict: sql.Composable | None = None,
    ) -> None:
        self._conn = conn
        self._plan = plan
        self._on_conflict = on_conflict
        self._run = LONGEST_RUN
        # Positions of the columns that had a text which did not convert. The others are not
        # looked at before the INSERT, which is cheaper as long as nothing is found.
        self._checked: set[int] = set()
        self._positions = {f.column: f.position for f in plan.fields}
        self.made = False
        self._holders: list[sql.Composable] = []

    def make(self) -> None:
        """Create what is needed.

        Raises:
            psycopg.Error: The role may not have temporary tables, for one.
        """
        table = self._plan.table
        rows = self._ask(_COLUMNS, (table.schema, table.name)).fetchall()
        known = {
            name: (sql.Identifier(schema, kind), is_text, plain)
            for name, schema, kind, is_text, plain in rows
        }
        columns = []
        for field in self._plan.fields:
            if field.column is not None:
                kind, is_text, plain = known[field.column]
                columns.append(
                    _Column(field.column, field.position, kind, plain, plain and not is_text)
                )
        texts = sql.SQL(", ").join(
            sql.SQL("{} text").format(sql.Identifier(staged(field.position)))
            for field in self._plan.fields
        )
        make = [
            sql.SQL("CREATE SEQUENCE {} CACHE 1000").format(NUMBER),
            sql.SQL("CREATE SEQUENCE {} CACHE 1000").format(AT),
            sql.SQL(
                "CREATE TEMPORARY TABLE pgmonkey_stage"
                " (n bigint DEFAULT pg_catalog.nextval({}), missing int NOT NULL DEFAULT 0, {})"
                " ON COMMIT DROP"
            ).format(sql.Literal(NUMBER.as_string()), texts),
        ]
        for column in columns:
            if not column.plain:
                self._holders.append(column.holder)
                make.append(
                    sql.SQL(
                        "CREATE TEMPORARY TABLE {} ON COMMIT DROP AS SELECT {} AS v FROM {} LIMIT 0"
                    ).format(
                        sql.SQL(column.holder.as_string().partition(".")[2]),
                        sql.Identifier(column.name),
                        table.sql(),
                    )
                )
        body = _body(self._plan, columns, self._on_conflict)
        make.append(
            # To plan a run for just its rows takes longer than to insert them.
            sql.SQL(
                "CREATE FUNCTION {}(checked int[], INOUT run int, OUT n bigint, OUT state text,"
                " OUT message text, OUT detail text, OUT col text) RETURNS SETOF record"
                " LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS {}"
            ).format(FUNCTION, sql.Literal(body.as_string(self._conn)))
        )
        for statement in make:
            self._conn.execute(statement)
        self.made = True

    def _ask(self, query: sql.SQL | sql.Composed, args: Sequence[Any]) -> psycopg.Cursor[Any]:
        return self._conn.cursor(row_factory=tuple_row).execute(query, args)

    def drop(self) -> None:
        """Remove everything again."""
        if self.made:
            self.made = False
            drops = [sql.SQL("DROP FUNCTION {}(int[], int)").format(FUNCTION)]
            drops += [sql.SQL("DROP TABLE {}").format(t) for t in (STAGE, *self._holders)]
            drops.append(sql.SQL("DROP SEQUENCE {}, {}").format(NUMBER, AT))
            self._conn.execute(sql.SQL("; ").join(drops))

    def clear(self) -> None:
        """Empty the staging table; the next row gets the number 1."""
        self._conn.execute(
            sql.SQL("TRUNCATE {}; SELECT pg_catalog.setval({}, 1, false)").format(
                STAGE, sql.Literal(NUMBER.as_string())
            )
        )

    def insert(self) -> tuple[int, list[Refusal]]:
        """Insert what is staged.

        Returns:
            The number of rows that are in, and what was refused in the order of the file.

        Raises:
            psycopg.Error: What no row is to blame for.
        """
        found: list[Refusal] = []
        inserted = 0
        query = sql.SQL("SELECT n, state, message, detail, col, run FROM {}(%s, %s)").format(
            FUNCTION
        )
        told = self._ask(query, (sorted(self._checked), self._run))
        for number, state, message, detail, column, run in told:
            if state is None:
                inserted, self._run = number, run
                continue
            found.append(Refusal(number, state, message, detail or "", column or ""))
            if column and state.startswith("22") and number > 0:
                self._checked.add(self._positions[column])
        return inserted, found


def _body(
    plan: Plan, columns: Sequence[_Column], on_conflict: sql.Composable | None
) -> sql.Composed:
    table = plan.table.sql()
    variables = [
        sql.SQL("{} {}.{}%TYPE;").format(c.variable, table, sql.Identifier(c.name))
        for c in columns
        if c.plain
    ]
    overriding = any(f.identity_always for f in plan.fields if f.column is not None)
    counted = sql.SQL("pg_catalog.nextval({}) > 0").format(sql.Literal(AT.as_string()))
    ordered = sql.SQL("(SELECT * FROM {} t WHERE {} ORDER BY t.n) s")
    everything = sql.SQL("t.missing = 0")
    run = sql.SQL("t.ctid = ANY (v_slice[v_lo - v_before:v_hi - v_before])")

    def insert(source: sql.Composable, conflict: sql.Composable) -> sql.Composed:
        return sql.SQL("INSERT INTO {} ({}) {} SELECT {} FROM {} WHERE {} {}").format(
            table,
            sql.SQL(", ").join(sql.Identifier(c.name) for c in columns),
            sql.SQL("OVERRIDING SYSTEM VALUE" if overriding else ""),
            sql.SQL(", ").join(c.value("s") for c in columns),
            source,
            counted,
            conflict,
        )

    if on_conflict is None:
        # All or none of it goes in, so the order is the table's own.
        insert_all = insert(sql.SQL("{} s").format(STAGE), sql.SQL("AND s.missing = 0"))
    else:
        insert_all = insert(ordered.format(STAGE, everything), on_conflict)
    return sql.SQL(_BODY).format(
        variables=sql.SQL("\n  ").join(variables),
        conversions=sql.SQL("").join(_conversions(columns)),
        reread=sql.SQL("\n          ").join(_reread(columns)),
        insert_all=insert_all,
        insert_run=insert(ordered.format(STAGE, run), on_conflict or sql.SQL("")),
        stage=STAGE,
        at=sql.Literal(AT.as_string()),
        stop=_stop(),
        missing=sql.SQL(", ").join(sql.Literal(f.column or f.name) for f in plan.fields),
        longest=sql.Literal(LONGEST_RUN),
        slice=sql.Literal(SLICE),
    )


def _stop() -> sql.Composed:
    """Return what lets an error pass that no row is to blame for."""
    return sql.SQL(
        "IF pg_catalog.left(SQLSTATE, 2) = ANY ({0}) OR SQLSTATE = ANY ({0}) THEN RAISE; END IF;"
    ).format(sql.Literal(list(NOT_OF_THE_ROW)))


def _conversions(columns: Sequence[_Column]) -> Iterator[sql.Composed]:
    """Yield, per column, what takes out the rows whose text does not convert."""
    for column in columns:
        if column.checked:
            yield sql.SQL(_CONVERSION).format(
                position=sql.Literal(column.position),
                all=column.value("s"),
                one=column.value("v_row"),
                variable=column.variable,
                staged=column.staged,
                name=sql.Literal(column.name),
                stage=STAGE,
                stop=_stop(),
            )


def _reread(columns: Sequence[_Column]) -> Iterator[sql.Composed]:
    """Yield, per column, what converts it alone, to find out which one it was."""
    for column in columns:
        # A variable has the type modifier, as the column has. A domain may refuse the NULL
        # that a variable begins with, but then the expression has all of its type already.
        convert = "{variable} := {value};" if column.plain else "v_flag := {value} IS NULL;"
        yield sql.SQL("col := {name}; " + convert).format(
            name=sql.Literal(column.name), variable=column.variable, value=column.value("v_row")
        )


_CONVERSION = """
  IF {position} = ANY (checked) THEN
    BEGIN
      PERFORM pg_catalog.count({all}) FROM {stage} s;
    EXCEPTION WHEN OTHERS OR assert_failure THEN
      {stop}
      v_rows := '{{}}';
      FOR v_row IN SELECT s.ctid, s.n, s.{staged} FROM {stage} s WHERE s.{staged} IS NOT NULL LOOP
        BEGIN
          {variable} := {one};
        EXCEPTION WHEN OTHERS OR assert_failure THEN
          {stop}
          GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
                                  detail = PG_EXCEPTION_DETAIL;
          n := v_row.n; col := {name};
          RETURN NEXT;
          v_rows := v_rows || v_row.ctid;
        END;
      END LOOP;
      DELETE FROM {stage} s WHERE s.ctid = ANY (v_rows);
    END;
  END IF;"""

# v_lo..v_hi is the run. Where v_bad_at is not 0, that row failed and its verdict is in hand,
# to be believed when all rows of the run before it are in: those may fail yet by a foreign
# key, which is looked at after the last row of a statement. The first run may be everything
# that is staged, without a sort; where it fails, its count means something only if the rows
# lie in the table as they were staged.
_BODY = """
#variable_conflict use_column
DECLARE
  v_row record;
  v_rows tid[]; v_slice tid[]; v_before int; v_sliced int;
  v_names text[] := ARRAY[{missing}]::text[];
  v_total int; v_lo int; v_hi int; v_bad_at int; v_count int; v_base bigint; v_done bigint;
  v_type text; v_flag boolean;
  v_state text; v_message text; v_detail text; v_col text;
  {variables}
BEGIN
  {conversions}
  FOR v_row IN SELECT s.n, s.missing FROM {stage} s WHERE s.missing > 0 LOOP
    n := v_row.n; state := '22P04'; detail := NULL;
    col := v_names[v_row.missing];
    message := pg_catalog.format('missing data for column "%s"', col);
    RETURN NEXT;
  END LOOP;
  v_total := (SELECT pg_catalog.count(*) FROM {stage} s WHERE s.missing = 0);
  v_lo := 1; v_bad_at := 0; v_done := 0; v_rows := NULL; v_sliced := 0;
  WHILE v_lo <= v_total LOOP
    v_hi := CASE WHEN v_bad_at > 0 THEN v_bad_at - 1 ELSE LEAST(v_lo + run - 1, v_total) END;
    IF v_rows IS NULL AND v_hi < v_total THEN
      v_rows := ARRAY(SELECT s.ctid FROM {stage} s WHERE s.missing = 0 ORDER BY s.n);
    END IF;
    IF v_hi > v_sliced AND v_rows IS NOT NULL THEN
      v_before := v_lo - 1; v_sliced := LEAST(v_lo + GREATEST(run, {slice}) - 1, v_total);
      v_slice := v_rows[v_lo:v_sliced];
    END IF;
    v_base := pg_catalog.nextval({at});
    BEGIN
      IF v_rows IS NULL THEN
        {insert_all};
      ELSE
        {insert_run};
      END IF;
      GET DIAGNOSTICS v_count = ROW_COUNT;
      v_done := v_done + v_count;
      v_lo := v_hi + 1;
      IF v_bad_at = 0 THEN
        run := LEAST(run * 2, {longest});
      END IF;
    EXCEPTION WHEN OTHERS OR assert_failure THEN
      {stop}
      GET STACKED DIAGNOSTICS v_state = RETURNED_SQLSTATE, v_message = MESSAGE_TEXT,
        v_detail = PG_EXCEPTION_DETAIL, v_col = COLUMN_NAME, v_type = PG_DATATYPE_NAME;
      v_count := pg_catalog.currval({at}) - v_base;
      IF v_rows IS NULL THEN
        v_rows := ARRAY(SELECT s.ctid FROM {stage} s WHERE s.missing = 0 ORDER BY s.n);
        IF v_rows <> ARRAY(SELECT s.ctid FROM {stage} s WHERE s.missing = 0) THEN
          v_count := 0;
        END IF;
      END IF;
      IF v_hi = v_lo THEN
        v_bad_at := v_lo;
      ELSIF v_state = '21000' THEN -- ON CONFLICT meets two rows of one key: not in one run
        v_bad_at := 0;
        run := GREATEST(v_count - 1, 1);
      ELSIF v_count BETWEEN 1 AND v_hi - v_lo THEN
        v_bad_at := v_lo + v_count - 1;
        run := GREATEST(v_count, 2);
      ELSE -- at the end of the run: its last row, or a trigger that fires after all rows
        v_bad_at := 0;
        run := GREATEST((v_hi - v_lo + 1) / 2, 1);
      END IF;
    END;
    IF v_bad_at = v_lo THEN
      SELECT s.* INTO v_row FROM {stage} s WHERE s.ctid = v_rows[v_lo];
      col := v_col;
      IF col = '' AND (v_state LIKE '22%' OR v_type <> '') THEN
        BEGIN
          {reread}
          col := '';
        EXCEPTION WHEN OTHERS OR assert_failure THEN
          {stop}
        END;
      END IF;
      n := v_row.n; state := v_state; message := v_message; detail := v_detail;
      RETURN NEXT;
      v_lo := v_lo + 1; v_bad_at := 0;
    END IF;
  END LOOP;
  n := v_done; state := NULL; message := NULL; detail := NULL; col := NULL;
  RETURN NEXT;
END"""
