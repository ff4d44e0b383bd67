"""SQLAlchemy and Django on the same file: the recipes of examples/, run."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

import pgmonkey
from support.kinds import POOLS, get, one, settle
from support.wait import until

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def file(config_dict: dict[str, Any], config_file: Path) -> str:
    config_dict["connection_settings"]["application_name"] = "adapted"
    config_dict["pool_settings"] = {"min_size": 1, "max_size": 2, "timeout": 10}
    config_dict["sync_settings"] = {"statement_timeout": "41s", "search_path": "app, public"}
    config_file.write_text(yaml.safe_dump(config_dict), encoding="utf-8")
    return str(config_file)


@pytest.mark.parametrize("kind", POOLS)
async def test_lent_connection_goes_back_when_it_is_closed(manager, config_dict, kind):
    config_dict["pool_settings"] = config_dict["async_pool_settings"] = {
        "min_size": 1,
        "max_size": 1,
        "timeout": 10,
    }
    handle = await get(manager, config_dict, kind)
    pids = set()
    for _ in range(3):
        conn = await settle(handle.lend())
        await settle(conn.execute("CREATE TABLE never_committed ()"))
        pids.add(conn.info.backend_pid)
        await settle(conn.close())
        assert not conn.closed
        assert handle.stats().idle == 1
    assert len(pids) == 1
    async_or_not = await settle(handle.lend())
    assert await one(async_or_not, "SELECT to_regclass('never_committed')") is None
    await settle(async_or_not.close())


@pytest.mark.parametrize("kind", POOLS)
async def test_lent_connection_that_died_is_replaced(manager, config_dict, kind, server):
    handle = await get(manager, config_dict, kind)
    conn = await settle(handle.lend())
    server.terminate("pid", conn.info.backend_pid)
    with pytest.raises(psycopg.OperationalError):
        await settle(conn.execute("SELECT 1"))
    await settle(conn.close())
    assert conn.closed
    await asyncio.to_thread(until, lambda: handle.stats().discards["broken"] == 1)
    assert handle.stats().in_use == 0


def test_sqlalchemy_uses_one_pool_and_no_second_one(file, server):
    from sqlalchemy import text

    recipe = example("sqlalchemy_engine")
    engine = recipe.engine_for(file)
    wrong: list[Any] = []

    def work(number: int) -> None:
        try:
            with engine.begin() as conn:
                row = conn.execute(
                    text("SELECT :n, current_setting('statement_timeout')"), {"n": number}
                )
                assert row.one() == (number, "41s")
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=[n]) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert server.sessions("adapted") <= 2
    pool = recipe.manager.get_database_connection(file, "pool")
    assert pool.stats().in_use == 0
    with pool as conn:
        assert len(conn._notice_handlers) == 2  # ours and SQLAlchemy's, not one more a checkout
    recipe.manager.clear_cache()


def test_sqlalchemy_survives_killed_sessions_without_its_own_ping(file, server):
    from sqlalchemy import text

    recipe = example("sqlalchemy_engine")
    engine = recipe.engine_for(file)
    with engine.begin() as conn:
        conn.execute(text("CREATE TABLE kept (n int)"))
    server.terminate("application_name", "adapted")
    with engine.begin() as conn:
        conn.execute(text("INSERT INTO kept VALUES (1)"))
    with engine.connect() as conn:
        assert conn.execute(text("SELECT n FROM kept")).scalar_one() == 1
    recipe.manager.clear_cache()


@pytest.mark.parametrize("pool", [True, False])
def test_django_reads_the_same_file(file, pool):
    """In a process of its own, since Django is configured once in a process."""
    program = f"""
import sys
sys.path.insert(0, {str(EXAMPLES)!r})
from django_settings import databases
from django.conf import settings
settings.configure(DATABASES=databases(sys.argv[1], pool={pool}), USE_TZ=True)
import django
django.setup()
from django.db import connection
with connection.cursor() as cursor:
    cursor.execute(
        "SELECT current_setting('statement_timeout'), current_setting('search_path'),"
        " current_setting('application_name')"
    )
    print(cursor.fetchone(), bool(connection.pool))
connection.close()
connection.close_pool()
"""
    done = subprocess.run(
        [sys.executable, "-c", program, file],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(Path(pgmonkey.__file__).parents[1])},
        check=False,
    )
    assert (done.stderr, done.returncode) == ("", 0)
    assert done.stdout == f"('41s', 'app, public', 'adapted') {pool}\n"
