"""What an async type returns before it is awaited."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

import psycopg
from psycopg.rows import TupleRow

from pgmonkey.connections.aio import AsyncConnectionHandle, AsyncPoolHandle

_H = TypeVar("_H", AsyncConnectionHandle, AsyncPoolHandle)


class PendingHandle(Generic[_H]):
    """What an async type returns: await it for the handle, or enter it directly.

    handle = await manager.get_database_connection("config.yaml", "async")
    async with manager.get_database_connection("config.yaml", "async") as conn: ...
    """

    def __init__(self, get: Callable[[], Coroutine[Any, Any, _H]]) -> None:
        self._get: Callable[[], Coroutine[Any, Any, _H]] = get
        self._entered: list[_H] = []

    def __await__(self) -> Generator[Any, None, _H]:
        return self._get().__await__()

    async def __aenter__(self) -> psycopg.AsyncConnection[TupleRow]:
        handle = await self
        conn = await handle.__aenter__()
        self._entered.append(handle)
        return conn

    async def __aexit__(self, *exc: Any) -> None:
        await self._entered.pop().__aexit__(*exc)
