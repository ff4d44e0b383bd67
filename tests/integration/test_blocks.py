"""What a block promises, for all four types: commit, rollback, and errors that tell the truth."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from pgmonkey import (
    CommitUnknownError,
    HandleBusyError,
    HandleError,
    PGConnectionManager,
    TransactionLostError,
)
from support.kinds import ALL, POOLS, SINGLE, block, get, one, settle
from support.wait import until


@pytest.fixture
def table(database: Any) -> str:
    with database.server.admin(database.name) as conn:
        conn.execute("CREATE TABLE item (name text UNIQUE DEFERRABLE INITIALLY DEFERRED)")
        conn.execute("GRANT ALL ON item TO PUBLIC")
    return "item"


@pytest.fixture
def rows(database: Any, table: str) -> Any:
    """Count the committed rows, from outside."""

    def count() -> int:
        with database.server.admin(database.name) as conn:
            return int(conn.execute("SELECT count(*) FROM item").fetchone()[0])

    return count


INSERT = "INSERT INTO item VALUES (%s)"


@pytest.mark.parametrize("kind", ALL)
async def test_block_that_ends_well_commits(manager, config_dict, kind, rows):
    handle = await get(manager, config_dict, kind)
    async with block(handle) as conn:
        await settle(conn.execute(INSERT, ["a"]))
        assert rows() == 0
    assert rows() == 1


@pytest.mark.parametrize("kind", ALL)
async def test_block_gives_a_real_psycopg_connection(manager, config_dict, kind):
    handle = await get(manager, config_dict, kind)
    async with block(handle) as conn:
        wanted = psycopg.AsyncConnection if kind.startswith("async") else psycopg.Connection
        assert isinstance(conn, wanted)


@pytest.mark.parametrize("kind", ALL)
async def test_block_that_raises_rolls_back_and_its_own_exception_leaves(
    manager, config_dict, kind, rows
):
    handle = await get(manager, config_dict, kind)
    with pytest.raises(KeyError, match="mine"):
        async with block(handle) as conn:
            await settle(conn.execute(INSERT, ["a"]))
            raise KeyError("mine")
    assert rows() == 0
    async with block(handle) as conn:
        assert await one(conn, "SELECT 1") == 1


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit, GeneratorExit])
@pytest.mark.parametrize("kind", ["normal", "pool"])
def test_interrupt_rolls_back_too(config_dict, kind, rows, interrupt):
    manager = PGConnectionManager()
    handle = manager.get_database_connection_from_dict(config_dict, kind)
    with pytest.raises(interrupt), handle as conn:
        conn.execute(INSERT, ["a"])
        raise interrupt
    assert rows() == 0
    with handle as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)
    manager.clear_cache()


@pytest.mark.parametrize("kind", ["async", "async_pool"])
async def test_cancelled_block_cancels_its_statement_rolls_back_and_returns_the_connection(
    manager, config_dict, kind, rows
):
    config_dict["async_pool_settings"] = {"min_size": 1, "max_size": 1, "timeout": 10}
    handle = await get(manager, config_dict, kind)
    sleeping = asyncio.Event()

    async def work() -> None:
        async with handle as conn:
            await conn.execute(INSERT, ["a"])
            sleeping.set()
            await conn.execute("SELECT pg_sleep(600)")

    task = asyncio.create_task(work())
    await sleeping.wait()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert rows() == 0
    async with handle as conn:
        assert await one(conn, "SELECT 1") == 1


@pytest.mark.parametrize("kind", ALL)
async def test_swallowed_sql_error_is_rolled_back_with_a_warning_that_names_it(
    manager, config_dict, kind, rows, caplog
):
    handle = await get(manager, config_dict, kind)
    with caplog.at_level(logging.WARNING, "pgmonkey"):
        async with block(handle) as conn:
            await settle(conn.execute(INSERT, ["a"]))
            with pytest.raises(psycopg.errors.DivisionByZero):
                await settle(conn.execute("SELECT 1/0"))
    assert rows() == 0
    assert [r.message for r in caplog.records if "22012" in r.message]


@pytest.mark.parametrize("kind", ALL)
async def test_manual_commit_stands_although_the_block_fails_later(
    manager, config_dict, kind, rows
):
    handle = await get(manager, config_dict, kind)
    with pytest.raises(KeyError):
        async with block(handle) as conn:
            await settle(conn.execute(INSERT, ["a"]))
            await settle(conn.commit())
            await settle(conn.execute(INSERT, ["b"]))
            raise KeyError
    assert rows() == 1


@pytest.mark.parametrize("kind", ALL)
async def test_handle_offers_cursor_commit_rollback_and_transaction_of_the_open_block(
    manager, config_dict, kind, rows
):
    handle = await get(manager, config_dict, kind)
    async with block(handle):
        cursor = handle.cursor()
        await settle(cursor.execute(INSERT, ["a"]))
        await settle(handle.commit())
        await settle(cursor.execute(INSERT, ["b"]))
        await settle(handle.rollback())
        async with block(handle.transaction()):
            await settle(cursor.execute(INSERT, ["c"]))
    assert rows() == 2


@pytest.mark.parametrize("kind", ALL)
async def test_outside_a_block_rollback_does_nothing_and_the_rest_says_open_a_block(
    manager, config_dict, kind
):
    handle = await get(manager, config_dict, kind)
    await settle(handle.rollback())
    with pytest.raises(HandleError, match=r"commit\(\) needs an open block .* with handle as conn"):
        await settle(handle.commit())
    with pytest.raises(HandleError, match=r"cursor\(\) needs an open block"):
        handle.cursor()


@pytest.mark.parametrize("kind", ALL)
async def test_rollback_on_a_connection_kept_beyond_its_block_harms_nobody(
    manager, config_dict, kind, rows
):
    """The documented recipe rolls back after the block; by then somebody else may have it."""
    config_dict["pool_settings"] = config_dict["async_pool_settings"] = {
        "min_size": 1,
        "max_size": 1,
        "timeout": 10,
    }
    handle = await get(manager, config_dict, kind)
    async with block(handle) as conn:
        pass
    await settle(conn.rollback())

    if kind.startswith("async"):

        async def other() -> None:
            async with handle as mine:
                await mine.execute(INSERT, ["a"])
                inside.set()
                await done.wait()

        inside, done = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(other())
        await inside.wait()
        await conn.rollback()
        done.set()
        await task
    else:

        def other_thread() -> None:
            with handle as mine:
                mine.execute(INSERT, ["a"])
                entered.set()
                left.wait(30)

        entered, left = threading.Event(), threading.Event()
        thread = threading.Thread(target=other_thread)
        thread.start()
        entered.wait(30)
        conn.rollback()
        left.set()
        thread.join()
    assert rows() == 1


@pytest.mark.parametrize("kind", ALL)
async def test_autocommit_neither_commits_nor_rolls_back(manager, config_dict, kind, rows):
    config_dict["connection_options"] = {"autocommit": True}
    handle = await get(manager, config_dict, kind)
    with pytest.raises(KeyError):
        async with block(handle) as conn:
            await settle(conn.execute(INSERT, ["a"]))
            raise KeyError
    assert rows() == 1


@pytest.mark.parametrize("kind", ALL)
async def test_failed_commit_raises_the_servers_error_and_the_handle_goes_on(
    manager, config_dict, kind, rows
):
    handle = await get(manager, config_dict, kind)
    with pytest.raises(psycopg.errors.UniqueViolation):
        async with block(handle) as conn:
            await settle(conn.execute("INSERT INTO item VALUES ('x'), ('x')"))
    assert rows() == 0
    async with block(handle) as conn:
        assert await one(conn, "SELECT 1") == 1


@pytest.mark.parametrize("kind", ALL)
async def test_backend_killed_in_a_block_gives_the_servers_own_error(
    manager, config_dict, kind, server
):
    handle = await get(manager, config_dict, kind)
    with pytest.raises(psycopg.errors.AdminShutdown):
        async with block(handle) as conn:
            server.terminate("pid", conn.info.backend_pid)
            await settle(conn.execute("SELECT 1"))
    async with block(handle) as conn:
        assert await one(conn, "SELECT 1") == 1


@pytest.mark.parametrize("kind", ALL)
async def test_swallowed_loss_of_the_connection_is_reported(
    manager, config_dict, kind, server, rows
):
    handle = await get(manager, config_dict, kind)
    with pytest.raises(TransactionLostError):
        async with block(handle) as conn:
            await settle(conn.execute(INSERT, ["a"]))
            server.terminate("pid", conn.info.backend_pid)
            with pytest.raises(psycopg.OperationalError):
                await settle(conn.execute("SELECT 1"))
    assert rows() == 0


@pytest.mark.parametrize("kind", ALL)
async def test_block_left_in_the_middle_of_a_command_says_that_it_is_not_committed(
    manager, config_dict, kind, rows
):
    handle = await get(manager, config_dict, kind)
    with pytest.raises(TransactionLostError, match="in the middle of a command"):
        async with block(handle) as conn:
            await settle(conn.execute(INSERT, ["a"]))
            conn.pgconn.send_query(b"SELECT 1")
    assert conn.closed
    assert rows() == 0
    async with block(handle) as conn:
        assert await one(conn, "SELECT 1") == 1


@pytest.mark.parametrize("kind", ALL)
async def test_connection_lost_during_commit_leaves_the_outcome_unknown(
    manager, config_dict, kind, server, table
):
    handle = await get(manager, config_dict, kind)
    with pytest.raises(CommitUnknownError, match="may have been committed"):
        async with block(handle) as conn:
            await settle(conn.execute(INSERT, ["a"]))
            server.terminate("pid", conn.info.backend_pid)


@pytest.mark.parametrize("kind", ALL)
async def test_idle_connection_whose_server_went_away_is_replaced_before_it_is_used(
    manager, config_dict, kind, server
):
    handle = await get(manager, config_dict, kind)
    for _ in range(3):
        async with block(handle) as conn:
            pid = await one(conn, "SELECT pg_backend_pid()")
        server.terminate("pid", pid)
        async with block(handle) as conn:
            assert await one(conn, "SELECT pg_backend_pid()") != pid


@pytest.mark.parametrize("kind", SINGLE)
async def test_block_in_a_block_of_a_single_connection_is_part_of_it(
    manager, config_dict, kind, rows
):
    handle = await get(manager, config_dict, kind)
    async with block(handle) as outer:
        async with block(handle) as inner:
            assert inner is outer
            await settle(inner.execute(INSERT, ["a"]))
        assert rows() == 0
    assert rows() == 1


@pytest.mark.parametrize("kind", SINGLE)
async def test_notifications_of_a_single_connection_outlive_the_block(
    manager, config_dict, kind, database
):
    """What is read to see whether the server is there must not be lost."""
    handle = await get(manager, config_dict, kind)
    async with block(handle) as conn:
        await settle(conn.execute("LISTEN news"))
    with database.server.admin(database.name) as other:
        other.execute("NOTIFY news, 'hello'")
    async with block(handle) as conn:
        await settle(conn.execute("SELECT 1"))
        if kind == "async":
            heard = [note.payload async for note in conn.notifies(timeout=30, stop_after=1)]
        else:
            heard = [note.payload for note in conn.notifies(timeout=30, stop_after=1)]
    assert heard == ["hello"]


@pytest.mark.parametrize("kind", POOLS)
async def test_block_in_a_block_of_a_pool_takes_a_second_connection(manager, config_dict, kind):
    handle = await get(manager, config_dict, kind)
    async with block(handle) as outer:
        async with block(handle) as inner:
            assert inner is not outer
            assert handle.cursor().connection is inner
        assert handle.cursor().connection is outer


@pytest.mark.parametrize("kind", POOLS)
async def test_block_that_holds_the_whole_pool_is_told_so_at_once(manager, config_dict, kind):
    section = "async_pool_settings" if kind == "async_pool" else "pool_settings"
    config_dict[section] = {"min_size": 1, "max_size": 2, "timeout": 600}
    handle = await get(manager, config_dict, kind)
    async with block(handle), block(handle):
        with pytest.raises(HandleError, match="all 2 connections"):
            async with block(handle):
                pass


async def test_task_started_inside_a_block_does_not_share_its_connection(manager, config_dict):
    """A child task inherits its parent's context, so a context variable would hand it the same."""
    handle = await get(manager, config_dict, "async_pool")

    async def child() -> Any:
        with pytest.raises(HandleError):
            handle.cursor()
        async with handle as conn:
            return conn

    async with handle as conn:
        assert await asyncio.create_task(child()) is not conn


