"""No connection: each type answers with the real cause, after one attempt, and keeps nothing."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import traceback
from typing import Any

import psycopg
import psycopg_pool
import pytest

from support.kinds import ALL, POOLS, block, get, one, settle
from support.wait import until


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def wrong_password(settings: dict[str, Any], certs: Any) -> str:
    settings["password"] = "not-the-password"
    return "password authentication failed for user"


def refused_port(settings: dict[str, Any], certs: Any) -> str:
    settings["port"] = closed_port()
    return "Connection refused"


def unknown_host(settings: dict[str, Any], certs: Any) -> str:
    settings["host"] = "db.invalid"  # RFC 6761: never resolves
    settings.pop("hostaddr", None)
    return "db.invalid"


def unknown_database(settings: dict[str, Any], certs: Any) -> str:
    settings["dbname"] = "no_such_database"
    return 'database "no_such_database" does not exist'


def wrong_ca(settings: dict[str, Any], certs: Any) -> str:
    settings["sslrootcert"] = str(certs.wrong_ca)
    return "certificate verify failed"


CAUSES = [wrong_password, refused_port, unknown_host, unknown_database, wrong_ca]


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.__name__)
async def test_first_connection_fails_with_the_real_cause(manager, config_dict, certs, kind, cause):
    words = cause(config_dict["connection_settings"], certs)
    with pytest.raises(psycopg.OperationalError, match=words) as failure:
        await get(manager, config_dict, kind)
    assert not isinstance(failure.value, psycopg_pool.PoolTimeout)
    assert manager.cache_info["size"] == 0


@pytest.mark.parametrize("kind", ALL)
async def test_tls_required_of_a_server_without_it_is_named(manager, config_dict, server, kind):
    with (
        server.tls(False),
        pytest.raises(psycopg.OperationalError, match="server does not support SSL"),
    ):
        await get(manager, config_dict, kind)


@pytest.mark.parametrize("kind", ALL)
async def test_one_failed_get_is_one_attempt_at_the_server(manager, config_dict, server, kind):
    """The time of one login, said without a clock: the server saw one."""
    name = f"nowhere_{kind}"
    config_dict["connection_settings"]["dbname"] = name
    with pytest.raises(psycopg.OperationalError):
        await get(manager, config_dict, kind)
    words = f'database "{name}" does not exist'
    until(lambda: words in server.log())
    assert server.log().count(words) == 1


@pytest.mark.parametrize("kind", ALL)
async def test_failure_shows_no_secret_to_reporters_that_record_local_variables(
    manager, config_dict, kind, caplog
):
    secret = config_dict["connection_settings"]["password"] = "canary-7f3a"
    caplog.set_level(logging.DEBUG)
    with pytest.raises(psycopg.OperationalError) as failure:
        await get(manager, config_dict, kind)
    report = traceback.TracebackException.from_exception(failure.value, capture_locals=True)
    ours = [
        line
        for line in report.format()
        if "/tests/" not in line  # the test's own frame holds the dict it passed
    ]
    assert ours
    assert secret not in "".join(ours)
    assert secret not in caplog.text


@pytest.mark.parametrize("kind", POOLS)
async def test_exhausted_pool_says_its_size_and_who_waits(manager, config_dict, kind):
    section = {"min_size": 1, "max_size": 1, "timeout": 0.5}
    config_dict["pool_settings"] = config_dict["async_pool_settings"] = section
    handle = await get(manager, config_dict, kind)
    context = handle.connection()
    async with block(context):
        with pytest.raises(
            psycopg_pool.PoolTimeout,
            match=r"within 0\.5 s: size 1 of at most 1, in use 1, waiting 1",
        ):
            async with block(handle):
                pass
    async with block(handle) as conn:
        assert await one(conn, "SELECT 1") == 1


@pytest.mark.parametrize("kind", POOLS)
async def test_as_many_as_max_waiting_wait_and_the_next_one_is_refused(manager, config_dict, kind):
    section = {"min_size": 1, "max_size": 1, "max_waiting": 1, "timeout": 30}
    config_dict["pool_settings"] = config_dict["async_pool_settings"] = section
    handle = await get(manager, config_dict, kind)

    async def ask() -> Any:
        async with block(handle.connection()) as conn:
            return await one(conn, "SELECT 1")

    async with block(handle):
        aside = ask() if kind == "async_pool" else asyncio.to_thread(lambda: asyncio.run(ask()))
        first = asyncio.create_task(aside)
        await asyncio.to_thread(until, lambda: handle.stats().waiting == 1)
        with pytest.raises(psycopg_pool.TooManyRequests, match="1 wait for a connection of the"):
            await ask()
    assert await first == 1
    assert handle.stats().waiting == 0


@pytest.mark.parametrize("kind", POOLS)
async def test_pool_that_cannot_reconnect_names_the_last_failure(
    manager, config_dict, kind, database, server
):
    section = {"min_size": 1, "max_size": 1, "timeout": 3}
    config_dict["pool_settings"] = config_dict["async_pool_settings"] = section
    handle = await get(manager, config_dict, kind)
    with server.admin() as admin:
        admin.execute(f'ALTER DATABASE "{database.name}" ALLOW_CONNECTIONS false')
        server.terminate("datname", database.name)
        with pytest.raises(
            psycopg_pool.PoolTimeout, match=r"(?s)the last attempt failed: .*not currently"
        ):
            async with block(handle):
                pass
    await settle(handle.disconnect())


@pytest.mark.parametrize("kind", POOLS)
async def test_check_on_checkout_leaves_the_connection_idle(manager, config_dict, kind):
    section = {"min_size": 1, "max_size": 1, "check_on_checkout": True}
    config_dict["pool_settings"] = config_dict["async_pool_settings"] = section
    handle = await get(manager, config_dict, kind)
    for _ in range(3):
        async with block(handle) as conn:
            assert conn.info.transaction_status.name == "IDLE"
            assert await one(conn, "SELECT 1") == 1


@pytest.mark.parametrize("kind", POOLS)
async def test_check_on_checkout_passes_over_a_connection_that_does_not_answer(
    manager, config_dict, kind, proxy
):
    """A network that swallows everything looks like an idle server; only asking tells."""
    section = {"min_size": 1, "max_size": 1, "check_on_checkout": True, "timeout": 60}
    config_dict["pool_settings"] = config_dict["async_pool_settings"] = section
    config_dict["connection_settings"].update(port=proxy.port, hostaddr="127.0.0.1")
    handle = await get(manager, config_dict, kind)
    async with block(handle) as conn:
        first = await one(conn, "SELECT pg_backend_pid()")
    proxy.freeze()
    thaw = threading.Timer(2, proxy.thaw)  # twice as long as the check waits
    thaw.start()
    async with block(handle) as conn:
        assert await one(conn, "SELECT pg_backend_pid()") != first
    thaw.join()
