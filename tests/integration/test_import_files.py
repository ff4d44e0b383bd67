"""pgimport and import_csv: the files that others write, the settings file, and bad input."""

from __future__ import annotations

import gzip
import json
import os
import shlex
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from pgmonkey.cli.main import main
from pgmonkey.errors import CsvError, RequestError, ShapeError, TargetError
from pgmonkey.transfer import import_csv
from pgmonkey.transfer.sniff import HEAD, RECORDS
from support.cli import run
from support.server import Database

Conn = psycopg.Connection[tuple[Any, ...]]


@pytest.fixture
def conn(database: Database):
    with psycopg.connect(**database.dsn_args(), autocommit=True) as conn:
        yield conn


@pytest.fixture
def folder(config_file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with the configuration as config.yaml."""
    config_file.rename(config_file.parent / "config.yaml")
    monkeypatch.chdir(config_file.parent)
    return config_file.parent


def rows(conn: Conn, table: str) -> list[tuple[Any, ...]]:
    query = sql.SQL("SELECT * FROM {} AS t ORDER BY t::text").format(sql.Identifier(table))
    return conn.execute(query).fetchall()


def types(conn: Conn, table: str) -> dict[str, str]:
    query = (
        "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute"
        " WHERE attrelid = to_regclass(%s) AND attnum > 0 ORDER BY attnum"
    )
    return dict(conn.execute(query, [table]).fetchall())


def tables(conn: Conn) -> set[str]:
    query = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
    return {row[0] for row in conn.execute(query)}


EXCEL = 'Name;Größe\r\n"Müller; Hans";"1,5"\r\nŠimák;\r\n'
EXCEL_ROWS = [("Müller; Hans", "1,5"), ("Šimák", None)]

# Name, bytes of the file, what is said about it, and the rows of the table made from it.
OTHERS: dict[str, tuple[bytes, dict[str, Any], list[tuple[Any, ...]]]] = {
    "rfc 4180, 2.1": (b"a,b,c\r\naaa,bbb,ccc\r\nzzz,yyy,xxx\r\n", {}, [
        ("aaa", "bbb", "ccc"), ("zzz", "yyy", "xxx"),
    ]),
    "rfc 4180, 2.2: no final line end": (b"a,b,c\r\naaa,bbb,ccc\r\nzzz,yyy,xxx", {}, [
        ("aaa", "bbb", "ccc"), ("zzz", "yyy", "xxx"),
    ]),
    "rfc 4180, 2.3: no header": (b"aaa,bbb,ccc\r\nzzz,yyy,xxx\r\n",
        {"header": False, "columns": ["a", "b", "c"]},
        [("aaa", "bbb", "ccc"), ("zzz", "yyy", "xxx")]),
    "rfc 4180, 2.6: line ends in quotes": (b'a,b,c\r\n"aaa","b\r\nbb","ccc"\r\nzzz,yyy,xxx', {}, [
        ("aaa", "b\r\nbb", "ccc"), ("zzz", "yyy", "xxx"),
    ]),
    "rfc 4180, 2.7: quotes in quotes": (b'a,b,c\r\n"aaa","b""bb","ccc"\r\n', {}, [
        ("aaa", 'b"bb', "ccc"),
    ]),
    "excel, utf-8 with a mark": (EXCEL.encode("utf-8-sig"), {}, EXCEL_ROWS),
    "excel, cp1252": (EXCEL.encode("cp1252"), {}, EXCEL_ROWS),
    "excel, unicode text": (EXCEL.replace(";", "\t").replace('"Müller\t', '"Müller;').encode("utf-16"),
        {}, EXCEL_ROWS),
    "excel, sep= line": (b"sep=;\r\na;b\r\nx;y\r\n", {}, [("x", "y")]),
    "utf-16 big-endian without a mark": (EXCEL.encode("utf-16-be"), {}, EXCEL_ROWS),
    "latin-1, said": (b"a\n\xa4\n", {"encoding": "latin-1"}, [("\xa4",)]),
    "cp437, which the server does not know": (b"a\n\x81\n", {"encoding": "cp437"}, [("ü",)]),
    "mark without a header": (b"\xef\xbb\xbfx,y\n", {"header": False, "columns": ["a", "b"]},
        [("x", "y")]),
    "tabs": (b"a\tb\nx, y\tz\n", {}, [("x, y", "z")]),
    "pipes": (b"a|b\nx|\n", {}, [("x", None)]),
    "all text with a header": (b"name,city\nAnn,Rome\nBob,Oslo\n", {}, [
        ("Ann", "Rome"), ("Bob", "Oslo"),
    ]),
    "header only": (b"a,b\n", {}, []),
    "header only, no final line end": (b"a,b", {}, []),
    "one column": (b"a\nx\n\ny\n", {}, [(None,), ("x",), ("y",)]),
    "old Mac line ends": (b'a,b\rx,"y\rz"\r', {}, [("x", "y\rz")]),
    "single quotes": (b"a,b\n'x,y','z'\n", {}, [("x,y", "z")]),
    "backslash as the escape": (b'a,b\n"x\\"y",z\n', {"escape": "\\"}, [('x"y', "z")]),
    "quote inside a field": (b'a,b\n6" nails and 7" ones,x\n', {}, [("6 nails and 7 ones", "x")]),
    "lines before the header": (b"report\nof May\na,b\nx,y\n", {"skip_lines": 2}, [("x", "y")]),
    "a line that is the end mark of older COPY": (b"a\nx\n\\.\ny\n", {}, [
        ("\\.",), ("x",), ("y",),
    ]),
    "null text": (b'a,b\nNA,"NA"\n,x\n', {"null": "NA"}, [("", "x"), (None, "NA")]),
    "empty and quoted empty": (b'a,b\n,""\n', {}, [(None, "")]),
    "empty as text": (b'a,b\n,""\n', {"empty_as": "text"}, [("", "")]),
    "empty as null": (b'a,b\n,""\n', {"empty_as": "null"}, [(None, None)]),
    "formulas and SQL are text": (b"a,b\n=1+1,'); DROP TABLE t; --\n", {}, [
        ("=1+1", "'); DROP TABLE t; --"),
    ]),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_file_that_others_wrote_becomes_the_right_table(name, conn, tmp_path):
    data, said, expected = OTHERS[name]
    (tmp_path / "f.csv").write_bytes(data)
    said = {"types": "text", **said}
    if said.get("empty_as") == "text":  # which is about tables that are there
        conn.execute("CREATE TABLE t (a text, b text)")
    done = import_csv(conn, tmp_path / "f.csv", "t", **said)
    assert rows(conn, "t") == sorted(expected, key=lambda row: row != expected[0]) or sorted(
        rows(conn, "t"), key=repr
    ) == sorted(expected, key=repr)
    assert done.rows == len(expected)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b'a,b\nx,"y\nz,1\n', "f.csv:2: "),
        (b"a,b\nx,y\nx,y,z\n", "f.csv:3: 3 fields where the header has 2"),
        (b'a,b\n"x\n1",y\nx\n', "f.csv:4: 1 field where the header has 2"),
        (b"a,b\nx,y\n\nx,y\n", "f.csv:3: "),
        (b"a,b\n" + b"x,y\n" * (HEAD // 4) + b"\xe9,y\n", "f.csv:262146: "),
        (b"a,b\nx,y\nx,\0\n", "f.csv:3: "),
        (b"a,a\nx,y\n", "f.csv:1: the header has 'a' twice"),
        (b"a," + b"b" * 64 + b"\nx,y\n", "f.csv:1: the name 'bbbb"),
    ],
    ids=[
        "open quote",
        "long row",
        "short row",
        "empty line",
        "byte far down",
        "NUL",
        "twice",
        "name",
    ],
)
def test_file_that_is_broken_is_named_with_its_line_and_leaves_nothing(
    conn, tmp_path, monkeypatch, data, problem
):
    monkeypatch.chdir(tmp_path)
    Path("f.csv").write_bytes(data)
    with pytest.raises(CsvError) as caught:
        import_csv(conn, "f.csv", "t", types="text")
    assert str(caught.value).startswith(problem)
    assert tables(conn) == set()
    assert conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


@pytest.mark.parametrize(
    ("said", "noted"),
    [("infer", True), ("text", False), ({"a": "int", "b": "date"}, False)],
)
def test_header_alone_makes_columns_of_text_and_says_so(conn, tmp_path, said, noted):
    (tmp_path / "f.csv").write_text("a,b\n")
    notes: list[str] = []
    import_csv(conn, tmp_path / "f.csv", "t", types=said, on_note=notes.append)
    assert any("no row shows" in note for note in notes) is noted
    assert list(types(conn, "t")) == ["a", "b"]


def test_types_are_inferred_and_every_value_stays_what_it_was(conn, tmp_path):
    (tmp_path / "f.csv").write_text(
        "Id,Zip,Price,Born,Seen,At,Ok,Key,Note,Nothing\n"
        "1,00501,1.50,2024-02-29,2024-01-02 03:04:05.123456,2024-01-02T03:04:05Z,true,"
        "6f9619ff-8b86-d011-b42d-00c04fc964ff,a,\n"
        "900000000000000000,10115,2e-05,1969-07-20,2024-01-02T03:04,2024-01-02 03:04:05+02,f,"
        "6f9619ff-8b86-d011-b42d-00c04fc964fe,1,\n"
    )
    import_csv(conn, tmp_path / "f.csv", "t")
    assert types(conn, "t") == {
        "id": "bigint",
        "zip": "text",
        "price": "numeric",
        "born": "date",
        "seen": "timestamp without time zone",
        "at": "timestamp with time zone",
        "ok": "boolean",
        "key": "uuid",
        "note": "text",
        "nothing": "text",
    }
    found = conn.execute("SELECT zip, price::text, nothing FROM t ORDER BY id").fetchall()
    assert found == [("00501", "1.50", None), ("10115", "0.00002", None)]


def write_late_surprise(path: Path) -> int:
    """Write a file whose last value is no number any more; return its line."""
    line = b"12345,0.5\n"
    count = RECORDS + 1000
    path.write_bytes(b"zip,share\n" + line * count + b"00501,1\n")
    return count + 2


def test_value_far_down_that_would_change_makes_its_column_text(conn, tmp_path):
    line = write_late_surprise(tmp_path / "f.csv")
    notes: list[str] = []
    done = import_csv(conn, tmp_path / "f.csv", "t", on_note=notes.append)
    assert types(conn, "t") == {"zip": "text", "share": "numeric"}
    assert done.rows == line - 1
    assert conn.execute("SELECT count(*) FROM t WHERE zip = '00501'").fetchone() == (1,)
    assert any(f"f.csv:{line}" in note for note in notes)


def test_types_that_were_not_wide_enough_are_shown_as_they_became(conn, folder, capsys):
    line = write_late_surprise(Path("data.csv"))
    assert pgimport("--table", "t", "--import_file", "data.csv") == 0
    said = capsys.readouterr().err
    assert "'00501' would not stay as it is in a column of type bigint" in said
    assert f"(data.csv:{line}); reading on" in said
    assert said.index('  "zip" bigint,') < said.index("reading on") < said.index('  "zip" text,')


def test_value_far_down_that_would_change_makes_its_column_text_in_a_transaction_too(
    database, tmp_path
):
    line = write_late_surprise(tmp_path / "f.csv")
    with psycopg.connect(**database.dsn_args()) as conn:
        conn.execute("CREATE TABLE mine (n int)")
        import_csv(conn, tmp_path / "f.csv", "t")
        assert types(conn, "t") == {"zip": "text", "share": "numeric"}
        assert conn.execute("SELECT count(*) FROM t").fetchone() == (line - 1,)
    with psycopg.connect(**database.dsn_args()) as conn:
        assert tables(conn) == {"mine", "t"}


def test_value_far_down_that_would_change_is_an_error_where_nothing_can_be_read_twice(
    conn, tmp_path
):
    line = write_late_surprise(tmp_path / "f.csv")
    os.mkfifo(tmp_path / "pipe")
    child = os.fork()
    if child == 0:
        try:
            with (tmp_path / "pipe").open("wb") as pipe:
                pipe.write((tmp_path / "f.csv").read_bytes())
        finally:
            os._exit(0)
    with pytest.raises(ShapeError, match="say --types zip=text") as caught:
        import_csv(conn, tmp_path / "pipe", "t")
    os.waitpid(child, 0)
    assert caught.value.line == line
    assert tables(conn) == set()


def test_table_of_a_thousand_columns(conn, tmp_path):
    names = [f"c{i}" for i in range(1000)]
    line = ",".join(str(i) for i in range(1000))
    (tmp_path / "f.csv").write_text(",".join(names) + "\n" + f"{line}\n" * 20)
    import_csv(conn, tmp_path / "f.csv", "t")
    assert list(types(conn, "t")) == names
    assert conn.execute("SELECT count(*), sum(c999) FROM t").fetchone() == (20, 19980)


def test_field_of_many_megabytes_and_many_short_rows(conn, tmp_path):
    size = 6_000_000
    (tmp_path / "big.csv").write_bytes(b'id,text\n1,"' + b"x\n" * (size // 2) + b'"\n2,y\n')
    import_csv(conn, tmp_path / "big.csv", "big")
    query = "SELECT id, length(text), md5(text) = md5(repeat(E'x\\n', %s)) FROM big ORDER BY id"
    assert conn.execute(query, [size // 2]).fetchall() == [
        ("1", size, True),  # a record that the sample does not hold says nothing about types
        ("2", 1, False),
    ]
    (tmp_path / "short.csv").write_bytes(b"n\n" + b"7\n" * 2_000_000)
    done = import_csv(conn, tmp_path / "short.csv", "short")
    assert done.rows == 2_000_000
    assert conn.execute("SELECT count(*), sum(n) FROM short").fetchone() == (2_000_000, 14_000_000)


def test_names_of_any_spelling_go_where_they_belong(conn, tmp_path):
    conn.execute('CREATE SCHEMA "Odd.Schema"')
    conn.execute(
        'CREATE TABLE "Odd.Schema"."Weird ""Name" ("select" int, "a,b" text, "É" text, "Id" int)'
    )
    (tmp_path / "f.csv").write_text('"Id","É","a,b",select\n1,2,3,4\n')
    import_csv(conn, tmp_path / "f.csv", '"Odd.Schema"."Weird ""Name"')
    assert conn.execute('TABLE "Odd.Schema"."Weird ""Name"').fetchall() == [(4, "3", "2", 1)]


def test_columns_that_the_file_lacks_get_what_the_table_says(conn, tmp_path):
    conn.execute(
        "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY, n int, d text DEFAULT 'x',"
        " twice int GENERATED ALWAYS AS (n * 2) STORED)"
    )
    (tmp_path / "f.csv").write_text("n,twice\n1,99\n2,98\n")
    notes: list[str] = []
    import_csv(conn, tmp_path / "f.csv", "t", on_note=notes.append)
    assert rows(conn, "t") == [(1, 1, "x", 2), (2, 2, "x", 4)]
    assert notes[0] == "twice is computed by the server; its values were not read"
    (tmp_path / "g.csv").write_text("id,n\n7,3\n")
    import_csv(conn, tmp_path / "g.csv", "t")
    assert rows(conn, "t")[-1] == (7, 3, "x", 6)


def test_sequence_that_stays_behind_is_moved_on_as_the_note_says(conn, tmp_path):
    conn.execute('CREATE TABLE "It\'s" ("An ""Id""" serial PRIMARY KEY, v text)')
    (tmp_path / "f.csv").write_text('"An ""Id""",v\n41,a\n')
    notes: list[str] = []
    import_csv(conn, tmp_path / "f.csv", '"It\'s"', on_note=notes.append)
    conn.execute(notes[0].rpartition(": ")[2])
    conn.execute('INSERT INTO "It\'s" (v) VALUES (2)')
    assert rows(conn, "It's") == [(41, "a"), (42, "2")]
    conn.execute(notes[0].rpartition(": ")[2])  # never back
    assert conn.execute(
        """SELECT nextval(pg_get_serial_sequence('"It''s"', 'An "Id"'))"""
    ).fetchone() == (44,)


