"""What arrives in the table: every mode, every trap, and the line of what does not."""

from __future__ import annotations

import bz2
import gzip
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from pgmonkey.errors import CsvError, LostError, RowError, TransferError
from pgmonkey.transfer import import_csv, stream
from pgmonkey.transfer.dialect import Dialect
from pgmonkey.transfer.importer import load
from pgmonkey.transfer.plan import Field, Plan, Progress, Summary, Table
from pgmonkey.transfer.shape import Shape
from support.server import Database
from support.wait import until

# Enough blocks that two connections get several each.
MANY = 200_000


class Desk:
    """A connection, and everything a test does with it."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.path = folder / "data.csv"
        self.conn = self.connect()

    def connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(**self.database.dsn_args(application_name="load"))

    def create(self, columns: str, name: str = "t") -> None:
        self.conn.execute(f"CREATE TABLE {name} ({columns})")
        self.conn.commit()

    def load(self, plan: Plan, content: bytes | str | None = None) -> Summary:
        if content is not None:
            self.path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return load(plan, [self.path], self.conn, connect=self.connect)

    def rows(self, query: str = "SELECT * FROM t ORDER BY 1") -> list[tuple[Any, ...]]:
        found = self.conn.execute(query).fetchall()
        self.conn.commit()
        return found

    def count(self) -> int:
        [(count,)] = self.rows("SELECT count(*) FROM t")
        return int(count)

    def nothing_left(self) -> None:
        """Only the desk's own session is there, and neither locks nor tables of a load."""
        until(lambda: self.database.server.sessions("load") == 1)
        assert self.rows("SELECT relname FROM pg_class WHERE relname LIKE 'pgmonkey%'") == []
        assert self.rows("SELECT gid FROM pg_prepared_xacts") == []


@pytest.fixture
def desk(database: Database, tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(database, tmp_path)
    yield desk
    desk.conn.close()


def plan(*columns: str, **more: Any) -> Plan:
    """A plan for table t, without triggers, whose fields are text and named as its columns."""
    fields = tuple(Field(i, name, name) for i, name in enumerate(columns))
    return Plan(Table("public", "t"), fields, **{"divisible": True, **more})


def sed(path: Path, line: int) -> bytes:
    return subprocess.run(["sed", "-n", f"{line}p", path], capture_output=True, check=True).stdout


JOBS = pytest.mark.parametrize("jobs", [1, 2])
BARE = Dialect(header=False)


@JOBS
def test_every_record_arrives_once_whatever_is_inside_its_quotes(desk: Desk, jobs: int) -> None:
    desk.create("id int, v text")
    data = "id,v\n" + "".join(f'{i},"a ""{i}"",\nb"\n' for i in range(MANY))
    seen: list[Progress] = []
    desk.path.write_text(data)
    summary = load(
        plan("id", "v", jobs=jobs), [desk.path], desk.conn,
        connect=desk.connect, on_progress=seen.append,
    )  # fmt: skip
    assert (summary.rows, summary.jobs, summary.bytes) == (MANY, jobs, len(data))
    assert desk.rows("SELECT count(*), count(DISTINCT id), min(v), sum(length(v)) FROM t") == [
        (MANY, MANY, 'a "0",\nb', sum(len(f'a "{i}",\nb') for i in range(MANY)))
    ]
    assert seen[-1] == Progress(seen[-1].rows, len(data), len(data))
    desk.nothing_left()


@JOBS
@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ('x,"a\nb"\n', 'invalid input syntax for type integer: "x"'),
        ("1,a\n", 'unique constraint "t_pkey": Key (id)=(1) already exists'),
        ("-1,a\n", '"t_id_check"'),
        ("400001,\n", 'null value in column "v"'),
        ("400001,toolong\n", "column v: 'toolong': value too long"),
        ("400001\n", "1 field where the header has 2"),
        ("400001,a,b\n", "3 fields where the header has 2"),
        ("\n", "the line is empty where 2 fields should be"),
        ("400001,a\0b\n", "0x00"),
        ('400001,"a\n', "unterminated CSV quoted field"),
    ],
)
@pytest.mark.parametrize("quoted", [MANY, 0, MANY // 2])
def test_error_names_the_line_that_sed_shows(
    desk: Desk, jobs: int, bad: str, words: str, quoted: int
) -> None:
    """Also where the first rows, or all of them, have no quotes and go as COPY's text format."""
    desk.create("id int PRIMARY KEY CHECK (id >= 0), v varchar(5) NOT NULL")
    rows = [f"{i},{i % 9}\n" for i in range(MANY - quoted)]
    rows += [f'{i},"\n{i % 9}"\n' for i in range(MANY - quoted, MANY)]
    first = "comment\nid,v\n" + "".join(rows)
    rest = "" if "unterm" in words else "".join(f"{i},a\n" for i in range(400_002, 400_100))
    with pytest.raises(TransferError) as refused:
        desk.load(plan("id", "v", jobs=jobs, dialect=Dialect(skip_lines=1)), first + bad + rest)
    error = refused.value
    assert (error.file, error.line) == (str(desk.path), first.count("\n") + 1)
    assert sed(desk.path, error.line or 0) == bad.encode().splitlines(keepends=True)[0]
    # The other connection may have that key, and then nobody has it yet.
    assert words in str(error) or (jobs == 2 and "the same unique key" in str(error))
    assert str(error).endswith("; nothing was imported")
    assert desk.count() == 0
    desk.nothing_left()


@JOBS
@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress])
def test_line_numbers_are_those_of_the_text_in_a_compressed_file(
    desk: Desk, jobs: int, compress: Callable[[bytes], bytes]
) -> None:
    desk.create("id int")
    text = "id\n" + "".join(f'"{i}"\n' for i in range(MANY)) + "oops\n"
    with pytest.raises(RowError, match=rf":{MANY + 2}: .*integer: .oops") as refused:
        desk.load(plan("id", jobs=jobs), compress(text.encode()))
    assert refused.value.sqlstate == "22P02"
    assert desk.count() == 0


