"""An import with rejects as a user sees it: the table and the file afterwards, or neither."""

from __future__ import annotations

import csv
import gzip
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgmonkey.errors import RejectLimitError, RequestError, TransferError
from pgmonkey.transfer.dialect import Dialect
from pgmonkey.transfer.guarded import Guard
from pgmonkey.transfer.importer import load
from pgmonkey.transfer.plan import Field, MaxErrors, Plan, Table

HEADER = b"file,line,column,sqlstate,reason,row\n"


@pytest.fixture
def conn(database: Any) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(**database.dsn_args(), autocommit=True) as conn:
        conn.execute("CREATE TABLE t (id int PRIMARY KEY, name text, qty int CHECK (qty >= 0))")
        yield conn


def plan(tmp_path: Path, **over: Any) -> Plan:
    fields = (
        Field(0, "id", "id", "integer", text=False, not_null=True),
        Field(1, "name", "name"),
        Field(2, "Quantity", "qty", "integer", text=False),
    )
    rejects = over.pop("rejects", tmp_path / "bad.csv")
    return Plan(Table("public", "t"), fields, **{"on_error": "skip", "rejects": rejects, **over})


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def ids(conn: psycopg.Connection[Any]) -> list[int]:
    return [row[0] for row in conn.execute("SELECT id FROM t ORDER BY id")]


