"""pgexport and export_csv write what psql writes, into whole files or none."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import stat
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import pq

from pgmonkey.errors import RequestError, TargetError, TransferError
from pgmonkey.transfer import export_csv, import_csv, manifest
from support.cli import run
from support.psql import psql
from support.server import Database, PgServer

# Every kind of value that CSV has a rule for, beside each other.
TRICKY = """
CREATE TABLE tricky (
  id int PRIMARY KEY, "Weird ""Name" text, "order" numeric(10, 2), at timestamptz, data bytea,
  doubled int GENERATED ALWAYS AS (id * 2) STORED
);
INSERT INTO tricky VALUES
  (1, NULL, NULL, NULL, NULL), (2, '', 0, '2024-02-29 12:00+00', ''), (3, 'NULL', 1.5, 'infinity', '\\x00ff'),
  (4, E'\\\\N', -1, '-infinity', NULL), (5, E'\\\\.', 'NaN', NULL, NULL), (6, 'a "b", c', 1, NULL, NULL),
  (7, E'two\\nlines', 2, NULL, NULL), (8, E'carriage\\r\\nreturn', 3, NULL, NULL),
  (9, ' spaced ', 4, NULL, NULL), (10, U&'\\+01F412 \\20AC \\00E9', 5, NULL, NULL), (11, E'\\t', 6, NULL, NULL);
"""


@pytest.fixture
def conn(database: Database):
    with psycopg.connect(**database.dsn_args(), autocommit=True) as conn:
        yield conn


@pytest.fixture
def several(server: PgServer) -> None:
    """Several connections export one table."""
    if server.version < 14:
        pytest.skip("PostgreSQL 13 reads a whole table to find a range of ctid")


@pytest.fixture(params=[psycopg.rows.tuple_row, psycopg.rows.dict_row], ids=["tuples", "dicts"])
def any_conn(request: pytest.FixtureRequest, database: Database):
    """Whatever rows a caller's connection gives, an export works over it."""
    args = database.dsn_args()
    with psycopg.connect(**args, autocommit=True, row_factory=request.param) as conn:
        yield conn


