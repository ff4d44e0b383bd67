"""Every program that generate-code prints is run as printed, and logs in."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import pgmonkey
from pgmonkey.config.settings import CONNECTION_TYPES
from support import cli

# Seconds until a program that hangs fails its test.
LIMIT = 60

EVERY_PROGRAM = pytest.mark.parametrize(
    ("kind", "library"),
    [(kind, library) for library in ("pgmonkey", "psycopg") for kind in CONNECTION_TYPES],
)


def generate(*argv: str | Path, **how: Any) -> str:
    """Return what generate-code prints; nothing else may be said."""
    result = cli.run("pgconfig", "generate-code", *argv, **how)
    assert (result.code, result.stderr) == (0, "")
    compile(result.stdout, "program.py", "exec")
    return result.stdout


def run(program: str, folder: Path, **env: str) -> str:
    """Run a program from a file in *folder*, and return what it prints; warnings are errors."""
    (folder / "program.py").write_text(program, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "program.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(pgmonkey.__file__).parents[1]), **env},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


@EVERY_PROGRAM
def test_program_runs_as_printed_and_prints_its_row(
    config_file, config_dict, database, server, kind, library
):
    program = generate("-c", config_file, "--connection-type", kind, "--library", library)
    assert server.password not in program
    assert run(program, config_file.parent) == str((database.name, server.user))


@EVERY_PROGRAM
def test_program_resolves_the_references_of_the_file_by_itself(
    tmp_path, config_dict, database, server, kind, library
):
    (tmp_path / "password").write_text(server.password + "\n", encoding="utf-8")
    config_dict["connection_settings"] |= {
        "password": {"from_file": "password"},
        "host": "${APP_HOST:-localhost}",
        "dbname": {"from_env": "APP_DATABASE"},
        "keepalives": True,
    }
    config_dict["sync_settings"] = config_dict["async_settings"] = {"search_path": "shop, public"}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config_dict), encoding="utf-8")
    environment = {"APP_DATABASE": database.name}
    options = ["--connection-type", kind, "--library", library, "--resolve-env"]
    program = generate("-c", path, *options, env=environment)
    assert server.password not in program
    assert ", current_user" in program
    program = program.replace(", current_user", ", current_setting('search_path')")
    assert run(program, tmp_path, **environment) == str((database.name, "shop, public"))


@EVERY_PROGRAM
def test_program_without_a_file_lives_on_the_environment(tmp_path, database, server, kind, library):
    (tmp_path / "password").write_text(server.password + "\n", encoding="utf-8")
    args = database.dsn_args()
    environment = {
        "PGHOST": args["host"],
        "PGPORT": str(args["port"]),
        "PGUSER": args["user"],
        "PGDATABASE": args["dbname"],
        "PGSSLMODE": args["sslmode"],
        "PGSSLROOTCERT": args["sslrootcert"],
        "PGPASSWORD_FILE": str(tmp_path / "password"),
    }
    if "hostaddr" in args:
        environment["PGHOSTADDR"] = args["hostaddr"]
    program = generate("--connection-type", kind, "--library", library, env=environment)
    assert server.password not in program
    assert run(program, tmp_path, **environment) == str((database.name, server.user))