def rejected(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == HEADER.decode().strip().split(",")
    return rows[1:]


def nothing_left(conn: psycopg.Connection[Any]) -> bool:
    found = conn.execute(
        "SELECT relname FROM pg_class WHERE relname LIKE 'pgmonkey%'"
        " UNION ALL SELECT proname FROM pg_proc WHERE proname LIKE 'pgmonkey%'"
    )
    return found.fetchall() == []


def test_good_rows_are_in_and_the_file_names_line_column_and_reason_of_the_others(conn, tmp_path):
    path = write(
        tmp_path / "t.csv", 'id,name,Quantity\n1,"a\nb",1\n2,b,many\n3,c,-1\n1,d,4\n5,e,5\n'
    )

    done = load(plan(tmp_path), [path], conn)

    assert (done.rows, done.rejected, ids(conn)) == (2, 3, [1, 5])
    assert rejected(tmp_path / "bad.csv") == [
        [str(path), "4", "Quantity", "22P02", 'invalid input syntax for type integer: "many"', "2,b,many"],
        [str(path), "5", "", "23514", 'new row for relation "t" violates check constraint "t_qty_check"', "3,c,-1"],
        [str(path), "6", "", "23505", 'duplicate key value violates unique constraint "t_pkey": Key (id)=(1) already exists', "1,d,4"],
    ]  # fmt: skip
    assert nothing_left(conn)


def test_line_is_that_of_sed_in_every_file_and_packed_too(conn, tmp_path):
    text = "id,name,Quantity\n" + "".join(
        f'{i},"two\nlines",{"x" if i % 97 == 0 else i}\n' for i in range(1, 2000)
    )
    plain = write(tmp_path / "t.csv", text)
    packed = tmp_path / "u.csv.gz"
    packed.write_bytes(gzip.compress(text.replace("\n1", "\n100001").encode()))

    load(plan(tmp_path), [plain, packed], conn)

    rows = rejected(tmp_path / "bad.csv")
    assert {row[0] for row in rows} == {str(plain), str(packed)}
    unpacked = write(tmp_path / "u.csv", gzip.decompress(packed.read_bytes()).decode())
    for file, line, *_, raw in rows[:3] + rows[-3:]:
        name = unpacked if file == str(packed) else file
        shown = subprocess.run(
            ["sed", "-n", f"{line}p", name], capture_output=True, check=True, encoding="utf-8"
        )
        assert shown.stdout.rstrip("\n") == raw.split("\n")[0]


@pytest.mark.parametrize(
    ("encoding", "dialect", "eol"),
    [
        ("cp1252", Dialect(encoding="cp1252", delimiter=";"), "\r\n"),
        ("utf-16", Dialect(encoding="utf-16-le", bom=2), "\n"),
        ("utf-8-sig", Dialect(delimiter="\t", bom=3), "\r"),
    ],
)
def test_rows_of_other_dialects_are_judged_alike(conn, tmp_path, encoding, dialect, eol):
    d = dialect.delimiter
    lines = [f"id{d}name{d}Quantity"]
    lines += [f"{i}{d}Größe{d}{'viel' if i % 5 == 0 else i}" for i in range(1, 101)]
    path = write(tmp_path / "t.csv", eol.join(lines) + eol, encoding)

    done = load(plan(tmp_path, dialect=dialect), [path], conn)

    assert (done.rows, done.rejected) == (80, 20)
    raw = (tmp_path / "bad.csv").read_bytes()
    kept = "cp1252" if encoding == "cp1252" else "utf-8"
    assert f"5{d}Größe{d}viel".encode(kept) in raw
    assert conn.execute("SELECT DISTINCT name FROM t").fetchall() == [("Größe",)]


def test_row_with_undecodable_bytes_is_kept_byte_for_byte(conn, tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"id,name,Quantity\n" + b"1,caf\xe9,1\n2,b,2\n3,\x00,3\n4,d,4\n")
    done = load(plan(tmp_path), [path], conn)
    assert (done.rejected, ids(conn)) == (2, [2, 4])
    raw = (tmp_path / "bad.csv").read_bytes()
    assert b'"1,caf\xe9,1"\n' in raw
    assert b'"3,\x00,3"\n' in raw


def test_quote_that_is_never_closed_costs_its_line_and_not_the_rest_of_the_file(conn, tmp_path):
    path = write(
        tmp_path / "t.csv", "id,name,Quantity\n1,a,1\n" + '2,"b,2\n' + "3,c,3\n" * 1 + "4,d,4\n"
    )
    load(plan(tmp_path), [path], conn)
    assert ids(conn) == [1, 3, 4]
    assert [row[1] for row in rejected(tmp_path / "bad.csv")] == ["3"]


def test_lone_end_of_data_mark_is_a_bad_row_and_no_end(conn, tmp_path):
    path = write(tmp_path / "t.csv", "id,name,Quantity\n1,a,1\n\\.\n3,c,3\n")
    load(plan(tmp_path), [path], conn)
    assert ids(conn) == [1, 3]
    assert [(row[1], row[5]) for row in rejected(tmp_path / "bad.csv")] == [("3", "\\.")]


@pytest.mark.parametrize("limit", [MaxErrors(number=2), MaxErrors(percent=29)])
def test_more_bad_rows_than_allowed_load_nothing_and_leave_an_earlier_file(conn, tmp_path, limit):
    conn.execute("INSERT INTO t VALUES (99, 'there', 1)")
    earlier = write(tmp_path / "bad.csv", HEADER.decode() + "of last time\n")
    text = "id,name,Quantity\n" + "".join(f"{i},n,{'x' if i < 4 else i}\n" for i in range(1, 11))
    path = write(tmp_path / "t.csv", text)

    with pytest.raises(RejectLimitError, match=r"t\.csv:4: 3 rows are bad.*nothing was imported"):
        load(plan(tmp_path, mode="replace", max_errors=limit), [path], conn)

    assert ids(conn) == [99]
    assert earlier.read_bytes() == HEADER + b"of last time\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.csv", "t.csv"]
    assert nothing_left(conn)


@pytest.mark.parametrize("limit", [MaxErrors(number=3), MaxErrors(percent=30)])
def test_as_many_bad_rows_as_allowed_are_accepted(conn, tmp_path, limit):
    text = "id,name,Quantity\n" + "".join(f"{i},n,{'x' if i < 4 else i}\n" for i in range(1, 11))
    done = load(plan(tmp_path, max_errors=limit), [write(tmp_path / "t.csv", text)], conn)
    assert (done.rows, done.rejected) == (7, 3)


def test_file_replaces_that_of_the_last_load_also_when_no_row_is_bad(conn, tmp_path):
    earlier = write(tmp_path / "bad.csv", HEADER.decode() + "of last time\n")
    load(plan(tmp_path), [write(tmp_path / "t.csv", "id,name,Quantity\n1,a,1\n")], conn)
    assert earlier.read_bytes() == HEADER