@pytest.fixture
def tricky(conn: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    conn.execute(TRICKY)
    return conn


def unpack_zstd(data: bytes) -> bytes:
    if sys.version_info >= (3, 14):
        from compression import zstd

        return zstd.decompress(data)
    import zstandard

    return zstandard.ZstdDecompressor().decompressobj().decompress(data)


def make_large(conn: psycopg.Connection[Any], rows: int = 60_000) -> None:
    """Make a table that is worth several connections, its rows not in the order of id."""
    conn.execute("CREATE TABLE large (id int, note text, filler text)")
    conn.execute(
        "INSERT INTO large SELECT i * 7919 %% %(n)s, CASE WHEN i %% 3 = 0 THEN E'a \"b\"\\nc' END,"
        " repeat('x', 80) FROM generate_series(1, %(n)s) AS i",
        {"n": rows},
    )
    conn.execute("ANALYZE large")


def by_psql(database: Database, what: str, folder: Path, options: str = "csv header") -> bytes:
    psql(database.dsn_args(), rf"\copy {what} to 'psql.csv' with {options}", folder)
    return (folder / "psql.csv").read_bytes()


@pytest.mark.parametrize(
    ("options", "theirs"),
    [
        ({}, "csv header"),
        ({"header": False}, "csv"),
        ({"delimiter": ";", "null": "NIL"}, "csv header delimiter ';' null 'NIL'"),
        ({"delimiter": "\t", "force_quote": ["*"]}, "csv header delimiter E'\\t' force quote *"),
        ({"force_quote": ["id", '"Weird ""Name"']}, 'csv header force quote id, "Weird ""Name"'),
        ({"quote": "'"}, "csv header quote ''''"),
    ],
)
def test_file_is_byte_for_byte_that_of_psql(tricky, database, tmp_path, options, theirs):
    done = export_csv(tricky, tmp_path / "ours.csv", table="tricky", **options)
    ours = (tmp_path / "ours.csv").read_bytes()
    assert ours == by_psql(database, "tricky", tmp_path, theirs)
    assert (done.rows, done.bytes, done.jobs) == (11, len(ours), 1)


def test_several_connections_give_the_same_bytes_as_psql(several, any_conn, database, tmp_path):
    conn = any_conn
    make_large(conn)
    expected = by_psql(database, "large", tmp_path)
    seen = []
    for jobs in (2, 3):
        file = tmp_path / f"{jobs}.csv"
        done = export_csv(
            conn,
            file,
            table="large",
            jobs=jobs,
            connect=lambda: psycopg.connect(**database.dsn_args()),
            on_progress=seen.append,
        )
        assert (done.jobs, done.why_one_job, done.rows) == (jobs, None, 60_000)
        assert file.read_bytes() == expected
        assert done.bytes == len(expected)
    assert conn.info.transaction_status == pq.TransactionStatus.IDLE
    assert all(0 <= p.rows <= 60_000 and p.rows_total == 60_000 for p in seen)


ODD = "-c DateStyle=SQL,DMY -c IntervalStyle=iso_8601 -c extra_float_digits=-5"


@pytest.mark.parametrize("jobs", [1, 2])
def test_values_are_written_exactly_whatever_the_session_is_set_to(
    several, conn, database, tmp_path, jobs
):
    make_large(conn)
    conn.execute(
        "ALTER TABLE large ADD day date DEFAULT '2024-02-03', ADD f float8 DEFAULT 0.1::float8 + 0.2,"
        " ADD lasts interval DEFAULT '1 day 2 hours'"
    )
    expected = by_psql(database, "large", tmp_path)
    assert b"2024-02-03,0.30000000000000004,1 day 02:00:00" in expected

    def connect() -> psycopg.Connection[Any]:
        return psycopg.connect(**database.dsn_args(), options=ODD)

    with connect() as odd:
        done = export_csv(odd, tmp_path / "o.csv", table="large", jobs=jobs, connect=connect)
    assert (done.jobs, done.why_one_job) == (jobs, None)
    assert (tmp_path / "o.csv").read_bytes() == expected


def test_settings_of_the_callers_transaction_are_as_before(tricky, database, tmp_path):
    # The order of day and month stays what it is for the condition.
    with psycopg.connect(**database.dsn_args(), options=ODD) as odd, odd.transaction():
        where = "at = '29/02/2024 12:00 UTC'"
        done = export_csv(odd, tmp_path / "o.csv", table="tricky", where=where)
        shown = odd.execute("SELECT '2024-02-03'::date::text").fetchone()
    assert (done.rows, shown) == (1, ("03/02/2024",))


def test_several_connections_see_one_moment(conn, database, tmp_path):
    """What others commit after the start is in none of the parts."""
    make_large(conn)
    expected = by_psql(database, "large", tmp_path)

    def connect() -> psycopg.Connection[Any]:
        with psycopg.connect(**database.dsn_args(), autocommit=True) as other:
            other.execute("INSERT INTO large SELECT 1, 'late', '' FROM generate_series(1, 1000)")
            other.execute("DELETE FROM large WHERE id % 2 = 0")
        return psycopg.connect(**database.dsn_args())

    export_csv(conn, tmp_path / "o.csv", table="large", jobs=2, connect=connect)
    assert (tmp_path / "o.csv").read_bytes() == expected


def test_compressed_parts_are_one_compressed_file(conn, database, tmp_path):
    make_large(conn)
    expected = by_psql(database, "large", tmp_path)
    file = tmp_path / "o.csv.gz"
    connect = lambda: psycopg.connect(**database.dsn_args())  # noqa: E731
    done = export_csv(conn, file, table="large", jobs=2, connect=connect, manifest=True)
    assert gzip.decompress(file.read_bytes()) == expected
    assert done.bytes == file.stat().st_size
    entry = manifest.verify(file)
    assert entry is not None
    assert (entry.rows, entry.bytes) == (60_000, done.bytes)


def test_failure_in_one_of_several_processes_is_raised_and_leaves_nothing(
    several, conn, database, tmp_path
):
    make_large(conn)

    def refused() -> psycopg.Connection[Any]:
        return psycopg.connect(**database.dsn_args(password="wrong"))

    def interrupted() -> psycopg.Connection[Any]:
        other = psycopg.connect(**database.dsn_args(), autocommit=True)
        other.execute("SET statement_timeout = 1")
        return other

    where = {"table": "large", "jobs": 2, "where": "pg_sleep(0.001) IS NOT NULL"}
    with pytest.raises(TransferError, match="password authentication failed"):
        export_csv(conn, tmp_path / "o.csv", connect=refused, **where)
    with pytest.raises(psycopg.errors.QueryCanceled, match="statement timeout"):
        export_csv(conn, tmp_path / "o.csv", connect=interrupted, **where)
    assert list(tmp_path.iterdir()) == []
    assert conn.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize(
    ("why", "options"),
    [
        ("", {"table": "tricky"}),  # small, or a server that is too old
        ("query", {"query": "TABLE tricky"}),
        ("--limit", {"table": "tricky", "limit": 1}),
        ("--order-by", {"table": "tricky", "order_by": "id"}),
        ("not a plain table", {"table": "seen"}),
        ("--split-rows", {"table": "tricky", "split_rows": 5}),
    ],
)
def test_one_connection_is_used_where_several_cannot_be(tricky, tmp_path, why, options):
    tricky.execute("CREATE VIEW seen AS TABLE tricky")
    done = export_csv(
        tricky, tmp_path / "o.csv", jobs=2, connect=lambda: pytest.fail("connected"), **options
    )
    assert done.jobs == 1
    assert why in (done.why_one_job or "")


def test_export_inside_a_transaction_sees_it_and_leaves_it_open(tricky, tmp_path):
    with tricky.transaction():
        tricky.execute("INSERT INTO tricky VALUES (99, 'not yet committed')")
        done = export_csv(tricky, tmp_path / "o.csv", table="tricky", jobs=2)
        assert "inside a transaction" in (done.why_one_job or "")
        tricky.execute("INSERT INTO tricky VALUES (100, 'and still writable')")
    assert done.rows == 12
    assert b"not yet committed" in (tmp_path / "o.csv").read_bytes()


def test_views_and_partitions_are_exported_with_their_rows(conn, tmp_path):
    conn.execute("CREATE TABLE part (id int, v text) PARTITION BY RANGE (id)")
    conn.execute("CREATE TABLE part1 PARTITION OF part FOR VALUES FROM (0) TO (10)")
    conn.execute("INSERT INTO part VALUES (1, 'one')")
    conn.execute("CREATE VIEW seen AS TABLE part")
    conn.execute("CREATE MATERIALIZED VIEW kept AS TABLE part")
    for name in ("part", "seen", "kept"):
        done = export_csv(conn, tmp_path / name, table=name)
        assert (done.rows, (tmp_path / name).read_text()) == (1, "id,v\n1,one\n")


def test_table_without_its_children_and_generated_columns_as_copy_has_it(conn, tmp_path):
    conn.execute("CREATE TABLE parent (a int, b int GENERATED ALWAYS AS (a + 1) STORED)")
    conn.execute("CREATE TABLE child () INHERITS (parent)")
    conn.execute("INSERT INTO parent VALUES (1)")
    conn.execute("INSERT INTO child VALUES (2)")
    export_csv(conn, tmp_path / "o.csv", table="parent")
    assert (tmp_path / "o.csv").read_text() == "a\n1\n"
    export_csv(conn, tmp_path / "where.csv", table="parent", where="true -- all\n")
    assert (tmp_path / "where.csv").read_text() == "a\n1\n"
    export_csv(conn, tmp_path / "named.csv", table="parent", columns=["B", "a"])
    assert (tmp_path / "named.csv").read_text() == "b,a\n2,1\n"


def test_rows_and_columns_are_chosen(tricky, tmp_path):
    export_csv(
        tricky,
        tmp_path / "o.csv",
        table="public.tricky",
        columns=['"Weird ""Name"', "ID"],
        where="id < 7 -- a comment",
        order_by="id DESC -- another",
        limit=2,
    )
    assert (tmp_path / "o.csv").read_text() == '"Weird ""Name",id\n"a ""b"", c",6\n\\.,5\n'


def test_encoding_is_the_servers_and_a_character_it_lacks_is_an_error(tricky, tmp_path):
    options = {"table": "tricky", "columns": ["id"], "encoding": "cp1252"}
    export_csv(tricky, tmp_path / "o.csv", **options)
    query = "SELECT U&'\\20AC \\00E9' AS t"
    export_csv(tricky, tmp_path / "euro.csv", query=query, encoding="cp1252")
    assert (tmp_path / "euro.csv").read_bytes() == b"t\n\x80 \xe9\n"
    with pytest.raises(psycopg.errors.UntranslatableCharacter):
        export_csv(tricky, tmp_path / "latin.csv", query=query, encoding="latin-1")
    assert not (tmp_path / "latin.csv").exists()
    export_csv(tricky, tmp_path / "bom.csv", query="SELECT 1 AS a;", encoding="utf-8-sig")
    assert (tmp_path / "bom.csv").read_bytes() == b"\xef\xbb\xbfa\n1\n"


@pytest.mark.parametrize(
    ("suffix", "kind", "unpack"),
    [
        (".gz", "gzip", gzip.decompress),
        (".bz2", "bz2", bz2.decompress),
        (".xz", "xz", lzma.decompress),
        (".zst", "zstd", unpack_zstd),
    ],
)
def test_compression_goes_by_the_suffix_or_the_option(tricky, tmp_path, suffix, kind, unpack):
    export_csv(tricky, tmp_path / "plain.csv", table="tricky")
    plain = (tmp_path / "plain.csv").read_bytes()
    export_csv(tricky, tmp_path / f"a.csv{suffix}", table="tricky")
    export_csv(tricky, tmp_path / "b.csv", table="tricky", compression=kind)
    export_csv(tricky, tmp_path / f"c.csv{suffix}", table="tricky", compression="none")
    assert unpack((tmp_path / f"a.csv{suffix}").read_bytes()) == plain
    assert unpack((tmp_path / "b.csv").read_bytes()) == plain
    assert (tmp_path / f"c.csv{suffix}").read_bytes() == plain


def test_split_files_have_the_header_each_and_replace_a_longer_set(tricky, tmp_path):
    file = tmp_path / "t.csv"
    done = export_csv(tricky, file, table="tricky", columns=["id"], split_rows=3, manifest=True)
    assert [Path(f.file).name for f in done.files] == [f"t-000{n}.csv" for n in (1, 2, 3, 4)]
    assert [f.rows for f in done.files] == [3, 3, 3, 2]
    assert (tmp_path / "t-0002.csv").read_text() == "id\n4\n5\n6\n"
    assert all(manifest.verify(Path(f.file)) for f in done.files)
    with pytest.raises(FileExistsError):
        export_csv(tricky, file, table="tricky", split_rows=9)
    done = export_csv(tricky, file, table="tricky", where="id < 7", split_rows=3, overwrite=True)
    assert [Path(name).name for name in done.removed] == ["t-0003.csv", "t-0004.csv"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["t-0001.csv", "t-0002.csv"]
    export_csv(tricky, tmp_path / "none.csv", table="tricky", where="false", split_rows=3)
    assert (tmp_path / "none-0001.csv").read_text().startswith("id,")


def test_manifest_tells_a_file_that_was_changed_or_cut_short(tricky, tmp_path):
    file = tmp_path / "t.csv"
    done = export_csv(tricky, file, table="tricky", manifest=True)
    assert done.manifest == f"{file}.manifest.json"
    entry = manifest.verify(file)
    assert entry is not None
    assert (entry.rows, entry.sha256) == (11, done.files[0].sha256)
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b"NaN", b"NaM"))
    with pytest.raises(TransferError, match="SHA-256"):
        manifest.verify(file)
    file.write_bytes(whole[:-5])
    with pytest.raises(TransferError, match=rf"{len(whole) - 5} bytes where"):
        manifest.verify(file)
    export_csv(tricky, file, table="tricky", overwrite=True)
    assert manifest.verify(file) is None  # the old manifest went with the old file


