"""An audit through PgBouncer in transaction mode, which is told from the server it hides.

The container shares this machine's network, so that it reaches a server which listens on
127.0.0.1 alone, as those of the tests do.
"""

from __future__ import annotations

import secrets
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from psycopg import sql

from support.audits import Config, audit_of, result_of
from support.docker import LABELS
from support.image import docker
from support.lacking import lacking
from support.server import Database, PgServer
from support.wait import until

IMAGE = "edoburu/pgbouncer:latest"
RUNNING = "{{.State.Running}}"


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    return port


@pytest.fixture(scope="module")
def pooler(server: PgServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a PgBouncer before the server, with TLS towards its clients only."""
    if sys.platform != "linux":
        pytest.skip("a container shares the network of the machine on Linux only")
    try:
        here = docker("image", "inspect", IMAGE).code == 0 or docker("pull", IMAGE).code == 0
    except FileNotFoundError:
        here = False
    if not here:
        lacking(f"no container engine, or no image {IMAGE}", engine=True)
    folder = tmp_path_factory.mktemp("pooler")
    shown = server.certs.servers["good"]
    # Read by whatever user the image has; a key made for this run.
    for name, content in (("server.crt", shown.cert), ("server.key", shown.key)):
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o644)
    folder.chmod(0o755)
    port = _free_port()
    name = f"pgmonkey-{secrets.token_hex(6)}"
    settings = {
        "DB_HOST": server.address[0],
        "DB_PORT": server.port,
        "DB_USER": server.user,
        "DB_PASSWORD": server.password,
        "LISTEN_ADDR": "127.0.0.1",
        "LISTEN_PORT": port,
        "AUTH_TYPE": "scram-sha-256",
        "POOL_MODE": "transaction",
        "CLIENT_TLS_SSLMODE": "allow",
        "CLIENT_TLS_CERT_FILE": "/tls/server.crt",
        "CLIENT_TLS_KEY_FILE": "/tls/server.key",
        "SERVER_TLS_SSLMODE": "disable",
    }
    options = [f"--env={key}={value}" for key, value in settings.items()]
    options += [f"--label={key}={value}" for key, value in LABELS.items()]
    try:
        made = docker("create", "--name", name, "--network=host", *options, IMAGE)
        assert made.code == 0, made.stderr
        assert docker("cp", f"{folder}/.", f"{name}:/tls").code == 0
        assert docker("start", name).code == 0

        def answers() -> bool:
            with socket.socket() as sock:
                return sock.connect_ex(("127.0.0.1", port)) == 0

        until(lambda: answers() or docker("inspect", "-f", RUNNING, name).stdout != "true\n")
        assert answers(), docker("logs", name).stderr
        yield port
    finally:
        docker("rm", "-f", "-v", name)


@pytest.fixture
def config(config_dict: dict[str, Any], database: Database, pooler: int) -> Config:
    config_dict["connection_settings"] |= {"port": pooler, "hostaddr": "127.0.0.1"}
    return config_dict


GRANTS = (
    "GRANT SELECT ON pg_hba_file_rules, pg_file_settings TO app; "
    "GRANT EXECUTE ON FUNCTION pg_hba_file_rules(), pg_show_all_file_settings() TO app"
)


def test_pooler_is_seen_and_its_own_way_in_is_judged(
    config: Config, database: Database, server: PgServer
):
    with server.admin(database.name) as conn:
        conn.execute(sql.SQL(GRANTS))
    found = audit_of(config)
    status = {result.check.id: result for result in found.results}
    assert found.admitted
    assert "through a pooler" in found.verdict
    between = status["PGM-PRX-001"]
    assert (between.status, between.severity) == ("REVIEW", "info")
    # The rules are those for the pooler's connection, the certificate is the pooler's.
    assert status["PGM-ADM-001"].status == "OK"
    assert status["PGM-TLS-009"].status == "OK"
    assert status["PGM-TLS-011"].status == "OK"
    # Without a rule of its own, nothing can be said about this client's connections.
    assert status["PGM-ADM-003"].status == "N/A"
    assert status["PGM-CAP-002"].status == "N/A"


def test_clear_leg_behind_the_pooler_is_found(config: Config, database: Database, server: PgServer):
    config["connection_settings"]["host"] = "db"
    leg = result_of(config, "PGM-TLS-002")
    assert (leg.status, leg.severity) == ("MISMATCH", "high")
    assert leg.remedy is not None
    assert "server_tls_sslmode" in leg.remedy.lines[0]
    # A line that refuses what comes without TLS would shut out the pooler itself.
    with server.admin(database.name) as conn:
        conn.execute(sql.SQL(GRANTS))
    plain = result_of(config, "PGM-HBA-004")
    assert plain.status in ("MISMATCH", "REVIEW")
    assert plain.remedy is not None
    assert plain.remedy.lines == ("server_tls_sslmode = verify-full",)


def test_channel_binding_ends_at_the_pooler(config: Config, database: Database, server: PgServer):
    through = result_of(config, "PGM-TLS-016")
    assert (through.status, through.severity) == ("REVIEW", "low")
    config["connection_settings"]["channel_binding"] = "require"
    refused = result_of(config, "PGM-TLS-016")
    assert (refused.status, refused.severity) == ("MISMATCH", "high")
    config["connection_settings"] |= {"port": server.port, "hostaddr": server.address[0]}
    direct = result_of(config, "PGM-TLS-016")
    assert direct.status == "OK"


def test_command_works_through_the_pooler_and_leaves_its_sessions_alone(
    config: Config, tmp_path: Path
):
    import json

    from support.cli import run

    path = tmp_path / "config.yaml"
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(config))
    done = run("pgserverconfig", "-c", path, "--audit", "--json")
    assert done.code == 0, done.stderr
    assert "through a pooler" in json.loads(done.stdout)["verdict"]
    # What the audit set was for its transactions only: the next client finds nothing of it.
    with psycopg.connect(**config["connection_settings"], prepare_threshold=None) as conn:
        for name, kept in (("statement_timeout", "0"), ("lock_timeout", "0")):
            assert conn.execute(f"SHOW {name}").fetchone() == (kept,)