def test_rejects_may_not_replace_a_file_to_import(conn, tmp_path):
    path = write(tmp_path / "t.csv", "id,name,Quantity\n1,a,x\n")
    with pytest.raises(RequestError, match="would replace"):
        load(plan(tmp_path, rejects=path), [path], conn)
    assert path.read_text() == "id,name,Quantity\n1,a,x\n"
    assert ids(conn) == []


def test_rejects_never_replace_a_file_that_holds_something_else(conn, tmp_path):
    other = write(tmp_path / "config.yaml", "connection_settings: {}\n")
    path = write(tmp_path / "t.csv", "id,name,Quantity\n1,a,x\n2,b,2\n")
    with pytest.raises(RequestError, match=r"config\.yaml: it exists and holds no rejects"):
        load(plan(tmp_path, rejects=other), [path], conn)
    assert (other.read_text(), ids(conn)) == ("connection_settings: {}\n", [])


def test_rejects_may_go_to_a_device(conn, tmp_path):
    before = Path("/dev/null").stat()
    path = write(tmp_path / "t.csv", "id,name,Quantity\n1,a,x\n2,b,2\n")
    assert load(plan(tmp_path, rejects=Path("/dev/null")), [path], conn).rejected == 1
    assert Path("/dev/null").stat().st_rdev == before.st_rdev != 0


def test_rejects_are_refused_where_no_file_can_be_before_anything_is_sent(conn, tmp_path):
    path = write(tmp_path / "t.csv", "id,name,Quantity\n1,a,1\n")
    with pytest.raises(FileNotFoundError):
        load(plan(tmp_path, rejects=tmp_path / "no" / "bad.csv"), [path], conn)
    assert ids(conn) == []


@pytest.mark.parametrize("on_conflict", ["skip", "update"])
def test_rows_whose_key_exists_are_no_rejects_where_the_plan_says_what_becomes_of_them(
    conn, tmp_path, on_conflict
):
    conn.execute("INSERT INTO t VALUES (1, 'old', 0)")
    text = "id,name,Quantity\n1,new,1\n2,b,2\n3,c,-3\n2,again,x\n4,d\n2,last,2\n"
    path = write(tmp_path / "t.csv", text + "".join(f"{i},n,{i}\n" for i in range(10, 500)))
    upsert = plan(tmp_path, mode="upsert", key=("id",), on_conflict=on_conflict)

    for _ in range(2):  # twice is the same table
        done = load(upsert, [path], conn)

        assert [row[1] for row in rejected(tmp_path / "bad.csv")] == ["4", "5", "6"]
        names = dict(conn.execute("SELECT id, name FROM t WHERE id < 10").fetchall())
        kept = {"skip": {1: "old", 2: "b"}, "update": {1: "new", 2: "last"}}
        assert names == kept[on_conflict]
        assert (done.rejected, len(ids(conn))) == (3, 492)


def test_field_to_skip_counts_as_a_field(conn, tmp_path):
    path = write(tmp_path / "t.csv", "id,name,Quantity\n1,a,1\n2,b,x\n3,c\n4,d,4,4\n5,,5\n")
    base = plan(tmp_path)
    fields = (base.fields[0], base.fields[1]._replace(column=None), base.fields[2])
    load(base._replace(fields=fields), [path], conn)
    assert conn.execute("SELECT * FROM t ORDER BY 1").fetchall() == [(1, None, 1), (5, None, 5)]
    assert [row[1] for row in rejected(tmp_path / "bad.csv")] == ["3", "4", "5"]


def _table(where: str) -> str:
    return f"id,name,Quantity\n{where}" + "".join(
        f"{i},n,{'x' if i % 10 == 3 else -1 if i % 10 == 7 else i}\n" for i in range(1, 501)
    )