def test_existing_file_is_untouched_unless_it_may_be_replaced(tricky, tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("precious")
    file.chmod(0o640)
    (tmp_path / "link.csv").symlink_to("t.csv")
    for name in ("t.csv", "link.csv"):
        with pytest.raises(FileExistsError):
            export_csv(tricky, tmp_path / name, table="tricky")
    assert file.read_text() == "precious"
    export_csv(tricky, tmp_path / "link.csv", table="tricky", overwrite=True)
    assert (tmp_path / "link.csv").is_symlink()
    assert file.read_text().startswith("id,")
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link.csv", "t.csv"]


def test_refused_statement_leaves_no_file_and_a_connection_that_works(tricky, tmp_path):
    bad = [
        {"query": "SELEC 1"},
        {"query": "SELECT 1/(6-id) FROM tricky"},
        {"query": "DELETE FROM tricky RETURNING *"},
        {"query": "SELECT 1) TO STDOUT; DROP TABLE tricky; COPY (SELECT 1"},
        {"table": "tricky", "where": "1=1) TO STDOUT; DROP TABLE tricky --"},
        {"table": "tricky", "where": "nosuch > 1"},
    ]
    for options in bad:
        with pytest.raises(psycopg.Error):
            export_csv(tricky, tmp_path / "o.csv", **options)
        assert tricky.execute("SELECT count(*) FROM tricky").fetchone() == (11,)
    with pytest.raises(TargetError, match="no table 'nosuch'"):
        export_csv(tricky, tmp_path / "o.csv", table="nosuch")
    with pytest.raises(RequestError, match="did you mean 'order'"):
        export_csv(tricky, tmp_path / "o.csv", table="tricky", columns=["ordr"])
    assert list(tmp_path.iterdir()) == []


def test_exception_of_the_caller_ends_the_copy_and_leaves_a_connection_that_works(conn, tmp_path):
    make_large(conn)

    def stop(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_csv(
            conn,
            tmp_path / "o.csv",
            query="SELECT repeat('x', 1000), pg_sleep(0.0005) FROM generate_series(1, 1000000)",
            on_progress=stop,
        )
    assert conn.execute("SELECT 1").fetchone() == (1,)
    assert list(tmp_path.iterdir()) == []


def test_rows_hidden_by_row_level_security_are_reported(tricky, tmp_path):
    tricky.execute("ALTER TABLE tricky ENABLE ROW LEVEL SECURITY")
    tricky.execute("ALTER TABLE tricky FORCE ROW LEVEL SECURITY")
    tricky.execute("CREATE POLICY few ON tricky USING (id < 3)")
    done = export_csv(tricky, tmp_path / "o.csv", table="tricky")
    assert (done.rows, done.hides_rows) == (2, True)


# The command


@pytest.fixture
def folder(config_file: Path, tricky: object) -> Path:
    return config_file.parent


def test_command_names_the_file_after_the_table(folder, conn):
    conn.execute('CREATE SCHEMA "my.app"; CREATE TABLE "my.app"."a/b" (x int)')
    for table, file in (("tricky", "tricky.csv"), ('"my.app"."a/b"', '"my.app"."a_b".csv')):
        done = run("pgexport", "--table", table, "--connconfig", "pgmonkey.yaml", cwd=folder)
        assert (done.code, done.stdout) == (0, ""), done.stderr
        assert (folder / file).exists()
        assert f"to {file}: " in done.stderr
    again = run("pgexport", "--table", "tricky", "--filepath", "pgmonkey.yaml", cwd=folder)
    assert again.code == 4
    assert "tricky.csv exists already and was not touched" in again.stderr


def test_command_reports_as_json(folder):
    done = run(
        *("pgexport", "--table", "tricky", "-c", "pgmonkey.yaml", "--manifest", "--json"),
        cwd=folder,
    )
    report = json.loads(done.stdout)
    assert (report["schema"], report["ok"]) == ("pgmonkey.pgexport/1", True)
    (result,) = report["results"]
    assert (result["rows"], result["files"][0]["file"]) == (11, "tricky.csv")
    assert result["manifest"] == "tricky.csv.manifest.json"


def test_command_reads_the_query_from_a_file_and_writes_standard_output(folder):
    (folder / "q.sql").write_text("SELECT id\nFROM tricky WHERE id < 3 -- few\n;\n")
    done = run(*("pgexport", "--query", "@q.sql", "-c", "pgmonkey.yaml", "-o", "-"), cwd=folder)
    assert (done.code, done.stdout) == (0, "id\n1\n2\n")
    assert "exported 2 rows to standard output" in done.stderr


def test_settings_file_of_an_import_says_how_its_csv_is_written(folder):
    (folder / "tricky.yaml").write_text("delimiter: ';'\nquotechar: \"'\"\nencoding: cp1252\n")
    words = ("pgexport", "--table", "tricky", "-c", "pgmonkey.yaml", "--columns", "id,at")
    done = run(*words, "--where", "id < 3", "--force-quote", "at", cwd=folder)
    assert done.code == 0
    assert "settings: tricky.yaml" in done.stderr
    assert (folder / "tricky.csv").read_text().splitlines()[0] == "id;at"
    assert (folder / "tricky.csv").read_text().splitlines()[2].startswith("2;'2024-02-29")
    done = run(*words, "--delimiter", "|", "--overwrite", cwd=folder)
    assert (folder / "tricky.csv").read_text().startswith("id|at")
    (folder / "tricky.yaml").write_text("delimiter: ';;'\n")
    done = run(*words, "-o", "tricky.csv.gz", cwd=folder)
    assert (done.code, "tricky.yaml:1:12: delimiter:" in done.stderr) == (2, True)
    assert not (folder / "tricky.csv.gz").exists()


def test_closed_pipe_is_quiet(folder, conn):
    make_large(conn)
    command = f"{sys.executable} -m pgmonkey pgexport --table large -c pgmonkey.yaml -o -"
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -n 1; echo ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("id,note,filler\n0\n", "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("pgexport --query 'SELECT 1' -o - >&-", "standard output: is closed; nothing was written"),
        ("pgexport --query @- -o - <&-", "standard input is closed; nothing can be read from it"),
        ("pgimport --table t --import_file - <&-", "<stdin>: is closed; nothing can be read"),
    ],
)
def test_standard_stream_that_is_closed_is_told_and_the_server_gets_nothing_of_it(
    folder, words, message
):
    """The connection would have its number, and rows would go to the server as messages."""
    verb, rest = words.split(" ", 1)
    line = f"{sys.executable} -m pgmonkey {verb} -c pgmonkey.yaml {rest}"
    done = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, cwd=folder, timeout=60, check=False
    )
    assert (done.returncode, message in done.stderr, done.stdout) == (4, True, "")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_encoding_of_the_connection_is_not_that_of_names_and_files(
    conn, database, tmp_path, encoding
):
    conn.execute('CREATE TABLE "größe €" ("länge" text)')
    conn.execute('INSERT INTO "größe €" VALUES (%s)', ["ä € 漢"])
    args = database.dsn_args(client_encoding=encoding)
    connect = partial(psycopg.connect, **args, autocommit=True)
    with connect() as odd:
        export_csv(odd, tmp_path / "o.csv", table='"größe €"')
        assert (tmp_path / "o.csv").read_text("utf-8") == "länge\nä € 漢\n"
        for jobs in (1, 2):
            import_csv(odd, tmp_path / "o.csv", '"größe €"', connect=connect, jobs=jobs)
        import_csv(odd, tmp_path / "o.csv", "neu_ö", types="text", on_error="skip")
        assert odd.info.parameter_status("client_encoding") == encoding
        assert odd.info.transaction_status == pq.TransactionStatus.IDLE
    assert conn.execute('SELECT * FROM "größe €"').fetchall() == [("ä € 漢",)] * 3
    assert conn.execute("SELECT * FROM neu_ö").fetchall() == [("ä € 漢",)]


