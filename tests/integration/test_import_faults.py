"""An import that is stopped, killed or cut off changes nothing and leaves nothing."""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

import pgmonkey
from pgmonkey.transfer.copying import Sender
from support import docker
from support.cli import LIMIT
from support.proxy import TcpProxy
from support.server import Database
from support.wait import until

APP = "import under test"
# Ten blocks: the network takes some from one connection before the other is there. And two
# seconds of work for a server which has to notice by itself that nobody is there any more:
# it reads first what the network holds.
ROWS = 2_500
FILLER = "x" * 4_000
SLOWLY = "CHECK (pg_sleep(0.001) IS NOT NULL)"

MODES = {
    "append": [],
    "truncate": ["--mode", "truncate", "--yes"],
    "replace": ["--mode", "replace", "--yes"],
    "upsert": ["--mode", "upsert", "--key", "i"],
}


class Import:
    """A table with rows in it, and a pgimport that is running into it."""

    def __init__(self, database: Database, folder: Path, port: int | None = None) -> None:
        self._database = database
        self._server = database.server
        self.file = folder / "large.csv"
        with self.file.open("w") as file:
            file.write("i,v\n")
            file.writelines(f'{i},"line\n{i}{FILLER}"\n' for i in range(ROWS))
        over: dict[str, Any] = {"application_name": APP}
        if port is not None:
            over |= {"hostaddr": "127.0.0.1", "port": port}
        self._config = folder / "config.yaml"
        self._config.touch(mode=0o600)
        self._config.write_text(yaml.safe_dump({"connection_settings": database.dsn_args(**over)}))
        with self.admin() as conn:
            conn.execute(f"CREATE TABLE large (i int PRIMARY KEY, v text, {SLOWLY})")
            conn.execute("ALTER TABLE large OWNER TO app")
            conn.execute("INSERT INTO large SELECT -i, 'before' FROM generate_series(1, 500) AS i")
        self.before = self.content()
        self.process: subprocess.Popen[str] | None = None

    def admin(self) -> Any:
        return self._server.admin(self._database.name)

    def content(self) -> Any:
        with self.admin() as conn:
            return conn.execute(
                "SELECT count(*), md5(string_agg(t::text, ',' ORDER BY i)) FROM large AS t"
            ).fetchone()

    def quick(self) -> None:
        """Let rows take no time."""
        with self.admin() as conn:
            conn.execute("ALTER TABLE large DROP CONSTRAINT large_check")

    def start(self, *words: str) -> subprocess.Popen[str]:
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "pgmonkey", "pgimport", "--table", "large"),
                *("-c", self._config, "--import_file", self.file, "-q", *words),
            ],
            env={**os.environ, "PYTHONPATH": str(Path(pgmonkey.__file__).parent.parent)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        return self.process

    def until_copying(self, sessions: int) -> list[int]:
        """Wait until so many sessions are in their COPY, and a moment more; return their pids."""
        pids: list[int] = []

        def copying() -> bool:
            with self.admin() as conn:
                pids[:] = [
                    row[0]
                    for row in conn.execute(
                        "SELECT pid FROM pg_stat_activity WHERE application_name = %s"
                        " AND query LIKE 'COPY %%' AND state = 'active' ORDER BY backend_start",
                        [APP],
                    )
                ]
            assert self.process is not None
            assert self.process.poll() is None, self.process.communicate()
            return len(pids) == sessions

        until(copying)
        time.sleep(random.uniform(0, 0.5))
        return pids

    def end(self) -> tuple[int, str]:
        """Wait for the process; return its exit code and standard error."""
        assert self.process is not None
        _, stderr = self.process.communicate(timeout=LIMIT)
        assert "Traceback" not in stderr
        return self.process.returncode, stderr

    def assert_unchanged(self) -> None:
        self.assert_nothing_left()
        assert self.content() == self.before

    def assert_nothing_left(self) -> None:
        """No session, no temporary table, no prepared transaction."""
        until(lambda: self._server.sessions(APP) == 0)
        with self.admin() as conn:
            left = "SELECT relname FROM pg_class WHERE relpersistence = 't' OR relname ~ 'pgmonkey'"
            assert conn.execute(left).fetchall() == []
            assert conn.execute("SELECT gid FROM pg_prepared_xacts").fetchall() == []


@pytest.fixture
def loading(database: Database, tmp_path: Path) -> Iterator[Import]:
    loading = Import(database, tmp_path)
    yield loading
    _finish(loading)


def _finish(loading: Import) -> None:
    if loading.process is not None and loading.process.poll() is None:
        loading.process.kill()
        loading.process.wait()


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize(
    ("which", "code", "said"),
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "terminated"),
        (signal.SIGKILL, -9, ""),
    ],
)
def test_signal_leaves_the_table_as_it_was_and_no_session(loading, which, code, said, jobs):
    process = loading.start("--jobs", str(jobs))
    loading.until_copying(jobs)
    process.send_signal(which)
    ended, stderr = loading.end()
    assert (ended, said in stderr, len(stderr.splitlines()) <= 1) == (code, True, True)
    loading.assert_unchanged()


