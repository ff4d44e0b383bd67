"""The recipes users were promised, each in the shape they are written in: calls, order, results.

Other modules look at the edges of every promise. Here is what somebody gets who follows
the published pages of versions 2 to 4 to the letter: the same names, the same nesting of
blocks, no call that the pages do not make.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

import pgmonkey
from pgmonkey import EnvInterpolationError, PGConnectionManager, load_config, redact_config
from support import cli
from support.wait import until

SYNC = ("normal", "pool")
ASYNC = ("async", "async_pool")


@pytest.fixture
def config(config_file: Path) -> str:
    """The path of a configuration, as text, as the pages give it."""
    return str(config_file)


@pytest.fixture
def my_table(database: Any) -> Any:
    """A table; calling it gives the committed names, seen from another session."""
    with psycopg.connect(**database.dsn_args()) as conn:
        conn.execute("CREATE TABLE my_table (id serial, name text)")
        conn.execute("INSERT INTO my_table (name) VALUES ('John')")

    def names() -> list[str]:
        with psycopg.connect(**database.dsn_args()) as conn:
            return [name for (name,) in conn.execute("SELECT name FROM my_table ORDER BY id")]

    return names


def edited(path: str | Path, **sections: Any) -> str:
    """Change sections of the file at *path*, and return the path."""
    config = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    for name, value in sections.items():
        config[name] = config.get(name, {}) | value if isinstance(value, dict) else value
    Path(path).write_text(yaml.safe_dump(config), encoding="utf-8")
    return str(path)


# One connection of each type, and the cache


@pytest.mark.parametrize("kind", SYNC)
def test_sync_recipe_prints_a_row_and_the_next_get_is_the_same_instance(config, kind):
    manager = PGConnectionManager()
    connection = manager.get_database_connection(config, kind)
    for _ in range(2):
        with connection as conn:
            with conn.cursor() as cur:
                cur.execute("SELECT version();")
                assert cur.fetchone()[0].startswith("PostgreSQL")
    assert manager.get_database_connection(config, kind) is connection
    manager.clear_cache()


@pytest.mark.parametrize("kind", ASYNC)
def test_async_recipe_prints_a_row_and_the_next_get_is_the_same_instance(config, kind):
    async def main() -> None:
        manager = PGConnectionManager()
        connection = await manager.get_database_connection(config, kind)
        for _ in range(2):
            async with connection as conn:
                async with conn.cursor() as cur:
                    await cur.execute("SELECT version();")
                    assert (await cur.fetchone())[0].startswith("PostgreSQL")
        assert await manager.get_database_connection(config, kind) is connection

    asyncio.run(main())


def test_one_file_gives_all_four_types_inside_one_event_loop(config):
    """The page opens the sync types inside the coroutine too."""

    def sync(manager: PGConnectionManager, kind: str) -> Any:
        connection = manager.get_database_connection(config, kind)
        with connection as conn:
            with conn.cursor() as cur:
                cur.execute("SELECT current_database(), current_user;")
                return cur.fetchone()

    async def awaited(manager: PGConnectionManager, kind: str) -> Any:
        connection = await manager.get_database_connection(config, kind)
        async with connection as conn:
            async with conn.cursor() as cur:
                await cur.execute("SELECT current_database(), current_user;")
                return await cur.fetchone()

    async def main() -> list[Any]:
        manager = PGConnectionManager()
        rows = [sync(manager, kind) for kind in SYNC]
        rows += [await awaited(manager, kind) for kind in ASYNC]
        assert manager.cache_info["size"] == 4
        await manager.clear_cache_async()
        return rows

    rows = asyncio.run(main())
    assert len(rows) == 4
    assert len(set(rows)) == 1


@pytest.mark.parametrize(
    ("kind", "name"),
    [(None, "ConnectionHandle"), ("normal", "ConnectionHandle"), ("pool", "PoolHandle")],
)
def test_type_left_out_is_the_one_in_the_file_and_normal_without_one(config, kind, name):
    manager = PGConnectionManager()
    path = edited(config, connection_type=kind or "normal")
    if kind is None:
        text = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        del text["connection_type"]
        Path(path).write_text(yaml.safe_dump(text), encoding="utf-8")
    connection = manager.get_database_connection(path)
    assert type(connection).__name__ == name
    with connection as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)
    manager.clear_cache()


def test_async_type_left_out_is_awaited_like_a_named_one(config):
    async def main() -> None:
        manager = PGConnectionManager()
        connection = await manager.get_database_connection(edited(config, connection_type="async"))
        async with connection as conn:
            await conn.execute("SELECT 1")
        await manager.clear_cache_async()

    asyncio.run(main())


# Transactions


@pytest.mark.parametrize("kind", SYNC)
def test_sync_transaction_sees_its_own_row_and_commits(config, my_table, kind):
    manager = PGConnectionManager()
    connection = manager.get_database_connection(config, kind)
    with connection as conn:
        with conn.transaction():
            with conn.cursor() as cur:
                cur.execute("INSERT INTO my_table (name) VALUES (%s)", ("Alice",))
                cur.execute("SELECT name FROM my_table WHERE name = %s", ("Alice",))
                assert cur.fetchall() == [("Alice",)]
    assert my_table() == ["John", "Alice"]
    manager.clear_cache()


@pytest.mark.parametrize("kind", ASYNC)
def test_async_transaction_sees_its_own_row_and_commits(config, my_table, kind):
    async def main() -> None:
        manager = PGConnectionManager()
        connection = await manager.get_database_connection(config, kind)
        async with connection as conn:
            async with conn.transaction():
                async with conn.cursor() as cur:
                    await cur.execute("INSERT INTO my_table (name) VALUES (%s)", ("Alice",))
                    await cur.execute("SELECT name FROM my_table WHERE name = %s", ("Alice",))
                    assert await cur.fetchall() == [("Alice",)]
        assert my_table() == ["John", "Alice"]

    asyncio.run(main())


@pytest.mark.parametrize("kind", ASYNC)
def test_manual_commit_inside_the_block(config, my_table, kind):
    async def main() -> None:
        manager = PGConnectionManager()
        connection = await manager.get_database_connection(config, kind)
        async with connection as conn:
            async with conn.cursor() as cur:
                await cur.execute("UPDATE my_table SET name = %s WHERE id = %s", ("Doe", 1))
            await conn.commit()
            assert my_table() == ["Doe"]

    asyncio.run(main())


@pytest.mark.parametrize("kind", ASYNC)
def test_manual_rollback_after_the_block_is_harmless(config, my_table, kind):
    """The block has rolled back when the recipe's handler does it once more."""

    async def main() -> None:
        manager = PGConnectionManager()
        connection = await manager.get_database_connection(config, kind)
        try:
            async with connection as conn:
                async with conn.cursor() as cur:
                    await cur.execute("DELETE FROM my_table WHERE id = %s", (1,))
                    await cur.execute("SELECT 1 / 0")
                await conn.commit()
        except psycopg.errors.DivisionByZero:
            await conn.rollback()
            await connection.rollback()
        assert my_table() == ["John"]
        async with connection as conn:
            assert (await (await conn.execute("SELECT 1")).fetchone()) == (1,)

    asyncio.run(main())


