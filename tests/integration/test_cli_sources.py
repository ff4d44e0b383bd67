"""Where a command takes its configuration from: files, streams, variables, URIs, a terminal."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from support.cli import run
from support.proxy import TcpProxy
from support.server import Database
from support.wait import until

# Which libpq variable carries which keyword.
VARIABLES = {
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "port": "PGPORT",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "dbname": "PGDATABASE",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "connect_timeout": "PGCONNECT_TIMEOUT",
}


def environment(args: dict[str, Any]) -> dict[str, str]:
    return {VARIABLES[key]: str(value) for key, value in args.items()}


def uri(args: dict[str, Any], password: str | None = None) -> str:
    """Return a URI for *args*, with no password but the one given."""
    rest = {
        k: v for k, v in args.items() if k not in ("host", "port", "user", "password", "dbname")
    }
    user = args["user"] if password is None else f"{args['user']}:{quote(password, safe='')}"
    query = "&".join(f"{key}={quote(str(value))}" for key, value in rest.items())
    return f"postgresql://{user}@{args['host']}:{args['port']}/{args['dbname']}?{query}"


def test_variables_alone_are_enough(database: Database):
    env = environment(database.dsn_args())
    result = run("pgconfig", "test", "--connection-type", "all", env=env)
    assert result.code == 0, result.stderr
    assert f"app@{database.name}" in result.stdout


def test_password_file_of_a_container_is_read(database: Database, tmp_path: Path):
    secret = tmp_path / "password"
    secret.write_text(database.dsn_args()["password"] + "\n")
    env = environment(database.dsn_args(password=None)) | {"PGPASSWORD_FILE": str(secret)}
    assert run("pgconfig", "test", env=env).code == 0
    secret.unlink()
    missing = run("pgconfig", "test", env=env)
    assert (missing.code, missing.stdout) == (2, "")
    assert "PGPASSWORD_FILE" in missing.stderr


def test_configuration_comes_over_standard_input(config_file: Path, database: Database):
    result = run("pgconfig", "test", "-c", "-", stdin=config_file.read_text())
    assert (result.code, result.stderr) == (0, "")
    assert f"app@{database.name}" in result.stdout


def test_file_is_named_by_the_environment(config_file: Path):
    assert run("pgconfig", "test", env={"PGMONKEY_CONFIG": str(config_file)}).code == 0


def test_variables_fill_in_what_the_file_leaves_out(database: Database, tmp_path: Path):
    path = tmp_path / "config.yaml"
    path.write_text("connection_settings: {password: ''}\n")
    assert run("pgconfig", "test", "-c", path, env=environment(database.dsn_args())).code == 0


def test_uri_takes_the_password_from_the_environment(database: Database):
    args = database.dsn_args()
    env = {"PGPASSWORD": args["password"]}
    result = run("pgconfig", "test", "--dsn", uri(args), env=env)
    assert (result.code, result.stderr) == (0, "")


def test_password_in_a_uri_works_is_warned_of_and_is_shown_nowhere(database: Database):
    args = database.dsn_args()
    good = run("pgconfig", "test", "--dsn", uri(args, args["password"]))
    assert good.code == 0
    assert good.stderr.startswith("warning: everybody on this machine can read a password")
    for password in ("canary-7f3a", "canary/7f3a@x"):
        bad = run("pgconfig", "test", "--dsn", uri(args, password), "-vv", "--json")
        assert bad.code == 3
        assert "error[PGM301]" in bad.stderr
        assert "canary" not in bad.stdout + bad.stderr


def on_terminal(argv: list[str], typed: str, env: dict[str, str]) -> tuple[int, str]:
    """Run a command whose terminal is a real one; type *typed* when it asks for a password."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(sys.executable, [sys.executable, "-m", "pgmonkey", *argv], env)
    shown = b""
    answered = False
    try:
        while chunk := os.read(terminal, 4096):
            shown += chunk
            if not answered and b"Password" in shown:
                os.write(terminal, typed.encode() + b"\n")
                answered = True
    except OSError:  # how Linux says that the other end is closed
        pass
    finally:
        os.close(terminal)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), shown.decode().replace("\r\n", "\n")


def child_environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TERM": "dumb", **more}


def test_password_is_asked_for_on_the_terminal_and_not_echoed(database: Database):
    args = database.dsn_args()
    argv = ["pgconfig", "test", "-W"]
    env = child_environment(**environment(database.dsn_args(password=None)))
    code, shown = on_terminal(argv, args["password"], env)
    assert code == 0, shown
    assert shown.startswith("Password: \n")
    assert args["password"] not in shown
    code, shown = on_terminal(argv, "canary-7f3a", env)
    assert code == 3
    assert "error[PGM301]" in shown
    assert "canary" not in shown


def test_password_that_is_typed_goes_before_the_one_in_the_file(
    config_dict: dict[str, Any], tmp_path: Path
):
    password = config_dict["connection_settings"]["password"]
    config_dict["connection_settings"]["password"] = "not this one"
    path = tmp_path / "config.yaml"
    path.touch(mode=0o600)
    path.write_text(json.dumps(config_dict))
    argv = ["pgconfig", "test", "-c", str(path), "-W", "--connection-type", "async_pool"]
    code, shown = on_terminal(argv, password, child_environment())
    assert code == 0, shown


def test_password_cannot_be_asked_for_without_a_terminal(config_file: Path):
    done = subprocess.run(
        [sys.executable, "-m", "pgmonkey", "pgconfig", "test", "-c", config_file, "-W"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        start_new_session=True,
        env=child_environment(),
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error[PGM104]: there is no terminal")


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
@pytest.mark.parametrize("kind", ["normal", "async_pool"])
def test_test_that_waits_for_a_server_ends_at_once_when_interrupted(
    kind: str,
    number: signal.Signals,
    code: int,
    word: str,
    database: Database,
    proxy: TcpProxy,
):
    """The server accepts and says nothing; only the signal can end this before its timeout."""
    proxy.freeze()
    env = environment(database.dsn_args(port=proxy.port, hostaddr="127.0.0.1"))
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "pgmonkey", "pgconfig", "test", "--connection-type", kind),
            *("--timeout", "600", "--progress", "always"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=child_environment(**env),
    )
    assert process.stderr is not None
    shown = b""

    def testing() -> bool:
        nonlocal shown
        shown += os.read(process.stderr.fileno(), 4096)  # type: ignore[union-attr]
        return f"testing {kind}".encode() in shown

    until(testing)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert out == b""
    assert err.decode().rpartition("\r")[2] == f"{word}\n"


def test_generated_program_reads_the_file_and_prints_its_row(
    config_file: Path, database: Database, tmp_path: Path
):
    made = run("pgconfig", "generate-code", "--filepath", config_file)
    program = tmp_path / "app.py"
    program.write_text(made.stdout)
    done = subprocess.run(
        [sys.executable, program],
        capture_output=True,
        text=True,
        env=child_environment(),
        check=True,
    )
    assert database.name in done.stdout