@pytest.mark.parametrize(("eol", "line"), [("\n", 5), ("\r\n", 5), ("\r", 2)])
def test_newlines_quoted_in_the_first_record_count(desk: Desk, eol: str, line: int) -> None:
    """The server does not count them by itself: it has not seen yet how lines end."""
    desk.create("id int, v text")
    data = f'1,"a\nb\n\nc"{eol}x,d{eol}'
    with pytest.raises(RowError) as refused:
        desk.load(plan("id", "v", dialect=BARE), data)
    assert refused.value.line == line


def test_newline_of_another_kind_inside_quotes_counts_as_sed_counts(desk: Desk) -> None:
    """Excel ends rows with CRLF and puts LF inside cells, which the server does not count."""
    desk.create("id int, v text")
    data = "".join(f'{i},"a\nb\nc"\r\n' for i in range(1000)) + "x,d\r\n"
    with pytest.raises(RowError) as refused:
        desk.load(plan("id", "v", dialect=BARE), data)
    assert refused.value.line == 3001
    assert sed(desk.path, 3001) == b"x,d\r\n"


@JOBS
@pytest.mark.parametrize("eol", ["\n", "\r\n"])
def test_line_that_looks_like_the_end_of_the_data_is_data(desk: Desk, jobs: int, eol: str) -> None:
    desk.create("v text")
    rows = ["a", "\\.", "b"] * 200_000
    summary = desk.load(plan("v", jobs=jobs), eol.join(["v", *rows, "\\."]))
    assert summary.rows == len(rows) + 1
    assert desk.rows("SELECT v, count(*) FROM t GROUP BY v ORDER BY v") == [
        ("\\.", 200_001),
        ("a", 200_000),
        ("b", 200_000),
    ]


@JOBS
def test_byte_order_mark_without_a_header_is_not_data(desk: Desk, jobs: int) -> None:
    desk.create("v text")
    desk.load(plan("v", jobs=jobs, dialect=BARE._replace(bom=3)), "﻿a\nb\n")
    assert desk.rows() == [("a",), ("b",)]