def test_manual_rollback_after_the_block_spares_the_task_that_has_the_connection_now(
    config, my_table
):
    """With a pool, ``conn`` may be in another block by then; a pool of one makes sure of it."""
    path = edited(config, async_pool_settings={"min_size": 1, "max_size": 1})

    async def main() -> None:
        manager = PGConnectionManager()
        pool = await manager.get_database_connection(path, "async_pool")
        written, rolled_back = asyncio.Event(), asyncio.Event()

        async def other() -> None:
            async with pool as conn:
                await conn.execute("INSERT INTO my_table (name) VALUES ('Other')")
                written.set()
                await rolled_back.wait()

        try:
            async with pool as conn:
                await conn.execute("SELECT 1 / 0")
        except psycopg.errors.DivisionByZero:
            task = asyncio.create_task(other())
            await written.wait()
            await conn.rollback()
            rolled_back.set()
            await task
        assert my_table() == ["John", "Other"]

    asyncio.run(main())


@pytest.mark.parametrize("kind", SYNC)
def test_block_that_raises_rolls_back(config, my_table, kind):
    manager = PGConnectionManager()
    connection = manager.get_database_connection(config, kind)

    def delete_and_fail() -> None:
        with connection as conn:
            with conn.cursor() as cur:
                cur.execute("DELETE FROM my_table")
                raise RuntimeError

    with pytest.raises(RuntimeError):
        delete_and_fail()
    connection.rollback()
    assert my_table() == ["John"]
    manager.clear_cache()


