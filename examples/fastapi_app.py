"""A FastAPI application on one async pool: a class that hides it, and two routes.

PGMONKEY_CONFIG=config.yaml uvicorn --app-dir examples fastapi_app:app
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from pgmonkey import PGConnectionManager

Params = Sequence[Any] | Mapping[str, Any] | None


class AsyncDatabase:
    """One async pool for the whole application; every call borrows a connection and commits."""

    def __init__(self, config_path: str) -> None:
        self.manager = PGConnectionManager()
        self.config_path = config_path

    async def connect(self) -> None:
        self.pool = await self.manager.get_database_connection(self.config_path, "async_pool")

    async def disconnect(self) -> None:
        await self.manager.clear_cache_async()

    async def fetch_one(self, query: str, params: Params = None) -> tuple[Any, ...] | None:
        async with self.pool as conn:
            cursor = await conn.execute(query, params)
            return await cursor.fetchone()

    async def fetch_all(self, query: str, params: Params = None) -> list[tuple[Any, ...]]:
        async with self.pool as conn:
            cursor = await conn.execute(query, params)
            return await cursor.fetchall()

    async def execute(self, query: str, params: Params = None) -> None:
        async with self.pool as conn:
            await conn.execute(query, params)


database = AsyncDatabase(os.environ["PGMONKEY_CONFIG"])


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Log in before the first request, log out after the last."""
    await database.connect()
    try:
        yield
    finally:
        await database.disconnect()


app = FastAPI(lifespan=lifespan)


class NewOrder(BaseModel):
    """What a client sends to place an order."""

    total: int


@app.get("/orders")
async def list_orders() -> dict[str, Any]:
    rows = await database.fetch_all("SELECT id, total FROM orders ORDER BY id")
    return {"orders": [{"id": order_id, "total": total} for order_id, total in rows]}


@app.post("/orders", status_code=201)
async def add_order(order: NewOrder) -> dict[str, Any]:
    row = await database.fetch_one(
        "INSERT INTO orders (total) VALUES (%s) RETURNING id", (order.total,)
    )
    assert row is not None
    return {"id": row[0], "total": order.total}