async def test_second_task_waits_for_the_single_connection_then_is_told_to_use_a_pool(
    manager, config_dict
):
    config_dict["connection_settings"]["connect_timeout"] = "2"
    handle = await get(manager, config_dict, "async")

    async def second() -> None:
        async with handle:
            pass

    async with handle:
        with pytest.raises(HandleBusyError, match="use a pool type"):
            await asyncio.create_task(second())
        waiting = asyncio.create_task(second())
        await asyncio.sleep(0)
    await waiting


def test_second_thread_waits_for_the_single_connection_then_is_told_to_use_a_pool(config_dict):
    config_dict["connection_settings"]["connect_timeout"] = "2"
    manager = PGConnectionManager()
    handle = manager.get_database_connection_from_dict(config_dict, "normal")
    outcome: list[Any] = []

    def second() -> None:
        try:
            with handle as conn:
                outcome.append(conn)
        except HandleBusyError as error:
            outcome.append(error)

    with handle:
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
        later = threading.Thread(target=second)
        later.start()
    later.join()
    assert isinstance(outcome[0], HandleBusyError)
    assert isinstance(outcome[1], psycopg.Connection)
    manager.clear_cache()


@pytest.mark.parametrize("kind", POOLS)
async def test_connection_block_may_end_where_it_did_not_begin(manager, config_dict, kind, rows):
    handle = await get(manager, config_dict, kind)
    context = handle.connection()
    if kind == "async_pool":
        conn = await asyncio.create_task(context.__aenter__())
        await conn.execute(INSERT, ["a"])
        await context.__aexit__(None, None, None)
    else:
        conn = await asyncio.to_thread(context.__enter__)
        conn.execute(INSERT, ["a"])
        await asyncio.to_thread(context.__exit__, None, None, None)
    assert rows() == 1


