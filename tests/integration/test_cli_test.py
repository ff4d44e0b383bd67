"""``pgconfig test`` against a real server: what works is shown, what fails is named."""

from __future__ import annotations

import json
import os
import re
import socket
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from psycopg import sql

from support.cli import run
from support.kinds import ALL
from support.proxy import TcpProxy
from support.server import Database, PgServer

CANARY = "canary-7f3a"
Write = Callable[..., Path]


@pytest.fixture
def write(config_dict: dict[str, Any], tmp_path: Path) -> Write:
    """Write ``config_dict`` with changes to its connection, and return the path."""

    def write(_sections: dict[str, Any] | None = None, **connection: Any) -> Path:
        config = config_dict | (_sections or {})
        config["connection_settings"] = config_dict["connection_settings"] | connection
        path = tmp_path / "changed.yaml"
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        return path

    return write


@contextmanager
def nobody_listening() -> Iterator[int]:
    """Give a TCP port that is taken, so that nobody else gets it, and refuses everyone."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_type_of_the_file_is_tested_and_shown(config_file: Path, database: Database):
    result = run("pgconfig", "test", "--connconfig", config_file)
    assert (result.code, result.stderr) == (0, "")
    head, _, row = result.stdout.splitlines()
    assert head.split() == ["type", "result", "connect", "query", "user@database", "server", "TLS"]
    assert row.split()[:2] == ["normal", "ok"]
    assert f"app@{database.name}" in row
    assert "TLSv1.3 TLS_" in row


def test_all_four_types_log_in_over_tls_and_fill_their_pools(write: Write):
    pools = {"min_size": 3, "max_size": 6}
    path = write({"pool_settings": pools, "async_pool_settings": pools})
    result = run("pgconfig", "test", "-c", path, "--connection-type", "all", "--json")
    document = json.loads(result.stdout)
    assert (result.code, document["ok"], document["error"]) == (0, True, None)
    assert result.stderr == "4 of 4 connection types passed\n"
    assert [row["type"] for row in document["results"]] == list(ALL)
    for row in document["results"]:
        assert row["ok"]
        assert row["connect_ms"] > 0
        assert row["query_ms"] > 0
        assert row["server"]["tls"].startswith("TLSv1.")
    filled = {"open": 3, "min_size": 3, "max_size": 6}
    assert [row["pool"] for row in document["results"]] == [None, filled, None, filled]


@pytest.mark.parametrize("kind", ALL)
def test_each_type_can_be_named(kind: str, config_file: Path):
    result = run("pgconfig", "test", "-c", config_file, "--connection-type", kind)
    assert (result.code, result.stderr) == (0, "")
    assert result.stdout.splitlines()[2].split()[:2] == [kind, "ok"]


def test_junit_report_has_a_case_for_each_type(config_file: Path):
    result = run(
        "pgconfig", "test", "-c", config_file, "--connection-type", "all", "--format", "junit"
    )
    root = ET.fromstring(result.stdout)
    assert (result.code, root.get("tests"), root.get("failures")) == (0, "4", "0")


def test_session_is_gone_when_the_command_has_ended(write: Write, server: PgServer):
    path = write(application_name="pgmonkey-gone")
    assert run("pgconfig", "test", "-c", path, "--connection-type", "all").code == 0
    assert server.sessions("pgmonkey-gone") == 0


def test_requirements_are_met(config_file: Path):
    result = run(
        "pgconfig", "test", "-c", config_file, "--require-tls", "--min-server-version", "13"
    )
    assert result.code == 0


def test_connection_without_tls_is_an_answer_of_no_where_tls_is_required(write: Write):
    path = write(sslmode="disable", sslrootcert="")
    assert run("pgconfig", "test", "-c", path).code == 0
    result = run("pgconfig", "test", "-c", path, "--require-tls", "--json")
    document = json.loads(result.stdout)
    assert (result.code, document["exit_code"], document["error"]["code"]) == (1, 1, "PGM315")
    assert document["server"]["tls"] is None


def test_older_server_than_required_is_an_answer_of_no(config_file: Path):
    result = run("pgconfig", "test", "-c", config_file, "--min-server-version", "99")
    assert result.code == 1
    assert "older than 99" in result.stderr


# What is wrong, which code it has, and at which step of the ladder it shows.
FAILURES = {
    "wrong password": ({"password": CANARY}, "PGM301", "login", "password authentication failed"),
    "closed port": ({"port": "closed"}, "PGM304", "tcp", "refused"),
    "unknown host": (
        {"host": "no.such.host.invalid", "hostaddr": ""}, "PGM305", "dns", "no.such.host.invalid",
    ),
    "unknown database": ({"dbname": "no-such-db"}, "PGM302", "login", '"no-such-db" does not'),
    "TLS refused": ({"plain": True}, "PGM307", "tls", "does not support SSL"),
    "wrong CA": ({"sslrootcert": "wrong"}, "PGM308", "tls", "certificate verify failed"),
    "missing CA": ({"sslrootcert": "/no/ca.crt"}, "PGM308", "tls", "/no/ca.crt"),
}  # fmt: skip


@pytest.mark.parametrize("kind", [*ALL, "all"])
@pytest.mark.parametrize("wrong", FAILURES)
def test_failure_is_exit_3_with_the_step_that_broke(
    wrong: str, kind: str, write: Write, request: pytest.FixtureRequest, server: PgServer
):
    changes, code, step, words = FAILURES[wrong]
    changes = dict(changes)
    if changes.pop("plain", False):
        changes["port"] = str(request.getfixturevalue("plain_server").port)
    if changes.get("sslrootcert") == "wrong":
        changes["sslrootcert"] = str(server.certs.wrong_ca)
    with nobody_listening() as port:
        if changes.get("port") == "closed":
            changes |= {"port": str(port), "host": "localhost"}
        path = write(**changes)
        # Long enough that waiting for a pool, or for each type in turn, could not be missed.
        began = time.monotonic()
        result = run("pgconfig", "test", "-c", path, "--connection-type", kind, "--timeout", "30")
        assert time.monotonic() - began < 25
    assert result.code == 3
    assert f"error[{code}]: " in result.stderr
    assert words in result.stderr
    assert f"{step} FAILED\n" in result.stderr
    assert "\n  try      " in result.stderr
    assert result.stderr.count("error[") == 1
    types = list(ALL) if kind == "all" else [kind]
    assert [line.split() for line in result.stdout.splitlines()[2:]] == [
        [name, "FAILED"] for name in types
    ]
    assert "Traceback" not in result.stdout + result.stderr
    assert CANARY not in result.stdout + result.stderr


@pytest.mark.parametrize("kind", ALL)
def test_json_of_a_failure_has_the_steps_and_the_error(kind: str, write: Write):
    path = write(dbname="no-such-db")
    result = run("pgconfig", "test", "-c", path, "--connection-type", kind, "--json")
    document = json.loads(result.stdout)
    assert (result.code, document["exit_code"], document["ok"]) == (3, 3, False)
    (row,) = document["results"]
    assert row["error"] == document["error"]
    assert document["error"]["code"] == "PGM302"
    assert [step["name"] for step in row["steps"]] == ["dns", "tcp", "tls", "login", "query"]
    assert [step["ok"] for step in row["steps"]][2:] == [True, False, None]


@pytest.mark.parametrize("kind", ["pool", "async_pool", "all"])
def test_server_that_says_nothing_costs_the_time_allowed_and_no_more(
    kind: str, write: Write, proxy: TcpProxy
):
    """Four types that each waited out their time in turn would take well over four times it."""
    proxy.freeze()
    path = write(port=str(proxy.port), hostaddr="127.0.0.1")
    began = time.monotonic()
    result = run("pgconfig", "test", "-c", path, "--connection-type", kind, "--timeout", "2")
    spent = time.monotonic() - began
    assert result.code == 3
    assert "error[PGM306]: no answer within 2 s (--timeout) at localhost" in result.stderr
    assert spent < 2 * 2 + 4, result.stderr


def test_pool_that_cannot_be_filled_says_what_stopped_it(
    write: Write, server: PgServer, database: Database
):
    role = sql.Identifier(f"{database.name}_two")
    with server.admin() as admin:
        admin.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} CONNECTION LIMIT 2").format(
                role, sql.Literal(server.password)
            )
        )
    try:
        pools = {"min_size": 4, "max_size": 4}
        path = write(
            {"pool_settings": pools, "async_pool_settings": pools},
            user=f"{database.name}_two",
            dbname="postgres",
        )
        for kind in ("pool", "async_pool"):
            result = run("pgconfig", "test", "-c", path, "--connection-type", kind, "--json")
            document = json.loads(result.stdout)
            assert (result.code, document["error"]["code"]) == (3, "PGM314")
            # The second may still be on its way when a third is refused.
            assert re.search("[12] of min_size 4", document["error"]["message"])
            assert "too many connections for role" in document["error"]["message"]
            assert document["results"][0]["steps"][-1]["name"] == "pool"
    finally:
        server.terminate("usename", f"{database.name}_two")
        with server.admin() as admin:
            admin.execute(sql.SQL("DROP ROLE {}").format(role))


def test_setting_the_server_refuses_fails_the_types_that_use_it_with_its_line(write: Write):
    path = write({"sync_settings": {"no_such_setting": "1"}})
    result = run("pgconfig", "test", "-c", path, "--connection-type", "all", "--json")
    document = json.loads(result.stdout)
    assert result.code == 2
    assert [row["ok"] for row in document["results"]] == [False, False, True, True]
    assert "error[PGM203]" in result.stderr
    assert "sync_settings.no_such_setting" in document["error"]["message"]


def test_traceback_comes_with_vv_and_holds_no_secret(write: Write):
    path = write(password=CANARY)
    plain = run("pgconfig", "test", "-c", path, "-v")
    loud = run("pgconfig", "test", "-c", path, "-vv")
    assert "Traceback" not in plain.stderr
    assert "Traceback (most recent call last)" in loud.stderr
    assert CANARY not in plain.stderr + loud.stderr + loud.stdout


def test_reference_that_is_not_to_be_resolved_is_exit_2_and_names_the_option(write: Write):
    result = run("pgconfig", "test", "-c", write(password="${DB_PASSWORD}"))
    assert (result.code, result.stdout) == (2, "")
    assert "connection_settings.password" in result.stderr
    assert "--resolve-env" in result.stderr


def test_resolved_password_logs_in(write: Write, server: PgServer):
    path = write(password="${DB_PASSWORD}")
    env = {"DB_PASSWORD": server.password}
    assert run("pgconfig", "test", "-c", path, "--resolve-env", env=env).code == 0
    assert run("pgconfig", "test", "-c", path, env=env | {"PGMONKEY_RESOLVE_ENV": "1"}).code == 0


@pytest.mark.parametrize("columns", ["40", "200"])
def test_narrow_terminal_and_ascii_stream_change_the_form_and_nothing_else(
    columns: str, config_file: Path, database: Database
):
    env = {"COLUMNS": columns, "PYTHONIOENCODING": "ascii", "TERM": "dumb"}
    result = run("pgconfig", "test", "-c", config_file, env=env)
    assert (result.code, result.stderr) == (0, "")
    assert f"app@{database.name}" in result.stdout
    if columns == "40":
        assert result.stdout.startswith("type:          normal\n")


def test_no_colour_in_what_is_piped_and_colour_where_it_is_forced(write: Write):
    path = write(dbname="no-such-db")
    assert "\x1b[" not in run("pgconfig", "test", "-c", path).stderr
    forced = run("pgconfig", "test", "-c", path, env={"FORCE_COLOR": "1"})
    assert "\x1b[1;31merror[PGM302]\x1b[0m: " in forced.stderr
    assert "\r" not in forced.stderr
    assert os.linesep in forced.stderr
