"""TLS beyond the matrix: keys, names and negotiation, for all four types."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from pgmonkey import PGConnectionManager
from support import kinds
from support.server import Database, PgServer

SUBJECT = "SELECT client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()"

pytestmark = pytest.mark.parametrize("kind", kinds.ALL)


@pytest.fixture
def by_certificate(server: PgServer) -> Iterator[None]:
    """The ordinary role logs in by its certificate alone."""
    with server.hba("hostssl all all all cert"):
        yield


async def ask(
    manager: PGConnectionManager, config: dict[str, Any], kind: str, query: str, **over: Any
) -> Any:
    """Log in with *over* in place of the settings of *config*, and run *query*."""
    changed = config["connection_settings"] | over
    given = {key: value for key, value in changed.items() if value is not None}
    handle = await kinds.get(manager, config | {"connection_settings": given}, kind)
    async with kinds.block(handle) as conn:
        return await kinds.one(conn, query)


async def test_server_knows_the_client_by_its_certificate(
    manager: PGConnectionManager,
    server: PgServer,
    config_dict: dict[str, Any],
    by_certificate: None,
    kind: str,
):
    sent = server.certs.client(server.user).dsn_args()
    subject = await ask(manager, config_dict, kind, SUBJECT, password=None, **sent)
    assert f"CN={server.user}" in subject


async def test_encrypted_key_opens_with_sslpassword(
    manager: PGConnectionManager,
    server: PgServer,
    config_dict: dict[str, Any],
    by_certificate: None,
    kind: str,
):
    sent = server.certs.client(server.user, password="open sesame").dsn_args()
    assert await ask(manager, config_dict, kind, SUBJECT, password=None, **sent)


@pytest.mark.parametrize("sslpassword", ["wrong", None])
async def test_encrypted_key_stays_shut_without_the_right_sslpassword(
    manager: PGConnectionManager,
    server: PgServer,
    config_dict: dict[str, Any],
    by_certificate: None,
    kind: str,
    sslpassword: str | None,
):
    sent = server.certs.client(server.user, password="open sesame").dsn_args()
    with pytest.raises(psycopg.OperationalError, match="could not load private key file"):
        await ask(manager, config_dict, kind, SUBJECT, **(sent | {"sslpassword": sslpassword}))


async def test_key_that_others_may_read_is_refused(
    manager: PGConnectionManager,
    server: PgServer,
    config_dict: dict[str, Any],
    tmp_path,
    kind: str,
):
    sent = server.certs.client(server.user)
    open_key = tmp_path / "open.key"
    open_key.write_bytes(sent.key.read_bytes())
    open_key.chmod(0o644)
    with pytest.raises(psycopg.OperationalError, match="has group or world access"):
        await ask(manager, config_dict, kind, SUBJECT, sslcert=str(sent.cert), sslkey=str(open_key))


async def test_certificate_of_a_foreign_authority_is_refused(
    manager: PGConnectionManager,
    server: PgServer,
    config_dict: dict[str, Any],
    by_certificate: None,
    kind: str,
):
    """With TLS 1.3 the client hears of it after its own handshake, so the words may vary."""
    sent = server.certs.client(server.user, signed_by="wrong").dsn_args()
    with pytest.raises(psycopg.OperationalError):
        await ask(manager, config_dict, kind, SUBJECT, **sent)
    assert "could not accept SSL connection" in server.log()


async def test_verify_full_accepts_an_address_that_the_certificate_names(
    manager: PGConnectionManager, server: PgServer, config_dict: dict[str, Any], kind: str
):
    over = {"host": "127.0.0.1", "hostaddr": server.address[0]}
    assert await ask(manager, config_dict, kind, "SELECT 1", **over) == 1


async def test_verify_full_refuses_an_address_that_the_certificate_does_not_name(
    manager: PGConnectionManager, server: PgServer, config_dict: dict[str, Any], kind: str
):
    over = {"host": "127.0.0.2", "hostaddr": server.address[0]}
    with pytest.raises(psycopg.OperationalError, match=r'does not match host name "127\.0\.0\.2"'):
        await ask(manager, config_dict, kind, "SELECT 1", **over)


async def test_verify_full_refuses_a_certificate_made_for_another_name(
    manager: PGConnectionManager, server: PgServer, config_dict: dict[str, Any], kind: str
):
    with server.certificate("wrong_host"):
        with pytest.raises(psycopg.OperationalError, match='does not match host name "localhost"'):
            await ask(manager, config_dict, kind, "SELECT 1")
        assert await ask(manager, config_dict, kind, "SELECT 1", sslmode="verify-ca") == 1


async def test_authorities_of_the_system_do_not_vouch_for_a_private_one(
    manager: PGConnectionManager, config_dict: dict[str, Any], kind: str
):
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        await ask(manager, config_dict, kind, "SELECT 1", sslrootcert="system")


async def test_direct_negotiation_needs_a_server_of_17(
    manager: PGConnectionManager, server: PgServer, database: Database, config_dict, kind: str
):
    """Before 17 the server takes the TLS greeting for a broken startup packet and hangs up."""
    over = {"sslnegotiation": "direct"}
    if server.version >= 17:
        assert await ask(manager, config_dict, kind, "SELECT 1", **over) == 1
    else:
        with pytest.raises(psycopg.OperationalError):
            await ask(manager, config_dict, kind, "SELECT 1", **over)
