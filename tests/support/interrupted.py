"""A program that is interrupted again and again, at random moments, and then counts its slots.

    python interrupted.py CONNECTION.json {pgmonkey,psycopg_pool} {ctrl-c,cancel} TIMES SEED

Prints what it lost as JSON. It is a program of its own, since Ctrl-C is for the main thread.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from psycopg_pool import AsyncConnectionPool

# As many as the pool has, so that the one who is interrupted has to wait as often as not.
SIZE = 2
# The block that is interrupted takes about as long.
LONGEST_DELAY = 0.004
SIZES = {"min_size": SIZE, "max_size": SIZE, "timeout": 5.0}


def ctrl_c(args: dict[str, Any], kind: str, times: int, seed: int) -> dict[str, Any]:
    """Interrupt blocks of the main thread by signals, while two threads use the pool too."""
    from support.ledger import Ours, Raw, both_slots

    pool: Any = {"pgmonkey": Ours, "psycopg_pool": Raw}[kind](args, **SIZES)
    # A program that a shell starts in the background is born deaf to it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    armed, over = threading.Event(), threading.Event()
    chance = random.Random(seed)
    errors: list[str] = []

    def shoot() -> None:
        while armed.wait() and not over.is_set():
            armed.clear()
            time.sleep(chance.random() * LONGEST_DELAY)
            os.kill(os.getpid(), signal.SIGINT)

    def use() -> None:
        while not over.is_set() and not errors:
            try:
                with pool.block() as conn:
                    conn.execute("SELECT pg_sleep(0.0005)")
            except Exception as error:
                errors.append(str(error))

    # pgmonkey's own block is the handle; what ``block`` gives is for the other threads.
    entrance = (lambda: pool.handle) if kind == "pgmonkey" else pool.block
    threads = [threading.Thread(target=target, daemon=True) for target in (shoot, use, use)]
    for thread in threads:
        thread.start()
    interrupted = 0
    while interrupted < times and not errors:
        try:
            armed.set()
            while not errors:
                with entrance() as conn:
                    conn.execute("SELECT 1")
        except KeyboardInterrupt:
            interrupted += 1
        except Exception as error:
            errors.append(str(error))
    over.set()
    armed.set()
    for thread in threads:
        thread.join(10)
    settle = time.monotonic() + 10
    while not (whole := both_slots(pool, SIZE)) and time.monotonic() < settle:
        pass
    return {"interrupted": interrupted, "whole": whole, "errors": errors}


def cancel(args: dict[str, Any], kind: str, times: int, seed: int) -> dict[str, Any]:
    """Cancel tasks anywhere: waiting, in a statement, on the way back."""
    chance = random.Random(seed)

    async def main() -> dict[str, Any]:
        from pgmonkey import PGConnectionManager

        manager = PGConnectionManager()
        if kind == "pgmonkey":
            config = {"connection_settings": args, "async_pool_settings": SIZES}
            pool: Any = await manager.get_database_connection_from_dict(config, "async_pool")
            block = pool.connection
        else:
            pool = AsyncConnectionPool(kwargs=args, open=False, **SIZES)  # type: ignore[arg-type]
            await pool.open()
            block = pool.connection
        interrupted = 0
        errors: list[str] = []

        async def use() -> None:
            async with block() as conn:
                await conn.execute("SELECT pg_sleep(0.0005)")

        while interrupted < times and not errors:
            tasks = [asyncio.create_task(use()) for _ in range(8)]
            for task in tasks:
                await asyncio.sleep(chance.random() * LONGEST_DELAY / 8)
                interrupted += task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(result, Exception):
                    errors.append(str(result))
        met = 0
        everybody_is_here = asyncio.Event()

        async def meet() -> None:
            nonlocal met
            async with block() as conn:
                await conn.execute("SELECT 1")
                met += 1
                if met == SIZE:
                    everybody_is_here.set()
                await asyncio.wait_for(everybody_is_here.wait(), 5)

        meetings = await asyncio.gather(*(meet() for _ in range(SIZE)), return_exceptions=True)
        await (manager.clear_cache_async() if kind == "pgmonkey" else pool.close())
        whole = not any(meetings)
        return {"interrupted": interrupted, "whole": whole, "errors": errors}

    return asyncio.run(main())


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
    file, kind, way, times, seed = sys.argv[1:]
    run = {"ctrl-c": ctrl_c, "cancel": cancel}[way]
    print(json.dumps(run(json.loads(Path(file).read_text()), kind, int(times), int(seed))))
    sys.stdout.flush()
    if kind != "pgmonkey":
        os._exit(0)  # a broken pool would hold the exit up, which is another fault