def test_key_that_two_connections_have_is_an_error_and_not_a_wait_for_ever(desk: Desk) -> None:
    """Each waits for the other's commit, which waits for both; to the server no deadlock."""
    desk.create("id int PRIMARY KEY, v text")
    half = [f"{i},{'x' * 40}\n" for i in range(60_000)]
    with pytest.raises(RowError) as refused:
        desk.load(plan("id", "v", jobs=2), "id,v\n" + "".join(half) * 2)
    assert refused.value.sqlstate == "23505"
    assert refused.value.line is not None
    assert "unique" in str(refused.value)
    assert desk.count() == 0
    desk.nothing_left()


@pytest.mark.parametrize("jobs", [1, 2])
def test_deferred_constraint_is_checked_before_anything_is_committed(desk: Desk, jobs: int) -> None:
    desk.create("id int UNIQUE DEFERRABLE INITIALLY DEFERRED")
    with pytest.raises(RowError, match=r'"t_id_key"|same unique key'):
        desk.load(plan("id", jobs=jobs), "id\n" + "".join(f"{i}\n" for i in range(MANY)) + "7\n")
    assert desk.count() == 0
    desk.nothing_left()


@JOBS
def test_rows_reach_the_partitions_of_a_partitioned_table(desk: Desk, jobs: int) -> None:
    desk.conn.execute("CREATE TABLE t (id int, v text) PARTITION BY RANGE (id)")
    desk.conn.execute(f"CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO ({MANY // 2})")
    desk.conn.execute(f"CREATE TABLE t2 PARTITION OF t FOR VALUES FROM ({MANY // 2}) TO ({MANY})")
    desk.conn.commit()
    lines = "".join(f"{i},x\n" for i in range(MANY))
    desk.load(plan("id", "v", jobs=jobs), "id,v\n" + lines)
    assert desk.rows("SELECT count(*) FROM t1") == desk.rows("SELECT count(*) FROM t2")
    with pytest.raises(RowError, match=rf":{MANY + 2}: .*no partition of relation"):
        desk.load(plan("id", "v", jobs=jobs), f"id,v\n{lines}{MANY},x\n")
    assert desk.count() == MANY


def test_generated_and_identity_columns_are_filled_by_the_server(desk: Desk) -> None:
    desk.create(
        "n int GENERATED ALWAYS AS IDENTITY, a int, twice int GENERATED ALWAYS AS (a * 2) STORED"
    )
    desk.load(plan("a"), "a\n5\n6\n")
    assert desk.rows() == [(1, 5, 10), (2, 6, 12)]


def test_field_without_a_column_is_read_past(desk: Desk) -> None:
    desk.create("id int GENERATED ALWAYS AS IDENTITY, v text")
    fields = (
        Field(0, "id", "id", "integer", identity_always=True),
        Field(1, "junk", None),
        Field(2, "v", "v"),
    )
    desk.load(Plan(Table("public", "t"), fields), 'id,junk,v\n7,"not\nours",a\n9,,b\n')
    assert desk.rows() == [(7, "a"), (9, "b")]
    desk.nothing_left()


def test_view_with_a_trigger_takes_rows(desk: Desk) -> None:
    desk.create("id int", "base")
    desk.conn.execute(
        "CREATE VIEW t AS SELECT id FROM base;"
        "CREATE FUNCTION put() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN INSERT INTO base VALUES (NEW.id * 10); RETURN NEW; END $$;"
        "CREATE TRIGGER put INSTEAD OF INSERT ON t FOR EACH ROW EXECUTE FUNCTION put()"
    )
    desk.conn.commit()
    assert desk.load(plan("id"), "id\n1\n2\n").rows == 2
    assert desk.rows() == [(10,), (20,)]