def test_truncate_of_a_table_that_others_refer_to_names_the_mode_that_works(conn, tmp_path):
    conn.execute("CREATE TABLE t (id int PRIMARY KEY)")
    conn.execute("CREATE TABLE u (t int REFERENCES t)")
    (tmp_path / "f.csv").write_text("id\n1\n")
    with pytest.raises(TargetError, match=r'Table "u" references "t"\. --mode upsert updates'):
        import_csv(conn, tmp_path / "f.csv", "t", mode="truncate")
    import_csv(conn, tmp_path / "f.csv", "t", mode="replace")
    assert rows(conn, "t") == [(1,)]
    conn.execute("INSERT INTO u VALUES (1)")
    with pytest.raises(
        TargetError, match=r"t cannot be replaced: Key \(id\)=\(1\) is still referenced"
    ):
        import_csv(conn, tmp_path / "f.csv", "t", mode="replace")
    assert rows(conn, "t") == [(1,)]


def test_replace_says_whose_rows_go_along(conn, tmp_path):
    conn.execute("CREATE TABLE t (id int PRIMARY KEY)")
    conn.execute("CREATE TABLE u (t int REFERENCES t ON DELETE CASCADE)")
    conn.execute("CREATE TABLE v (t int REFERENCES t ON DELETE SET NULL)")
    (tmp_path / "f.csv").write_text("id\n1\n")
    notes: list[str] = []
    import_csv(conn, tmp_path / "f.csv", "t", mode="replace", on_note=notes.append)
    assert notes == [
        "rows of u that refer to a row of t are deleted too (its u_t_fkey)",
        "rows of v that refer to a row of t lose that reference (its v_t_fkey)",
    ]


