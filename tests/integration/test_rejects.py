"""Which rows are rejected: exactly those that inserting the file row by row rejects, and all at once.

The oracle is a loop of one COPY per record under a savepoint, in a transaction that is
rolled back; then the load runs into the same table.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from pgmonkey.transfer.attempts import Attempts
from pgmonkey.transfer.dialect import Dialect
from pgmonkey.transfer.plan import Field, Plan, Table
from pgmonkey.transfer.reader import blocks, open_source
from pgmonkey.transfer.rejects import Reject
from pgmonkey.transfer.rules import read_rules
from pgmonkey.transfer.skipping import Outcome, _Load, load_skipping

SCHEMA = """
CREATE TABLE parent (id int PRIMARY KEY);
INSERT INTO parent SELECT generate_series(1, 20);
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE DOMAIN short AS varchar(3) NOT NULL;
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE TABLE t (
    id int PRIMARY KEY,
    name text NOT NULL,
    qty int CHECK (qty >= 0),
    price numeric(6, 2),
    born date,
    stock positive,
    code short,
    mood mood,
    parent int REFERENCES parent DEFERRABLE INITIALLY DEFERRED,
    slot int4range,
    label varchar(8),
    tags text[],
    twin text,
    CONSTRAINT slots EXCLUDE USING gist (slot WITH &&),
    CONSTRAINT twins UNIQUE (twin) DEFERRABLE
);
CREATE TABLE seen (id int);
CREATE FUNCTION judge() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_WHEN = 'AFTER' THEN
        INSERT INTO seen VALUES (NEW.id);
    END IF;
    IF NEW.name = lower(TG_WHEN) THEN
        RAISE EXCEPTION 'not %', NEW.name USING ERRCODE = 'ZX001';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER early BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION judge();
CREATE TRIGGER late AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION judge();
INSERT INTO t (id, name, code) VALUES (1000000, 'there', 'x');
"""
COLUMNS = [
    "id",
    "name",
    "qty",
    "price",
    "born",
    "stock",
    "code",
    "mood",
    "parent",
    "slot",
    "label",
    "tags",
    "twin",
]
TYPES = [
    "integer", "text", "integer", "numeric(6,2)", "date", "positive", "short", "mood", "integer",
    "int4range", "character varying(8)", "text[]", "text",
]  # fmt: skip
NUMBERS = {"id", "qty", "price", "born", "stock", "mood", "parent", "slot"}


def good(i: int) -> list[str]:
    note = '"of two\nlines, and ""quotes"""' if i % 17 == 0 else f"name {i}"
    return [
        str(i), note, str(i % 50), f"{i % 1000}.25", f"2024-0{i % 9 + 1}-1{i % 9}", str(i + 1),
        f"c{i % 10}", "good" if i % 2 else "bad", str(i % 20 + 1), f'"[{10 * i},{10 * i + 5})"',
        "", '"{a,""b c""}"', f"twin {i}",
    ]  # fmt: skip


