"""One configuration, one handle: what is cached, what makes a new one, and when it is closed."""

from __future__ import annotations

import asyncio
import copy
import gc
import threading
from typing import Any

import psycopg
import pytest

from pgmonkey import ConfigError, HandleError, PGConnectionManager
from support.kinds import ALL, block, get, one, settle
from support.wait import until


def named(config: dict[str, Any], name: str) -> dict[str, Any]:
    config = copy.deepcopy(config)
    config["connection_settings"]["application_name"] = name
    return config


@pytest.mark.parametrize("kind", ALL)
async def test_same_configuration_gives_the_same_handle(manager, config_dict, kind):
    handle = await get(manager, config_dict, kind)
    assert await get(manager, copy.deepcopy(config_dict), kind) is handle
    shuffled = dict(reversed(config_dict.items()))
    assert await get(manager, shuffled, kind) is handle


async def test_file_and_equal_dict_give_the_same_handle(manager, config_dict, config_file):
    handle = manager.get_database_connection(config_file, "pool")
    assert manager.get_database_connection(str(config_file), "pool") is handle
    assert manager.get_database_connection_from_dict(config_dict, "pool") is handle


async def test_other_type_or_other_value_gives_another_handle(manager, config_dict):
    handle = await get(manager, config_dict, "normal")
    assert await get(manager, config_dict, "pool") is not handle
    assert await get(manager, named(config_dict, "other"), "normal") is not handle


async def test_type_not_named_is_the_one_of_the_configuration(manager, config_dict):
    config_dict["connection_type"] = "pool"
    handle = manager.get_database_connection_from_dict(config_dict)
    assert handle.connection_type == "pool"


async def test_unknown_type_is_refused_at_the_call(manager, config_dict):
    with pytest.raises(ConfigError, match="'pol' is not a connection type; use one of normal"):
        manager.get_database_connection_from_dict(config_dict, "pol")


async def test_changed_file_is_read_again(manager, config_file):
    handle = manager.get_database_connection(config_file, "normal")
    text = config_file.read_text()
    config_file.write_text(text + "sync_settings: {statement_timeout: 7s}\n")
    changed = manager.get_database_connection(config_file, "normal")
    assert changed is not handle
    with changed as conn:
        assert conn.execute("SHOW statement_timeout").fetchone() == ("7s",)


async def test_changed_variable_is_another_configuration(manager, config_dict, monkeypatch):
    config_dict["connection_settings"]["application_name"] = "${APP_NAME}"
    monkeypatch.setenv("APP_NAME", "first")
    first = await get(manager, config_dict, "normal", resolve_env=True)
    assert await get(manager, config_dict, "normal", resolve_env=True) is first
    monkeypatch.setenv("APP_NAME", "second")
    second = await get(manager, config_dict, "normal", resolve_env=True)
    assert second is not first
    with second as conn:
        assert conn.execute("SHOW application_name").fetchone() == ("second",)


async def test_cache_info_counts_and_names_types_but_shows_no_secret(manager, config_dict):
    assert manager.cache_info == {"size": 0, "connection_types": []}
    for kind in ALL:
        await get(manager, config_dict, kind)
    assert manager.cache_info == {"size": 4, "connection_types": list(ALL)}
    password = config_dict["connection_settings"]["password"]
    assert password not in repr(manager.__dict__)


@pytest.mark.parametrize("kind", ALL)
async def test_disconnect_closes_and_evicts_and_may_be_repeated(manager, config_dict, kind, server):
    handle = await get(manager, named(config_dict, f"gone {kind}"), kind)
    for _ in range(5):
        await settle(handle.disconnect())
    assert manager.cache_info["size"] == 0
    until(lambda: server.sessions(f"gone {kind}") == 0)
    assert await get(manager, named(config_dict, f"gone {kind}"), kind) is not handle


@pytest.mark.parametrize("kind", ALL)
async def test_handle_that_was_disconnected_may_be_connected_again(manager, config_dict, kind):
    handle = await get(manager, config_dict, kind)
    await settle(handle.disconnect())
    await settle(handle.connect())
    async with block(handle) as conn:
        assert await one(conn, "SELECT 1") == 1
    await settle(handle.disconnect())


@pytest.mark.parametrize("kind", ALL)
async def test_force_reload_replaces_the_handle_and_closes_the_old_one(
    manager, config_dict, kind, server
):
    old = await get(manager, config_dict, kind)
    new = await get(manager, config_dict, kind, force_reload=True)
    assert new is not old
    assert old.closed
    assert await get(manager, config_dict, kind) is new


@pytest.mark.parametrize("kind", ALL)
async def test_force_reload_that_fails_leaves_the_old_handle_in_place(
    manager, config_dict, kind, database, server
):
    old = await get(manager, config_dict, kind)
    with server.admin() as admin:
        admin.execute(f'ALTER DATABASE "{database.name}" ALLOW_CONNECTIONS false')
    with pytest.raises(psycopg.OperationalError):
        await get(manager, config_dict, kind, force_reload=True)
    assert await get(manager, config_dict, kind) is old
    async with block(old) as conn:
        assert await one(conn, "SELECT 1") == 1


def test_clear_cache_closes_everything(config_dict, server):
    manager = PGConnectionManager()
    config = named(config_dict, "cleared")
    for kind in ("normal", "pool"):
        manager.get_database_connection_from_dict(config, kind)
    manager.clear_cache()
    assert manager.cache_info["size"] == 0
    until(lambda: server.sessions("cleared") == 0)


