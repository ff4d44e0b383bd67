"""Every example of every help screen is run, as printed, in a folder as it assumes one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

from pgmonkey.cli.commands import COMMANDS, EXAMPLES, GROUPS
from support.server import Database

ALL = dict.fromkeys(
    [
        *EXAMPLES,
        *(example for group in GROUPS for example in group.examples),
        *(example for command in COMMANDS for example in command.examples),
    ]
)


@pytest.fixture
def folder(config_file: Path, tmp_path: Path) -> Path:
    """A folder with a config.yaml and an items.csv, and with pgmonkey and python3 on the PATH it is used with."""
    folder = tmp_path / "work"
    folder.mkdir()
    config_file.rename(folder / "config.yaml")
    (folder / "items.csv").write_text("name\nlamp\n")
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, words in (("pgmonkey", "-m pgmonkey"), ("python3", "")):
        tool = tools / name
        tool.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        tool.chmod(0o755)
    return folder


@pytest.mark.parametrize("example", ALL)
def test_example_runs_as_printed(example: str, folder: Path, database: Database):
    args = database.dsn_args()
    with psycopg.connect(**args) as conn:
        conn.execute("CREATE TABLE item (name text)")
    url = (
        f"postgresql://{args['user']}@{args['host']}:{args['port']}/{args['dbname']}"
        f"?sslmode={args['sslmode']}&sslrootcert={quote(args['sslrootcert'])}"
    )
    if "hostaddr" in args:
        url += f"&hostaddr={args['hostaddr']}"
    env = {
        **os.environ,
        "PATH": f"{folder.parent / 'tools'}:{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PGPASSWORD": args["password"],
        "DATABASE_URL": url,
    }
    done = subprocess.run(
        ["bash", "-c", f"set -e -o pipefail; {example}"],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "error[" not in done.stderr
    made = [path for path in folder.iterdir() if path.name not in ("config.yaml", "items.csv")]
    writes = any(word in example for word in (">", "new.yaml", "pgexport --table"))
    # The first import of a file writes its settings beside it.
    writes |= example.endswith("--import_file items.csv")
    assert len(made) == writes + ("--manifest" in example)
    for path in made:
        assert path.stat().st_size > 0
        if path.suffix == ".py":
            compile(path.read_text(), path.name, "exec")
    # A result appears where a user looks for it: in the file, or on the screen.
    if not made and not example.startswith("source"):
        assert done.stdout or "validate" in example or "imported 1 row" in done.stderr