def test_role_without_temporary_tables_rejects_the_same_rows(server, database, conn, tmp_path):
    with server.admin(database.name) as admin:
        admin.execute(f'REVOKE TEMPORARY ON DATABASE "{database.name}" FROM PUBLIC')
        admin.execute(f'ALTER DATABASE "{database.name}" OWNER TO postgres')
    done = load(plan(tmp_path), [write(tmp_path / "t.csv", _table(""))], conn)
    assert (done.rows, done.rejected) == (400, 100)


def test_rules_of_the_table_do_not_fire_as_they_do_not_for_copy(conn, tmp_path):
    conn.execute("CREATE TABLE log (id int)")
    conn.execute("CREATE RULE r AS ON INSERT TO t DO ALSO INSERT INTO log VALUES (NEW.id)")
    done = load(plan(tmp_path), [write(tmp_path / "t.csv", _table(""))], conn)
    assert (done.rows, done.rejected) == (400, 100)
    assert conn.execute("SELECT count(*) FROM log").fetchone() == (0,)


def test_many_bad_rows_are_found_by_the_server_itself(conn, tmp_path, monkeypatch):
    """Without this a fault in the function would only make the load slow."""
    runs: list[int] = []
    insert = Guard.insert

    def counted(self: Guard, doubts: Any) -> Any:
        done = insert(self, doubts)
        runs.append(len(done[1]))
        return done

    monkeypatch.setattr(Guard, "insert", counted)
    load(plan(tmp_path), [write(tmp_path / "t.csv", _table(""))], conn)
    assert sum(runs) >= 97


def test_row_without_a_partition_is_rejected(conn, tmp_path):
    conn.execute(
        "DROP TABLE t; CREATE TABLE t (id int, name text, qty int) PARTITION BY RANGE (id)"
    )
    conn.execute("CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (300)")
    lines = "".join(f"{i},n,1\n" for i in range(1, 400))
    load(plan(tmp_path), [write(tmp_path / "t.csv", "id,name,Quantity\n" + lines)], conn)
    rows = rejected(tmp_path / "bad.csv")
    assert ([row[3] for row in rows], rows[0][5]) == (["23514"] * 100, "300,n,1")


def test_identity_always_takes_the_values_of_the_file(conn, tmp_path):
    conn.execute(
        "DROP TABLE t; CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY UNIQUE, name text,"
        " qty int, twice int GENERATED ALWAYS AS (2 * qty) STORED)"
    )
    base = plan(tmp_path)
    fields = (base.fields[0]._replace(identity_always=True), *base.fields[1:])
    text = "id,name,Quantity\n" + "".join(f"{i},n,{'x' if i % 2 else i}\n" for i in range(1, 101))
    load(base._replace(fields=fields), [write(tmp_path / "t.csv", text)], conn)
    assert ids(conn) == list(range(2, 101, 2))
    assert conn.execute("SELECT count(*) FROM t WHERE twice = 2 * id").fetchone() == (50,)


def test_error_that_no_row_is_to_blame_for_stops_the_load(conn, tmp_path):
    conn.execute(
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN"
        " IF NEW.id = 400 THEN RAISE EXCEPTION 'no room' USING ERRCODE = '53100'; END IF;"
        " RETURN NEW; END$$;"
        "CREATE TRIGGER f BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()"
    )
    for text in (_table(""), "id,name,Quantity\n" + "".join(f"{i},n,1\n" for i in range(1, 500))):
        with pytest.raises(TransferError, match="no room"):
            load(plan(tmp_path), [write(tmp_path / "t.csv", text)], conn)
        assert ids(conn) == []
        assert not (tmp_path / "bad.csv").exists()


def test_data_that_looks_like_sql_stays_data(conn, tmp_path):
    evil = "'); DROP TABLE t; --"
    text = "id,name,Quantity\n" + "".join(
        f'{i},"{evil}",{"$body$" if i % 2 else i}\n' for i in range(1, 101)
    )
    load(plan(tmp_path), [write(tmp_path / "t.csv", text)], conn)
    assert conn.execute("SELECT DISTINCT name FROM t").fetchall() == [(evil,)]
    assert len(rejected(tmp_path / "bad.csv")) == 50
