"""CSV through `docker run`: from standard input, to standard output, and stopped on the way."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import psycopg
import pytest

from support.image import docker, env, handles
from support.wait import until

TIGHT = ("--read-only", "--cap-drop", "ALL")
ROWS = "id,name\n1,lamp\n2,desk\n"
# Seconds that `docker stop` waits before it kills, which would end with 137.
PROMISED = 2


@pytest.fixture
def application(variables: dict[str, str]) -> str:
    """The name by which the server knows the sessions of this test's containers."""
    variables["PGAPPNAME"] = f"image-{variables['PGDATABASE']}"
    return variables["PGAPPNAME"]


def item(database) -> list[tuple[int, str]] | None:
    """Return the rows of the table item, None where there is no such table."""
    with psycopg.connect(**database.dsn_args()) as conn:
        if conn.execute("SELECT to_regclass('item')").fetchone() == (None,):
            return None
        return conn.execute("SELECT id, name FROM item ORDER BY id").fetchall()


@pytest.mark.parametrize("user", [(), ("--user", "12345:12345")])
def test_import_reads_standard_input(image, variables, database, user):
    options = (*TIGHT, *user, *env(variables))
    done = image.run(
        "pgimport", "--table", "item", "--import_file", "-", options=options, stdin=ROWS
    )
    assert done.code == 0, done.stderr
    assert item(database) == [(1, "lamp"), (2, "desk")]


def test_import_that_fails_says_so_with_4_and_loads_nothing(image, variables, database):
    argv = ("pgimport", "--table", "item", "--import_file", "-", "--types", "id=integer")
    done = image.run(*argv, options=(*TIGHT, *env(variables)), stdin=f"{ROWS}three,bed\n")
    assert (done.code, item(database)) == (4, None), done.stderr


def test_file_in_a_folder_that_cannot_be_written_is_imported(image, variables, database):
    with image.volume({"items.csv": (ROWS, 0, 0, 0o644)}) as volume:
        options = (*TIGHT, "-v", f"{volume}:/work:ro", *env(variables))
        done = image.run(
            "pgimport", "--table", "item", "--import_file", "items.csv", options=options
        )
    assert done.code == 0, done.stderr
    assert item(database) == [(1, "lamp"), (2, "desk")]


def test_export_writes_standard_output_and_nothing_else_there(image, variables):
    query = "SELECT * FROM (VALUES (1, 'lamp'), (2, NULL)) AS t (id, name)"
    argv = ("pgexport", "--query", query, "--export_file", "-")
    done = image.run(*argv, options=(*TIGHT, *env(variables)))
    assert (done.code, done.stdout) == (0, "id,name\n1,lamp\n2,\n"), done.stderr


def test_container_pipes_into_container(image, variables, database):
    export = image.command(
        "pgexport",
        *("--query", "SELECT n AS id, 'x' AS name FROM generate_series(1, 5000) AS n"),
        *("--export_file", "-"),
        options=env(variables),
    )
    load = image.command(
        "pgimport", "--table", "item", "--import_file", "-", options=env(variables)
    )
    nothing = subprocess.DEVNULL
    with subprocess.Popen(["docker", *export], stdout=subprocess.PIPE, stdin=nothing) as first:
        second = subprocess.run(["docker", *load], stdin=first.stdout, check=False)
    assert (first.returncode, second.returncode) == (0, 0)
    rows = item(database)
    assert rows is not None
    assert len(rows) == 5000


@pytest.mark.parametrize(
    "running", [True, False], ids=["in the middle of a COPY", "waiting for data"]
)
def test_stopped_import_ends_with_143_and_is_rolled_back(
    image, variables, database, server, application, tmp_path: Path, running: bool
):
    cid = tmp_path / "cid"
    options = ("--cidfile", str(cid), *TIGHT, *env(variables))
    process = image.start("pgimport", "--table", "item", "--import_file", "-", options=options)
    assert process.stdin is not None
    if running:
        # More than the sample that the types are inferred from, so that the load begins.
        process.stdin.write(b"id,name\n" + b"".join(b"%d,lamp\n" % n for n in range(500_000)))
        process.stdin.flush()
        with server.admin(database.name) as conn:
            copying = (
                "SELECT 1 FROM pg_stat_activity WHERE application_name = %s AND query LIKE 'COPY%%'"
            )
            until(lambda: conn.execute(copying, [application]).fetchone() is not None)
    else:
        until(lambda: cid.exists() and handles(cid.read_text(), signal.SIGTERM))
    stopped = docker("stop", "-t", str(PROMISED), cid.read_text())
    _, stderr = process.communicate()
    assert (stopped.code, process.returncode) == (0, 143), stderr.decode()
    until(lambda: server.sessions(application) == 0)
    assert item(database) is None
