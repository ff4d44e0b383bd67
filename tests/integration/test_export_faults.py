"""An export that is stopped, killed, cut off or out of space changes nothing and leaves nothing."""

from __future__ import annotations

import os
import random
import resource
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
from pgmonkey.transfer.outfile import NewFile
from support.cli import LIMIT
from support.proxy import TcpProxy
from support.server import Database, PgServer
from support.wait import until

APP = "export under test"
OLD = "what the target held before"
# A millisecond a row: the whole table takes a minute, so every fault comes in its middle.
SLOWLY = "pg_sleep(0.001) IS NOT NULL"


class Export:
    """One running pgexport, and the folder it must leave as it was."""

    def __init__(self, config: dict[str, Any], folder: Path, server: PgServer) -> None:
        self._server = server
        self.folder = folder
        self.target = folder / "out" / "large.csv"
        self.target.parent.mkdir(exist_ok=True)
        self.target.write_text(OLD)
        config["connection_settings"]["application_name"] = APP
        self._config = folder / "config.yaml"
        self._config.touch(mode=0o600)
        self._config.write_text(yaml.safe_dump(config))
        self.process: subprocess.Popen[str] | None = None

    def start(self, *words: str, where: str = SLOWLY, **popen: Any) -> subprocess.Popen[str]:
        if self._server.version < 14 and words[:1] == ("--jobs",) and words[1] != "1":
            pytest.skip("PostgreSQL 13 reads a whole table to find a range of ctid")
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "pgmonkey", "pgexport", "--table", "large"),
                *("-c", self._config, "-o", self.target, "--overwrite", "--where", where),
                *words,
            ],
            env={**os.environ, "PYTHONPATH": str(Path(pgmonkey.__file__).parent.parent)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # a Ctrl-C of its own
            **popen,
        )
        return self.process

    def until_copying(self, sessions: int) -> list[int]:
        """Wait until so many sessions are in their COPY, and a moment more; return their pids."""
        pids: list[int] = []

        def copying() -> bool:
            with self._server.admin() as conn:
                pids[:] = [
                    row[0]
                    for row in conn.execute(
                        "SELECT pid FROM pg_stat_activity WHERE application_name = %s"
                        " AND query LIKE 'COPY %%' ORDER BY backend_start",
                        [APP],
                    )
                ]
            assert self.process is not None
            assert self.process.poll() is None, self.process.communicate()
            return len(pids) == sessions

        until(copying)
        time.sleep(random.uniform(0, 0.4))
        return pids

    def end(self) -> tuple[int, str]:
        """Wait for the process; return its exit code and standard error."""
        assert self.process is not None
        stdout, stderr = self.process.communicate(timeout=LIMIT)
        assert stdout == ""
        assert "Traceback" not in stderr
        return self.process.returncode, stderr

    def assert_unchanged(self) -> None:
        """The target is the old one, nothing is beside it, and no session is left."""
        assert self.target.read_text() == OLD
        assert [path.name for path in self.target.parent.iterdir()] == [self.target.name]
        until(lambda: self._server.sessions(APP) == 0)


@pytest.fixture
def large(database: Database) -> None:
    """A table of 7 MB, which is worth several connections."""
    with psycopg.connect(**database.dsn_args()) as conn:
        conn.execute(
            "CREATE TABLE large AS SELECT i, repeat('x', 100) AS filler"
            " FROM generate_series(1, 50000) AS i"
        )


@pytest.fixture
def export(
    large: None, config_dict: dict[str, Any], tmp_path: Path, server: PgServer
) -> Iterator[Export]:
    export = Export(config_dict, tmp_path, server)
    yield export
    if export.process is not None and export.process.poll() is None:
        export.process.kill()
        export.process.wait()


@pytest.mark.parametrize("jobs", [1, 2, 3])
@pytest.mark.parametrize(
    ("which", "code", "said"),
    [
        (signal.SIGINT, 130, "interrupted\n"),
        (signal.SIGTERM, 143, "terminated\n"),
        (signal.SIGKILL, -9, ""),
    ],
)
def test_signal_leaves_the_target_and_no_session(export, which, code, said, jobs):
    process = export.start("--jobs", str(jobs))
    export.until_copying(jobs)
    process.send_signal(which)
    assert export.end() == (code, said)
    export.assert_unchanged()


def test_control_c_on_the_terminal_reaches_all_processes_and_ends_with_one_line(export):
    process = export.start("--jobs", "2")
    export.until_copying(2)
    os.killpg(process.pid, signal.SIGINT)
    assert export.end() == (130, "interrupted\n")
    export.assert_unchanged()


@pytest.mark.parametrize(("jobs", "victim"), [(1, 0), (2, 0), (2, 1)])
def test_terminated_backend_is_exit_code_4(export, server, jobs, victim):
    export.start("--jobs", str(jobs))
    pids = export.until_copying(jobs)
    server.terminate("pid", pids[victim])
    code, said = export.end()
    assert code == 4
    assert "terminating connection due to administrator command" in said
    export.assert_unchanged()


