"""A signal that comes at the very end: what is done is told as done, and all of it is there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

import pgmonkey
from pgmonkey.errors import LostError
from pgmonkey.transfer import commit, import_csv
from pgmonkey.transfer.commit import cut
from support import struck
from support.cli import LIMIT
from support.proxy import TcpProxy
from support.server import Database
from support.wait import until

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Of some thousand calls: the first ones, and then farther and farther apart.
GROWTH = 1.7


def strike(where: str, which: int, calls: int, *words: str | Path) -> tuple[int, str]:
    """Run pgmonkey with *words*, struck; return its exit code and standard error."""
    home = Path(pgmonkey.__file__).parent.parent
    done = subprocess.run(
        [sys.executable, struck.__file__, where, str(int(which)), str(calls), *words],
        env={**os.environ, "PYTHONPATH": str(home)},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    return done.returncode, done.stderr


def at_any_call(
    where: str, words: list[str | Path], clear: Callable[[], Any], found: Callable[[], Any]
) -> None:
    """Assert that the command, struck anywhere after *where*, has done all it was to, or nothing.

    Args:
        clear: Makes everything what it was before.
        found: Returns what there is.
    """
    clear()
    before = found()
    code, said = strike(where, signal.SIGTERM, 0, *words)
    assert code == 0, said
    total, complete = int(said.split()[-1]), found()
    assert total > 100
    assert complete != before
    after, turn = 1.0, 0
    while after < total:
        clear()
        which = SIGNALS[turn % 2]
        code, said = strike(where, which, int(after), *words)
        assert "Traceback" not in said
        allowed = [(0, complete), (128 + which, before)]
        assert (code, found()) in allowed, (int(after), total, which, said)
        after, turn = after * GROWTH + 1, turn + 1


@pytest.mark.parametrize("way", ["one connection", "two connections", "rejects"])
def test_import_that_is_struck_at_its_end_is_in_or_was_interrupted(
    database: Database, config_file: Path, tmp_path: Path, way: str
):
    file, rejects = tmp_path / "data.csv", tmp_path / "rejects.csv"
    with file.open("w") as rows:
        rows.write("i,v\n")
        rows.writelines(f"{i},{'x' * 2000}\n" for i in range(1000))
        if way == "rejects":
            rows.write("seven,\n")
    with psycopg.connect(**database.dsn_args(), autocommit=True) as conn:
        conn.execute("CREATE TABLE t (i int PRIMARY KEY, v text)")

        def clear() -> None:
            conn.execute("TRUNCATE t")
            rejects.unlink(missing_ok=True)
            file.with_suffix(".yaml").unlink(missing_ok=True)

        def found() -> Any:
            count = conn.execute("SELECT count(*) FROM t").fetchall()
            kept = sorted(path.name for path in tmp_path.iterdir())
            return count, kept, rejects.exists() and rejects.read_text()

        words: list[str | Path] = ["pgimport", "--table", "t", "-c", config_file, "-q"]
        words += ["--import_file", file, "--jobs", "2" if way == "two connections" else "1"]
        if way == "rejects":
            words += ["--on-error", "skip", "--rejects", rejects]
        where = "twophase.py:commit" if way == "two connections" else "commit.py:number"
        at_any_call(where, words, clear, found)


@pytest.mark.parametrize("way", [("--split-rows", "10000"), ("--jobs", "2")])
def test_export_that_is_struck_at_its_end_has_all_its_files_or_none(
    database: Database, config_file: Path, tmp_path: Path, way: tuple[str, str]
):
    if way[0] == "--jobs" and database.server.version < 14:
        pytest.skip("PostgreSQL 13 reads a whole table to find a range of ctid")
    out = tmp_path / "out"
    out.mkdir()
    with psycopg.connect(**database.dsn_args(), autocommit=True) as conn:
        conn.execute(
            "CREATE TABLE t AS SELECT i, repeat('x', 100) FROM generate_series(1, 30000) AS i"
        )

    def clear() -> None:
        for path in out.iterdir():
            path.unlink()
        for number in range(2, 6):
            (out / f"t-000{number}.csv").write_text("of an earlier export\n")

    def found() -> Any:
        return {path.name: path.read_bytes() for path in out.iterdir()}

    words: list[str | Path] = ["pgexport", "--table", "t", "-c", config_file, "-q", "--overwrite"]
    words += ["-o", out / "t.csv", "--manifest", *way]
    at_any_call("delivery.py:_publish", words, clear, found)
    if way[0] == "--split-rows":
        parts = {"t-0001.csv", "t-0002.csv", "t-0003.csv", "t.csv.manifest.json"}
        assert set(found()) in (parts, {f"t-000{number}.csv" for number in range(2, 6)})


@pytest.mark.parametrize("handler", ["raises", "notes"])
def test_signal_during_the_commit_is_heard_afterwards(
    database: Database, tmp_path: Path, handler: str
):
    """A program's own Ctrl-C and SIGTERM are not lost, and neither are the rows."""
    file = tmp_path / "data.csv"
    file.write_text("i\n1\n")
    heard: list[int] = []
    done: list[str] = []

    def hear(number: int, frame: Any) -> None:
        heard.append(number)
        if handler == "raises":
            raise KeyboardInterrupt

    def on_done() -> None:
        signal.raise_signal(signal.SIGTERM)
        assert heard == []
        done.append("done")

    before = signal.signal(signal.SIGTERM, hear)
    try:
        with psycopg.connect(**database.dsn_args(), autocommit=True) as conn:
            conn.execute("CREATE TABLE t (i int)")
            try:
                summary = import_csv(conn, file, "t", on_done=on_done)
                assert (handler, summary.rows) == ("notes", 1)
            except KeyboardInterrupt:
                assert handler == "raises"
            assert (heard, done) == ([signal.SIGTERM], ["done"])
            assert conn.execute("SELECT count(*) FROM t").fetchone() == (1,)
            assert signal.getsignal(signal.SIGTERM) is hear
    finally:
        signal.signal(signal.SIGTERM, before)


