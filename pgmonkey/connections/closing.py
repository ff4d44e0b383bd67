"""Closing handles of either colour, from wherever one happens to be.

An async handle can only be closed properly in its own event loop. From elsewhere that loop
is asked to do it, and where it has ended the sockets are closed and that is all.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import TypeAlias

from pgmonkey.connections.aio import AsyncConnectionHandle, AsyncPoolHandle
from pgmonkey.connections.sync import ConnectionHandle, PoolHandle

SYNC = (ConnectionHandle, PoolHandle)
AnyHandle: TypeAlias = ConnectionHandle | PoolHandle | AsyncConnectionHandle | AsyncPoolHandle


def close(handle: AnyHandle) -> Future[None] | None:
    """Disconnect *handle* from outside its event loop; return what to wait for, if anything."""
    if isinstance(handle, SYNC):
        handle.disconnect()
        return None
    loop = handle.loop()
    if loop is not None and loop.is_running():
        return asyncio.run_coroutine_threadsafe(handle.disconnect(), loop)
    handle._abandon()
    return None


async def close_all(handles: list[AnyHandle]) -> None:
    """Disconnect *handles* from inside an event loop, and return when that is done."""
    here = asyncio.get_running_loop()
    for handle in handles:
        if isinstance(handle, SYNC):
            await asyncio.to_thread(handle.disconnect)
        elif handle.loop() is here:
            await handle.disconnect()
        elif (closing := close(handle)) is not None:
            await asyncio.wrap_future(closing)
