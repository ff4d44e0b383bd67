"""Event loops that end, processes that exit: nothing hangs, nothing is said, nothing is left."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from support.wait import until

# The documented template's sizes.
TEMPLATE_POOL = {"min_size": 5, "max_size": 20, "timeout": 30}


@pytest.fixture
def config(config_dict: dict[str, Any], tmp_path: Path) -> Path:
    """The configuration as JSON, for a child process, under a name of its own."""
    config_dict["connection_settings"]["application_name"] = "lifetime"
    config_dict["pool_settings"] = config_dict["async_pool_settings"] = TEMPLATE_POOL
    path = tmp_path / "config.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps(config_dict))
    return path


PREAMBLE = "import json, pathlib, sys; CONFIG = json.loads(pathlib.Path(sys.argv[1]).read_text())"


def run(program: str, config: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run *program* in a child with every warning an error; a hang fails, generously late."""
    code = f"{PREAMBLE}\n{textwrap.dedent(program)}"
    command = [sys.executable, "-X", "dev", "-W", "error", *options, "-c", code, str(config)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_asyncio_run_returns_50_times_although_the_pool_is_never_closed(config, server):
    """R8: a worker that is cancelled while connecting used to go on for ever."""
    done = run(
        """
        import asyncio
        from pgmonkey import PGConnectionManager

        manager = PGConnectionManager()

        async def main():
            pool = await manager.get_database_connection_from_dict(CONFIG, "async_pool")
            async with pool as conn:
                async with conn.cursor() as cur:
                    await cur.execute("SELECT version();")
                    assert await cur.fetchone()

        for number in range(50):
            asyncio.run(main())
        print(number + 1)
        """,
        config,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("50\n", "", 0)
    until(lambda: server.sessions("lifetime") == 0)


ENDINGS = {
    "the pool still fills": "await asyncio.sleep(number % 10 * 0.003)",
    "the pool grows": "await asyncio.gather(*(ask(pool) for _ in range(4)))",
    "a lost connection is replaced": """
            with manager.get_database_connection_from_dict(CONFIG, "normal") as other:
                pids = other.execute(
                    "SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE application_name = 'lifetime' AND pid <> pg_backend_pid()"
                ).fetchall()
                while other.execute(
                    "SELECT FROM pg_stat_activity WHERE pid = ANY(%s)", [[p[0] for p in pids]]
                ).rowcount:
                    other.commit()  # within a transaction the view stays the same
            # A proxy in between may bring the news later than the view.
            with contextlib.suppress(psycopg.OperationalError):
                await ask(pool)""",
    "somebody who waits gives up": """
            async with pool:
                waiting = asyncio.create_task(pool.__aenter__())
                await asyncio.sleep(number % 10 * 0.002)
                waiting.cancel()""",
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_asyncio_run_returns_whatever_the_pool_is_doing_when_the_loop_ends(config, ending):
    """A cancellation that meets the end of a timed wait must not be lost, as it once was."""
    done = run(
        f"""
        import asyncio, contextlib, psycopg
        from pgmonkey import PGConnectionManager

        manager = PGConnectionManager()

        async def ask(pool):
            async with pool as conn:
                await conn.execute("SELECT 1")

        async def main(number):
            pool = await manager.get_database_connection_from_dict(CONFIG, "async_pool")
            await ask(pool)
            {ENDINGS[ending].strip()}

        for number in range(40):
            asyncio.run(main(number))
        print(number + 1)
        """,
        config,
    )
    assert (done.stdout, done.returncode) == ("40\n", 0), done.stderr


@pytest.mark.parametrize("fresh", [True, False], ids=["a manager each", "one manager"])
def test_two_event_loops_in_one_process_work(config, server, fresh):
    done = run(
        f"""
        import asyncio
        from pgmonkey import PGConnectionManager

        manager = PGConnectionManager()

        async def main():
            own = PGConnectionManager() if {fresh} else manager
            for kind in ("async", "async_pool"):
                handle = await own.get_database_connection_from_dict(CONFIG, kind)
                async with handle as conn:
                    cursor = await conn.execute("SELECT 1")
                    assert await cursor.fetchone() == (1,)

        asyncio.run(main())
        asyncio.run(main())
        print(manager.cache_info["size"])
        """,
        config,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("0\n" if fresh else "2\n", "", 0)


def test_handle_of_an_ended_loop_says_so(config):
    done = run(
        """
        import asyncio
        from pgmonkey import HandleError, PGConnectionManager

        manager = PGConnectionManager()

        async def get():
            return await manager.get_database_connection_from_dict(CONFIG, "async_pool")

        async def use(handle):
            try:
                async with handle:
                    pass
            except HandleError as error:
                print(error)

        asyncio.run(use(asyncio.run(get())))
        """,
        config,
    )
    assert "was opened in another event loop; get one in this loop" in done.stdout
    assert (done.stderr, done.returncode) == ("", 0)


def test_pool_whose_loop_was_closed_without_ending_its_tasks_goes_quietly(config):
    """Unlike asyncio.run, a bare loop cancels nothing; asyncio complains of tasks left so."""
    done = run(
        """
        import asyncio, gc
        from pgmonkey import PGConnectionManager

        manager = PGConnectionManager()

        async def main():
            async with manager.get_database_connection_from_dict(CONFIG, "async_pool") as conn:
                await conn.execute("SELECT 1")

        loop = asyncio.new_event_loop()
        loop.run_until_complete(main())
        loop.close()
        manager.clear_cache()
        gc.collect()
        """,
        config,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


OPEN_ALL_FOUR = """
    import asyncio, sys, time
    from pgmonkey import PGConnectionManager

    manager = PGConnectionManager()

    async def get(kind):
        return await manager.get_database_connection_from_dict(CONFIG, kind)

    handles = [manager.get_database_connection_from_dict(CONFIG, k) for k in ("normal", "pool")]
    handles += [asyncio.run(get(k)) for k in ("async", "async_pool")]
    with handles[0] as conn, handles[1] as other:
        assert conn.execute("SELECT 1").fetchone() == other.execute("SELECT 1").fetchone()
    print(time.time(), flush=True)
"""


@pytest.mark.parametrize("ending", ["", "sys.exit(0)"])
def test_exit_with_all_four_types_open_is_quiet_and_quick(config, server, ending):
    """R9. The target is 1 s; the limit here only tells a stall from a busy machine."""
    done = run(textwrap.dedent(OPEN_ALL_FOUR) + ending, config)
    took = time.time() - float(done.stdout)
    assert (done.stderr, done.returncode) == ("", 0)
    assert took < 10
    until(lambda: server.sessions("lifetime") == 0)


def test_exit_inside_open_blocks_is_quiet_too(config, server):
    done = run(
        """
        import asyncio, sys
        from pgmonkey import PGConnectionManager

        manager = PGConnectionManager()
        manager.get_database_connection_from_dict(CONFIG, "normal").__enter__()
        manager.get_database_connection_from_dict(CONFIG, "pool").__enter__().execute("SELECT 1")
        """,
        config,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
    until(lambda: server.sessions("lifetime") == 0)


def test_opening_and_clearing_leaves_no_thread_and_no_descriptor(config_dict):
    from pgmonkey import PGConnectionManager

    def once() -> None:
        manager = PGConnectionManager()
        for kind in ("normal", "pool"):
            with manager.get_database_connection_from_dict(config_dict, kind) as conn:
                conn.execute("SELECT 1")
        manager.clear_cache()

    once()
    me = psutil.Process()
    threads, descriptors = me.num_threads(), me.num_fds()
    for _ in range(10):
        once()
    # Fewer is possible: what earlier tests left behind may end meanwhile. A thread that was
    # joined is the system's for a moment longer.
    until(lambda: me.num_threads() <= threads)
    assert me.num_fds() <= descriptors
