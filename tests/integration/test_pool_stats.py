"""What a pool tells about itself: figures, and who does not give connections back."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import psycopg
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from psycopg_pool import PoolTimeout

import pgmonkey
from pgmonkey.connections.pool_stats import PoolStats
from pgmonkey.connections.prometheus import POOL, PoolCollector
from support.kinds import POOLS, block, get, settle
from support.wait import until


def sized(config, **more):
    pool = {"min_size": 1, "max_size": 1, "timeout": 0.2, **more}
    config["pool_settings"] = config["async_pool_settings"] = pool
    return config


@pytest.mark.parametrize("kind", POOLS)
async def test_figures_follow_a_connection_out_and_back(manager, config_dict, kind):
    handle = await get(manager, sized(config_dict), kind)
    before = handle.stats()
    async with block(handle):
        held = handle.stats()
    after = handle.stats()
    assert [(s.size, s.idle, s.in_use) for s in (before, held, after)] == [
        (1, 1, 0),
        (1, 0, 1),
        (1, 1, 0),
    ]
    assert (after.requests, after.queued, after.connects, after.connect_errors) == (1, 0, 1, 0)
    assert (after.min_size, after.max_size) == (1, 1)
    assert after.use_seconds > before.use_seconds == 0
    await settle(handle.disconnect())
    assert handle.stats() == PoolStats()


@pytest.mark.parametrize("kind", POOLS)
async def test_waits_and_those_who_gave_up_are_counted(manager, config_dict, kind):
    handle = await get(manager, sized(config_dict), kind)

    async def one_more() -> None:
        if kind == "pool":
            await asyncio.to_thread(handle.connection().__enter__)
        else:
            await handle.connection().__aenter__()

    async with block(handle):
        with pytest.raises(PoolTimeout, match="size 1 of at most 1, in use 1, waiting 1"):
            await one_more()
    stats = handle.stats()
    assert (stats.requests, stats.queued, stats.timeouts, stats.waiting) == (2, 1, 1, 0)
    assert stats.wait_seconds == stats.longest_wait > 0.1


@pytest.mark.parametrize("kind", POOLS)
async def test_discards_are_counted_by_their_cause(manager, config_dict, kind, server):
    handle = await get(manager, sized(config_dict, timeout=10), kind)
    with pytest.raises(psycopg.OperationalError):
        async with block(handle) as conn:
            server.terminate("pid", conn.info.backend_pid)
            await settle(conn.execute("SELECT 1"))
    async with block(handle) as conn:
        pid = conn.info.backend_pid
    server.terminate("pid", pid)
    async with block(handle) as conn:
        await settle(conn.execute("SELECT 1"))
    causes = {cause: count for cause, count in handle.stats().discards.items() if count}
    assert causes == {"broken": 1, "dead": 1}


@pytest.mark.parametrize("kind", POOLS)
async def test_prometheus_is_told_what_the_pool_tells(manager, config_dict, kind, server):
    handle = await get(manager, sized(config_dict, timeout=10), kind)
    async with block(handle) as conn:
        pid = conn.info.backend_pid
    server.terminate("pid", pid)
    registry = CollectorRegistry()
    registry.register(PoolCollector({"sales": handle}))
    async with block(handle):
        text = generate_latest(registry).decode()
        stats = handle.stats()
    samples = {
        (sample.name, *(v for k, v in sample.labels.items() if k != POOL)): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels[POOL] == "sales"
    }
    connection = "db_client_connection_"
    assert samples[f"{connection}count", "used"] == 1
    assert samples[f"{connection}count", "idle"] == 0
    assert samples[f"{connection}max",] == 1
    assert samples[f"{connection}pending_requests",] == 0
    assert samples[f"{connection}timeouts_total",] == 0
    assert samples[f"{connection}wait_time_seconds_count",] == 2
    assert samples[f"{connection}create_time_seconds_count",] == 2
    assert samples[f"{connection}create_time_seconds_sum",] == stats.connect_seconds > 0
    assert samples["pgmonkey_pool_discards_total", "dead"] == 1
    assert samples["pgmonkey_pool_discards_total", "broken"] == 0
    assert samples["pgmonkey_pool_use_seconds_total",] == stats.use_seconds > 0
    assert samples["pgmonkey_pool_connect_errors_total",] == 0
    assert samples["pgmonkey_pool_leaks_total",] == 0


@pytest.mark.parametrize("kind", POOLS)
async def test_connection_held_too_long_is_reported_once_with_its_borrower(
    manager, config_dict, kind, caplog
):
    handle = await get(manager, sized(config_dict, leak_after=0.05), kind)

    async def forgetful_function() -> None:
        async with block(handle):
            await asyncio.to_thread(until, lambda: handle.stats().leaks > 0)
            await asyncio.sleep(0.1)  # two looks more

    with caplog.at_level(logging.WARNING):
        await forgetful_function()
    assert caplog.text.count("a connection is held for") == handle.stats().leaks == 1
    assert "in forgetful_function" in caplog.text
    assert str(Path(pgmonkey.__file__).parent) not in caplog.text
