"""Fixtures for tests of the connection layer."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from pgmonkey import PGConnectionManager


@pytest_asyncio.fixture
async def manager() -> AsyncIterator[PGConnectionManager]:
    """A manager of this test's own, empty afterwards."""
    manager = PGConnectionManager()
    yield manager
    await manager.clear_cache_async()
