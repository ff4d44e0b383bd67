"""Server settings, psycopg's options and rotated secrets: what a connection starts with."""

from __future__ import annotations

import threading

import psycopg
import pytest
from psycopg import sql

from pgmonkey import SessionSettingError
from pgmonkey.config.load import load_settings
from support.kinds import ALL, POOLS, block, get, one, settle


def section(kind: str) -> str:
    return "async_settings" if kind.startswith("async") else "sync_settings"


@pytest.mark.parametrize("kind", ALL)
async def test_session_settings_apply_as_given_lists_and_quotes_included(
    manager, config_dict, kind
):
    config_dict[section(kind)] = {
        "statement_timeout": "30000",
        "search_path": "\"My Schema\", pg_catalog, 'x'",
        "work_mem": "12MB",
        "enable_seqscan": False,
        "lock_timeout": None,
        "idle_in_transaction_session_timeout": "",
    }
    handle = await get(manager, config_dict, kind)
    async with block(handle) as conn:
        assert await one(conn, "SHOW statement_timeout") == "30s"
        assert await one(conn, "SHOW search_path") == "\"My Schema\", pg_catalog, 'x'"
        assert await one(conn, "SHOW work_mem") == "12MB"
        assert await one(conn, "SHOW enable_seqscan") == "off"
        assert await one(conn, "SHOW lock_timeout") == "0"


@pytest.mark.parametrize("kind", POOLS)
async def test_every_connection_of_a_pool_has_the_session_settings(manager, config_dict, kind):
    config_dict[section(kind)] = {"statement_timeout": "7s"}
    handle = await get(manager, config_dict, kind)
    async with block(handle) as first, block(handle) as second:
        assert await one(first, "SHOW statement_timeout") == "7s"
        assert await one(second, "SHOW statement_timeout") == "7s"


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("statement_timeout", "soon", 'invalid value for parameter "statement_timeout": "soon"'),
        ("statment_timeout", "1s", 'unrecognized configuration parameter "statment_timeout"'),
        ("log_statement", "all", 'permission denied to set parameter "log_statement"'),
    ],
)
async def test_setting_the_server_refuses_fails_the_connection_and_names_its_key(
    manager, config_dict, kind, name, value, words
):
    config_dict[section(kind)] = {"work_mem": "4MB", name: value}
    with pytest.raises(SessionSettingError) as refusal:
        await get(manager, config_dict, kind)
    assert str(refusal.value) == f"<dict>: {section(kind)}.{name}: the server says: {words}"


async def test_refused_setting_of_a_file_names_its_line(manager, config_file):
    text = config_file.read_text() + "sync_settings:\n  statement_timeout: soon\n"
    config_file.write_text(text)
    line = text.splitlines().index("  statement_timeout: soon") + 1
    with pytest.raises(SessionSettingError) as refusal:
        manager.get_database_connection(config_file, "normal")
    assert str(refusal.value).startswith(f"{config_file}:{line}:22: sync_settings.")


@pytest.mark.parametrize("kind", ALL)
async def test_psycopg_options_apply(manager, config_dict, kind):
    config_dict["connection_options"] = {
        "isolation_level": "repeatable read",
        "read_only": True,
        "prepare_threshold": 3,
    }
    handle = await get(manager, config_dict, kind)
    async with block(handle) as conn:
        assert conn.prepare_threshold == 3
        assert await one(conn, "SHOW transaction_isolation") == "repeatable read"
        assert await one(conn, "SHOW transaction_read_only") == "on"


@pytest.mark.parametrize("kind", ALL)
async def test_with_a_transaction_pooler_settings_travel_with_each_transaction(
    manager, config_dict, kind
):
    config_dict["connection_options"] = {"pooler": "transaction"}
    config_dict[section(kind)] = {"statement_timeout": "7s"}
    handle = await get(manager, config_dict, kind)
    for _ in range(2):
        async with block(handle) as conn:
            assert conn.prepare_threshold is None
            assert await one(conn, "SHOW statement_timeout") == "7s"
            await settle(conn.commit())
            assert await one(conn, "SHOW statement_timeout") == "0"


@pytest.mark.parametrize("kind", ALL)
async def test_rotated_password_is_used_by_the_next_connection_without_a_new_handle(
    manager, config_dict, kind, server, database, tmp_path
):
    """A Kubernetes secret changes under a running program; the pool must not notice."""
    role = f"rotating_{kind}_{database.name}"
    secret = tmp_path / "password"

    def rotate(password: str) -> None:
        with server.admin() as admin:
            admin.execute(
                sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), password)
            )
        secret.write_text(password + "\n")

    with server.admin() as admin:
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))
    try:
        rotate("first")
        config_dict["connection_settings"].update(user=role, password={"from_file": str(secret)})
        handle = await get(manager, config_dict, kind, resolve_env=True)
        async with block(handle) as conn:
            pid = await one(conn, "SELECT pg_backend_pid()")
        rotate("second")
        server.terminate("pid", pid)
        async with block(handle) as conn:
            assert await one(conn, "SELECT pg_backend_pid()") != pid
        assert await get(manager, config_dict, kind, resolve_env=True) is handle
        await settle(handle.disconnect())
    finally:
        with server.admin() as admin:
            admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


TOKEN = """
n=$(( $(cat calls) + 1 )); echo $n > calls
if [ $n -le $(cat stale) ]; then echo stale; else cat right; fi
"""


@pytest.mark.parametrize("kind", ALL)
async def test_password_that_changed_while_connecting_is_tried_once_more(
    manager, config_dict, kind, tmp_path
):
    """The first reading is stale by the time the server sees it; the second is not."""
    (tmp_path / "calls").write_text("0")
    (tmp_path / "stale").write_text("0")
    (tmp_path / "right").write_text(config_dict["connection_settings"]["password"])
    command = ["sh", "-c", f"cd {tmp_path}; {TOKEN}"]
    config_dict["connection_settings"]["password"] = {"from_command": command}
    settings = load_settings(config_dict, resolve_env=True)
    calls = int((tmp_path / "calls").read_text())

    (tmp_path / "stale").write_text(f"{calls + 1}")
    handle = await settle(manager.get_from_settings(settings, kind))
    async with block(handle) as conn:
        assert await one(conn, "SELECT 1") == 1
    await settle(handle.disconnect())

    calls = int((tmp_path / "calls").read_text())
    (tmp_path / "stale").write_text(f"{calls + 100}")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        await settle(manager.get_from_settings(settings, kind))
    assert int((tmp_path / "calls").read_text()) == calls + 2


@pytest.mark.parametrize("kind", ALL)
async def test_block_on_a_silent_network_fails_in_time_as_its_settings_are_sent(
    manager, config_dict, kind, proxy
):
    """Without a limit it would begin when the network is back, long after its patience."""
    config_dict["connection_options"] = {"pooler": "transaction"}
    config_dict[section(kind)] = {"statement_timeout": "7s"}
    config_dict["connection_settings"].update(
        port=proxy.port, hostaddr="127.0.0.1", connect_timeout=2
    )
    sizes = {"min_size": 1, "max_size": 1, "timeout": 2}
    config_dict["pool_settings"] = config_dict["async_pool_settings"] = sizes
    handle = await get(manager, config_dict, kind)
    thaw = threading.Timer(20, proxy.thaw)
    proxy.freeze()
    thaw.start()
    try:
        with pytest.raises(psycopg.OperationalError, match="did not answer in time as the block"):
            async with block(handle):
                pass
    finally:
        thaw.cancel()
        proxy.thaw()
    await settle(handle.disconnect())
