"""Programs for benchmarks/faults.py that must be processes of their own: they fork, exit, or hang.

Each is run as ``python fault_programs.py NAME {pgmonkey,psycopg_pool} ARGUMENTS.json SEED`` and
prints one line of JSON; ``faults`` judges it, and kills what does not come back.
"""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import psycopg
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from pgmonkey import PGConnectionManager, PGMonkeyError
from pgmonkey.config.load import load_settings

# The documented template's sizes: the pool is still filling when a short program ends.
TEMPLATE = {"min_size": 5, "max_size": 20, "timeout": 30}
manager = PGConnectionManager()


def config(args: dict[str, Any], **sizes: Any) -> dict[str, Any]:
    sizes = sizes or TEMPLATE
    return {"connection_settings": args, "pool_settings": sizes, "async_pool_settings": sizes}


def pool_of(kind: str, args: dict[str, Any], **sizes: Any) -> Any:
    """Return something whose call gives a block."""
    if kind == "pgmonkey":
        return manager.get_database_connection_from_dict(config(args, **sizes), "pool").connection
    return ConnectionPool(kwargs=args, open=True, **(sizes or TEMPLATE)).connection


def fork(kind: str, args: dict[str, Any], rounds: int, queries: int, **_: Any) -> dict[str, Any]:
    """R7: parent and child ask at the same time, over a pool that was open at the fork."""
    block = pool_of(kind, args, min_size=1, max_size=2, timeout=10)

    def wrong(sign: int) -> int:
        count = 0
        for number in range(queries):
            try:
                with block() as conn:
                    answer = conn.execute("SELECT %s::int", [sign * number]).fetchone()
                count += answer != (sign * number,)
            except Exception:
                count += 1
        return count

    wrong(1)
    total = hung = 0
    for _round in range(rounds):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            signal.alarm(20)  # ends this child where it hangs
            os.write(writer, b"%d" % wrong(-1))
            os._exit(0)
        signal.signal(signal.SIGALRM, lambda *_: os._exit(3))
        signal.alarm(30)
        mine = wrong(1)
        signal.alarm(0)
        _, status = os.waitpid(child, 0)
        os.close(writer)
        hung += status != 0
        total += mine + int(os.read(reader, 20) or 0)
        os.close(reader)
    return {"wrong": total, "hung": hung, "of": 2 * rounds * queries}


def loops(kind: str, args: dict[str, Any], rounds: int, **_: Any) -> dict[str, Any]:
    """R8: asyncio.run again and again, with a pool that is never closed."""

    async def main() -> None:
        if kind == "pgmonkey":
            handle = await manager.get_database_connection_from_dict(config(args), "async_pool")
            block = handle.connection
        else:
            pool = AsyncConnectionPool(kwargs=args, open=False, **TEMPLATE)  # type: ignore[arg-type]
            await pool.open()
            block = pool.connection
        async with block() as conn:
            await conn.execute("SELECT version()")

    slowest = 0.0
    for number in range(rounds):
        print(json.dumps({"returned": number, "slowest": slowest}), flush=True)
        began = time.monotonic()
        asyncio.run(main())
        slowest = max(slowest, time.monotonic() - began)
    return {"returned": rounds, "slowest": slowest}


def ending(kind: str, args: dict[str, Any], **_: Any) -> dict[str, Any]:
    """R9: the program ends with connections of all four types open."""
    if kind == "pgmonkey":

        async def get(what: str) -> Any:
            return await manager.get_database_connection_from_dict(config(args), what)

        kept: list[Any] = [
            manager.get_database_connection_from_dict(config(args), what)
            for what in ("normal", "pool")
        ]
        kept += [asyncio.run(get(what)) for what in ("async", "async_pool")]
    else:

        async def open_both() -> list[Any]:
            pool = AsyncConnectionPool(kwargs=args, open=False, **TEMPLATE)  # type: ignore[arg-type]
            await pool.open(wait=True)
            return [await psycopg.AsyncConnection.connect(**args), pool]

        kept = [psycopg.connect(**args), ConnectionPool(kwargs=args, open=True, **TEMPLATE)]  # type: ignore[arg-type]
        kept[1].wait()
        kept += asyncio.run(open_both())
    globals()["kept"] = kept
    return {"ended_at": time.time()}


def canary(
    kind: str, args: dict[str, Any], cases: int, secret: str, seed: int, **_: Any
) -> dict[str, Any]:
    """R14: what fails, in every way there is, and all that is said about it, locals included."""
    chance = random.Random(seed)
    said = io.StringIO()
    logging.basicConfig(level=logging.DEBUG, stream=said, force=True)
    args = {**args, "connect_timeout": "2"}
    failures = 0
    wrongs: list[dict[str, Any]] = [
        {"password": secret},
        {"password": secret, "port": "1"},
        {"password": secret, "dbname": "nowhere"},
        {"password": secret, "host": "no-such-host.invalid"},
        {"password": secret, "sslmode": "verify-full", "sslrootcert": "/nowhere"},
        {"password": secret, "options": "-c nonsense=1"},
        {"password": secret, "sslmode": "no-such-mode"},
        {"password": secret, "port": "no number"},
        {"password": secret, "sslcert": "/nowhere", "sslkey": "/nowhere", "sslmode": "require"},
    ]
    for _ in range(cases):
        wrong = {**args, **chance.choice(wrongs)}
        what = chance.choice(["normal", "pool", "async", "async_pool"])
        sizes = {"min_size": 1, "max_size": 1, "timeout": 0.5}
        try:
            if kind == "pgmonkey":
                whole = config(wrong, **sizes)
                said.write(repr(load_settings(whole)))
                own = PGConnectionManager()
                if what.startswith("async"):

                    async def attempt(own: Any = own, whole: Any = whole, what: str = what) -> None:
                        await own.get_database_connection_from_dict(whole, what)

                    asyncio.run(attempt())
                else:
                    own.get_database_connection_from_dict(whole, what)
            elif what.endswith("pool"):
                pool = ConnectionPool(kwargs=wrong, open=True, **sizes)  # type: ignore[arg-type]
                try:
                    with pool.connection():
                        pass
                finally:
                    pool.close()
            else:
                psycopg.connect(**wrong)
        except (psycopg.Error, PGMonkeyError) as error:
            failures += 1
            for show in (str, repr):
                said.write(show(error))
            said.writelines(_with_locals(error))
    hits = said.getvalue().count(secret)
    return {"hits": hits, "failures": failures}


def _with_locals(error: BaseException) -> list[str]:
    """Format as error reporters do, without this program's own frame, which holds the secret."""
    trace = traceback.TracebackException.from_exception(error, capture_locals=True)
    here: Any = trace
    while here is not None:
        here.stack = traceback.StackSummary.from_list(
            [frame for frame in here.stack if frame.filename != __file__]
        )
        here = here.__cause__ or here.__context__
    return list(trace.format())


if __name__ == "__main__":
    name, kind, file, seed = sys.argv[1:]
    given = json.loads(Path(file).read_text())
    outcome = globals()[name](kind, given.pop("args"), **given, seed=int(seed))
    print(json.dumps(outcome), flush=True)