def test_generators_that_take_turns_in_one_thread_keep_their_own_connections(config_dict, rows):
    """The block that began first ends first, and must not end the other one."""
    manager = PGConnectionManager()
    pool = manager.get_database_connection_from_dict(config_dict, "pool")

    def insert(*names: str) -> Iterator[None]:
        with pool as conn:
            for name in names:
                conn.execute(INSERT, [name])
                yield

    first, second = insert("a", "b"), insert("c", "d")
    next(first), next(second)
    first.close()  # rolls back
    list(second)
    assert rows() == 2
    assert pool.stats().in_use == 0
    manager.clear_cache()


def test_block_that_is_dropped_in_another_thread_gives_its_connection_back(config_dict, rows):
    manager = PGConnectionManager()
    pool = manager.get_database_connection_from_dict(config_dict, "pool")

    def insert() -> Iterator[None]:
        with pool as conn:
            conn.execute(INSERT, ["a"])
            yield

    generator = insert()
    next(generator)
    thread = threading.Thread(target=generator.close)
    thread.start()
    thread.join()
    until(lambda: pool.stats().in_use == 0)
    assert rows() == 0
    manager.clear_cache()


@pytest.mark.parametrize("kind", ALL)
async def test_disconnect_inside_a_block_lets_the_block_finish(manager, config_dict, kind, rows):
    handle = await get(manager, config_dict, kind)
    async with block(handle) as conn:
        await settle(handle.disconnect())
        await settle(conn.execute(INSERT, ["a"]))
    assert rows() == 1
    assert conn.closed
    with pytest.raises(HandleError, match="get a new one from the manager"):
        async with block(handle):
            pass


@pytest.mark.parametrize("kind", ALL)
async def test_connection_is_never_left_idle_in_transaction(manager, config_dict, kind, database):
    config_dict["connection_settings"]["application_name"] = f"idle {kind}"
    config_dict["sync_settings"] = config_dict["async_settings"] = {"statement_timeout": "60s"}
    handle = await get(manager, config_dict, kind)
    async with block(handle) as conn:
        await settle(conn.execute("SELECT 1"))
    with database.server.admin(database.name) as admin:
        states = admin.execute(
            "SELECT DISTINCT state FROM pg_stat_activity WHERE application_name = %s",
            [f"idle {kind}"],
        ).fetchall()
    assert states == [("idle",)]
