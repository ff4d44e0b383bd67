"""What users write, for the type checker; ``tests/unit/test_typing.py`` has it judged, nothing runs it.

Each type gives its own class, a block gives psycopg's connection, and what is wrong is
said: an ignore which is not needed is an error too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import TupleRow, dict_row
from typing_extensions import assert_type

from pgmonkey import ConfigError, PGConnectionManager, load_config, redact_config
from pgmonkey.connections.aio import AsyncConnectionHandle, AsyncPoolHandle
from pgmonkey.connections.pool_stats import PoolStats
from pgmonkey.connections.sync import ConnectionHandle, PoolHandle

manager = PGConnectionManager()


def sync_types() -> None:
    normal = manager.get_database_connection("config.yaml", "normal")
    assert_type(normal, ConnectionHandle)
    with normal as conn:
        assert_type(conn, psycopg.Connection[TupleRow])
        assert_type(conn.execute("SELECT 1").fetchone(), TupleRow | None)

    pool = manager.get_database_connection(Path("config.yaml"), "pool", resolve_env=True)
    assert_type(pool, PoolHandle)
    with pool as conn, conn.cursor(row_factory=dict_row) as cur:
        assert_type(conn, psycopg.Connection[TupleRow])
        assert_type(cur.execute("SELECT 1 AS one").fetchall(), list[dict[str, Any]])
    assert_type(pool.stats(), PoolStats)
    pool.disconnect()


async def async_types() -> None:
    single = await manager.get_database_connection("config.yaml", "async")
    assert_type(single, AsyncConnectionHandle)
    async with single as conn:
        assert_type(conn, psycopg.AsyncConnection[TupleRow])

    pool = await manager.get_database_connection("config.yaml", "async_pool", force_reload=True)
    assert_type(pool, AsyncPoolHandle)
    async with pool as conn, conn.transaction():
        cursor = await conn.execute("SELECT 1")
        assert_type(await cursor.fetchone(), TupleRow | None)
    await pool.disconnect()

    async with manager.get_database_connection("config.yaml", "async_pool") as conn:
        assert_type(conn, psycopg.AsyncConnection[TupleRow])


async def from_dict(config: dict[str, Any]) -> None:
    get = manager.get_database_connection_from_dict
    assert_type(get(config, "normal"), ConnectionHandle)
    assert_type(get(config, "pool", strict=True), PoolHandle)
    assert_type(await get(config, "async"), AsyncConnectionHandle)
    assert_type(await get(config, "async_pool", resolve_env=True), AsyncPoolHandle)


def type_from_the_file_is_anything() -> None:
    connection = manager.get_database_connection("config.yaml")
    with connection as conn:
        conn.execute("SELECT 1")


async def cache() -> None:
    assert_type(manager.clear_cache(), None)
    assert_type(await manager.clear_cache_async(), None)
    size: int = manager.cache_info["size"]
    print(size)


def config() -> None:
    loaded = load_config("config.yaml", resolve_env=True, strict=True)
    assert_type(loaded, dict[str, Any])
    print(redact_config(loaded))
    try:
        manager.get_database_connection("config.yaml", "pool")
    except ConfigError as error:
        assert_type(error.line, int | None)


async def mistakes() -> None:
    with manager.get_database_connection("config.yaml", "async") as conn:  # type: ignore[attr-defined]
        print(conn)
    await manager.get_database_connection("config.yaml", "pool")  # type: ignore[misc]
    manager.get_database_connection("config.yaml", "pool", resolve=True)  # type: ignore[call-overload]
    manager.get_database_connection({"connection_settings": {}}, "pool")  # type: ignore[call-overload]
