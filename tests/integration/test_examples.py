"""The applications under examples/ as real servers, with real requests at the same time."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

import pgmonkey
from support.wait import until

EXAMPLES = Path(__file__).parents[2] / "examples"
REQUESTS = 60
# More at a time than the pool has connections.
CLIENTS = 16
LIMIT = 30

FLASK = ("flask", "--app", str(EXAMPLES / "flask_app.py"), "run", "--port", "0")
FASTAPI = ("uvicorn", "--app-dir", str(EXAMPLES), "fastapi_app:app", "--port", "0")

APPS = pytest.mark.parametrize(
    ("command", "table", "column", "value"),
    [(FLASK, "users", "name", "user"), (FASTAPI, "orders", "total", 10)],
    ids=["flask", "fastapi"],
)


def environment(config: Path) -> dict[str, str]:
    """Return what an application is started with; it imports the pgmonkey under test."""
    return {
        **os.environ,
        "PGMONKEY_CONFIG": str(config),
        "PYTHONPATH": str(Path(pgmonkey.__file__).parents[1]),
        "PYTHONUNBUFFERED": "1",
    }


@contextmanager
def running(command: tuple[str, ...], config: Path, log: Path) -> Iterator[str]:
    """Run a web server, give its URL, and end it as its operator would, with Ctrl-C."""
    with log.open("wb") as sink:
        server = subprocess.Popen(
            [sys.executable, "-m", *command], env=environment(config), stdout=sink, stderr=sink
        )

    def url() -> str | None:
        assert server.poll() is None, log.read_text(encoding="utf-8")
        found = re.search(r"http://127\.0\.0\.1:\d+", log.read_text(encoding="utf-8"))
        return found and found[0]

    try:
        until(lambda: url() is not None)
        yield str(url())
        server.send_signal(signal.SIGINT)
        server.wait(LIMIT)
    finally:
        server.kill()
        server.wait()
    assert "Traceback" not in log.read_text(encoding="utf-8")


def ask(url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Send a request, with *body* a POST, and return the JSON that comes back."""
    request = urllib.request.Request(
        url,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=LIMIT) as response:
        answer: dict[str, Any] = json.load(response)
    return answer


@APPS
def test_app_answers_many_clients_from_one_pool_and_leaves_no_session(
    config_dict, database, server, tmp_path, command, table, column, value
):
    name = f"example-{database.name}"
    config_dict["connection_settings"]["application_name"] = name
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(config_dict), encoding="utf-8")
    kind = "text" if isinstance(value, str) else "int"
    with psycopg.connect(**database.dsn_args()) as conn:
        conn.execute(f"CREATE TABLE {table} (id int GENERATED ALWAYS AS IDENTITY, {column} {kind})")

    with running(command, config, tmp_path / "log") as url:
        values = [f"{value} {i}" if isinstance(value, str) else value + i for i in range(REQUESTS)]
        with ThreadPoolExecutor(CLIENTS) as clients:
            added = list(clients.map(lambda v: ask(f"{url}/{table}", {column: v}), values))
            assert 1 <= server.sessions(name) <= 4
            lists = list(clients.map(lambda _: ask(f"{url}/{table}"), range(REQUESTS)))
        assert sorted(row["id"] for row in added) == list(range(1, REQUESTS + 1))
        rows = lists[0][table]
        assert sorted(row[column] for row in rows) == sorted(values)
        assert all(answer[table] == rows for answer in lists)

    until(lambda: server.sessions(name) == 0)
    with psycopg.connect(**database.dsn_args()) as conn:
        committed = conn.execute(f"SELECT count(*) FROM {table}").fetchone()
    assert committed == (REQUESTS,)


@APPS
def test_app_does_not_start_with_a_wrong_password_and_says_why(
    config_dict, tmp_path, command, table, column, value
):
    config_dict["connection_settings"]["password"] = "wr0ng-s3cret"
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(config_dict), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", *command],
        env=environment(config),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode != 0
    assert "password authentication failed" in done.stderr
    assert "wr0ng-s3cret" not in done.stderr + done.stdout