def _set(**values: str) -> Callable[[list[str], int], bytes]:
    def change(row: list[str], i: int) -> bytes:
        for name, value in values.items():
            row[COLUMNS.index(name)] = value.format(i=i, half=i // 2)
        return ",".join(row).encode()

    return change


# Every way a row can be bad, and what it is called by the server.
BAD: dict[str, tuple[Callable[[list[str], int], bytes], str]] = {
    "no number": (_set(qty="many"), "22P02"),
    "a number too large": (_set(price="123456"), "22003"),
    "no date": (_set(born="2024-02-30"), "22008"),
    "no member of the enum": (_set(mood="so so"), "22P02"),
    "no array": (_set(tags="{{a"), "22P02"),
    "no range": (_set(slot='"[5,1)"'), "22000"),
    "too long": (_set(label="123456789"), "22001"),
    "NULL": (_set(name=""), "23502"),
    "check": (_set(qty="-1"), "23514"),
    "check of a domain": (_set(stock="0"), "23514"),
    "too long for a domain": (_set(code="four"), "22001"),
    "NULL for a domain": (_set(code=""), "23502"),
    "no parent": (_set(parent="77"), "23503"),
    "a key there was": (_set(id="1000000"), "23505"),
    "a key of the file": (_set(id="{half}"), "23505"),
    "a deferrable key of the file": (_set(twin="twin {half}"), "23505"),
    "an overlap": (_set(slot='"[{half}1,{half}3)"'), "23P01"),
    "a trigger before": (_set(name="before"), "ZX001"),
    "a trigger after": (_set(name="after"), "ZX001"),
    "too few fields": (lambda row, i: ",".join(row[:7]).encode(), "22P04"),
    "too few fields, and as many delimiters": (
        lambda row, i: ",".join([row[0], '"so, so"', *row[2:11]]).encode(), "22P04"
    ),
    "too many fields": (lambda row, i: ",".join([*row, "more"]).encode(), "22P04"),
    "no line": (lambda row, i: b"", "22P04"),
    "no UTF-8": (lambda row, i: _set(name="na\0me")(row, i).replace(b"\0", b"\xff\xfe"), "22021"),
    "a NUL": (_set(name="na\0me"), "22021"),
}  # fmt: skip
# Rows that depend on the rows before them may turn out good.
DEPENDENT = {"a key of the file", "a deferrable key of the file", "an overlap"}


@dataclass(frozen=True)
class Result:
    """What is in the table, and which lines are not, by whatever means."""

    table: list[Any]
    rejects: list[tuple[int, str, bytes]]


def plan(columns: Sequence[str] = COLUMNS, **over: Any) -> Plan:
    types = dict(zip(COLUMNS, TYPES, strict=True))
    fields = tuple(
        Field(i, name, name, types.get(name, "text"), name not in NUMBERS, name in ("id", "name"))
        for i, name in enumerate(columns)
    )
    return Plan(Table("public", "t"), fields, Dialect(header=False), on_error="skip", **over)


def load(conn: psycopg.Connection[Any], plan: Plan, *paths: Path) -> tuple[Outcome, list[Reject]]:
    rejects: list[Reject] = []

    def every() -> Iterator[Any]:
        for path in paths:
            with open_source(path) as source:
                yield from blocks(source, plan.dialect)

    outcome = load_skipping(conn, plan, every(), write=rejects.append)
    return outcome, rejects


def contents(conn: psycopg.Connection[Any], table: str = "t") -> list[Any]:
    return conn.execute(
        sql.SQL("SELECT x::text FROM {} x ORDER BY 1").format(sql.Identifier(table))
    ).fetchall()


def one_by_one(
    conn: psycopg.Connection[Any], plan: Plan, records: Sequence[bytes], first_line: int = 1
) -> Result:
    """Insert every record under a savepoint of its own, look, and roll everything back."""
    copy = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv, ENCODING 'UTF8')").format(
        plan.table.sql(), sql.SQL(", ").join(map(sql.Identifier, plan.columns))
    )
    rejects, line = [], first_line
    conn.execute("SET CONSTRAINTS ALL IMMEDIATE")
    conn.execute("SAVEPOINT one")
    for record in records:
        try:
            with conn.cursor().copy(copy) as sent:
                sent.write(record + b"\n")
        except psycopg.Error as error:
            conn.execute("ROLLBACK TO SAVEPOINT one")
            rejects.append((line, error.sqlstate or "", record))
        else:
            conn.execute("RELEASE SAVEPOINT one; SAVEPOINT one")
        line += 1 + record.count(b"\n")
    result = Result(contents(conn), rejects)
    conn.rollback()
    return result


def told(rejects: Sequence[Reject]) -> list[tuple[int, str, bytes]]:
    return [(r.line, r.sqlstate, r.raw) for r in rejects]


# Without these the server may pass over bad rows instead of failing at them.
UNWATCHED = """
DROP TRIGGER early ON t;
DROP TRIGGER late ON t;
ALTER TABLE t DROP CONSTRAINT twins, ADD CHECK (price < 5000 OR name IS NULL);
"""
UNWATCHED_BAD = BAD.keys() - {
    "a trigger before",
    "a trigger after",
    "a deferrable key of the file",
}