# Pool capacity


def test_five_gets_are_one_pool_and_five_disconnects_are_quiet(config, caplog):
    manager = PGConnectionManager()
    connections = [manager.get_database_connection(config, "pool") for _ in range(5)]
    for connection in connections:
        with connection as conn:
            with conn.cursor() as cur:
                cur.execute("SELECT version();")
                assert cur.fetchone()
    assert len(set(map(id, connections))) == 1
    for connection in connections:
        connection.disconnect()
    assert manager.cache_info["size"] == 0
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_five_awaited_gets_are_one_pool_and_five_disconnects_are_quiet(config, caplog):
    async def main() -> None:
        manager = PGConnectionManager()
        connections = [
            await manager.get_database_connection(config, "async_pool") for _ in range(5)
        ]
        for connection in connections:
            async with connection as conn:
                async with conn.cursor() as cur:
                    await cur.execute("SELECT version();")
                    assert await cur.fetchone()
        assert len(set(map(id, connections))) == 1
        for connection in connections:
            await connection.disconnect()
        assert manager.cache_info["size"] == 0

    asyncio.run(main())
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_async_pool_of_the_template_that_nobody_closes_does_not_keep_the_program(config, server):
    path = edited(
        config,
        connection_settings={"application_name": "seeds-unclosed"},
        async_pool_settings={"min_size": 5, "max_size": 20, "timeout": 30},
    )

    async def main() -> None:
        manager = PGConnectionManager()
        pool = await manager.get_database_connection(path, "async_pool")
        async with pool as conn:
            async with conn.cursor() as cur:
                await cur.execute("SELECT current_database();")
                assert await cur.fetchone()

    asyncio.run(main())
    gc.collect()  # the pool and its event loop hold each other
    until(lambda: server.sessions("seeds-unclosed") == 0)


# The cache by its own methods


def test_cache_info_counts_and_clear_cache_disconnects(config, server):
    path = edited(config, connection_settings={"application_name": "seeds-cache"})
    manager = PGConnectionManager()
    manager.get_database_connection(path, "normal")
    manager.get_database_connection(path, "pool")
    info = manager.cache_info
    assert isinstance(info, dict)
    assert info["size"] == 2
    assert sorted(info["connection_types"]) == ["normal", "pool"]
    assert server.sessions("seeds-cache") >= 2
    manager.clear_cache()
    assert manager.cache_info["size"] == 0
    assert server.sessions("seeds-cache") == 0


def test_clear_cache_async_disconnects_inside_a_loop(config, server):
    path = edited(config, connection_settings={"application_name": "seeds-cache-async"})

    async def main() -> None:
        manager = PGConnectionManager()
        await manager.get_database_connection(path, "async")
        await manager.get_database_connection(path, "async_pool")
        assert sorted(manager.cache_info["connection_types"]) == ["async", "async_pool"]
        await manager.clear_cache_async()
        assert manager.cache_info["size"] == 0
        assert server.sessions("seeds-cache-async") == 0

    asyncio.run(main())


