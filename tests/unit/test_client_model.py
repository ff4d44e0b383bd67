"""The client as a server meets it: libpq fills in what the configuration leaves out."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Any

import pytest

from pgmonkey.config.load import load_settings
from pgmonkey.errors import ConfigError
from pgmonkey.server.client import Client, Endpoint, resolve
from support.certs import CertKit


def client(connection: dict[str, Any] | None = None, **sections: Any) -> Client:
    config = {"connection_settings": {"user": "app", **(connection or {})}, **sections}
    return resolve(load_settings(config))


def test_defaults_are_libpqs():
    found = client({"host": "db.example.com"})
    assert found.endpoints == (Endpoint("db.example.com", "", 5432),)
    assert (found.dbname, found.sslmode, found.password) == ("app", "prefer", False)
    assert found.os_user == pwd.getpwuid(os.geteuid()).pw_name


def test_variables_of_libpq_count(monkeypatch):
    monkeypatch.setenv("PGHOST", "elsewhere")
    monkeypatch.setenv("PGSSLMODE", "require")
    monkeypatch.setenv("PGPASSWORD", "x")
    found = client()
    assert (found.endpoints[0].host, found.sslmode, found.password) == (
        "elsewhere",
        "require",
        True,
    )


def test_no_host_is_a_socket():
    (endpoint,) = client().endpoints
    assert endpoint.socket
    assert client({"host": "@abstract"}).socket
    assert not client({"hostaddr": "127.0.0.1"}).socket


def test_several_hosts_share_a_port_or_have_one_each():
    found = client({"host": "a,,c", "port": "1,2,3"}).endpoints
    assert [str(endpoint) for endpoint in found][::2] == ["a:1", "c:3"]
    assert found[1].socket
    shared = client({"host": "a,b", "hostaddr": "10.0.0.1,::1", "port": "7"}).endpoints
    assert shared == (Endpoint("a", "10.0.0.1", 7), Endpoint("b", "::1", 7))


def test_service_is_looked_up(tmp_path: Path, monkeypatch):
    (tmp_path / "pg_service.conf").write_text("[prod]\nhost=svc\ndbname=sales\nsslmode=disable\n")
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "pg_service.conf"))
    found = client({"service": "prod"})
    assert (found.endpoints[0].host, found.dbname, found.sslmode) == ("svc", "sales", "disable")


def test_password_file_is_looked_into_by_libpq(tmp_path: Path):
    passfile = tmp_path / "pgpass"
    passfile.touch(mode=0o600)
    passfile.write_text("db:5432:*:app:canary\n")
    connection = {"host": "db", "passfile": str(passfile)}
    found = client(connection)
    assert found.password
    assert "canary" not in repr(found)
    assert not client(connection | {"host": "other"}).password


def test_value_libpq_refuses_is_a_configuration_error():
    with pytest.raises(ConfigError, match=r"weak sslmode .*verify-full"):
        client({"sslrootcert": "system", "sslmode": "require"})


def test_reference_that_was_not_resolved_is_named_when_it_matters():
    def load(connection: dict[str, str]) -> Client:
        config = {"connection_settings": {"user": "app", **connection}}
        return resolve(load_settings(config, keep_references=True))

    assert load({"password": "${SECRET}", "application_name": "${NAME}"}).password
    with pytest.raises(ConfigError, match=r"connection_settings\.host: .*--resolve-env"):
        load({"host": "${PGHOST}"})


def test_pool_size_is_that_of_the_configured_type():
    pools = {"pool_settings": {"max_size": 30}, "async_pool_settings": {"max_size": 40}}
    assert client(connection_type="pool", **pools).max_size == 30
    assert client(connection_type="async_pool", **pools).max_size == 40
    single = client(**pools)
    assert (single.max_size, single.largest_pool) == (1, 40)
    assert client().largest_pool == 0


def test_certificate_is_read_for_its_name(certs: CertKit):
    found = client({"host": "db", **certs.client("app").dsn_args()}).certificate
    assert found is not None
    assert (found.common_name, found.problem) == ("app", "")


def test_certificate_that_is_not_here_is_still_configured(tmp_path: Path):
    found = client({"host": "db", "sslcert": "/path/to/client.crt"}).certificate
    assert found is not None
    assert (found.missing, found.common_name) == (True, None)
    (tmp_path / "x.crt").write_text("nonsense")
    found = client({"host": "db", "sslcert": str(tmp_path / "x.crt")}).certificate
    assert found is not None
    assert (found.missing, found.problem) == (False, "no certificate in it")
    assert client({"sslcert": "x", "sslcertmode": "disable"}).certificate is None


def test_certificate_in_libpqs_own_folder_is_found(certs: CertKit, monkeypatch, tmp_path: Path):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".postgresql").mkdir()
    (tmp_path / ".postgresql" / "postgresql.crt").write_bytes(certs.client("app").cert.read_bytes())
    (tmp_path / ".postgresql" / "root.crt").write_bytes(certs.ca.read_bytes())
    found = client({"host": "db", "sslmode": "require"})
    assert found.certificate is not None
    assert found.certificate.common_name == "app"
    assert found.verifies == "ca"  # a root certificate makes require as strict as verify-ca


@pytest.mark.parametrize(
    ("value", "meaning"),
    [("database", "database"), ("true", "physical"), ("1", "physical"), ("false", "")],
)
def test_replication_is_told_apart_as_the_server_does(value, meaning):
    assert client({"replication": value}).replication == meaning