def test_import_in_portions_says_what_is_in_when_it_is_interrupted(loading):
    process = loading.start("--commit-every", "100")
    until(lambda: loading.content()[0] >= 700)
    process.send_signal(signal.SIGINT)
    code, stderr = loading.end()
    rows = loading.content()[0] - 500
    assert (code, stderr) == (130, f"interrupted; the first {rows} rows are committed\n")
    loading.assert_nothing_left()


@pytest.mark.parametrize(
    ("mode", "which"),
    [("truncate", signal.SIGKILL), ("replace", signal.SIGTERM), ("upsert", signal.SIGINT)],
)
def test_rows_that_were_to_be_replaced_are_still_there(loading, mode, which):
    process = loading.start(*MODES[mode])
    if mode == "upsert":  # the table is not touched before everything is staged
        until(lambda: loading._server.sessions(APP) > 0)
        time.sleep(random.uniform(0.2, 1))
    else:
        loading.until_copying(1)
    process.send_signal(which)
    loading.end()
    loading.assert_unchanged()


@pytest.mark.parametrize(("jobs", "victim"), [(1, 0), (2, 0), (2, 1)])
def test_terminated_backend_is_exit_code_4(loading, server, jobs, victim):
    loading.start("--jobs", str(jobs))
    pids = loading.until_copying(jobs)
    server.terminate("pid", pids[victim])
    code, said = loading.end()
    assert code == 4
    assert "the connection was lost: terminating connection due to administrator command" in said
    assert "nothing was imported" in said
    loading.assert_unchanged()


@pytest.mark.parametrize("jobs", [1, 2])
def test_server_that_crashes_and_comes_back_has_the_table_as_it_was(loading, server, jobs):
    """A backend killed with SIGKILL makes PostgreSQL end all sessions and recover from its log."""
    loading.start("--jobs", str(jobs))
    pids = loading.until_copying(jobs)
    with pytest.raises(psycopg.OperationalError), loading.admin() as conn:
        conn.execute(f"COPY (SELECT) TO PROGRAM 'cat >/dev/null; kill -9 {pids[-1]}'")
        until(lambda: conn.execute("SELECT 1") is None)
    code, said = loading.end()
    assert (code, "the connection was lost" in said) == (4, True)

    def up() -> bool:
        try:
            with loading.admin():
                return True
        except psycopg.OperationalError:
            return False

    until(up)
    loading.assert_unchanged()


@pytest.mark.parametrize("jobs", [1, 2])
def test_server_that_is_shut_down_and_started_again_has_the_table_as_it_was(
    mortal_server, tmp_path, jobs
):
    with mortal_server.database() as database:
        loading = Import(database, tmp_path)
        try:
            loading.start("--jobs", str(jobs))
            loading.until_copying(jobs)
            mortal_server.halt("fast")
            code, said = loading.end()
            mortal_server.resume()
            assert (code, "the connection was lost" in said) == (4, True), said
            loading.assert_unchanged()
        finally:
            _finish(loading)


@pytest.fixture
def small_disk(database: Database) -> Iterator[str]:
    """A tablespace on a disk that is full after a part of the file."""
    if database.server.provider != "docker":
        pytest.skip("the server has a small disk in a container only")
    with database.server.admin() as conn:
        folder = f"{docker.SMALL_FOLDER}/{database.name}"
        conn.execute(f"COPY (SELECT) TO PROGRAM 'mkdir -m 700 {folder}'")
        conn.execute(f"CREATE TABLESPACE small LOCATION '{folder}'")
    yield "small"
    with database.server.admin(database.name) as conn:
        conn.execute("DROP TABLE large")
        conn.execute("DROP TABLESPACE small")


@pytest.mark.parametrize(
    "words",
    [["--jobs", "1"], ["--jobs", "2"], MODES["truncate"], MODES["replace"]],
    ids=["one job", "two jobs", "truncate", "replace"],
)
def test_full_disk_of_the_server_is_exit_code_4(small_disk, loading, words):
    loading.quick()
    with loading.admin() as conn:
        # Text of one letter would be compressed and find room.
        conn.execute("ALTER TABLE large ALTER v SET STORAGE EXTERNAL")
        conn.execute(f"ALTER TABLE large SET TABLESPACE {small_disk}")
    loading.start(*words)
    code, said = loading.end()
    assert (code, "No space left on device" in said) == (4, True)
    loading.assert_unchanged()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system")
