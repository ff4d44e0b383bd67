"""Every combination of client and server TLS, by real handshakes, for all four types.

The expected outcome of each cell, with its reason, is in ``support.tls``; whether a
connection is encrypted is what the server says in pg_stat_ssl. The server changes its
state three times for the whole module; one test runs all cells of one state and type.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from pgmonkey import PGConnectionManager
from support import kinds, tls
from support.certs import OTHER_NAME
from support.server import PgServer

# One role per kind of login, so that one pg_hba.conf serves the whole matrix.
RULES = """
host      all t_password all scram-sha-256
hostssl   all t_both     all scram-sha-256 clientcert=verify-full
hostssl   all t_cert     all cert
hostnossl all t_nossl    all scram-sha-256
hostssl   all t_ssl      all scram-sha-256
"""
ROLES = ("t_password", "t_both", "t_cert", "t_nossl", "t_ssl")
# Login of the tables: role, and the common name of the certificate that is sent, if any.
LOGINS = {
    "password": ("t_password", None),
    "certificate and password": ("t_both", "t_both"),
    "certificate": ("t_cert", "t_cert"),
    "another's certificate": ("t_cert", "t_both"),
    "no certificate": ("t_cert", None),
    "hostnossl only": ("t_nossl", None),
    "hostssl only": ("t_ssl", None),
}
ENCRYPTED = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"


@pytest.fixture(scope="module")
def roles(server: PgServer) -> Iterator[None]:
    """The roles and rules of this module."""
    with server.admin() as conn:
        for role in ROLES:
            statement = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}")
            conn.execute(statement.format(sql.Identifier(role), sql.Literal(server.password)))
    with server.hba(RULES):
        yield
    with server.admin() as conn:
        for role in ROLES:
            conn.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


@pytest.fixture(scope="module", params=tls.SERVERS)
def state(server: PgServer, roles: None, request: pytest.FixtureRequest) -> Iterator[str]:
    """The server in one state after the other."""
    if request.param == "off":
        with server.tls(False):
            yield request.param
    else:
        certificate = {"valid": "good", "expired": "expired"}[request.param]
        with server.certificate(certificate):
            yield request.param


def config(server: PgServer, cell: tls.Cell) -> dict[str, Any]:
    """Return the configuration of the client in *cell*."""
    role, sent = LOGINS[cell.login]
    ca = {"right": server.certs.ca, "wrong": server.certs.wrong_ca, "missing": None}[cell.ca]
    args: dict[str, Any] = {
        "user": role,
        "password": None if role == "t_cert" else server.password,
        "sslmode": cell.sslmode,
        "sslrootcert": str(ca) if ca else None,
    }
    if cell.host == "wrong":
        args |= {"host": OTHER_NAME, "hostaddr": server.address[0]}
    if sent:
        args |= server.certs.client(sent).dsn_args()
    one = {"min_size": 1, "max_size": 1}
    return {
        "connection_settings": server.dsn_args(**args),
        "pool_settings": one,
        "async_pool_settings": one,
    }


async def connect(kind: str, config: dict[str, Any]) -> tuple[str | None, str]:
    """Log in once; return "TLS" or "plain" and no error, or None and the error."""
    manager = PGConnectionManager()
    try:
        handle = await kinds.get(manager, config, kind)
    except psycopg.OperationalError as e:
        return None, str(e)
    async with kinds.block(handle) as conn:
        encrypted = await kinds.one(conn, ENCRYPTED)
    await kinds.settle(handle.disconnect())
    return (tls.TLS if encrypted else tls.PLAIN), ""


@pytest.mark.parametrize("kind", kinds.ALL)
async def test_every_cell_ends_as_the_tables_say(server: PgServer, state: str, kind: str):
    surprises = []
    for cell in tls.cells(state):
        wanted = tls.expected(cell)
        connected, error = await connect(kind, config(server, cell))
        told = connected or all(text in error for text in wanted.refusals)
        if connected != wanted.connected or not told:
            surprises.append(f"{cell}\n  expected {wanted}\n  but was  {connected or error}")
    assert not surprises, f"{len(surprises)} cells:\n" + "\n".join(surprises)
