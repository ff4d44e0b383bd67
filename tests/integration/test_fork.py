"""A forked child and its parent: neither reads the other's answers, both go on."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from support.wait import until

PREAMBLE = """
import json, os, pathlib, sys, threading
from pgmonkey import HandleError, PGConnectionManager

CONFIG = json.loads(pathlib.Path(sys.argv[1]).read_text())
manager = PGConnectionManager()

def ask(handle, times, sign):
    for number in range(times):
        with handle as conn:
            answer = conn.execute("SELECT %s::int", [sign * number]).fetchone()
        if answer != (sign * number,):
            print("wrong answer", answer, sign * number, file=sys.stderr)

def in_child(work):
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:
            print(type(error).__name__, error, file=sys.stderr)
            os._exit(1)
        sys.exit(0)  # with everything that an exit does
    return child

def wait(child):
    _, status = os.waitpid(child, 0)
    if status:
        print("child ended with", status, file=sys.stderr)
"""


@pytest.fixture
def run(config_dict: dict[str, Any], tmp_path: Path) -> Any:
    config_dict["connection_settings"]["application_name"] = "fork"
    path = tmp_path / "config.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps(config_dict))

    def run(program: str) -> str:
        code = PREAMBLE + textwrap.dedent(program)
        # Python 3.12 warns of any fork beside threads, which is what is tested here.
        warn = ["-W", "error", "-W", "ignore:This process:DeprecationWarning"]
        done = subprocess.run(
            [sys.executable, *warn, "-c", code, str(path)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert (done.stderr, done.returncode) == ("", 0)
        return done.stdout

    return run


@pytest.mark.parametrize("kind", ["normal", "pool"])
def test_parent_and_child_never_see_each_others_answers(run, server, kind):
    """R7, with fewer rounds: raw pools gave 69 wrong answers of 600."""
    run(
        f"""
        handle = manager.get_database_connection_from_dict(CONFIG, "{kind}")
        ask(handle, 5, 1)
        for _ in range(5):
            child = in_child(lambda: ask(handle, 300, -1))
            ask(handle, 300, 1)
            wait(child)
        assert manager.get_database_connection_from_dict(CONFIG, "{kind}") is handle
        """
    )
    until(lambda: server.sessions("fork") == 0)


@pytest.mark.parametrize("kind", ["normal", "pool"])
def test_childs_exit_leaves_the_parents_session_and_transaction_alone(run, kind):
    run(
        f"""
        handle = manager.get_database_connection_from_dict(CONFIG, "{kind}")
        with handle as conn:
            before = conn.execute("SELECT pg_backend_pid(), pg_current_xact_id()").fetchone()
            child = os.fork()
            if child == 0:
                sys.exit(0)  # leaves the block by SystemExit
            wait(child)
            after = conn.execute("SELECT pg_backend_pid(), pg_current_xact_id()").fetchone()
            assert before == after
        """
    )


@pytest.mark.parametrize("kind", ["normal", "pool"])
def test_child_that_closes_an_inherited_connection_does_not_end_the_parents_session(run, kind):
    """libpq says goodbye to the server on closing, whose process that is."""
    run(
        f"""
        handle = manager.get_database_connection_from_dict(CONFIG, "{kind}")
        with handle as conn:
            child = os.fork()
            if child == 0:
                conn.close()
                os._exit(0)
            wait(child)
            assert conn.execute("SELECT 1").fetchone() == (1,)
        """
    )


@pytest.mark.parametrize("kind", ["async", "async_pool"])
def test_child_that_closes_an_inherited_async_connection_does_not_end_it(run, kind):
    run(
        f"""
        import asyncio

        async def main():
            handle = await manager.get_database_connection_from_dict(CONFIG, "{kind}")
            async with handle as conn:
                child = os.fork()
                if child == 0:
                    await conn.close()
                    os._exit(0)
                wait(child)
                cursor = await conn.execute("SELECT 1")
                assert await cursor.fetchone() == (1,)

        asyncio.run(main())
        """
    )


@pytest.mark.parametrize(
    ("kind", "enter"),
    [("normal", "handle"), ("pool", "handle"), ("pool", "handle.connection()")],
)
def test_block_open_across_a_fork_raises_in_the_child(run, kind, enter):
    said = run(
        f"""
        handle = manager.get_database_connection_from_dict(CONFIG, "{kind}")
        child = None
        try:
            with {enter} as conn:
                child = os.fork()
        except HandleError as error:
            print(error)
            sys.stdout.flush()
            os._exit(0)
        wait(child)
        """
    )
    assert "of this process" in said or "before a fork" in said


def test_child_of_a_process_whose_threads_hold_connections_starts_afresh(run):
    """Locks held by other threads at the fork stay held in the child for ever."""
    run(
        """
        pool = manager.get_database_connection_from_dict(CONFIG, "pool")
        stop = threading.Event()
        def busy():
            while not stop.is_set():
                ask(pool, 1, 1)
        threads = [threading.Thread(target=busy) for _ in range(6)]
        for thread in threads:
            thread.start()
        for _ in range(10):
            wait(in_child(lambda: ask(pool, 3, -1)))
        stop.set()
        for thread in threads:
            thread.join()
        """
    )


def test_fork_while_the_pools_scheduler_holds_its_lock_does_not_block_the_child(run):
    """No program can choose that moment, and none can avoid it."""
    run(
        """
        import signal
        pool = manager.get_database_connection_from_dict(CONFIG, "pool")
        held, over = threading.Event(), threading.Event()
        def hold():
            with pool._pool._sched._lock:
                held.set()
                over.wait()
        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()
        def work():
            signal.alarm(60)
            ask(pool, 1, -1)
        wait(in_child(work))
        over.set()
        thread.join()
        """
    )


def test_async_handles_of_the_parent_are_built_anew_in_the_child(run):
    run(
        """
        import asyncio

        async def get_and_ask():
            for kind in ("async", "async_pool"):
                handle = await manager.get_database_connection_from_dict(CONFIG, kind)
                async with handle as conn:
                    cursor = await conn.execute("SELECT 1")
                    assert await cursor.fetchone() == (1,)

        asyncio.run(get_and_ask())
        child = in_child(lambda: asyncio.run(get_and_ask()))
        wait(child)
        asyncio.run(get_and_ask())
        """
    )