@pytest.mark.parametrize("at", [2, 40])
def test_row_with_bytes_of_another_encoding_is_rejected_wherever_it_is(conn, tmp_path, at):
    lines = [f"{i},é\n".encode() for i in range(1, 51)]
    lines[at] = b"7,\xff\xfe\n"
    (tmp_path / "f.csv").write_bytes(b"id,v\n" + b"".join(lines))
    done = import_csv(
        conn, tmp_path / "f.csv", "t", on_error="skip", rejects=tmp_path / "rejects.csv"
    )
    assert (done.rows, done.rejected) == (49, 1)
    assert f"f.csv,{at + 2},,22021," in (tmp_path / "rejects.csv").read_text("latin-1")


def test_rejects_are_not_written_to_a_file_called_dash(conn, tmp_path):
    (tmp_path / "f.csv").write_text("id\n1\n")
    with pytest.raises(RequestError, match="needs the name of a file"):
        import_csv(conn, tmp_path / "f.csv", "t", on_error="skip", rejects=Path("-"))


def test_partitioned_parent_takes_rows_into_its_parts(conn, tmp_path):
    conn.execute("CREATE TABLE t (n int) PARTITION BY RANGE (n)")
    conn.execute("CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (10)")
    (tmp_path / "f.csv").write_text("n\n1\n2\n")
    import_csv(conn, tmp_path / "f.csv", "t")
    assert rows(conn, "t1") == [(1,), (2,)]