def test_force_reload_gives_a_fresh_connection(config):
    manager = PGConnectionManager()
    first = manager.get_database_connection(config, "normal")
    with first as conn:
        pid = conn.info.backend_pid
    second = manager.get_database_connection(config, "normal", force_reload=True)
    assert second is not first
    with second as conn:
        assert conn.info.backend_pid != pid
    assert manager.get_database_connection(config, "normal") is second
    manager.clear_cache()


# Session settings


@pytest.mark.parametrize("kind", ASYNC)
def test_async_settings_hold_on_the_connection(config, kind):
    path = edited(config, async_settings={"statement_timeout": "30000", "lock_timeout": "10000"})

    async def main() -> None:
        manager = PGConnectionManager()
        connection = await manager.get_database_connection(path, kind)
        async with connection as conn:
            async with conn.cursor() as cur:
                await cur.execute("SHOW statement_timeout")
                assert await cur.fetchone() == ("30s",)
                await cur.execute("SHOW lock_timeout")
                assert await cur.fetchone() == ("10s",)

    asyncio.run(main())


# References to the environment


def referring(path: str, password: Any = "${SEED_PASSWORD}") -> str:
    return edited(
        path,
        connection_settings={
            "host": "${SEED_HOST:-localhost}",
            "dbname": "${SEED_DATABASE}",
            "password": password,
        },
    )


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch, database: Any, server: Any) -> None:
    monkeypatch.setenv("SEED_DATABASE", database.name)
    monkeypatch.setenv("SEED_PASSWORD", server.password)


@pytest.mark.parametrize("kind", SYNC)
def test_resolve_env_in_both_entry_points(config, variables, database, kind):
    manager = PGConnectionManager()
    path = referring(config)
    as_dict = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    by_path = manager.get_database_connection(path, kind, resolve_env=True)
    by_dict = manager.get_database_connection_from_dict(as_dict, kind, resolve_env=True)
    assert by_path is by_dict
    with by_path as conn:
        assert conn.execute("SELECT current_database()").fetchone() == (database.name,)
    manager.clear_cache()


def test_resolve_env_for_a_service_that_starts_with_an_async_pool(
    config, variables, server, tmp_path
):
    secret = tmp_path / "db-password"
    secret.write_text(server.password + "\n", encoding="utf-8")
    path = referring(config, {"from_file": str(secret)})

    async def startup() -> None:
        manager = PGConnectionManager()
        pool = await manager.get_database_connection(path, "async_pool", resolve_env=True)
        async with pool as conn:
            await conn.execute("SELECT 1")
        await manager.clear_cache_async()

    asyncio.run(startup())


def test_password_from_env_by_the_structured_form(config, variables):
    manager = PGConnectionManager()
    path = referring(config, {"from_env": "SEED_PASSWORD"})
    with manager.get_database_connection(path, resolve_env=True) as conn:
        conn.execute("SELECT 1")
    manager.clear_cache()


def test_unset_variable_is_named_with_its_key(config, variables, monkeypatch):
    monkeypatch.delenv("SEED_PASSWORD")
    with pytest.raises(
        EnvInterpolationError, match=r"connection_settings\.password.*SEED_PASSWORD"
    ):
        PGConnectionManager().get_database_connection(referring(config), resolve_env=True)


def test_missing_secret_file_raises_at_the_call_and_not_at_the_first_query(config, variables):
    path = referring(config, {"from_file": "/nowhere/password"})
    with pytest.raises(EnvInterpolationError, match="/nowhere/password"):
        PGConnectionManager().get_database_connection(path, "async_pool", resolve_env=True)