def test_database_without_an_encoding_is_exported_and_imported(server: PgServer, folder):
    with server.admin() as admin:
        admin.execute(
            "CREATE DATABASE asciidb OWNER app ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'"
            " TEMPLATE template0"
        )
    try:
        config = folder / "ascii.yaml"
        config.touch(mode=0o600)
        settings = server.dsn_args(dbname="asciidb")
        config.write_text(json.dumps({"connection_settings": settings}))
        (folder / "in.csv").write_text("id,größe\n1,ä\n2,€\n", "utf-8")
        done = run("pgimport", "-c", config, "--table", "t", "--import_file", "in.csv", cwd=folder)
        assert (done.code, 'CREATE TABLE "public"."t"' in done.stderr) == (0, True)
        done = run("pgexport", "-c", config, "--table", "t", "-o", "-", cwd=folder)
        assert (done.code, done.stdout) == (0, "id,größe\n1,ä\n2,€\n")
    finally:
        with server.admin() as admin:
            admin.execute("DROP DATABASE asciidb WITH (FORCE)")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ((), 2, "export what? give --table"),
        (("--table", "tricky", "--query", "TABLE tricky"), 2, "exclude each other"),
        (("--query", "TABLE tricky"), 2, "--query needs a file"),
        (("--table", "tricky", "-o", "-", "--json"), 2, "both want standard output"),
        (("--table", "tricky", "-o", "-", "--manifest"), 2, "no place for"),
        (("--table", "tricky", "--columns", "id,,x"), 2, "is not a list of columns"),
        (("--table", "tricky", "--columns", "nosuch"), 2, "has no column 'nosuch'"),
        (("--table", "tricky", "--limit", "0"), 2, "whole number above 0"),
        (("--table", "tricky", "--delimiter", "ab"), 2, "not one ASCII character"),
        (("--table", "nosuch"), 4, "no table 'nosuch'"),
        (("--table", "a b"), 2, "is not a table's name"),
        (("--table", "tricky", "-o", "/"), 4, "is a folder"),
        (("--table", "tricky", "-o", "nosuch/x.csv"), 4, "nosuch/x.csv: No such file"),
        (("--table", "tricky", "-o", "/dev/full"), 4, "/dev/full: No space left"),
        (("--query", "@nosuch.sql", "-o", "-"), 4, "nosuch.sql: No such file"),
        (("--query", "SELEC", "-o", "x.csv"), 4, "syntax error at or near"),
        (("--table", "pg_authid"), 4, "permission denied"),
        (("--table", "tricky", "--encoding", "utf-16"), 2, "--encoding: the server cannot"),
    ],
)
def test_wrong_request_is_one_line_and_leaves_no_file(folder, words, code, message):
    before = sorted(p.name for p in folder.iterdir())
    done = run("pgexport", *words, "-c", "pgmonkey.yaml", cwd=folder)
    assert (done.code, done.stdout if "--json" not in words else "") == (code, "")
    assert message in done.stderr.splitlines()[0]
    assert "Traceback" not in done.stderr
    assert sorted(p.name for p in folder.iterdir()) == before


def test_progress_is_shown_where_it_is_asked_for(folder, conn):
    make_large(conn)
    words = ("pgexport", "--table", "large", "-c", "pgmonkey.yaml", "--progress", "always")
    slow = run(*words, "--where", "id % 60 > 0 OR pg_sleep(0.001) IS NOT NULL", cwd=folder)
    assert slow.code == 0
    assert " rows, " in slow.stderr.split("exported")[0]


@pytest.mark.parametrize("encoding", ["utf-16", "klingon"])
def test_encoding_that_the_server_cannot_write_is_refused(any_conn, tmp_path, encoding):
    with pytest.raises(RequestError, match=f"--encoding: the server cannot write '{encoding}'; it"):
        export_csv(any_conn, tmp_path / "x.csv", query="SELECT 1 AS a", encoding=encoding)
    assert list(tmp_path.iterdir()) == []