def test_view_and_row_security_are_refused_with_a_sentence(conn, database, tmp_path):
    (tmp_path / "f.csv").write_text("n\n1\n")
    conn.execute("CREATE TABLE t (n int)")
    conn.execute("CREATE VIEW v AS TABLE t")
    with pytest.raises(TargetError, match="v is a view; import into the table behind it"):
        import_csv(conn, tmp_path / "f.csv", "v")
    conn.execute("ALTER TABLE t ENABLE ROW LEVEL SECURITY")
    import_csv(conn, tmp_path / "f.csv", "t")
    conn.execute("ALTER TABLE t FORCE ROW LEVEL SECURITY")
    with pytest.raises(TargetError, match="row-level security that applies to app"):
        import_csv(conn, tmp_path / "f.csv", "t")
    conn.execute("ALTER TABLE t NO FORCE ROW LEVEL SECURITY")
    assert rows(conn, "t") == [(1,)]


def test_empty_field_is_no_null_in_a_text_column_that_forbids_it(conn, tmp_path):
    conn.execute(
        "CREATE DOMAIN code AS text NOT NULL; CREATE TYPE mood AS ENUM ('ok');"
        "CREATE TABLE t (a text NOT NULL, b code, c int, d mood, e int[], f jsonb, g text)"
    )
    (tmp_path / "f.csv").write_text('a,b,c,d,e,f,g\n,,"","","","",""\n')
    import_csv(conn, tmp_path / "f.csv", "t")
    assert rows(conn, "t") == [("", "", None, None, None, None, "")]


