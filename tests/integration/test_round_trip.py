"""Export then import is the identical table, whatever its types, values and names.

psql stands on either side too: it reads what we write, and we read what it writes.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from itertools import chain
from typing import Any, TypeAlias

import psycopg
import pytest
import yaml
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from psycopg import sql

from pgmonkey.errors import TransferError
from pgmonkey.transfer import export_csv, import_csv
from support.psql import psql
from support.server import Database

# What is text and looks like something else, to CSV or to COPY.
NASTY = [
    *(
        "",
        " ",
        "NULL",
        "null",
        r"\N",
        r"\.",
        "\\",
        '"',
        '""',
        "'",
        ",",
        ";",
        "\t",
        "\n",
        "\r",
        "\r\n",
    ),
    *(
        "\r\n\\.\r\n",
        "\n\\.\n",
        'a,"b"\nc',
        " spaced ",
        "00501",
        "1e5",
        "TRUE",
        "=1+1",
        "\ufeffbom",
    ),
    *("\N{MONKEY}", "e\u0301", "\u2028", "\x7f", "\x01", "#", "--", "''", '"quoted"', '"open'),
]
# Literals of every built-in type that has an input function, beside each other.
SAMPLES = {
    "bool": ["t", "f"],
    "bytea": ["", r"\x", r"\x00ff5c2e0a"],
    '"char"': ["a", "", "\\"],
    "name": ["n", "", 'a "b"'],
    "int2": ["-32768", "0"],
    "int4": ["-2147483648", "7"],
    "int8": ["9223372036854775807", "-1"],
    "numeric": ["NaN", "0.00", "-1e-30", "12345678901234567890.10"],
    "float4": ["NaN", "-Infinity", "1.1754944e-38"],
    "float8": ["Infinity", "-0", "2.2250738585072014e-308", "0.1"],
    "money": ["-1234567.89"],
    "text": NASTY,
    "varchar": NASTY,
    "bpchar": ["x  ", "", 'a"b'],
    "date": ["infinity", "-infinity", "0044-03-15 BC", "2024-02-29"],
    "time": ["24:00:00", "00:00:00.000001"],
    "timetz": ["12:00:00+05:30"],
    "timestamp": ["infinity", "294276-12-31 23:59:59.999999", "4713-01-01 00:00:00 BC"],
    "timestamptz": ["-infinity", "2024-02-29 23:59:60+00", "1900-01-01 00:00:00+00"],
    "interval": ["-178000000 years", "1 mon -1 day +00:00:00.000001", "0"],
    "uuid": ["00000000-0000-0000-0000-000000000000"],
    "json": ['{"a": "\\n,\\"\\u20ac"}', "null", '""', " [1,  2]\n"],
    "jsonb": ['{"b": [1, null, "x,y"], "a": 1e3}', "null", '""'],
    "jsonpath": ['$."a b"[*] ? (@.c > 1)'],
    "inet": ["10.1.2.3/8", "::1"],
    "cidr": ["10.0.0.0/8", "2001:db8::/32"],
    "macaddr": ["08:00:2b:01:02:03"],
    "macaddr8": ["08:00:2b:01:02:03:04:05"],
    "bit": ["1", "0"],
    "varbit": ["", "010101"],
    "point": ["(1.5,-2)", "(NaN,Infinity)"],
    "line": ["{1,-1,0}"],
    "lseg": ["[(0,0),(1,1)]"],
    "box": ["(1,1),(0,0)"],
    "path": ["[(0,0),(1,1)]", "((0,0),(1,1),(2,0))"],
    "polygon": ["((0,0),(1,1),(2,0))"],
    "circle": ["<(1,2),3>"],
    "tsvector": ["", "'a':1 'b c':2A '\"x\"'"],
    "tsquery": ["", "'a' & !'b c' <-> 'd':*"],
    "pg_lsn": ["16/B374D848"],
    "oid": ["4294967295"],
    "tid": ["(4294967295,65535)"],
    "xid": ["4294967295"],
    "xid8": ["18446744073709551615"],
    "cid": ["4294967295"],
    "int2vector": ["1 2 3"],
    "oidvector": ["", "1 2 3"],
    "refcursor": ["", "a,b"],
    "txid_snapshot": ["10:20:10,14,15"],
    "pg_snapshot": ["10:20:10,14,15"],
    "regclass": ["pg_class"],
    "regcollation": ['"C"'],
    "regconfig": ["english"],
    "regdictionary": ["simple"],
    "regnamespace": ["pg_catalog"],
    "regoper": ["pg_catalog.||/"],
    "regoperator": ["+(integer,integer)"],
    "regproc": ["now"],
    "regprocedure": ["sum(integer)"],
    "regrole": ["postgres"],
    "regtype": ["timestamp with time zone", '"char"'],
    "aclitem": ["postgres=arwdDxt/postgres"],
    "int4range": ["empty", "[1,5)", "(,)"],
    "int8range": ["[1,)"],
    "numrange": ["(1.5,2.5]"],
    "tsrange": ['["2024-01-01 00:00:00",infinity)'],
    "tstzrange": ['["2024-01-01 00:00:00+00","2024-01-02 00:00:00+00")'],
    "daterange": ["[2024-01-01,2024-02-01)"],
    "int4multirange": ["{}", "{[1,3),[5,7)}"],
    "int8multirange": ["{(,1)}"],
    "nummultirange": ["{[1.5,2.5]}"],
    "tsmultirange": ['{["2024-01-01 00:00:00","2024-01-02 00:00:00")}'],
    "tstzmultirange": ["{}"],
    "datemultirange": ["{[2024-01-01,2024-02-01)}"],
    "xml": ['<a b="c">\n,"</a>', ""],
}
# Types without literals: their input functions refuse everything.
NO_LITERALS = {
    *("gtsvector", "pg_node_tree", "pg_ndistinct", "pg_dependencies", "pg_mcv_list"),
    *("pg_brin_bloom_summary", "pg_brin_minmax_multi_summary", "pg_ddl_command"),
}

END_TO_PSQL = re.compile(r"^\\\.\r?$", re.MULTILINE)

# A literal, NULL, or the elements of an array.
Value: TypeAlias = "str | list[str | None] | None"

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
texts = st.one_of(st.sampled_from(NASTY), texts, st.lists(st.sampled_from(NASTY)).map("".join))
names = texts.filter(lambda name: 0 < len(name.encode()) <= 63)


@pytest.fixture
def conn(database: Database):
    with psycopg.connect(**database.dsn_args(), autocommit=True) as conn:
        yield conn


def types_of(conn: psycopg.Connection[Any]) -> list[str]:
    """Return the types of SAMPLES that this server has."""
    return [t for t in SAMPLES if conn.execute("SELECT to_regtype(%s)", [t]).fetchone() != (None,)]


def make(
    conn: psycopg.Connection[Any], columns: dict[str, str], rows: list[tuple[Value, ...]]
) -> None:
    """Make the table ``source`` with *rows*, given as literals, and an empty one like it."""
    described = sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(type_))
        for name, type_ in columns.items()
    )
    conn.execute("DROP TABLE IF EXISTS source, target")
    conn.execute(sql.SQL("CREATE TABLE source ({})").format(described))
    conn.execute("CREATE TABLE target (LIKE source)")
    for row in rows:
        values = sql.SQL(", ").join(map(as_sql, row, columns.values()))
        conn.execute(sql.SQL("INSERT INTO source VALUES ({})").format(values))


def as_sql(value: Value, type_: str) -> sql.Composed:
    """Return *value* as an expression of its type; a list is an array of literals."""
    if not isinstance(value, list):
        return sql.SQL("{}::text::{}").format(sql.Literal(value), sql.SQL(type_))
    elements = [as_sql(element, type_.removesuffix("[]")) for element in value]
    return sql.SQL("ARRAY[{}]::{}").format(sql.SQL(", ").join(elements), sql.SQL(type_))


def assert_identical(conn: psycopg.Connection[Any]) -> None:
    """The two tables hold the same rows, NULL and '' told apart, in the same order."""
    columns = [
        sql.SQL("{}::text").format(sql.Identifier(row[0]))
        for row in conn.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = 'source'::regclass"
            " AND attnum > 0 ORDER BY attnum"
        )
    ]
    source, target = (
        conn.execute(
            sql.SQL("SELECT {} FROM {}").format(sql.SQL(", ").join(columns), sql.Identifier(name))
        ).fetchall()
        for name in ("source", "target")
    )
    assert len(source) == len(target)
    differ = [
        (column.as_string(conn), was, now)
        for before, after in zip(source, target, strict=True)
        for column, was, now in zip(columns, before, after, strict=True)
        if was != now
    ]
    assert differ == []


def test_every_built_in_type_has_samples(conn):
    known = {
        row[0]
        for row in conn.execute(
            "SELECT typname FROM pg_type WHERE typtype IN ('b', 'r', 'm') AND typelem = 0"
            " AND typnamespace = 'pg_catalog'::regnamespace"
            " UNION SELECT unnest('{point,line,lseg,box,name,int2vector,oidvector}'::text[])"
        )
    }
    assert known - NO_LITERALS <= {name.strip('"') for name in SAMPLES}


@pytest.mark.parametrize("reader", ["pgmonkey", "psql"])
def test_every_built_in_type_and_arrays_of_it_come_back_as_they_were(
    conn, database, tmp_path, reader
):
    types = types_of(conn)
    try:
        conn.execute("SELECT ''::xml")
    except psycopg.errors.FeatureNotSupported:
        types.remove("xml")  # a server that was built without it
    # Before PostgreSQL 14, these two are arrays themselves and can be in none.
    vectors = ("int2vector", "oidvector") if conn.info.server_version < 140000 else ()
    elements = [t for t in types if t not in vectors]
    columns = {t: t for t in types} | {f"{t}[]": f"{t}[]" for t in elements}
    rows: list[tuple[Value, ...]] = [(None,) * len(columns)]
    samples = [
        [v for v in SAMPLES[t] if reader == "pgmonkey" or not END_TO_PSQL.search(v)] for t in types
    ]
    for i in range(max(map(len, samples))):
        row = {t: values[i % len(values)] for t, values in zip(types, samples, strict=True)}
        arrays = ([row[t], None, row[t]] if i else [] for t in elements)
        rows.append((*row.values(), *arrays))
    make(conn, columns, rows)
    export_csv(conn, tmp_path / "o.csv", table="source")
    if reader == "pgmonkey":
        import_csv(conn, tmp_path / "o.csv", "target")
    else:
        psql(database.dsn_args(), r"\copy target from 'o.csv' csv header", tmp_path)
    assert_identical(conn)


rows_of_text = st.integers(1, 4).flatmap(
    lambda width: st.tuples(
        st.lists(names, min_size=width, max_size=width, unique=True),
        st.lists(st.tuples(*[st.one_of(st.none(), texts)] * width), max_size=6),
    )
)
PROPERTY = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@PROPERTY
@given(table=rows_of_text, force=st.booleans(), delimiter=st.sampled_from(",;\t|"))
def test_any_text_under_any_names_comes_back_as_it_was(conn, tmp_path, table, force, delimiter):
    names, rows = table
    # As the first character of a file this is a byte order mark, and nothing else can be.
    assume(not names[0].startswith("\ufeff"))
    make(conn, dict.fromkeys(names, "text"), rows)
    export_csv(
        conn,
        tmp_path / "o.csv",
        table="source",
        force_quote=["*"] if force else (),
        delimiter=delimiter,
        overwrite=True,
    )
    import_csv(conn, tmp_path / "o.csv", "target", delimiter=delimiter)
    assert_identical(conn)


@settings(PROPERTY, max_examples=15)
@given(table=rows_of_text)
@example(table=(["''"], [("''",), ("'a'",)]))
def test_psql_reads_ours_and_we_read_what_psql_writes(conn, database, tmp_path, table):
    names, rows = table
    # Before 18, psql takes a line of these two characters for the end, even inside quotes.
    assume(not any(END_TO_PSQL.search(value or "") for value in (*names, *chain(*rows))))
    assume(not names[0].startswith("\ufeff"))
    make(conn, dict.fromkeys(names, "text"), rows)
    export_csv(conn, tmp_path / "ours.csv", table="source", overwrite=True)
    psql(database.dsn_args(), r"\copy target from 'ours.csv' csv header", tmp_path)
    assert_identical(conn)
    conn.execute("TRUNCATE target")
    psql(database.dsn_args(), r"\copy source to 'theirs.csv' csv header", tmp_path)
    assert (tmp_path / "theirs.csv").read_bytes() == (tmp_path / "ours.csv").read_bytes()
    import_csv(conn, tmp_path / "theirs.csv", "target", delimiter=",")
    assert_identical(conn)


def test_pipe_copies_a_table_between_two_databases(conn, config_dict, server, tmp_path):
    conn.execute("CREATE TABLE item (id int PRIMARY KEY, name text)")
    conn.execute("INSERT INTO item SELECT i, 'a \"b\"\n' || i FROM generate_series(1, 20000) AS i")
    with server.database() as other:
        configs = []
        for number, args in enumerate((config_dict["connection_settings"], other.dsn_args())):
            configs.append(tmp_path / f"{number}.yaml")
            configs[-1].touch(mode=0o600)
            configs[-1].write_text(yaml.safe_dump({"connection_settings": args}))
        with psycopg.connect(**other.dsn_args(), autocommit=True) as there:
            there.execute("CREATE TABLE item (id int PRIMARY KEY, name text)")
            command = (
                '"$0" -m pgmonkey pgexport --table item -c 0.yaml -o - |'
                ' "$0" -m pgmonkey pgimport --table item -c 1.yaml --import_file -'
            )
            done = subprocess.run(
                ["bash", "-c", f"set -o pipefail; {command}", sys.executable],
                cwd=tmp_path,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            assert (done.returncode, done.stdout) == (0, ""), done.stderr
            query = "SELECT count(*), sum(hashtextextended(item::text, 0)) FROM item"
            assert there.execute(query).fetchone() == conn.execute(query).fetchone()
            assert sorted(path.name for path in tmp_path.iterdir()) == ["0.yaml", "1.yaml"]


def test_changed_file_with_a_manifest_is_not_imported(conn, tmp_path):
    make(conn, {"id": "int", "name": "text"}, [("1", "one"), ("2", "two")])
    file = tmp_path / "o.csv"
    export_csv(conn, file, table="source", manifest=True)
    file.write_text(file.read_text().replace("two", "too"))
    with pytest.raises(TransferError, match="SHA-256"):
        import_csv(conn, file, "target")
    assert conn.execute("SELECT count(*) FROM target").fetchone() == (0,)
    export_csv(conn, file, table="source", manifest=True, overwrite=True)
    import_csv(conn, file, "target")
    assert_identical(conn)
