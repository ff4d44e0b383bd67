"""scripts/bulk_export and scripts/bulk_import: many tables or files, and an honest summary."""

from __future__ import annotations

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
import yaml

from support.cli import LIMIT
from support.server import Database, PgServer
from support.wait import until

SCRIPTS = Path(__file__).parent.parent.parent / "scripts"
APP = "bulk under test"


@pytest.fixture
def folder(config_dict: dict[str, Any], database: Database, tmp_path: Path) -> Path:
    """A folder with a config.yaml and a pgmonkey command; three tables in the database."""
    config_dict["connection_settings"]["application_name"] = APP
    config = tmp_path / "config.yaml"
    config.touch(mode=0o600)
    config.write_text(yaml.safe_dump(config_dict))
    tool = tmp_path / "pgmonkey"
    tool.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pgmonkey "$@"\n')
    tool.chmod(0o755)
    with psycopg.connect(**database.dsn_args()) as conn:
        conn.execute(
            """
            CREATE TABLE item (id int, name text);
            INSERT INTO item VALUES (1, 'lamp'), (2, NULL);
            CREATE SCHEMA shop;
            CREATE TABLE shop.item (id int);
            CREATE TABLE shop."Odd ""name""/x" (id int);
            INSERT INTO shop.item VALUES (3);
            """
        )
    return tmp_path


def environ(folder: Path) -> dict[str, str]:
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": os.pathsep.join(sys.path)}