def test_row_level_security_that_copy_cannot_obey_loads_nothing(desk: Desk) -> None:
    desk.create("id int")
    desk.conn.execute("ALTER TABLE t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    desk.conn.execute("CREATE POLICY p ON t USING (id > 5)")
    desk.conn.commit()
    with pytest.raises(TransferError, match="row-level security"):
        desk.load(plan("id"), "id\n1\n")
    desk.conn.execute("ALTER TABLE t DISABLE ROW LEVEL SECURITY")
    assert desk.count() == 0


@pytest.mark.parametrize("times", [1, 2])
def test_upsert_skip_truncate_and_replace_give_the_same_table_however_often(
    desk: Desk, times: int
) -> None:
    desk.create("id int PRIMARY KEY, v text, kept text DEFAULT 'k'")
    fields = (Field(0, "id", "id", "integer"), Field(1, "v", "v", "text"))
    base = Plan(Table("public", "t"), fields)
    upsert = base._replace(mode="upsert", key=("id",), on_conflict="update")
    cases = [
        (upsert, [(1, "new", "x"), (2, "b", "k"), (3, "d", "k")]),
        (base._replace(on_conflict="skip"), [(1, "old", "x"), (2, "b", "k"), (3, "c", "k")]),
        (base._replace(on_conflict="skip", key=("id",)), None),
        (base._replace(mode="truncate"), [(1, "new", "k"), (2, "b", "k"), (3, "c", "k")]),
        (base._replace(mode="replace"), None),
    ]
    expected: list[tuple[Any, ...]] = []
    for case, rows in cases:
        desk.conn.execute("TRUNCATE t")
        desk.conn.execute("INSERT INTO t VALUES (1, 'old', 'x')")
        desk.conn.commit()
        expected = rows or expected
        twice = "3,d\n" if case.on_conflict != "error" else ""
        for _ in range(times):
            desk.load(case, f"id,v\n1,new\n2,b\n3,c\n{twice}")
        assert desk.rows() == expected
    desk.nothing_left()


def test_rows_with_null_in_the_key_are_all_kept_by_upsert(desk: Desk) -> None:
    desk.create("id int UNIQUE, v text")
    fields = (Field(0, "id", "id", "integer"), Field(1, "v", "v", "text"))
    wanted = Plan(Table("public", "t"), fields, mode="upsert", key=("id",), on_conflict="update")
    desk.load(wanted, "id,v\n,a\n,b\n1,c\n1,d\n")
    assert desk.rows("SELECT * FROM t ORDER BY v") == [(None, "a"), (None, "b"), (1, "d")]


@pytest.mark.parametrize("mode", ["truncate", "replace"])
def test_rows_survive_a_replacement_that_fails(desk: Desk, mode: Any) -> None:
    desk.create("id int PRIMARY KEY")
    desk.load(plan("id"), "id\n1\n2\n")
    with pytest.raises(RowError, match=r"data\.csv:3: "):
        desk.load(plan("id", mode=mode), "id\n3\noops\n")
    assert desk.rows() == [(1,), (2,)]


def test_table_that_is_created_is_gone_when_the_load_fails(desk: Desk) -> None:
    wanted = plan("id", mode="create", create='CREATE TABLE "public"."t" ("id" integer)')
    with pytest.raises(RowError):
        desk.load(wanted, "id\n1\noops\n")
    assert desk.rows("SELECT to_regclass('t')") == [(None,)]
    desk.load(wanted, "id\n1\n")
    assert desk.rows() == [(1,)]


def test_value_that_the_created_type_would_change_stops_the_load(desk: Desk) -> None:
    wanted = plan("a", create='CREATE TABLE "public"."t" ("a" bigint)')
    wanted = wanted._replace(shape=Shape(("a",), ("bigint",)))
    with pytest.raises(CsvError, match=rf":{MANY + 2}: column a: '007'"):
        desk.load(wanted, "a\n" + "1\n" * MANY + "007\n")
    assert desk.rows("SELECT to_regclass('t')") == [(None,)]


@pytest.mark.parametrize("every", [1, 7, 1000])
def test_commit_every_keeps_what_came_before_the_bad_row(desk: Desk, every: int) -> None:
    desk.create("id int, v text")
    good = "".join(f'{i},"x\ny"\n' for i in range(50))
    wanted = plan("id", "v", commit_every=every)
    kept = 50 // every * every
    with pytest.raises(RowError) as refused:
        desk.load(wanted, f"id,v\n{good}oops,\n")
    words = f"the first {kept} rows are committed" if kept else "nothing was imported"
    assert str(refused.value).endswith(f"; {words}")
    assert refused.value.line == 102
    assert desk.count() == kept
    assert desk.load(wanted, f"id,v\n{good}").rows == 50


def test_files_are_one_load_and_their_headers_must_agree(desk: Desk, tmp_path: Path) -> None:
    desk.create("a text, b text")
    one, two, three = (tmp_path / name for name in ("1.csv", "2.csv.gz", "3.csv"))
    one.write_bytes(b"a,b\n1,2")
    two.write_bytes(gzip.compress(b"\xef\xbb\xbfa,b\r\n3,4\r\n"))
    three.write_bytes(b"b,a\n5,6\n")
    assert load(plan("a", "b"), [one, two], desk.conn).rows == 2
    assert desk.rows() == [("1", "2"), ("3", "4")]
    for jobs in (1, 2):
        with pytest.raises(CsvError, match=r"3\.csv:1: its header is not that of .*1\.csv"):
            load(plan("a", "b", jobs=jobs), [one, two, three], desk.conn, connect=desk.connect)
    assert desk.count() == 2
    desk.nothing_left()


def test_load_within_a_transaction_is_the_callers_to_commit(desk: Desk) -> None:
    desk.create("id int")
    with desk.conn.transaction():
        desk.conn.execute("INSERT INTO t VALUES (0)")
        summary = desk.load(plan("id", jobs=2), "id\n1\n")
        assert "transaction it was called in" in summary.how
        with pytest.raises(RowError):
            desk.load(plan("id"), "id\noops\n")
    assert desk.rows() == [(0,), (1,)]


@JOBS
def test_field_of_a_hundred_megabytes_passes_through(desk: Desk, jobs: int) -> None:
    desk.create("id int, v text")
    piece = ("x" * 980 + '""\n' + "é" * 10) * 100
    times = 100_000_000 // len(piece.encode())
    with desk.path.open("w") as file:
        file.write('id,v\n1,a\n2,"')
        for _ in range(times):
            file.write(piece)
        file.write('"\n3,b\n')
    assert desk.load(plan("id", "v", jobs=jobs)).rows == 3
    long = times * (len(piece) - 100)
    assert desk.rows("SELECT id, length(v) FROM t ORDER BY id") == [(1, 1), (2, long), (3, 1)]
    with desk.path.open("a") as file:
        file.write("oops,c\n")
    line = times * 100 + 5
    assert sed(desk.path, line) == b"oops,c\n"
    with pytest.raises(RowError, match=rf":{line}: .*oops"):
        desk.load(plan("id", "v", jobs=jobs))


@JOBS
def test_error_at_the_beginning_ends_the_load_early(desk: Desk, jobs: int) -> None:
    """The server would read the rest and answer at the end; 200 MB are not sent for nothing."""
    desk.create("id int, v text")
    block = "".join(f"{i},{'x' * 90}\n" for i in range(10_000))
    with desk.path.open("w") as file:
        file.write("id,v\n1,a\noops,b\n")
        for _ in range(200):
            file.write(block)
    seen: list[Progress] = []
    with pytest.raises(RowError, match=r"data\.csv:3: "):
        load(
            plan("id", "v", jobs=jobs), [desk.path], desk.conn,
            connect=desk.connect, on_progress=seen.append,
        )  # fmt: skip
    assert max((p.bytes_read for p in seen), default=0) < desk.path.stat().st_size / 2
    desk.nothing_left()


@JOBS
def test_row_whose_parent_is_missing_is_named_by_its_line(desk: Desk, jobs: int) -> None:
    """The server checks foreign keys after the last row, and knows no line any more."""
    desk.create("a int, b text, PRIMARY KEY (a, b)", "parent")
    desk.create("id int, a int, b text, FOREIGN KEY (a, b) REFERENCES parent")
    desk.conn.execute("INSERT INTO parent VALUES (1, 'x, (y)')")
    desk.conn.commit()
    lines = [f'"{i}\n",1,"x, (y)"\n' for i in range(50_000)]
    lines[40_000] = '9,1,"x"\n'
    with pytest.raises(RowError, match=r":80002: .*Key \(a, b\)=\(1, x\) is not present"):
        desk.load(plan("id", "a", "b", jobs=jobs), "id,a,b\n" + "".join(lines))
    assert desk.count() == 0
    desk.nothing_left()


def test_row_that_a_stage_held_is_named_by_its_line(desk: Desk) -> None:
    desk.create("id int PRIMARY KEY, v text NOT NULL")
    fields = (
        Field(0, "id", "id", "integer"),
        Field(1, "v", "v", "text", not_null=True),
        Field(2, "x", None),
    )
    wanted = Plan(Table("public", "t"), fields)
    with pytest.raises(RowError, match=r':4: null value in column "v"'):
        desk.load(wanted, 'id,v,x\n1,"a\nb",c\n2,,d\n')
    with pytest.raises(RowError, match=r":4: duplicate key .*Key \(id\)=\(1\)"):
        desk.load(wanted, 'id,v,x\n1,"a\nb",c\n1,e,d\n')
    assert desk.count() == 0


@pytest.mark.parametrize("plain", [0, MANY // 2, MANY])
def test_standard_input_is_not_read_twice_to_find_a_line(desk: Desk, plain: int) -> None:
    """A pipe has no second time; the last blocks are kept, and the bad one is among them."""
    desk.create("id int, v text")
    import os
    import threading

    pipe = desk.path.with_name("pipe")
    os.mkfifo(pipe)
    rows = [f"{i},a row\n" for i in range(plain)] + [f'{i},"\n{i}"\n' for i in range(plain, MANY)]
    text = '"i\nd",v\n' + "".join(rows) + "oops,x\n"
    writer = threading.Thread(target=pipe.write_text, args=[text])
    writer.start()
    with pytest.raises(RowError, match="integer") as refused:
        load(plan("id", "v"), [pipe], desk.conn, connect=desk.connect)
    writer.join()
    assert refused.value.line == text.count("\n")


@pytest.mark.parametrize(
    ("content", "dialect", "text"),
    [
        ("1,a\n2,\n,\xe9\n", BARE, True),
        ("1;a,b\n2; c \n", BARE._replace(delimiter=";"), True),
        ("1\ta\n2\t\n", BARE._replace(delimiter="\t"), True),
        ("1xa\n2x\n", BARE._replace(delimiter="x"), False),
        ("1,NA\n2,\nNA,N\n", BARE._replace(null="NA"), True),
        ("1,\xe9\n2,\xfc", BARE._replace(encoding="latin-1"), True),
        ("1,\\N\n2,a\\tb\n", BARE, False),
        ("1,a\\.\n2,a\n", BARE, False),
        ("1,'a,b'\n2,\n", BARE._replace(quote="'", escape="'"), False),
        ('1,"a"\n2,\n', BARE._replace(quote="'", escape="'"), True),
        ("1,a\r\n2,\r\n", BARE, False),
        ("1,a\n2,", BARE, True),
        ("", BARE, None),
    ],
)
@JOBS
def test_rows_without_quotes_are_what_csv_makes_of_them(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, jobs: int, content: str, dialect: Dialect,
    text: bool | None,
) -> None:  # fmt: skip
    """The server's text format reads them sooner; where it would read something else, CSV does."""
    desk.create("id text, v text")
    sent: list[bool] = []
    copy = stream._copy

    def noting(conn: Any, statement: sql.Composed, *rest: Any) -> int:
        sent.append("FORMAT text" in statement.as_string(None))
        return copy(conn, statement, *rest)

    monkeypatch.setattr(stream, "_copy", noting)
    desk.load(plan("id", "v", jobs=jobs, dialect=dialect), content.encode(dialect.encoding))
    ours = desk.rows()
    assert sent == ([] if jobs == 2 and not content else [bool(text)])
    desk.conn.execute("TRUNCATE t")
    options = (dialect.delimiter, dialect.quote, dialect.null or "", dialect.encoding)
    as_csv = sql.SQL(
        "COPY t FROM STDIN (FORMAT csv, DELIMITER {}, QUOTE {}, NULL {}, ENCODING {})"
    ).format(*map(sql.Literal, options))
    with desk.conn.cursor().copy(as_csv) as copying:
        copying.write(content.encode(dialect.encoding))
    assert ours == desk.rows()


def test_quotes_after_rows_without_have_the_rest_read_as_csv(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.create("id int, v text")
    sent: list[str] = []
    copy = stream._copy

    def noting(conn: Any, statement: sql.Composed, *rest: Any) -> int:
        sent.append(statement.as_string(None))
        return copy(conn, statement, *rest)

    monkeypatch.setattr(stream, "_copy", noting)
    rows = [f"{i},plain row\n" for i in range(MANY)]
    rows[MANY // 2] = f'{MANY // 2},"one, quoted"\n'
    assert desk.load(plan("id", "v"), "id,v\n" + "".join(rows)).rows == MANY
    assert [("FORMAT text" in one, "FORMAT csv" in one) for one in sent] == [
        (True, False),
        (False, True),
    ]
    assert desk.rows("SELECT id FROM t WHERE v <> 'plain row'") == [(MANY // 2,)]
    assert desk.rows("SELECT count(DISTINCT id) FROM t") == [(MANY,)]


FORWARD = "CREATE TABLE t (id int PRIMARY KEY, up int REFERENCES t, v text)"
COUNTED = """
CREATE TABLE t (id int, up int, v text);
CREATE TABLE fired (rows bigint);
CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS
  $$BEGIN INSERT INTO fired SELECT count(*) FROM t; RETURN NULL; END$$;
"""
STATEMENT = "CREATE TRIGGER each AFTER INSERT ON t FOR EACH STATEMENT EXECUTE FUNCTION f()"
ROW = "CREATE TRIGGER each AFTER INSERT ON t FOR EACH ROW WHEN (NEW.id = 0) EXECUTE FUNCTION f()"


@pytest.mark.parametrize("table", [FORWARD, COUNTED + STATEMENT, COUNTED + ROW])
def test_who_can_tell_one_statement_from_two_gets_one(desk: Desk, table: str) -> None:
    """A key that comes later in the file, and a trigger that looks at what is there."""
    desk.conn.execute(table)
    desk.conn.commit()
    rows = [f"{i},{MANY - 1},a row\n" for i in range(MANY)]
    rows[-1] = f'{MANY - 1},,"quoted"\n'
    desk.path.write_text("id,up,v\n" + "".join(rows))
    assert import_csv(desk.conn, desk.path, "t", connect=desk.connect).rows == MANY
    desk.conn.commit()
    if table != FORWARD:
        assert desk.rows("SELECT rows FROM fired") == [(MANY,)]


@pytest.mark.parametrize("empty", ["FORCE_NULL", "FORCE_NOT_NULL"])
def test_what_empty_fields_are_does_not_depend_on_quotes_elsewhere(desk: Desk, empty: Any) -> None:
    desk.create("id int, v text")
    wanted = plan("id", "v")
    wanted = wanted._replace(fields=(wanted.fields[0], wanted.fields[1]._replace(empty=empty)))
    for content in ("id,v\n1,\n2,a\n", 'id,v\n1,\n2,"a"\n'):
        desk.load(wanted, content)
    assert desk.rows("SELECT DISTINCT v FROM t WHERE id = 1") == [
        (None if empty == "FORCE_NULL" else "",)
    ]


def test_connection_that_is_lost_before_is_said_so(desk: Desk) -> None:
    desk.create("id int")
    desk.path.write_text("id\n1\n")
    with desk.conn.transaction():
        desk.conn.execute("SELECT 1")
        desk.database.server.terminate("application_name", "load")
        with pytest.raises((LostError, psycopg.OperationalError)):
            load(plan("id"), [desk.path], desk.conn)
        desk.conn.close()
    desk.conn = desk.connect()
    assert desk.count() == 0