async def test_clear_cache_in_an_event_loop_names_the_awaitable_one(manager, config_dict):
    await get(manager, config_dict, "async")
    with pytest.raises(HandleError, match=r"await clear_cache_async\(\)"):
        manager.clear_cache()
    assert manager.cache_info["size"] == 1


async def test_clear_cache_async_closes_all_four_types(manager, config_dict, server):
    for kind in ALL:
        await get(manager, named(config_dict, "cleared async"), kind)
    await manager.clear_cache_async()
    assert manager.cache_info["size"] == 0
    until(lambda: server.sessions("cleared async") == 0)


def test_clear_cache_closes_what_belongs_to_an_event_loop_in_another_thread(config_dict, server):
    manager = PGConnectionManager()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    for kind in ("async", "async_pool"):
        asyncio.run_coroutine_threadsafe(
            get(manager, named(config_dict, "other loop"), kind), loop
        ).result(30)
    manager.clear_cache()
    until(lambda: server.sessions("other loop") == 0)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_failure_is_not_cached(config_dict, database, server):
    manager = PGConnectionManager()
    with server.admin() as admin:
        admin.execute(f'ALTER DATABASE "{database.name}" ALLOW_CONNECTIONS false')
        with pytest.raises(psycopg.OperationalError):
            manager.get_database_connection_from_dict(config_dict, "pool")
        admin.execute(f'ALTER DATABASE "{database.name}" ALLOW_CONNECTIONS true')
    with manager.get_database_connection_from_dict(config_dict, "pool") as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)
    manager.clear_cache()


def test_cold_get_by_200_threads_makes_one_pool(config_dict, server):
    """R11: one builder, everybody gets its pool, and no session more than the pool may have."""
    config = named(config_dict, "cold")
    manager = PGConnectionManager()
    start = threading.Barrier(200)
    handles: list[Any] = []
    seen: list[int] = []

    def work() -> None:
        start.wait()
        handle = manager.get_database_connection_from_dict(config, "pool")
        handles.append(handle)
        with handle as conn:
            conn.execute("SELECT 1")

    threads = [threading.Thread(target=work) for _ in range(200)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        seen.append(server.sessions("cold"))
    assert len(handles) == 200
    assert len({id(handle) for handle in handles}) == 1
    assert max(seen) <= config["pool_settings"]["max_size"]
    manager.clear_cache()


async def test_cold_get_by_200_tasks_makes_one_pool(manager, config_dict):
    handles = await asyncio.gather(*(get(manager, config_dict, "async_pool") for _ in range(200)))
    assert len({id(handle) for handle in handles}) == 1


async def test_one_of_many_waiting_tasks_may_be_cancelled(manager, config_dict):
    tasks = [asyncio.create_task(get(manager, config_dict, "async_pool")) for _ in range(10)]
    await asyncio.sleep(0)
    for task in tasks[:5]:
        task.cancel()
    outcome = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in outcome[:5])
    assert len({id(result) for result in outcome[5:]}) == 1
    assert manager.cache_info["size"] == 1


@pytest.mark.parametrize("kind", ["normal", "pool"])
def test_manager_that_nobody_holds_closes_what_it_opened(config_dict, server, kind):
    for _ in range(8):
        PGConnectionManager().get_database_connection_from_dict(named(config_dict, "dropped"), kind)
    gc.collect()
    until(lambda: server.sessions("dropped") == 0)


@pytest.mark.parametrize("kind", ["async", "async_pool"])
async def test_manager_that_nobody_holds_closes_its_async_handles_too(config_dict, server, kind):
    for _ in range(8):
        await get(PGConnectionManager(), named(config_dict, "dropped async"), kind)
    gc.collect()
    await asyncio.sleep(0)
    until(lambda: server.sessions("dropped async") == 0)


def test_handle_outlives_the_variable_of_its_manager(config_dict):
    handle = PGConnectionManager().get_database_connection_from_dict(config_dict, "pool")
    gc.collect()
    with handle as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)
    handle.disconnect()


def test_at_most_64_handles_are_kept_and_those_in_use_are_spared(config_dict, caplog):
    manager = PGConnectionManager()
    first = manager.get_database_connection_from_dict(named(config_dict, "n0"), "normal")
    with first as conn:
        for number in range(1, 67):
            manager.get_database_connection_from_dict(named(config_dict, f"n{number}"), "normal")
        assert manager.cache_info["size"] == 64
        assert conn.execute("SELECT 1").fetchone() == (1,)
    assert not first.closed
    assert len([r for r in caplog.records if "64 configurations" in r.getMessage()]) == 1
    manager.clear_cache()


async def test_async_handle_may_be_entered_without_awaiting_it_first(manager, config_dict):
    async with manager.get_database_connection_from_dict(config_dict, "async_pool") as conn:
        assert await one(conn, "SELECT 1") == 1
    assert manager.cache_info["size"] == 1


def test_configuration_error_raises_at_the_call_of_an_async_type_too(config_dict):
    config_dict["pool_settings"]["min_size"] = 9
    with pytest.raises(ConfigError, match="min_size"):
        PGConnectionManager().get_database_connection_from_dict(config_dict, "async")
