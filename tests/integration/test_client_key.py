"""A client's key that libpq would refuse: said in words before connecting, or copied."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.cli import run
from support.server import Database, PgServer


@pytest.fixture
def login(server: PgServer, database: Database, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Libpq's variables for a login by certificate alone, with a key that others may read."""
    client = server.certs.client("app")
    key = tmp_path / "app.key"
    key.write_bytes(client.key.read_bytes())
    key.chmod(0o644)
    args = database.dsn_args(password=None, sslcert=str(client.cert), sslkey=str(key))
    names = {"dbname": "PGDATABASE", "connect_timeout": "PGCONNECT_TIMEOUT"}
    with server.hba("hostssl all all all cert"):
        yield {names.get(k, "PG" + k.upper()): str(v) for k, v in args.items()}


def test_key_is_explained_before_anything_connects(login):
    done = run("pgconfig", "test", env=login | {"PGHOSTADDR": "192.0.2.1"})
    assert done.code == 3
    assert done.stderr.startswith(f"error[PGM309]: PGSSLKEY: {login['PGSSLKEY']!r} belongs to uid ")
    assert "with mode 0644, and libpq wants 06" in done.stderr
    assert "; or add --copy-key auto" in done.stderr


@pytest.mark.parametrize("kind", ["normal", "pool", "async", "async_pool"])
def test_key_is_copied_and_every_type_logs_in(login, kind):
    done = run("pgconfig", "test", "--copy-key", "auto", "--connection-type", kind, "-v", env=login)
    assert done.code == 0, done.stderr
    assert f"the client's key {login['PGSSLKEY']} is used from a private copy" in done.stderr


def test_variable_stands_in_for_the_option_and_the_option_wins(login):
    login["PGMONKEY_COPY_KEY"] = "auto"
    assert run("pgconfig", "test", env=login).code == 0
    assert run("pgconfig", "test", "--copy-key", "never", env=login).code == 3


def test_variable_with_another_word_is_refused(login):
    done = run("pgconfig", "test", env=login | {"PGMONKEY_COPY_KEY": "yes"})
    assert done.code == 2
    assert "PGMONKEY_COPY_KEY: 'yes' is not one of auto, always, never" in done.stderr


def test_key_that_is_fine_is_used_where_it_is(login):
    Path(login["PGSSLKEY"]).chmod(0o600)
    done = run("pgconfig", "test", "--copy-key", "auto", "-v", env=login)
    assert (done.code, "private copy" in done.stderr) == (0, False)
    done = run("pgconfig", "test", "--copy-key", "always", "-v", env=login)
    assert (done.code, "private copy" in done.stderr) == (0, True)


def test_message_of_libpq_names_the_users_file_and_not_the_copy(login):
    Path(login["PGSSLKEY"]).write_text("no key")
    done = run("pgconfig", "test", "--copy-key", "auto", env=login)
    assert done.code == 3
    assert "/proc/self/fd" not in done.stdout + done.stderr
    assert login["PGSSLKEY"] in done.stderr


def test_login_that_may_do_without_tls_is_warned_and_tried(login, server):
    with server.hba("host all all all trust"):
        done = run("pgconfig", "test", env=login | {"PGSSLMODE": "prefer"})
    assert done.code == 0, done.stderr
    assert "warning: PGSSLKEY:" in done.stderr


def test_configuration_file_is_named_with_its_line(login, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(f"connection_settings:\n  host: localhost\n  sslkey: {login['PGSSLKEY']}\n")
    del login["PGSSLKEY"]
    done = run("pgconfig", "test", "-c", config, env=login)
    assert done.code == 3
    assert f"{config}:3:11: connection_settings.sslkey: " in done.stderr


def test_key_that_cannot_be_read_is_not_copied(login):
    Path(login["PGSSLKEY"]).chmod(0o000)
    done = run("pgconfig", "test", "--copy-key", "auto", env=login, obeying=True)
    assert (done.code, "may not read" in done.stderr) == (3, True)