def test_default_for_a_secret_needs_permission(config, variables, server, monkeypatch):
    monkeypatch.delenv("SEED_PASSWORD")
    path = referring(config, "${SEED_PASSWORD:-" + server.password + "}")
    manager = PGConnectionManager()
    with pytest.raises(EnvInterpolationError, match="allow_sensitive_defaults"):
        manager.get_database_connection(path, resolve_env=True)
    connection = manager.get_database_connection(
        path, resolve_env=True, allow_sensitive_defaults=True
    )
    with connection as conn:
        conn.execute("SELECT 1")
    manager.clear_cache()


def test_changed_variable_is_a_new_connection(config, variables, monkeypatch):
    manager = PGConnectionManager()
    path = referring(config)
    before = manager.get_database_connection(path, resolve_env=True)
    monkeypatch.setenv("SEED_HOST", "127.0.0.1")
    after = manager.get_database_connection(path, resolve_env=True)
    assert after is not before
    assert manager.cache_info["size"] == 2
    manager.clear_cache()


def test_load_config_is_literal_unless_asked(config, variables, server, database):
    path = referring(config)
    literal = load_config(path)
    assert literal["connection_settings"]["password"] == "${SEED_PASSWORD}"
    resolved = load_config(path, resolve_env=True, strict=False)
    assert resolved["connection_settings"]["password"] == server.password
    assert resolved["connection_settings"]["dbname"] == database.name
    assert resolved["pool_settings"]["max_size"] == 4


def test_redacted_config_may_be_printed(config, variables, server):
    from pgmonkey.common.utils.redaction import redact_config as by_its_long_name

    assert by_its_long_name is redact_config is pgmonkey.redact_config
    resolved = load_config(
        edited(referring(config), connection_settings={"sslkey": ""}), resolve_env=True
    )
    shown = redact_config(resolved)
    assert shown["connection_settings"]["password"] == "***REDACTED***"
    assert shown["connection_settings"]["sslrootcert"] == "***REDACTED***"
    assert shown["connection_settings"]["sslkey"] == ""
    assert shown["connection_settings"]["host"] == "localhost"
    assert server.password not in str(shown)
    assert resolved["connection_settings"]["password"] == server.password


# Older files, and the command line


def test_file_of_version_2_still_loads_and_says_where_it_is_old(config_file, config_dict):
    config_file.write_text(yaml.safe_dump({"postgresql": config_dict}), encoding="utf-8")
    manager = PGConnectionManager()
    with pytest.warns(DeprecationWarning, match=r"pgmonkey\.yaml:1:1: postgresql"):
        connection = manager.get_database_connection(config_file, "pool")
    with connection as conn:
        conn.execute("SELECT 1")
    manager.clear_cache()


def test_created_template_needs_only_its_values_edited(tmp_path, database):
    path = tmp_path / "config.yaml"
    created = cli.run("pgconfig", "create", "--type", "pg", "--filepath", path)
    assert created.code == 0
    args = database.dsn_args()
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        key = line.strip().partition(":")[0]
        if key in args and line.startswith("  ") and not line.lstrip().startswith("#"):
            lines[number] = f"  {key}: '{args[key]}'"
    if "hostaddr" in args:
        lines.insert(lines.index("connection_settings:") + 1, f"  hostaddr: '{args['hostaddr']}'")
    path.write_text("\n".join(lines), encoding="utf-8")
    for kind in (*SYNC, *ASYNC):
        tested = cli.run("pgconfig", "test", "--connconfig", path, "--connection-type", kind)
        assert tested.code == 0, tested.stderr


def test_unknown_connection_key_is_a_warning_in_the_log(config, caplog):
    manager = PGConnectionManager()
    path = edited(config, connection_settings={"aplication_name": "typo"})
    with caplog.at_level(logging.WARNING), manager.get_database_connection(path) as conn:
        conn.execute("SELECT 1")
    assert "aplication_name" in caplog.text
    manager.clear_cache()


def test_pool_sizes_that_contradict_each_other_are_refused(config):
    path = edited(config, pool_settings={"min_size": 9, "max_size": 4})
    with pytest.raises(ValueError, match="min_size"):
        PGConnectionManager().get_database_connection(path, "pool")
