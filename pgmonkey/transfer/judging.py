"""The function that inserts staged rows and tells which ones are bad, in PL/pgSQL.

It goes from the cheap to the certain. Texts that did not convert before are looked for
first, a column at a time, in the rows that the client is in doubt about. Then one INSERT takes everything, and passes over the rows that
break a rule of the table or meet a key; what it returns is which rows it took, and the rest
is tried one by one, for the server's own verdict. Where that INSERT is not possible or
fails, rows go in runs, each a savepoint, and a sequence, which no rollback sets back, tells
which row of a run failed. No shortcut decides: a row is refused by its own INSERT, or by
its own conversion.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from psycopg import sql

from pgmonkey.transfer.verdict import NOT_OF_THE_ROW, TELLING_DETAIL

if TYPE_CHECKING:
    from pgmonkey.transfer.plan import Plan
    from pgmonkey.transfer.rules import Column, Rules

STAGE = sql.SQL("pg_temp.pgmonkey_stage")
NUMBER = sql.SQL("pg_temp.pgmonkey_number")
AT = sql.SQL("pg_temp.pgmonkey_at")
BROKEN = sql.SQL("pg_temp.pgmonkey_broken")
# Rows of the longest run, which is also the first. More than are staged at a time: while all
# goes well there is one run, without a look at where its rows are.
LONGEST_RUN = 1 << 20
# Rows whose places are kept at hand: to take some out of an array, PL/pgSQL copies it.
SLICE = 256


def function_body(plan: Plan, rules: Rules, on_conflict: sql.Composable | None) -> sql.Composed:
    """Return the text of the function for rows of *plan*.

    Args:
        on_conflict: What becomes of a row whose key exists; None for an error.
    """
    columns = rules.columns
    names = sql.SQL(", ").join(sql.Identifier(c.name) for c in columns)
    always = any(f.identity_always for f in plan.fields if f.column is not None)
    into = sql.SQL("INSERT INTO {} ({}) {}").format(
        plan.table.sql(), names, sql.SQL("OVERRIDING SYSTEM VALUE" if always else "")
    )
    at = sql.Literal(AT.as_string())
    values = sql.SQL(", ").join(c.value("s") for c in columns)

    def run(which: str, tail: sql.Composable) -> sql.Composed:
        rows = sql.SQL("(SELECT * FROM {} t WHERE " + which + " ORDER BY t.n) s").format(STAGE)
        return sql.SQL("{} SELECT {} FROM {} WHERE pg_catalog.nextval({}) > 0 {}").format(
            into, values, rows, at, tail
        )

    if on_conflict is None:
        # All of it goes in or nothing, so the order may be the table's own.
        everything = sql.SQL(
            "{} SELECT {} FROM {} s WHERE pg_catalog.nextval({}) > 0 AND s.missing = 0"
        ).format(into, values, STAGE, at)
    else:
        everything = run("t.missing = 0", on_conflict)
    verdict = sql.SQL(_VERDICT).format(
        reread=sql.SQL("\n          ").join(_reread(columns)),
        telling=sql.Literal(list(TELLING_DETAIL)),
        stop=_stop(),
    )
    picked: sql.Composable = sql.SQL("")
    if rules.certain and on_conflict is None:
        picked = sql.SQL(_PICKED).format(
            into=into,
            values=sql.SQL(", ").join(
                sql.SQL("{} AS {}").format(c.value("s"), sql.Identifier(c.name)) for c in columns
            ),
            names=names,
            one=sql.SQL(", ").join(c.value("v_row") for c in columns),
            diagnosed=sql.SQL(_DIAGNOSED),
            verdict=verdict,
            local=_all(rules.local),
            foreign=_all(rules.foreign),
            stage=STAGE,
            at=at,
            stop=_stop(),
        )
    return sql.SQL(_BODY).format(
        variables=sql.SQL("\n  ").join(_variables(plan, columns)),
        conversions=sql.SQL("").join(_conversions(columns)),
        picked=picked,
        diagnosed=sql.SQL(_DIAGNOSED),
        verdict=verdict,
        insert_all=everything,
        insert_run=run(
            "t.ctid = ANY (v_slice[v_lo - v_before:v_hi - v_before])", on_conflict or sql.SQL("")
        ),
        stage=STAGE,
        at=at,
        stop=_stop(),
        missing=sql.SQL(", ").join(sql.Literal(f.column or f.name) for f in plan.fields),
        longest=sql.Literal(LONGEST_RUN),
        slice=sql.Literal(SLICE),
    )


def _all(rules: Sequence[sql.Composable]) -> sql.Composable:
    return sql.SQL(" AND ").join(rules) if rules else sql.SQL("true")


def _stop() -> sql.Composed:
    """Return what lets an error pass that no row is to blame for."""
    return sql.SQL(
        "IF pg_catalog.left(SQLSTATE, 2) = ANY ({0}) OR SQLSTATE = ANY ({0}) THEN RAISE; END IF;"
    ).format(sql.Literal(list(NOT_OF_THE_ROW)))


def _variables(plan: Plan, columns: Sequence[Column]) -> Iterator[sql.Composed]:
    # A domain may refuse the NULL that a variable begins with.
    for column in columns:
        if column.plain:
            yield sql.SQL("{} {}.{}%TYPE;").format(
                column.variable, plan.table.sql(), sql.Identifier(column.name)
            )


def _converted(column: Column) -> sql.Composed:
    """Return the statement that converts the text in ``v_row`` as the INSERT would."""
    # The variable has the type modifier that the column has; the others have it already.
    convert = "{variable} := {value};" if column.plain else "v_flag := {value} IS NULL;"
    return sql.SQL(convert).format(variable=column.variable, value=column.value("v_row"))


def _conversions(columns: Sequence[Column]) -> Iterator[sql.Composed]:
    """Yield, per column, what takes out the rows whose text does not convert."""
    for column in columns:
        if column.tried:
            yield sql.SQL(_CONVERSION).format(
                position=sql.Literal(column.position),
                convert=_converted(column),
                staged=column.staged,
                name=sql.Literal(column.name),
                stage=STAGE,
                stop=_stop(),
            )


def _reread(columns: Sequence[Column]) -> Iterator[sql.Composed]:
    """Yield, per column, what converts it alone, to find out which one it was."""
    for column in columns:
        yield sql.SQL("col := {}; {}").format(sql.Literal(column.name), _converted(column))


_CONVERSION = """
  IF {position} = ANY (tried) THEN
    v_rows := '{{}}';
    FOR v_row IN SELECT s.ctid, s.n, s.{staged} FROM {stage} s
                 WHERE doubts IS NULL OR s.n IN (SELECT d FROM pg_catalog.unnest(doubts) d) LOOP
      BEGIN
        {convert}
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
  END IF;"""

# Counting goes with the rows as the INSERT meets them, so what it returns is the places of
# the rows it took. They mean something only if the rows lie in the table as they were staged.
_PICKED = """
  BEGIN
    v_base := pg_catalog.nextval({at});
    WITH put AS (
      {into}
      SELECT {names} FROM (SELECT pg_catalog.nextval({at}) AS pgmonkey_at, {values}
                           FROM {stage} s WHERE s.missing = 0 OFFSET 0) r
      WHERE {local} AND (NOT parents OR ({foreign}))
      ON CONFLICT DO NOTHING
      RETURNING pg_catalog.currval({at}) - v_base AS place)
    SELECT pg_catalog.array_agg(put.place) INTO v_places FROM put;
    v_done := COALESCE(pg_catalog.cardinality(v_places), 0);
    IF v_done < v_total AND EXISTS (
      SELECT FROM (SELECT s.n < pg_catalog.lag(s.n) OVER () AS back
                   FROM {stage} s WHERE s.missing = 0) x WHERE x.back)
    THEN
      RAISE EXCEPTION 'the rows are not in the order in which they were staged';
    END IF;
    v_picked := true;
  EXCEPTION WHEN OTHERS OR assert_failure THEN
    {stop}
    v_picked := false; v_done := 0;
  END;
  IF v_picked AND v_done < v_total THEN
    FOR v_row IN
      SELECT x.* FROM (SELECT s.*, pg_catalog.row_number() OVER () AS place
                       FROM {stage} s WHERE s.missing = 0) x
      WHERE NOT EXISTS (SELECT FROM pg_catalog.unnest(v_places) p WHERE p = x.place)
      ORDER BY x.n
    LOOP
      BEGIN
        {into} VALUES ({one});
        v_done := v_done + 1;
      EXCEPTION WHEN OTHERS OR assert_failure THEN
        {stop}
        {diagnosed}
        {verdict}
      END;
    END LOOP;
  END IF;
  IF v_picked THEN
    v_total := 0;
  END IF;"""

_DIAGNOSED = """GET STACKED DIAGNOSTICS v_state = RETURNED_SQLSTATE, v_message = MESSAGE_TEXT,
          v_detail = PG_EXCEPTION_DETAIL, v_col = COLUMN_NAME, v_type = PG_DATATYPE_NAME;"""

# COPY names the column of a text that does not convert, INSERT does not.
_VERDICT = """col := v_col;
      IF col = '' AND (v_state LIKE '22%' OR v_type <> '') THEN
        BEGIN
          {reread}
          col := '';
        EXCEPTION WHEN OTHERS OR assert_failure THEN
          {stop}
        END;
      END IF;
      n := v_row.n; state := v_state; message := v_message;
      detail := CASE WHEN v_state = ANY ({telling}) THEN v_detail END;
      RETURN NEXT;"""

# v_lo..v_hi is the run. Where v_bad_at is not 0, that row failed and its verdict is in hand,
# to be believed when all rows of the run before it are in: those may fail yet by a foreign
# key, which is looked at after the last row of a statement. The first run may be everything
# that is staged, without a sort; where it fails, its count means something only if the rows
# lie in the table as they were staged.
_BODY = """
#variable_conflict use_column
DECLARE
  v_row record;
  v_places bigint[];
  v_rows tid[]; v_slice tid[]; v_before int; v_sliced int;
  v_names text[] := ARRAY[{missing}]::text[];
  v_total int; v_lo int; v_hi int; v_bad_at int; v_count int; v_base bigint; v_done bigint;
  v_type text; v_flag boolean; v_picked boolean;
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
  {picked}
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
      {diagnosed}
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
      {verdict}
      v_lo := v_lo + 1; v_bad_at := 0;
    END IF;
  END LOOP;
  n := v_done; state := NULL; message := NULL; detail := NULL; col := NULL;
  RETURN NEXT;
END"""
