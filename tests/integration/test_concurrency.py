"""Many users of few connections: nobody fails, nobody sees another's work."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from pgmonkey import PGConnectionManager
from support.kinds import get
from support.wait import until

SIZE_FOUR = {"min_size": 1, "max_size": 4, "timeout": 120}


@pytest.fixture
def table(database: Any) -> None:
    with database.server.admin(database.name) as conn:
        conn.execute("CREATE TABLE work (who int)")
        conn.execute("GRANT ALL ON work TO PUBLIC")


VISIBLE = "SELECT coalesce(array_agg(DISTINCT who), '{}') FROM work"


def test_200_threads_share_4_connections_in_isolation(config_dict, database, server, table):
    """Each sees its own uncommitted row and nobody else's, then rolls it back."""
    config_dict["pool_settings"] = SIZE_FOUR
    config_dict["connection_settings"]["application_name"] = "threads"
    manager = PGConnectionManager()
    pool = manager.get_database_connection_from_dict(config_dict, "pool")
    wrong: list[Any] = []

    def work(number: int) -> None:
        try:
            for _ in range(5):
                with pool as conn:
                    conn.execute("INSERT INTO work VALUES (%s)", [number])
                    (seen,) = conn.execute(VISIBLE).fetchone()
                    if seen != [number]:
                        wrong.append((number, seen))
                    conn.rollback()
        except Exception as error:
            wrong.append((number, error))

    threads = [threading.Thread(target=work, args=[n]) for n in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert server.sessions("threads") <= 4
    assert pool.stats().idle == pool.stats().size
    manager.clear_cache()
    until(lambda: server.sessions("threads") == 0)


async def test_1000_tasks_share_4_connections_in_isolation(
    manager, config_dict, database, server, table
):
    config_dict["async_pool_settings"] = SIZE_FOUR
    config_dict["connection_settings"]["application_name"] = "tasks"
    pool = await get(manager, config_dict, "async_pool")
    wrong: list[Any] = []

    async def work(number: int) -> None:
        async with pool as conn:
            await conn.execute("INSERT INTO work VALUES (%s)", [number])
            (seen,) = await (await conn.execute(VISIBLE)).fetchone()
            if seen != [number]:
                wrong.append((number, seen))
            await conn.rollback()

    outcome = await asyncio.gather(*map(work, range(1000)), return_exceptions=True)
    assert [result for result in outcome if result is not None] == []
    assert wrong == []
    assert server.sessions("tasks") <= 4
    assert pool.stats().idle == pool.stats().size
    await manager.clear_cache_async()
    until(lambda: server.sessions("tasks") == 0)


async def test_cancelled_tasks_lose_no_connection_of_the_pool(manager, config_dict):
    """Cancelled anywhere: waiting, in a statement, on the way back."""
    config_dict["async_pool_settings"] = {"min_size": 1, "max_size": 2, "timeout": 120}
    pool = await get(manager, config_dict, "async_pool")

    async def work() -> None:
        async with pool as conn:
            await conn.execute("SELECT pg_sleep(0.002)")

    for round_ in range(40):
        tasks = [asyncio.create_task(work()) for _ in range(8)]
        for _ in range(round_):
            await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def both() -> None:
        async with pool as conn:
            await conn.execute("SELECT 1")
            met.append(1)
            if len(met) == 2:
                everybody_is_here.set()
            await everybody_is_here.wait()

    met: list[int] = []
    everybody_is_here = asyncio.Event()
    await asyncio.gather(both(), both())
