"""Ctrl-C and cancellation, at any moment: no slot is lost, nothing stays idle in a transaction."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from pgmonkey import PGConnectionManager
from support import interrupted
from support.everywhere import everywhere
from support.ledger import Ours, both_slots, opened
from support.wait import until

PROGRAM = Path(interrupted.__file__)


@pytest.mark.parametrize("way", ["ctrl-c", "cancel"])
def test_no_slot_is_lost_however_often_its_users_are_interrupted(server, tmp_path, way, times):
    """R6: raw psycopg_pool's slots are all lost after a few Ctrl-C."""
    args = tmp_path / "args.json"
    args.touch(mode=0o600)
    args.write_text(json.dumps(server.dsn_args(application_name="interrupted")))
    seed = 6
    command = [sys.executable, "-W", "error", PROGRAM, args, "pgmonkey", way]
    done = subprocess.run(
        [*command, str(times(500, 10_000)), str(seed)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert (done.stderr, done.returncode) == ("", 0)
    outcome = json.loads(done.stdout)
    assert (outcome["whole"], outcome["errors"]) == (True, [])
    until(lambda: server.sessions("interrupted") == 0)


@pytest.fixture
def full(server: Any) -> Any:
    """A pool of one whose only connection is lent to another thread until told."""
    release = threading.Event()
    lent = threading.Event()
    with opened(Ours, server.dsn_args(), min_size=1, max_size=1, timeout=60) as pool:

        def hold() -> None:
            with pool.block():
                lent.set()
                release.wait()

        thread = threading.Thread(target=hold)
        thread.start()
        lent.wait()
        yield pool, release
        release.set()
        thread.join()


def test_ctrl_c_while_waiting_for_a_pool_of_one_leaves_it_alive(full):
    """A raw pool gives the connection to the one who has left, and is dead afterwards."""
    pool, release = full

    def interrupt() -> None:
        until(lambda: pool.handle.stats().waiting == 1)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt), pool.handle:
        pass
    thread.join()
    assert pool.handle.stats().waiting == 0
    release.set()
    assert both_slots(pool, 1)


@pytest.mark.parametrize("kind", ["normal", "pool"])
def test_block_whose_exit_is_never_called_ends_when_the_statement_drops_it(server, kind):
    """What a signal does that arrives just as __exit__ is entered; here nothing else happens."""
    manager = PGConnectionManager()
    config = {
        "connection_settings": server.dsn_args(application_name="dropped"),
        "pool_settings": {"min_size": 1, "max_size": 1, "timeout": 60},
    }
    handle = manager.get_database_connection_from_dict(config, kind)
    leave = handle.__exit__  # as a with statement fetches it
    handle.__enter__().execute("CREATE TEMP TABLE unfinished ()")
    assert handle.busy
    del leave
    gc.collect()
    until(lambda: not handle.busy)
    with handle as conn:
        assert conn.execute("SELECT to_regclass('unfinished')").fetchone() == (None,)
    assert server.sessions("dropped") == 1
    manager.clear_cache()


def _plain(handle: Any) -> None:
    with handle as conn:
        (left,) = conn.execute("SELECT current_setting('our.mark', true)").fetchone()
        assert not left, "a transaction that was interrupted goes on in the next block"
        conn.execute("SET LOCAL our.mark TO 'here'")


def _nested(handle: Any) -> None:
    with handle as conn, handle as other:
        conn.execute("SELECT 1")
        other.execute("SELECT 1")


def _wandering(handle: Any) -> None:
    with handle.connection() as conn:
        conn.execute("SELECT 1")


def _lent(handle: Any) -> None:
    conn = handle.lend()
    try:
        conn.execute("SELECT 1")
    finally:
        try:
            conn.close()
        except KeyboardInterrupt:
            if conn.memory.give_back is not None:  # it has not even begun
                conn.close()
            raise


@pytest.mark.parametrize("rivals", [0, 2])
@pytest.mark.parametrize(
    ("kind", "use"),
    [
        ("normal", _plain),
        ("pool", _plain),
        ("pool", _nested),
        ("pool", _wandering),
        ("pool", _lent),
    ],
)
def test_ctrl_c_at_every_single_moment_of_a_block_loses_nothing(server, kind, use, rivals):
    """Chance seldom hits the moments between two steps; here each one is hit.

    The rivals are other threads, which must not notice.
    """
    size = 2 if use is _nested else 1
    config = {
        "connection_settings": server.dsn_args(application_name="everywhere"),
        "pool_settings": {"min_size": size, "max_size": size, "timeout": 5},
        "connection_options": {"pooler": "transaction"},  # has something to begin with
        "sync_settings": {"statement_timeout": "10s"},
    }
    manager = PGConnectionManager()
    handle = manager.get_database_connection_from_dict(config, kind)
    over, wrong = threading.Event(), []

    def rival() -> None:
        while not over.is_set():
            try:
                with handle as conn:
                    conn.execute("SELECT 1")
            except Exception as error:
                wrong.append(error)

    if use is _nested:
        rivals //= 2  # two who want a second one each would wait for each other
    threads = [threading.Thread(target=rival) for _ in range(rivals)]
    for thread in threads:
        thread.start()
    try:
        for moment in everywhere(lambda: use(handle)):
            try:
                _plain(handle)
            except Exception as error:
                wrong.append(f"{moment}: {error}")
            if wrong:
                break
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert not handle.busy or until(lambda: not handle.busy) is None
    until(lambda: server.sessions("everywhere") <= size)
    manager.clear_cache()
