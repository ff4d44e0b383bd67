"""``pgimport --on-error skip`` as a user runs it: exit codes, the summary, and a run that is killed."""

from __future__ import annotations

import csv
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from support.cli import run
from support.wait import until

ROOT = Path(__file__).parent.parent.parent
README = ROOT / "README.md"
ROWS = "id,name,qty\n1,a,1\n2,b,many\n3,c,3\n3,d,3\n"


@pytest.fixture
def folder(config_file: Path, database: Any) -> Path:
    with psycopg.connect(**database.dsn_args()) as conn:
        conn.execute("CREATE TABLE stock (id int PRIMARY KEY, name text, qty int)")
    (config_file.parent / "stock.csv").write_text(ROWS)
    return config_file.parent


def pgimport(folder: Path, *options: str) -> Any:
    return run(
        "pgimport", "--table", "stock", "-c", folder / "pgmonkey.yaml",
        "--import_file", "stock.csv", *options, cwd=folder,
    )  # fmt: skip


def stock(database: Any) -> list[int]:
    with psycopg.connect(**database.dsn_args()) as conn:
        return [row[0] for row in conn.execute("SELECT id FROM stock ORDER BY id")]


def test_summary_counts_the_rejects_and_the_exit_code_is_0(folder, database):
    done = pgimport(folder, "--on-error", "skip", "--rejects", "bad.csv")
    assert (done.code, done.stdout) == (0, "")
    assert re.search(r"imported 2 rows into stock .*, 2 rejected \(see bad\.csv\)", done.stderr)
    assert stock(database) == [1, 3]
    with (folder / "bad.csv").open(newline="") as file:
        assert [row[1:4] for row in csv.reader(file)][1:] == [
            ["3", "qty", "22P02"],
            ["5", "", "23505"],
        ]


def test_without_a_rejects_file_the_first_rejected_rows_are_said(folder, database):
    (folder / "stock.csv").write_text(ROWS + "x,e,5\ny,f,6\n")
    done = pgimport(folder, "--on-error", "skip")
    assert (done.code, stock(database)) == (0, [1, 3])
    said = [line for line in done.stderr.splitlines() if line.startswith("warning: stock.csv:")]
    assert [line.split(": ")[1] for line in said] == [f"stock.csv:{n}" for n in (3, 5, 6)]
    assert "column qty: invalid input syntax for type integer" in said[0]
    assert "--rejects FILE keeps all" in done.stderr
    again = pgimport(
        folder, "--on-error", "skip", "--mode", "upsert", "--key", "id", "--rejects", "b"
    )
    assert "warning" not in again.stderr


@pytest.mark.parametrize("limit", ["1", "49%"])
def test_beyond_max_errors_the_exit_code_is_1_and_nothing_is_loaded(folder, database, limit):
    done = pgimport(folder, "--on-error", "skip", "--rejects", "bad.csv", "--max-errors", limit)
    assert (done.code, done.stdout) == (1, "")
    assert "PGM414" in done.stderr
    assert "stock.csv:5: 2 rows are bad" in done.stderr
    assert stock(database) == []
    assert not (folder / "bad.csv").exists()


@pytest.mark.parametrize("options", [("--rejects", "bad.csv"), ("--max-errors", "1")])
def test_options_of_skip_without_it_are_refused(folder, database, options):
    done = pgimport(folder, *options)
    assert done.code == 2
    assert stock(database) == []


def test_recipe_of_the_readme_gives_a_file_to_correct_and_import(folder, database):
    recipe = re.search(r"^```\n(head -n 1 orders.*?)^```", README.read_text(), re.S | re.M)
    assert recipe is not None
    command = recipe[1].replace("orders.csv", "stock.csv").replace("rejected.csv", "bad.csv")
    pgimport(folder, "--on-error", "skip", "--rejects", "bad.csv")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(command, shell=True, cwd=folder, check=True, env={"PATH": path})
    again = folder / "again.csv"
    assert again.read_text() == "id,name,qty\n2,b,many\n3,d,3\n"
    again.write_text(again.read_text().replace("many", "2").replace("3,d", "4,d"))
    done = run(
        *shlex.split("pgimport --table stock -c pgmonkey.yaml --import_file again.csv"), cwd=folder
    )
    assert (done.code, stock(database)) == (0, [1, 2, 3, 4])


@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM", "SIGINT", "backend"])
@pytest.mark.parametrize("bad", [1000, 7], ids=["few", "many"])
def test_load_that_is_killed_leaves_table_and_rejects_as_they_were(
    folder, server, database, how, bad
):
    with psycopg.connect(**database.dsn_args()) as conn:
        conn.execute("INSERT INTO stock VALUES (-1, 'there', 1)")
    earlier = b"file,line,column,sqlstate,reason,row\nof last time\n"
    (folder / "bad.csv").write_bytes(earlier)
    before = sorted(path.name for path in folder.iterdir())
    # The command waits for the rest of its standard input while the first part is loaded.
    process = subprocess.Popen(
        [
            sys.executable, "-m", "pgmonkey", "pgimport", "--table", "stock", "-c", "pgmonkey.yaml",
            "--import_file", "-", "--mode", "replace", "--yes",
            "--on-error", "skip", "--rejects", "bad.csv",
        ],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdin is not None
    with process, server.admin() as admin:
        lines = (f"{i},n,{'x' if i % bad == 0 else i}\n" for i in range(150_000))
        process.stdin.write(b"id,name,qty\n" + "".join(lines).encode())
        process.stdin.flush()
        busy = "SELECT pid FROM pg_stat_activity WHERE datname = %s AND backend_xid IS NOT NULL"
        until(lambda: admin.execute(busy, [database.name]).fetchone() is not None)
        if how == "backend":
            (pid,) = admin.execute(busy, [database.name]).fetchone()
            server.terminate("pid", pid)
            process.stdin.close()  # it reads on, and finds out when it sends
        else:
            process.send_signal(getattr(signal, how))
        process.stdin = None if how == "backend" else process.stdin
        code = process.wait(60)
        sessions = "SELECT FROM pg_stat_activity WHERE datname = %s"
        until(lambda: admin.execute(sessions, [database.name]).fetchone() is None)
    wanted = {"SIGKILL": -signal.SIGKILL, "SIGTERM": 143, "SIGINT": 130, "backend": 4}
    assert code == wanted[how]
    assert stock(database) == [-1]
    assert (folder / "bad.csv").read_bytes() == earlier
    assert sorted(path.name for path in folder.iterdir()) == before