def test_quotes_that_the_server_takes_away_are_warned_of_and_can_be_kept(conn, folder, capsys):
    Path("f.csv").write_text('id,size\n1,6" and 7"\n')
    assert pgimport("--table", "t", "--import_file", "f.csv") == 0
    said = capsys.readouterr().err
    assert "f.csv:2: '6\" and 7\"' has quotes beside other text" in said
    assert pgimport("--table", "t", "--import_file", "f.csv", "--quote", "~") == 0
    assert "quotes" not in capsys.readouterr().err
    assert rows(conn, "t") == [(1, "6 and 7"), (1, '6" and 7"')]


def test_several_files_have_one_header_and_are_loaded_together_or_not_at_all(conn, tmp_path):
    for name, text in (("a", "n,x\n1,a\n"), ("b", "n,x\n2,b\n"), ("c", "x,n\nc,3\n")):
        (tmp_path / f"{name}.csv").write_text(text)
    a, b, c = (tmp_path / f"{name}.csv" for name in "abc")
    import_csv(conn, [a, b], "t")
    assert rows(conn, "t") == [(1, "a"), (2, "b")]
    with pytest.raises(CsvError, match=r"c.csv:1: its header is not that of .*a.csv"):
        import_csv(conn, [a, c], "t")
    assert len(rows(conn, "t")) == 2


def test_file_that_differs_from_its_manifest_is_not_loaded(conn, tmp_path):
    from pgmonkey.errors import TransferError
    from pgmonkey.transfer import export_csv

    conn.execute("CREATE TABLE t AS SELECT 1 AS n")
    export_csv(conn, tmp_path / "t.csv", table="t", manifest=True)
    import_csv(conn, tmp_path / "t.csv", "t")
    (tmp_path / "t.csv").write_text("n\n2\n")
    with pytest.raises(TransferError, match="manifest"):
        import_csv(conn, tmp_path / "t.csv", "t")
    assert rows(conn, "t") == [(1,), (1,)]


def test_callers_transaction_stays_the_callers(database, tmp_path):
    (tmp_path / "f.csv").write_text("n\n1\n")
    with psycopg.connect(**database.dsn_args()) as conn:
        conn.execute("CREATE TABLE before_it (n int)")
        import_csv(conn, tmp_path / "f.csv", "t")
        conn.rollback()
        assert tables(conn) == set()
        conn.rollback()
        import_csv(conn, tmp_path / "f.csv", "t")
        assert conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    with psycopg.connect(**database.dsn_args()) as conn:
        assert rows(conn, "t") == [(1,)]


def test_rows_of_another_kind_of_factory_do_not_confuse_it(database, tmp_path):
    (tmp_path / "f.csv").write_text("n\n1\n")
    factory = psycopg.rows.dict_row
    with psycopg.connect(**database.dsn_args(), row_factory=factory) as conn:
        import_csv(conn, tmp_path / "f.csv", "t", types={"n": "numeric(5)"})
        assert conn.execute("TABLE t").fetchall() == [{"n": 1}]


# The command.


def pgimport(*words: str) -> int:
    return main(["pgimport", "-c", "config.yaml", *words])


def test_first_import_writes_the_settings_and_the_next_one_follows_them(conn, folder, capsys):
    Path("data.csv").write_text("Id;Full Name\n1;x\n")
    assert pgimport("--table", "t", "--import_file", "data.csv") == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "data.csv: utf-8, delimiter ';', header; written to data.yaml" in said.err
    assert 'CREATE TABLE "public"."t" (' in said.err
    assert "imported 1 row into t in " in said.err
    text = Path("data.yaml").read_text()
    assert "delimiter: ';'" in text
    assert "  'Full Name': 'full name'\n" in text

    Path("data.yaml").write_text(text.replace("'full name'", "~"))
    Path("data.csv").write_text("Id;Full Name\n2;y\n")
    assert pgimport("--table", "t", "--import_file", "data.csv") == 0
    assert "settings: data.yaml" in capsys.readouterr().err
    assert rows(conn, "t") == [(1, "x"), (2, None)]


def test_settings_are_written_also_when_the_columns_do_not_match(conn, folder, capsys):
    conn.execute("CREATE TABLE t (id int, name text)")
    Path("data.csv").write_text("id,nmae\n1,x\n")
    assert pgimport("--table", "t", "--import_file", "data.csv") == 4
    error = capsys.readouterr().err
    assert "data.csv:1: t has no column 'nmae' (did you mean 'name'?)" in error
    assert "edit `columns` in data.yaml" in error
    text = Path("data.yaml").read_text()
    line = text[: text.index("  'nmae'")].count("\n") + 1
    assert pgimport("--table", "t", "--import_file", "data.csv") == 2
    assert f"data.yaml:{line}:3: columns.nmae: t has no column 'nmae'" in capsys.readouterr().err
    Path("data.yaml").write_text(text.replace("'nmae': 'nmae'", "'nmae': name"))
    assert pgimport("--table", "t", "--import_file", "data.csv") == 0
    assert rows(conn, "t") == [(1, "x")]