def test_control_c_ends_a_commit_of_several_connections_where_the_network_is_silent(
    database: Database, tmp_path: Path, proxy: TcpProxy, monkeypatch: pytest.MonkeyPatch
):
    file = tmp_path / "data.csv"
    with file.open("w") as rows:
        rows.writelines(f"{i}\n" for i in range(1000))
    args = database.dsn_args(hostaddr="127.0.0.1", port=proxy.port)
    prepared = psycopg.Connection.tpc_prepare

    def silent(conn: psycopg.Connection[Any]) -> None:
        proxy.freeze()
        signal.raise_signal(signal.SIGINT)
        prepared(conn)

    monkeypatch.setattr(psycopg.Connection, "tpc_prepare", silent)
    monkeypatch.setattr(commit, "SETTLE_SECONDS", 1)
    with psycopg.connect(**args, autocommit=True) as conn:
        conn.execute("CREATE TABLE t (i int)")
        with pytest.raises(LostError, match="nothing was imported"):
            import_csv(
                conn, file, "t", header=False, jobs=2, connect=lambda: psycopg.connect(**args)
            )
        proxy.cut()
        proxy.thaw()


@pytest.mark.parametrize("lost", ["first", "second", "both", "on its way"])
def test_part_whose_prepare_gets_no_answer_is_undone(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str
):
    """It may be prepared, or will be, and would hold its locks until somebody ends it."""
    file = tmp_path / "data.csv"
    with file.open("w") as rows:
        rows.writelines(f"{i}\n" for i in range(1000))
    args = database.dsn_args(application_name="unanswered")
    prepared = psycopg.Connection.tpc_prepare
    parts: list[psycopg.Connection[Any]] = []

    def unanswered(conn: psycopg.Connection[Any]) -> None:
        parts.append(conn)
        if lost == "on its way" and len(parts) == 2:
            # The server is busy and does not see that nobody is there any more.
            conn.pgconn.send_query(b"SELECT pg_sleep(300)")
            cut(conn)
        else:
            prepared(conn)
        if len(parts) == (1 if lost == "first" else 2):
            for one in parts if lost == "both" else parts[-1:]:
                one.close()
            raise psycopg.OperationalError("the network went away")

    monkeypatch.setattr(psycopg.Connection, "tpc_prepare", unanswered)
    with psycopg.connect(**args, autocommit=True) as conn:
        conn.execute("CREATE TABLE t (i int)")
        with pytest.raises(LostError, match=r"nothing was imported$"):
            import_csv(
                conn, file, "t", header=False, jobs=2, connect=lambda: psycopg.connect(**args)
            )
        assert conn.execute("SELECT gid FROM pg_prepared_xacts").fetchall() == []
        assert conn.execute("SELECT count(*) FROM t").fetchone() == (0,)
    until(lambda: database.server.sessions("unanswered") == 0)


def test_parts_that_cannot_be_asked_about_are_all_undone_by_the_next_import(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = tmp_path / "data.csv"
    with file.open("w") as rows:
        rows.writelines(f"{i}\n" for i in range(1000))
    args = database.dsn_args()
    prepared = psycopg.Connection.tpc_prepare
    parts: list[psycopg.Connection[Any]] = []

    def unanswered(conn: psycopg.Connection[Any]) -> None:
        prepared(conn)
        parts.append(conn)
        if len(parts) == 2:
            conn.close()
            raise psycopg.OperationalError("the network went away")

    def connect() -> psycopg.Connection[Any]:
        if parts:
            raise psycopg.OperationalError("nobody is there")
        return psycopg.connect(**args)

    monkeypatch.setattr(psycopg.Connection, "tpc_prepare", unanswered)
    monkeypatch.setattr(commit, "SETTLE_SECONDS", 1)
    with psycopg.connect(**args, autocommit=True) as conn:
        conn.execute("CREATE TABLE t (i int)")
        with pytest.raises(LostError, match="by hand, as far as they are there: ROLLBACK PREPARED"):
            import_csv(conn, file, "t", header=False, jobs=2, connect=connect)
        assert len(conn.execute("SELECT gid FROM pg_prepared_xacts").fetchall()) == 2
        notes: list[str] = []
        file.write_text("i\n7\n")
        import_csv(conn, file, "t", on_note=notes.append)
        assert ["undone: nothing of it is in" in note for note in notes] == [True]
        assert conn.execute("SELECT gid FROM pg_prepared_xacts").fetchall() == []
        assert conn.execute("SELECT i FROM t").fetchall() == [(7,)]