def bulk(script: str, *words: str | Path, folder: Path, stdin: str = "") -> tuple[int, list[str]]:
    """Run a script in *folder*; return its exit code and the lines it said."""
    done = subprocess.run(
        [SCRIPTS / script, *words],
        cwd=folder,
        env=environ(folder),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.stdout == ""
    return done.returncode, done.stderr.splitlines()


def test_every_named_table_is_exported(folder):
    code, said = bulk(
        *("bulk_export", "-c", "config.yaml", "-d", "out", "public.item", "shop.item"),
        folder=folder,
    )
    assert (code, said[-1]) == (0, "2 tables: 2 done, 0 failed, 0 not tried"), said
    assert sorted(line.split(":")[0] for line in said[:-1]) == [
        "ok    public.item",
        "ok    shop.item",
    ]
    assert (folder / "out" / "item.csv").read_text() == "id,name\n1,lamp\n2,\n"
    assert (folder / "out" / "shop.item.csv").read_text() == "id\n3\n"


def test_whole_schema_is_exported_with_options_for_each(folder):
    code, said = bulk(
        *("bulk_export", "-c", "config.yaml", "-d", "out", "--schema", "shop", "-q"),
        *("--suffix", ".csv.gz", "--", "--manifest"),
        folder=folder,
    )
    assert (code, said) == (0, [])
    assert sorted(path.name for path in (folder / "out").iterdir()) == [
        'shop."Odd ""name""_x".csv.gz',
        'shop."Odd ""name""_x".csv.gz.manifest.json',
        "shop.item.csv.gz",
        "shop.item.csv.gz.manifest.json",
    ]


NAMES = ("mixed", '"Mixed"', '"a.b"', '"say ""hi"""', '"x.csv"', '"select"', '"größe"')


@pytest.mark.parametrize("schema", ["public", "shop", '"Old Shop"'])
def test_tables_come_back_under_their_names_in_another_database(folder, database, schema):
    with psycopg.connect(**database.dsn_args()) as conn:
        conn.execute(
            f"DROP TABLE item; DROP SCHEMA shop CASCADE; CREATE SCHEMA IF NOT EXISTS {schema}"
        )
        for number, name in enumerate(NAMES):
            conn.execute(f"CREATE TABLE {schema}.{name} AS SELECT {number} AS n")
    code, said = bulk(
        *("bulk_export", "-c", "config.yaml", "-d", "out", "--schema", schema.strip('"')),
        folder=folder,
    )
    assert code == 0, said
    with psycopg.connect(**database.dsn_args()) as conn:  # as good as another database
        conn.execute(f"DROP SCHEMA {schema} CASCADE; CREATE SCHEMA {schema}")
    code, said = bulk(
        "bulk_import", "-c", "config.yaml", *(folder / "out").iterdir(), folder=folder
    )
    assert code == 0, said
    with psycopg.connect(**database.dsn_args()) as conn:
        for number, name in enumerate(NAMES):
            found = conn.execute(f"SELECT n FROM {schema}.{name}").fetchall()
            assert found == [(number,)], name
        count = "SELECT count(*) FROM pg_tables WHERE schemaname = %s"
        assert conn.execute(count, [schema.strip('"')]).fetchone() == (len(NAMES),)


def test_dot_in_quotes_names_no_schema(folder, database):
    (folder / '"a.b".csv').write_text("n\n1\n")
    code, said = bulk(
        "bulk_import", "-c", "config.yaml", "--schema", "shop", '"a.b".csv', folder=folder
    )
    assert code == 0, said
    with psycopg.connect(**database.dsn_args()) as conn:
        assert conn.execute('SELECT n FROM shop."a.b"').fetchall() == [(1,)]


def test_failure_is_shown_and_the_rest_is_done(folder):
    code, said = bulk(
        *("bulk_export", "-c", "config.yaml", "-j", "1", "-"),
        folder=folder,
        stdin="nosuch\nitem\n",
    )
    assert (code, said[-1]) == (4, "2 tables: 1 done, 1 failed, 0 not tried")
    assert said[0] == "FAIL  nosuch: exit code 4"
    assert "error[PGM412]" in said[1]
    assert (folder / "item.csv").exists()


def test_stop_starts_nothing_more_after_a_failure(folder):
    code, said = bulk(
        *("bulk_export", "-c", "config.yaml", "-j", "1", "--stop", "nosuch", "item", "shop.item"),
        folder=folder,
    )
    assert (code, said[-1]) == (4, "3 tables: 0 done, 1 failed, 2 not tried")
    assert not list(folder.glob("*.csv"))


@pytest.mark.parametrize("words", [[], ["--nonsense"], ["-j", "0", "item"], ["-c", "-", "item"]])
@pytest.mark.parametrize("script", ["bulk_export", "bulk_import"])
def test_wrong_use_is_exit_code_2(folder, script, words):
    code, said = bulk(script, *words, folder=folder)
    assert (code, len(said)) == (2, 1)
    assert said[0].startswith(f"{script}: ")


@pytest.mark.parametrize("script", ["bulk_export", "bulk_import"])
def test_help_is_the_head_of_the_script(folder, script):
    done = subprocess.run([SCRIPTS / script, "--help"], capture_output=True, text=True, check=False)
    text, _, _ = (SCRIPTS / script).read_text().partition("set -euo")
    head = "".join(line[2:] or "\n" for line in text.splitlines(keepends=True)[1:])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == head


@pytest.mark.parametrize(("which", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_ends_what_runs_and_leaves_nothing(folder, server: PgServer, which, code):
    process = subprocess.Popen(
        [
            *(SCRIPTS / "bulk_export", "-c", "config.yaml", "-d", "out", "item", "shop.item"),
            *("item", "--", "--where", "pg_sleep(600) IS NOT NULL"),
        ],
        cwd=folder,
        env=environ(folder),
        stderr=subprocess.PIPE,
        text=True,
        # Popen's child would ignore what pytest's own parent ignores.
        restore_signals=True,
    )
    until(lambda: server.sessions(APP) == 2)
    process.send_signal(which)
    _, said = process.communicate(timeout=LIMIT)
    assert process.returncode == code, said
    assert said.splitlines()[-1] == "3 tables: 0 done, 2 failed, 1 not tried"
    assert list((folder / "out").iterdir()) == []
    until(lambda: server.sessions(APP) == 0)


def test_files_go_into_the_tables_they_are_named_after(folder, database):
    (folder / "item.csv").write_text("id,name\n3,chair\n")
    (folder / "shop.item.csv").write_text("id\n4\n5\n")
    (folder / "2024-05-01.csv").write_text("id,name\n6,table\n")
    code, said = bulk(
        *("bulk_import", "-c", "config.yaml", "item.csv", "shop.item.csv", "item=2024-05-01.csv"),
        folder=folder,
    )
    assert (code, said[-1]) == (0, "3 files: 3 done, 0 failed, 0 not tried"), said
    with psycopg.connect(**database.dsn_args()) as conn:
        assert conn.execute("SELECT id FROM item ORDER BY 1").fetchall() == [(1,), (2,), (3,), (6,)]
        assert conn.execute("SELECT id FROM shop.item ORDER BY 1").fetchall() == [(3,), (4,), (5,)]


def test_bad_file_is_rolled_back_and_shown_and_the_rest_is_imported(folder, database):
    (folder / "item.csv").write_text("id,name\n3,chair\nx,table\n")
    (folder / "item2.csv").write_text("id\n4\n")
    code, said = bulk(
        *("bulk_import", "-c", "config.yaml", "-j", "1", "--schema", "shop", "-q"),
        *("item=item.csv", "item2.csv", "nosuch.csv"),
        folder=folder,
    )
    assert (code, said[-1]) == (4, "3 files: 1 done, 2 failed, 0 not tried")
    assert "FAIL  item.csv: exit code 4" in said
    assert "FAIL  nosuch.csv: exit code 4" in said
    assert any("item.csv:3: " in line for line in said)
    with psycopg.connect(**database.dsn_args()) as conn:
        assert conn.execute("SELECT count(*) FROM item").fetchone() == (2,)
        assert conn.execute("SELECT id FROM shop.item2").fetchall() == [(4,)]


def test_scripts_of_the_readme_run(folder, database):
    with psycopg.connect(**database.dsn_args()) as conn:
        conn.execute("CREATE SCHEMA sales; CREATE TABLE sales.customers (name text)")
    readme = (SCRIPTS.parent / "README.md").read_text(encoding="utf-8")
    lines = re.findall(r"^scripts/(bulk_.*)$", readme, re.MULTILINE)
    assert len(lines) == 3
    for line in lines:
        code, said = bulk(*shlex.split(line), folder=folder)
        assert code == 0, said
    with psycopg.connect(**database.dsn_args()) as conn:
        assert conn.execute("SELECT count(*) FROM item").fetchone() == (4,)