def test_review_writes_the_settings_and_nothing_else(conn, folder, capsys):
    Path("data.csv.gz").write_bytes(gzip.compress(b"a\tb\n1\t2\n"))
    assert pgimport("--table", "t", "--import_file", "data.csv.gz", "--review") == 0
    assert "delimiter: '\\t'" in Path("data.yaml").read_text()
    assert "nothing was imported" in capsys.readouterr().err
    assert pgimport("--table", "t", "--import_file", "data.csv.gz", "--review") == 0
    assert "data.yaml was there and is untouched" in capsys.readouterr().err
    assert tables(conn) == set()


def test_review_without_a_place_for_the_settings_asks_for_one(conn, folder, capsys):
    Path("a.csv").write_text("n\n1\n")
    Path("b.csv").write_text("n\n2\n")
    words = ("--table", "t", "--import_file", "a.csv", "b.csv", "--review")
    assert pgimport(*words) == 4
    assert "name one with --import-config FILE" in capsys.readouterr().err
    assert pgimport(*words, "--import-config", "gone/x.yaml") == 4
    assert pgimport(*words, "--import-config", "x.yaml") == 0
    assert Path("x.yaml").exists()
    assert tables(conn) == set()


def test_dry_run_shows_the_plan_and_a_command_that_does_it(conn, folder, capsys):
    Path("data.csv").write_bytes("Stra\u00dfe;Nr\nx;007\n".encode("cp1252"))
    assert pgimport("--table", "t", "--import_file", "data.csv", "--dry-run") == 0
    shown = capsys.readouterr()
    assert "read as   cp1252, delimiter ';', header\n" in shown.out
    assert '  "nr" text\n' in shown.out
    assert "a dry run: nothing was changed" in shown.err
    assert (tables(conn), Path("data.yaml").exists()) == (set(), False)
    command = shown.out.rstrip().rpartition("\n")[2]
    assert main(shlex.split(command)[1:]) == 0
    assert rows(conn, "t") == [("x", "007")]


def test_json_is_whole_for_an_import_a_dry_run_and_a_failure(conn, folder, capsys):
    Path("data.csv").write_text("id,zip\n1,00501\n")
    words = ("--table", "t", "--import_file", "data.csv", "--json")
    assert pgimport(*words, "--dry-run") == 0
    planned = json.loads(capsys.readouterr().out)["results"][0]
    assert planned["kind"] == "plan"
    assert [(f["column"], f["type"]) for f in planned["fields"]] == [
        ("id", "bigint"),
        ("zip", "text"),
    ]
    assert pgimport(*words) == 0
    done = json.loads(capsys.readouterr().out)
    assert (done["schema"], done["ok"]) == ("pgmonkey.pgimport/1", True)
    assert (done["results"][0]["rows"], done["results"][0]["rejected"]) == (1, 0)
    Path("data.csv").write_text("id,zip\nx,y\n")
    assert pgimport(*words) == 4
    failed = json.loads(capsys.readouterr().out)
    assert (failed["ok"], failed["exit_code"], failed["results"]) == (False, 4, [])
    assert failed["error"]["message"].startswith("data.csv:2: ")


def test_connection_configuration_of_the_same_stem_is_left_alone(conn, folder, capsys):
    config = Path("config.yaml").read_text()
    Path("config.csv").write_text("a\nx\n")
    Path("other.csv").write_text("a\ny\n")
    Path("other.yaml").write_text(config)
    assert pgimport("--table", "t", "--import_file", "config.csv") == 0
    assert pgimport("--table", "t", "--import_file", "other.csv") == 0
    assert "other.yaml is not a settings file of an import" in capsys.readouterr().err
    assert Path("config.yaml").read_text() == Path("other.yaml").read_text() == config
    assert rows(conn, "t") == [("x",), ("y",)]


def test_settings_file_may_be_named_and_standard_input_has_none_of_its_own(conn, folder):
    Path("our.yaml").write_text("delimiter: ';'\n")
    before = set(folder.iterdir())
    words = ("pgimport", "-c", "config.yaml", "--table", "t", "--import_file", "-")
    assert run(*words, stdin="a,b\nx,1\n", cwd=folder).code == 0
    named = run(*words, "--import-config", "our.yaml", stdin="a;b\ny;2\n", cwd=folder)
    assert named.code == 0, named.stderr
    assert set(folder.iterdir()) == before
    assert rows(conn, "t") == [("x", 1), ("y", 2)]


def test_read_only_folder_is_imported_from_without_a_word_of_failure(conn, folder):
    Path("data.csv").write_text("a\nx\n")
    folder.chmod(0o500)
    words = ("pgimport", "-c", "config.yaml", "--table", "t", "--import_file", "data.csv")
    try:
        done = run(*words, cwd=folder, obeying=True)
    finally:
        folder.chmod(0o700)
    assert done.code == 0, done.stderr
    assert "denied" not in done.stderr
    assert not Path("data.yaml").exists()


def test_patterns_and_several_words_name_several_files(conn, folder, capsys):
    for i in range(3):
        Path(f"part-{i}.csv").write_text(f"n\n{i}\n")
    assert pgimport("--table", "t", "--import_file", "part-*.csv") == 0
    assert pgimport("--table", "t", "--import_file", "part-0.csv", "part-1.csv") == 0
    assert rows(conn, "t") == [(0,), (0,), (1,), (1,), (2,)]
    assert not list(Path().glob("part-*.yaml"))


