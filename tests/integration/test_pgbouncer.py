"""A real PgBouncer in between: what a session kept must now come with each transaction."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from support.kinds import ALL, POOLS, block, get, one, settle
from support.lacking import lacking
from support.ledger import Ledger
from support.pgbouncer import SERVER_SESSIONS, pgbouncer
from support.setup import Unavailable

SETTINGS = {"statement_timeout": "41s", "search_path": "app, public"}


@pytest.fixture(scope="module", params=["session", "transaction"])
def mode(request: Any) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def pooled(server: Any, mode: str) -> Iterator[dict[str, Any]]:
    try:
        with pgbouncer(server, mode) as args:
            yield args
    except Unavailable as e:
        lacking(str(e), engine=True)


@pytest.fixture
def config(pooled: dict[str, Any], mode: str) -> dict[str, Any]:
    # In session mode each client holds a session for as long as it is connected.
    size = SERVER_SESSIONS if mode == "session" else 6
    sizes = {"min_size": 2, "max_size": size, "timeout": 10}
    return {
        "connection_settings": pooled,
        "pool_settings": sizes,
        "async_pool_settings": sizes,
        "sync_settings": SETTINGS,
        "async_settings": SETTINGS,
        "connection_options": {"pooler": mode},
    }


@pytest.mark.parametrize("kind", ALL)
async def test_settings_hold_in_every_block(manager, config, kind):
    handle = await get(manager, config, kind)
    for _ in range(6):
        async with block(handle) as conn:
            assert await one(conn, "SHOW statement_timeout") == "41s"
            assert await one(conn, "SHOW search_path") == "app, public"


async def test_settings_of_a_transaction_reach_no_other_client(manager, config, pooled, mode):
    if mode == "session":
        pytest.skip("in session mode a session has one client at a time")
    handle = await get(manager, config, "pool")
    for _ in range(SERVER_SESSIONS * 2):
        with handle as conn:
            conn.execute("SELECT 1")
        with psycopg.connect(**pooled) as other:
            assert other.execute("SHOW statement_timeout").fetchone() == ("0",)


@pytest.mark.parametrize("kind", ALL)
async def test_query_run_often_works_whichever_session_the_pooler_picks(manager, config, kind):
    """psycopg prepares at the sixth run; the next transaction may meet another session."""
    handle = await get(manager, config, kind)
    for number in range(30):
        async with block(handle) as conn:
            assert await one(conn, "SELECT %s::int + 1", number) == number + 1


@pytest.mark.parametrize("kind", POOLS)
async def test_transaction_mode_prepares_nothing(manager, config, kind, mode):
    handle = await get(manager, config, kind)
    async with block(handle) as conn:
        for _ in range(10):
            await settle(conn.execute("SELECT 1"))
        prepared = await one(conn, "SELECT count(*) FROM pg_prepared_statements")
    assert (prepared == 0) == (mode == "transaction")


async def test_more_clients_than_sessions_share_them(manager, config, server, pooled, mode):
    """Six connections to the pooler, two of it to the server, and no commit is lost."""
    if mode == "session":
        pytest.skip("in session mode there are as many sessions as clients")
    handle = await get(manager, config, "pool")

    class Blocks:
        block = staticmethod(handle.connection)

    Ledger.create(server)
    with Ledger(Blocks(), 6) as ledger:
        ledger.goes_on()
        with server.admin() as conn:
            row = conn.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE usename = %s AND datname = 'postgres'",
                [server.user],
            ).fetchone()
    assert row is not None
    assert row[0] <= SERVER_SESSIONS
    assert (ledger.errors, ledger.surprises, ledger.lost(server)) == ([], [], 0)


async def test_sessions_that_the_pooler_lost_cost_no_acknowledged_commit(manager, config, server):
    """The server ends all sessions behind the pooler; the pool's own connections live on."""
    handle = await get(manager, config, "pool")

    class Blocks:
        block = staticmethod(handle.connection)

    Ledger.create(server)
    with Ledger(Blocks(), 6) as ledger:
        for _ in range(3):
            ledger.goes_on()
            with server.admin() as conn:  # new ones come at once, so nobody waits for none
                conn.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s",
                    [server.user],
                )
        ledger.goes_on()
    assert (ledger.surprises, ledger.lost(server)) == ([], 0)