def test_full_disk_under_the_rejects_is_exit_code_4(loading, tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        loading.quick()
        loading.file.write_text("i,v\n" + f"none,{FILLER}\n" * 500)
        loading.start("--on-error", "skip", "--rejects", str(folder / "r.csv"))
        code, said = loading.end()
        assert (code, "r.csv: No space left on device" in said) == (4, True)
        loading.assert_unchanged()
        assert list(folder.iterdir()) == []
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("jobs", [1, 2])
def test_cut_network_is_exit_code_4(database, tmp_path, proxy: TcpProxy, jobs):
    loading = Import(database, tmp_path, proxy.port)
    loading.start("--jobs", str(jobs))
    loading.until_copying(jobs)
    proxy.cut()
    code, said = loading.end()
    assert (code, "the connection was lost" in said) == (4, True)
    loading.assert_unchanged()


@pytest.mark.parametrize("jobs", [1, 2])
def test_control_c_ends_the_import_where_the_network_is_silent(
    database, tmp_path, proxy: TcpProxy, jobs
):
    loading = Import(database, tmp_path, proxy.port)
    process = loading.start("--jobs", str(jobs))
    loading.until_copying(jobs)
    proxy.freeze()
    process.send_signal(signal.SIGINT)
    assert loading.end()[0] == 130
    proxy.cut()
    proxy.thaw()
    loading.assert_unchanged()


def test_copy_that_is_given_up_does_not_wait_for_a_silent_network(database, proxy: TcpProxy):
    """Ctrl-C may come when all that was sent is on its way: then nothing is cancelled first."""
    args = database.dsn_args(hostaddr="127.0.0.1", port=proxy.port)
    with contextlib.closing(psycopg.connect(**args)) as conn:
        conn.execute("CREATE TABLE t (v text)")
        cursor = conn.cursor()
        with (
            pytest.raises(KeyboardInterrupt),
            cursor.copy("COPY t FROM STDIN", writer=Sender(cursor)) as copy,
        ):
            copy.write(b"x\n")
            proxy.freeze()
            raise KeyboardInterrupt


@pytest.mark.parametrize("where", ["write", "finish"])
def test_last_words_are_heard_however_the_end_is_noticed(database, server, monkeypatch, where):
    """What waits for the socket may be told that it is closed before libpq has read from it."""
    with contextlib.closing(psycopg.connect(**database.dsn_args())) as conn:
        conn.execute("CREATE TABLE t (v text)")
        cursor = conn.cursor()
        sender = Sender(cursor)
        copying = cursor.copy("COPY t FROM STDIN", writer=sender)
        copying.__enter__().write(b"x\n")  # never left: its end is what is tried here
        server.terminate("pid", conn.info.backend_pid)
        until(lambda: bool(select.select([conn.pgconn.socket], [], [], 0)[0]))

        def closed(generator: Any) -> None:
            raise psycopg.OperationalError("connection socket closed")

        monkeypatch.setattr(conn, "wait", closed)
        with pytest.raises(psycopg.errors.AdminShutdown):
            sender.write(b"y\n") if where == "write" else sender.finish()


@pytest.mark.parametrize("jobs", [1, 2])
def test_control_c_ends_a_wait_for_somebody_elses_lock(loading, jobs):
    with loading.admin() as conn, conn.transaction():
        conn.execute("LOCK TABLE large IN ACCESS EXCLUSIVE MODE")
        process = loading.start("--jobs", str(jobs))
        until(lambda: loading._server.sessions(APP) >= jobs)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        assert loading.end()[0] == 130
    loading.assert_unchanged()


@pytest.mark.parametrize("two_phase", [True, False])
@pytest.mark.parametrize("jobs", [1, 2])
def test_whenever_it_is_killed_all_rows_are_in_or_none(server, request, tmp_path, jobs, two_phase):
    """At any moment of its life, the commit included; the next import clears up after it."""
    which = server if two_phase else request.getfixturevalue("plain_server")
    with which.database() as database:
        loading = Import(database, tmp_path)
        loading.quick()
        started = time.monotonic()
        loading.start("--jobs", str(jobs), "--mode", "append")
        assert loading.end() == (0, "")
        lifetime = time.monotonic() - started
        complete = loading.content()
        for which_signal in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
            with loading.admin() as conn:
                conn.execute("DELETE FROM large WHERE i >= 0")
            process = loading.start("--jobs", str(jobs))
            time.sleep(random.uniform(lifetime * 0.5, lifetime))
            process.send_signal(which_signal)
            code, _ = loading.end()
            until(lambda: loading._server.sessions(APP) == 0)
            if code == -signal.SIGKILL:
                loading.file.with_name("empty.csv").write_text("i,v\n")
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(loading, "file", loading.file.with_name("empty.csv"))
                    loading.start()
                    assert loading.end()[0] == 0
            loading.assert_nothing_left()
            found = loading.content()
            if code < 0:  # by the signal itself, which Python does not catch as it starts or ends
                assert found in (loading.before, complete)
            else:
                assert (code, found) in [
                    (0, complete),
                    (128 + which_signal, loading.before),
                ]