@pytest.mark.parametrize("mode", ["truncate", "replace"])
def test_rows_are_removed_only_when_that_was_confirmed(conn, folder, capsys, mode):
    conn.execute("CREATE TABLE t AS SELECT 1 AS n")
    Path("data.csv").write_text("n\n2\n")
    words = ("--table", "t", "--import_file", "data.csv", "--mode", mode)
    assert pgimport(*words) == 2
    assert "add --yes if that is meant" in capsys.readouterr().err
    assert rows(conn, "t") == [(1,)]
    for _ in range(2):
        assert pgimport(*words, "--yes") == 0
        assert rows(conn, "t") == [(2,)]


def test_upsert_by_a_key_makes_the_same_table_twice(conn, folder):
    Path("data.csv").write_text("Id,name\n1,x\n2,y\n")
    words = ("--table", "t", "--import_file", "data.csv", "--mode", "upsert", "--key", "Id")
    for _ in range(2):
        assert pgimport(*words) == 0
        assert rows(conn, "t") == [(1, "x"), (2, "y")]
    query = "SELECT conname FROM pg_constraint WHERE contype = 'p' AND conrelid = 't'::regclass"
    assert conn.execute(query).fetchall() == [("t_pkey",)]


SECRETS = "CREATE TABLE secrets (n int); REVOKE ALL ON secrets FROM PUBLIC"