@pytest.mark.parametrize("jobs", [1, 2])
def test_server_that_crashes_leaves_the_target(export, server, jobs):
    """A backend killed with SIGKILL makes PostgreSQL end all sessions and recover from its log."""
    export.start("--jobs", str(jobs))
    pids = export.until_copying(jobs)
    with pytest.raises(psycopg.OperationalError), server.admin() as conn:
        conn.execute(f"COPY (SELECT) TO PROGRAM 'cat >/dev/null; kill -9 {pids[-1]}'")
        until(lambda: conn.execute("SELECT 1") is None)
    assert export.end()[0] == 4

    def up() -> bool:
        try:
            with server.admin():
                return True
        except psycopg.OperationalError:
            return False

    until(up)
    export.assert_unchanged()


def test_killed_process_of_several_is_exit_code_4(export):
    process = export.start("--jobs", "2")
    export.until_copying(2)
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(child), signal.SIGKILL)
    code, said = export.end()
    assert (code, "one of the processes of --jobs ended by signal 9" in said) == (4, True)
    export.assert_unchanged()


@pytest.mark.parametrize("jobs", [1, 2])
def test_cut_network_is_exit_code_4(large, config_dict, tmp_path, server, proxy: TcpProxy, jobs):
    config_dict["connection_settings"] |= {"hostaddr": "127.0.0.1", "port": proxy.port}
    export = Export(config_dict, tmp_path, server)
    export.start("--jobs", str(jobs))
    export.until_copying(jobs)
    proxy.cut()
    code, said = export.end()
    assert (code, "connection" in said) == (4, True)
    export.assert_unchanged()


@pytest.mark.parametrize("words", [["--jobs", "1"], ["--jobs", "2"], ["--split-rows", "9000"]])
def test_file_size_limit_is_exit_code_4(export, words):
    """As a full disk: the write fails in the middle of a file."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (900_000, 900_000))

    if "--split-rows" in words:
        export.target.unlink()
    export.start(*words, where="true", preexec_fn=limit)
    code, said = export.end()
    assert (code, "large" in said, "File too large" in said) == (4, True, True)
    if "--split-rows" in words:
        assert list(export.target.parent.iterdir()) == []
        export.target.write_text(OLD)
    export.assert_unchanged()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system")
@pytest.mark.parametrize("jobs", [1, 2])
def test_full_disk_is_exit_code_4(export, jobs):
    # 5 MB hold no export of 5.6 MB in two parts, nor in one.
    mount = ["mount", "-t", "tmpfs", "-o", "size=5m", "tmpfs", export.target.parent]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        export.target.write_text(OLD)
        export.start("--jobs", str(jobs), where="true")
        code, said = export.end()
        assert (code, "large.csv: No space left on device" in said) == (4, True)
        export.assert_unchanged()
        # Whatever was written is free again.
        assert os.statvfs(export.target.parent).f_bfree * 4096 > 4_900_000
    finally:
        subprocess.run(["umount", export.target.parent], check=True)


def test_standard_output_that_is_full_is_exit_code_4(export):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pgmonkey", "pgexport", "--table", "large"),
                *("-c", export.folder / "config.yaml", "-o", "-"),
            ],
            env={**os.environ, "PYTHONPATH": str(Path(pgmonkey.__file__).parent.parent)},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 4
    assert "No space left on device" in done.stderr
    export.assert_unchanged()


def test_frozen_network_and_control_c_leave_the_target(large, config_dict, tmp_path, server, proxy):
    """A server that is not heard any more cannot confirm that it was cancelled."""
    config_dict["connection_settings"] |= {"hostaddr": "127.0.0.1", "port": proxy.port}
    export = Export(config_dict, tmp_path, server)
    process = export.start()
    export.until_copying(1)
    proxy.freeze()
    process.send_signal(signal.SIGINT)
    assert export.end()[0] == 130
    proxy.thaw()
    export.assert_unchanged()


# Where files without a name cannot be had


def test_named_temporary_file_is_gone_after_success_and_after_failure(tmp_path):
    path = tmp_path / "o.csv"
    new = NewFile(path, anonymous=False)
    assert [p.name.startswith(".o.csv.pgmonkey-") for p in tmp_path.iterdir()] == [True]
    os.write(new.fd, b"whole")
    new.publish()
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("o.csv", "whole")]
    new = NewFile(path, anonymous=False, overwrite=True)
    os.write(new.fd, b"half")
    new.close()
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("o.csv", "whole")]


def test_what_a_killed_export_left_is_removed_by_the_next_one(tmp_path):
    path = tmp_path / "o.csv"
    write = (
        "import os, sys, pathlib; from pgmonkey.transfer.outfile import NewFile\n"
        f"NewFile(pathlib.Path({str(path)!r}), anonymous=False)\n"
        "print('made', flush=True); sys.stdin.read()"
    )
    environ = {**os.environ, "PYTHONPATH": str(Path(pgmonkey.__file__).parent.parent)}
    with subprocess.Popen(
        [sys.executable, "-c", write],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environ,
    ) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        (left,) = tmp_path.iterdir()
        NewFile(path).close()
        assert list(tmp_path.iterdir()) == [left]  # its writer lives
        writer.kill()
    NewFile(path).close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("anonymous", [True, False])
def test_file_that_somebody_made_meanwhile_is_not_replaced(tmp_path, anonymous):
    path = tmp_path / "o.csv"
    new = NewFile(path, anonymous=anonymous)
    os.write(new.fd, b"ours")
    path.write_text("theirs")
    with pytest.raises(FileExistsError):
        new.publish()
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("o.csv", "theirs")]
