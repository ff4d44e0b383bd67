"""One test for four connection types: awaits what is awaitable, takes the rest as it is."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

ALL = ("normal", "pool", "async", "async_pool")
POOLS = ("pool", "async_pool")
SINGLE = ("normal", "async")


async def settle(value: Any) -> Any:
    """Return *value*, awaited if it can be."""
    return await value if inspect.isawaitable(value) else value


async def get(manager: Any, config: dict[str, Any], kind: str, **how: Any) -> Any:
    """Get a handle of *kind* for the dict *config*, awaited if it is of an async type."""
    return await settle(manager.get_database_connection_from_dict(config, kind, **how))


@asynccontextmanager
async def block(handle: Any) -> AsyncIterator[Any]:
    """``with handle`` or ``async with handle``, whichever it is for."""
    if hasattr(handle, "__aenter__"):
        async with handle as conn:
            yield conn
    else:
        with handle as conn:
            yield conn


async def one(conn: Any, query: str, *params: Any) -> Any:
    """Run *query* and return the first column of its first row."""
    cursor = await settle(conn.execute(query, params or None))
    row = await settle(cursor.fetchone())
    return row[0]