@pytest.fixture
def conn(database: Any) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(**database.dsn_args()) as conn:
        conn.execute(SCHEMA)
        conn.commit()
        yield conn


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Each time that doubtful rows were set apart, and whether that was enough."""
    taken: list[bool] = []
    take = _Load._take_apart
    monkeypatch.setattr(_Load, "_take_apart", lambda *args: taken.append(take(*args)) or taken[-1])
    return taken


@pytest.fixture(params=["watched", "unwatched"])
def kinds(conn: psycopg.Connection[Any], request: pytest.FixtureRequest) -> list[str]:
    """The kinds of bad rows of a table with triggers and deferrable keys, or without."""
    if request.param == "watched":
        return [*BAD]
    conn.execute(UNWATCHED)
    conn.commit()
    return sorted(UNWATCHED_BAD)


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
def test_each_kind_of_bad_row_is_rejected_with_its_line_and_its_bytes(conn, tmp_path, kind, many):
    bad, sqlstate = BAD[kind]
    lines = {100, *(range(50, 180, 7) if many else ())}
    records = [bad(good(i), i) if i in lines else ",".join(good(i)).encode() for i in range(1, 200)]
    path = tmp_path / "t.csv"
    path.write_bytes(b"\n".join(records) + b"\n")
    wanted = one_by_one(conn, plan(), records)
    assert {state for _, state, _ in wanted.rejects} <= {sqlstate}

    outcome, rejects = load(conn, plan(), path)

    assert told(rejects) == wanted.rejects
    assert contents(conn) == wanted.table
    assert outcome == Outcome(199 - len(rejects), len(rejects))
    if kind not in DEPENDENT:
        assert len(rejects) == len(lines)
    # Each row that is in fired its trigger once, and no other.
    in_table = conn.execute("SELECT count(*), count(DISTINCT id) FROM seen").fetchone()
    assert in_table == (outcome.rows + 1, outcome.rows + 1)


@pytest.mark.parametrize("kind", sorted(UNWATCHED_BAD))
def test_each_kind_of_bad_row_is_rejected_also_where_rows_may_be_passed_over(conn, tmp_path, kind):
    conn.execute(UNWATCHED)
    conn.commit()
    bad, _ = BAD[kind]
    records = [
        bad(good(i), i) if i % 7 == 0 and i > 50 else ",".join(good(i)).encode()
        for i in range(1, 200)
    ]
    path = tmp_path / "t.csv"
    path.write_bytes(b"\n".join(records) + b"\n")
    wanted = one_by_one(conn, plan(), records)

    _, rejects = load(conn, plan(), path, path)  # the second time every key is there

    assert told(rejects[: len(wanted.rejects)]) == wanted.rejects
    assert len(rejects) == len(wanted.rejects) + len(records)
    assert contents(conn) == wanted.table


@pytest.mark.parametrize(("share", "rows"), [(0.001, 2000), (0.01, 1000), (0.1, 500)])
def test_rejects_at_any_density_are_those_of_inserting_row_by_row(
    conn, kinds, tmp_path, share, rows
):
    rng = random.Random(3)
    records = []
    for i in range(rows):
        bad, _ = BAD[rng.choice(kinds)]
        records.append(bad(good(i), i) if rng.random() < share else ",".join(good(i)).encode())
    path = tmp_path / "t.csv"
    path.write_bytes(b"\n".join(records) + b"\n")
    wanted = one_by_one(conn, plan(), records)

    outcome, rejects = load(conn, plan(), path)

    assert told(rejects) == wanted.rejects
    assert contents(conn) == wanted.table
    assert outcome.rejected == len(rejects)


@pytest.mark.parametrize("share", [0.005, 0.05, 0.3])
@pytest.mark.parametrize("seed", range(3))
def test_rejects_after_what_was_learned_of_earlier_blocks_are_those_of_inserting_row_by_row(
    conn, tmp_path, taken, share, seed
):
    conn.execute(UNWATCHED)
    conn.commit()
    rng = random.Random(seed)
    # So few that they come back. The first ones can be looked for; others mostly not.
    kinds = ["no number", "no date", "too few fields", *(["check"] if seed > 0 else [])]
    kinds += rng.sample(sorted(UNWATCHED_BAD), seed)
    records = []
    for i in range(2000):
        bad, _ = BAD[rng.choice(kinds)]
        records.append(bad(good(i), i) if rng.random() < share else ",".join(good(i)).encode())
    # Each file is a block.
    paths, starts = [], []
    for n, at in enumerate(range(0, len(records), 100)):
        paths.append(tmp_path / f"{n}.csv")
        paths[-1].write_bytes(b"\n".join(records[at : at + 100]) + b"\n")
        starts.append(1 + sum(1 + record.count(b"\n") for record in records[:at]))
    wanted = one_by_one(conn, plan(), records)

    outcome, rejects = load(conn, plan(), *paths)

    first_lines = dict(zip(map(str, paths), starts, strict=True))
    found = [(r.line + first_lines[r.file] - 1, r.sqlstate, r.raw) for r in rejects]
    assert found == wanted.rejects
    assert contents(conn) == wanted.table
    assert outcome == Outcome(len(records) - len(rejects), len(rejects))
    assert any(taken) or seed > 0  # or this test says nothing


CHECKS = """
CREATE TABLE checked (
    id int PRIMARY KEY, code varchar(4) CHECK (code NOT LIKE 'no%' OR code ~ '^no .{1}$'), fixed char(4) CHECK (length(fixed) < 4),
    price numeric(6, 2) CHECK (price < 100), kind text DEFAULT 'x', CHECK (price > 0 OR kind = 'x')
)
"""


@pytest.mark.parametrize("extra", ["", ",no", ",too long"], ids=["checks", "short", "long"])
def test_rows_that_break_a_check_are_found_as_they_are_read(conn, tmp_path, monkeypatch, extra):
    """And by their own INSERT: 99.999 becomes 100.00, and a blank too many is cut off."""
    conn.execute(CHECKS)
    conn.commit()
    found: list[int] = []
    by_rules = Attempts.copy_by_rules

    def counted(self: Attempts, rows: Any) -> Any:
        inserted, others = by_rules(self, rows)
        found.append(len(others))
        return inserted, others

    monkeypatch.setattr(Attempts, "copy_by_rules", counted)
    types = {"id": "integer", "code": "character varying(4)", "fixed": "character(4)",
             "price": "numeric(6,2)"}  # fmt: skip
    fields = tuple(Field(i, name, name, kind) for i, (name, kind) in enumerate(types.items()))
    checked = Plan(Table("public", "checked"), fields, Dialect(header=False), on_error="skip")
    records = []
    for i in range(400):
        row = [str(i), "yes", "ab", f"{i % 90}.5"]
        if i % 20 == 7:
            row[1:] = [["no", "ab", "1"], ["yes", "abcd", "1"], ["no  ", "ab", "1"], ["yes", "a", "99.999"],
                       ["no   ", "ab", "1"], ["yes", "ab   ", "2"], ["", "", "-1"]][i // 20 % 7]  # fmt: skip
        if i % 50 == 9:
            row[1:] = extra.split(",")[1:] + row[2:] if extra else row[1:]
        records.append(",".join(row).encode())
    paths = []
    for n in range(8):
        paths.append(tmp_path / f"{n}.csv")
        paths[-1].write_bytes(b"\n".join(records[50 * n : 50 * n + 50]) + b"\n")
    copy = "COPY checked (id, code, fixed, price) FROM STDIN (FORMAT csv)"
    wanted = []
    conn.execute("SELECT 1")  # what follows is undone together
    for record in records:
        try:
            with conn.transaction(), conn.cursor().copy(copy) as sent:
                sent.write(record + b"\n")
        except psycopg.Error as error:
            wanted.append((record, error.sqlstate))
    table = contents(conn, "checked")
    conn.rollback()

    outcome, rejects = load(conn, checked, *paths)

    assert [(r.raw, r.sqlstate) for r in rejects] == wanted
    assert contents(conn, "checked") == table
    assert outcome == Outcome(len(table), len(wanted))
    assert any(found), found


def test_check_that_changes_its_mind_costs_no_row_and_doubles_none(conn, tmp_path, monkeypatch):
    """It says of itself that it is IMMUTABLE, and refuses every seventh row that it is shown."""
    conn.execute("""
        CREATE SEQUENCE moods;
        CREATE FUNCTION moody(int) RETURNS bool IMMUTABLE LANGUAGE sql
            AS $$ SELECT nextval('moods') % 7 <> 0 $$;
        CREATE TABLE whims (id int CHECK (moody(id)), v text);
    """)
    conn.commit()
    used: list[bool] = []
    accounted = Attempts.accounted
    monkeypatch.setattr(
        Attempts, "accounted", lambda *args: used.append(accounted(*args)) or used[-1]
    )
    fields = (Field(0, "id", "id", "integer"), Field(1, "v", "v"))
    whims = Plan(Table("public", "whims"), fields, Dialect(header=False), on_error="skip")
    paths = []
    for n in range(10):
        paths.append(tmp_path / f"{n}.csv")
        paths[-1].write_text("".join(f"{i},x\n" for i in range(50 * n, 50 * n + 50)))

    outcome, rejects = load(conn, whims, *paths)

    there = [i for (i,) in conn.execute("SELECT id FROM whims")]
    assert sorted([*there, *(int(r.raw.split(b",")[0]) for r in rejects)]) == [*range(500)]
    assert outcome == Outcome(len(there), len(rejects))
    assert used in ([False], [False, False])  # the next block was ready; and not again


def test_rows_of_another_encoding_are_set_apart_as_well(conn, tmp_path, taken):
    conn.execute(UNWATCHED)
    conn.commit()
    latin = plan()._replace(dialect=Dialect(encoding="iso8859-1", header=False))
    paths = []
    for n in range(4):  # the second is prepared while the first is looked at
        rows = [good(i) for i in range(20 * n, 20 * n + 20)]
        rows[3][COLUMNS.index("qty")] = "viele"
        rows[5][COLUMNS.index("name")] = "\u00e9"
        paths.append(tmp_path / f"{n}.csv")
        paths[-1].write_text("\n".join(map(",".join, rows)) + "\n", encoding="iso8859-1")

    _, rejects = load(conn, latin, *paths)

    assert taken == [True, True]
    assert [r.raw.split(b",")[0] for r in rejects] == [b"3", b"23", b"43", b"63"]
    found = conn.execute("SELECT id FROM t WHERE name = %s ORDER BY id", ["\u00e9"]).fetchall()
    assert found == [(5,), (25,), (45,), (65,)]


def test_short_rows_that_look_whole_are_not_tried_one_by_one(conn, tmp_path, monkeypatch):
    tried: list[object] = []
    attempt = _Load._attempt
    monkeypatch.setattr(_Load, "_attempt", lambda *args: tried.append(args) or attempt(*args))
    bad, _ = BAD["too few fields, and as many delimiters"]
    records = [bad(good(i), i) if i % 4 == 0 else ",".join(good(i)).encode() for i in range(800)]
    (tmp_path / "t.csv").write_bytes(b"\n".join(records) + b"\n")

    outcome, _ = load(conn, plan(), tmp_path / "t.csv")

    assert outcome == Outcome(600, 200)
    assert len(tried) < 10


def test_row_that_only_looked_doubtful_keeps_its_key_from_a_later_one(conn, tmp_path, taken):
    """Certain rows of a block go in first, and the one that came first in the file has to be in."""
    conn.execute(UNWATCHED)
    conn.commit()
    rows = [good(i) for i in range(60)]
    rows[3][COLUMNS.index("qty")] = "many"
    rows[45][COLUMNS.index("qty")] = " 7"  # a number all the same
    rows[50][COLUMNS.index("id")] = "45"
    paths = []
    for n in range(3):  # the second is prepared while the first is looked at
        paths.append(tmp_path / f"{n}.csv")
        paths[-1].write_text("\n".join(map(",".join, rows[20 * n : 20 * n + 20])) + "\n")

    _, rejects = load(conn, plan(), *paths)

    assert taken == [False]
    assert [(r.raw.split(b",")[0], r.sqlstate) for r in rejects] == [
        (b"3", "22P02"),
        (b"45", "23505"),
    ]
    assert conn.execute("SELECT name FROM t WHERE id = 45").fetchone() == ("name 45",)


def test_rules_decide_only_where_no_trigger_may_change_the_row(conn):
    watched = read_rules(conn, plan())
    conn.execute(UNWATCHED)
    unwatched = read_rules(conn, plan())
    assert (watched.certain, unwatched.certain) == (False, True)
    # name and id; the checks of qty and of price with name. A domain's are not the table's.
    assert [rule.as_string() for rule in unwatched.local][:2] == [
        '"id" IS NOT NULL',
        '"name" IS NOT NULL',
    ]
    assert len(unwatched.local) == 4
    assert len(unwatched.foreign) == 1
    # What the file does not fill cannot be held against the row.
    assert len(read_rules(conn, plan(["id", "qty"])).local) == 2
