"""Fixtures for tests of the connection layer."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from pgmonkey import PGConnectionManager
from support.server import Database


@pytest_asyncio.fixture
async def manager(database: Database) -> AsyncIterator[PGConnectionManager]:
    """A manager of this test's own, emptied before the database is dropped.

    Dropping waits for every backend, also for one that an event loop which has stopped
    running left in the middle of its login: that one ends after authentication_timeout.
    """
    manager = PGConnectionManager()
    yield manager
    await manager.clear_cache_async()