# Words after --table t --import_file data.csv (or in their place), the exit code, the error.
BAD: dict[str, tuple[list[str], int, str]] = {
    "no file named": (["--table", "t"], 2, "import what?"),
    "no table named": (["--import_file", "data.csv"], 2, "into which table?"),
    "missing file": (["--table", "t", "--import_file", "gone.csv"], 4, "gone.csv: No such file"),
    "no match": (["--table", "t", "--import_file", "gone*"], 4, "no file matches 'gone*'"),
    "directory": (["--table", "t", "--import_file", "."], 4, ".: Is a directory"),
    "empty file": (["--table", "t", "--import_file", "/dev/null"], 4, "/dev/null: is empty"),
    "no CSV": (["--table", "t", "--import_file", "noise.csv"], 4, "noise.csv"),
    "a workbook": (["--table", "t", "--import_file", "book.csv"], 4, "Excel workbook"),
    "no table": (["--create", "never"], 4, "t does not exist, and --create never"),
    "no rights": (["--table", "secrets", "--import_file", "data.csv"], 4, "permission denied"),
    "no schema": (["--table", "nope.t", "--import_file", "data.csv"], 4, "no schema 'nope'"),
    "SQL as a table": (["--table", "t; DROP TABLE x", "--import_file", "data.csv"], 2, "not a ta"),
    "quoted SQL": (
        ["--table", '"t; DROP TABLE x"', "--import_file", "data.csv", "--create", "never"],
        4,
        "t; DROP TABLE x does not exist",
    ),
    "SQL as a type": (["--types", "n=int); DROP TABLE x; --"], 2, "is not a type"),
    "unknown type": (["--types", "n=integre"], 4, "column n: the server has no type 'integre'"),
    "constraint as a type": (["--types", "n=int primary key"], 4, "the server has no type"),
    "unknown column": (["--columns", "m"], 2, "--columns: the file has no column 'm'"),
    "unknown mapping": (["--map", "m=n"], 2, "--map: the file has no column 'm'"),
    "bad delimiter": (["--delimiter", "ab"], 2, "--delimiter: 'ab' is not one ASCII character"),
    "bad encoding": (["--encoding", "klingon"], 2, "encoding: 'klingon' is not an encoding"),
    "bad limit": (["--on-error", "skip", "--max-errors", "x"], 2, "--max-errors: 'x' is neither"),
    "limit of what": (["--max-errors", "1"], 2, "mean something with --on-error skip only"),
    "skip in portions": (
        ["--on-error", "skip", "--commit-every", "9"],
        2,
        "--commit-every and --on-error skip",
    ),
    "key of nothing": (["--mode", "upsert"], 2, "--mode upsert needs a key"),
    "two at once": (["--dry-run", "--review"], 2, "give one"),
    "mode": (["--mode", "apend"], 2, "did you mean 'append'?"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_changes_nothing(name, conn, database, folder, capsys):
    words, code, problem = BAD[name]
    with database.server.admin(database.name) as admin:
        admin.execute(SECRETS)
    Path("data.csv").write_text("n\n1\n")
    Path("noise.csv").write_bytes(bytes(range(256)) * 8)
    Path("book.csv").write_bytes(b"PK\x03\x04\x14\0\6\0")
    if "--table" not in words and "--import_file" not in words:
        words = ["--table", "t", "--import_file", "data.csv", *words]
    assert pgimport(*words) == code
    said = capsys.readouterr()
    errors = [line for line in said.err.splitlines() if line.startswith("error[PGM")]
    assert len(errors) == 1
    assert problem in errors[0]
    assert "Traceback" not in said.err
    assert said.out == ""
    assert tables(conn) == {"secrets"}


def test_unreadable_file_is_an_error_of_the_file(folder):
    Path("data.csv").write_text("n\n1\n")
    Path("data.csv").chmod(0)
    words = ("pgimport", "-c", "config.yaml", "--table", "t", "--import_file", "data.csv")
    done = run(*words, cwd=folder, obeying=True)
    assert (done.code, "data.csv: Permission denied" in done.stderr) == (4, True), done.stderr


def test_name_of_a_column_that_is_sql_is_only_a_name(conn, folder):
    Path("data.csv").write_text('"a""); DROP TABLE t; --",b\n1,2\n')
    assert pgimport("--table", "t", "--import_file", "data.csv") == 0
    assert pgimport("--table", "t", "--import_file", "data.csv") == 0
    assert types(conn, "t") == {'a"); drop table t; --': "bigint", "b": "bigint"}
    assert rows(conn, "t") == [(1, 2), (1, 2)]


def test_row_that_the_server_refuses_is_named_by_file_and_line(conn, folder, capsys):
    conn.execute("CREATE TABLE t (n int CHECK (n < 10), note text)")
    Path("data.csv").write_text('n,note\n1,"two\nlines"\n99,x\n')
    assert pgimport("--table", "t", "--import_file", "data.csv") == 4
    assert "data.csv:4: " in capsys.readouterr().err
    assert rows(conn, "t") == []


def test_value_of_any_size_makes_a_short_message(conn, folder, capsys):
    conn.execute("CREATE TABLE t (n int)")
    Path("f.csv").write_text("n\n" + "x" * 1_000_000 + "\n")
    assert pgimport("--table", "t", "--import_file", "f.csv") == 4
    said = capsys.readouterr().err
    assert len(said) < 1000
    assert 'f.csv:2: column n: invalid input syntax for type integer: "xx' in said
    words = ["--on-error", "skip", "--rejects", "r.csv"]
    assert pgimport("--table", "t", "--import_file", "f.csv", *words) == 0
    assert 1_000_000 < Path("r.csv").stat().st_size < 1_001_000


def test_library_says_what_was_asked_wrongly(conn, tmp_path):
    (tmp_path / "f.csv").write_text("n\n1\n")
    with pytest.raises(RequestError):
        import_csv(conn, tmp_path / "f.csv", "t", mode="upsert")
    with pytest.raises(FileNotFoundError):
        import_csv(conn, tmp_path / "gone.csv", "t")
    with pytest.raises(ValueError, match="not a table's name"):
        import_csv(conn, tmp_path / "f.csv", "t--")
    assert tables(conn) == set()


def test_empty_field_is_a_value_where_another_text_is_null(conn, folder):
    Path("data.csv").write_text("id,n\n1,5\n2,\n3,NA\n")
    assert pgimport("--table", "t", "--import_file", "data.csv", "--null", "NA") == 0
    assert types(conn, "t") == {"id": "bigint", "n": "text"}
    assert rows(conn, "t") == [(1, "5"), (2, ""), (3, None)]


def test_export_of_a_column_called_t_is_imported_again(conn, folder):
    conn.execute("CREATE TABLE t AS SELECT 1 AS id, true AS t, false AS f")
    assert main(["pgexport", "--table", "t", "-c", "config.yaml"]) == 0
    assert pgimport("--table", "copy", "--import_file", "t.csv") == 0
    assert rows(conn, "copy") == [(1, True, False)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id,n\n1,2\n3\n", ()),
        ("id,n\n1,2\n", ("--create", "never")),
        ("id,n\n1,2\n", ("--mode", "truncate")),
    ],
)
def test_settings_written_by_an_import_that_fails_are_removed_again(
    conn, folder, capsys, text, words
):
    if "truncate" in words:
        conn.execute("CREATE TABLE t (id int, n int)")
    Path("data.csv").write_text(text)
    assert pgimport("--table", "t", "--import_file", "data.csv", *words) in (2, 4)
    assert "data.yaml is removed again" in capsys.readouterr().err
    assert not Path("data.yaml").exists()
    Path("data.csv").write_text("id;n\n1;2\n")
    assert pgimport("--table", "t", "--import_file", "data.csv") == 0
    assert rows(conn, "t") == [(1, 2)]


def test_settings_of_an_earlier_import_stay_when_one_fails(conn, folder):
    Path("data.csv").write_text("id,n\n1,2\n")
    assert pgimport("--table", "t", "--import_file", "data.csv") == 0
    before = Path("data.yaml").read_text()
    Path("data.csv").write_text("id,n\n1\n")
    assert pgimport("--table", "t", "--import_file", "data.csv") == 4
    assert Path("data.yaml").read_text() == before


def test_utf8_that_the_settings_file_calls_cp1252_is_warned_of(conn, folder, capsys):
    Path("data.yaml").write_text("delimiter: ';'\nencoding: cp1252\nhas_headers: true\n")
    Path("data.csv").write_text("id;name\n1;Müller\n", encoding="utf-8")
    assert pgimport("--table", "t", "--import_file", "data.csv") == 0
    said = capsys.readouterr().err
    assert "settings: data.yaml (cp1252, delimiter ';', header)" in said
    assert "warning: data.yaml:2:11: encoding: data.csv is valid UTF-8" in said
    assert "'Müller' is read as 'MÃ¼ller'" in said
    assert pgimport("--table", "t", "--import_file", "data.csv", "--encoding", "utf-8") == 0
    assert "warning" not in capsys.readouterr().err
    assert rows(conn, "t") == [(1, "MÃ¼ller"), (1, "Müller")]
