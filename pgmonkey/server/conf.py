"""Lines of postgresql.conf for one client, as values that print themselves.

A path in there is the server's own business: whatever the file is called, what counts is
that there is one. The paths printed are the file names of PostgreSQL's documentation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pgmonkey.server.client import Client


@dataclass(frozen=True)
class Advice:
    """One setting of postgresql.conf.

    Attributes:
        value: As the server means it, without quotes.
        required: Whether the client fails, or is less safe than it asks to be, without it.
        needs: What makes the server take it.
        quoted: Whether the file has it in quotes.
    """

    name: str
    value: str
    required: bool
    needs: Literal["restart", "reload"]
    why: str
    quoted: bool = False

    @property
    def line(self) -> str:
        """The line for postgresql.conf."""
        return f"{self.name} = {self.literal}"

    @property
    def literal(self) -> str:
        """The value as the file and ALTER SYSTEM have it."""
        return "'" + self.value.replace("'", "''") + "'" if self.quoted else self.value


def minimal(client: Client, connections: int) -> tuple[Advice, ...]:
    """Return the least that postgresql.conf must have."""
    first = Advice(
        "max_connections",
        str(connections),
        True,
        "restart",
        "fewer, and the server refuses connections of this configuration",
    )
    if not has_tls(client):
        return (first,)
    files = (
        ("ssl_cert_file", "server.crt", True, "the certificate that the server shows"),
        ("ssl_key_file", "server.key", True, "its key"),
        (
            "ssl_ca_file",
            "ca.crt",
            client.certificate is not None,
            "the authority that signed the client's certificate"
            if client.certificate
            else "needed only once clients have certificates",
        ),
    )
    tls = Advice("ssl", "on", True, "reload", "the client asks for TLS")
    return (first, tls, *(Advice(n, v, r, "reload", why, quoted=True) for n, v, r, why in files))


def has_tls(client: Client) -> bool:
    """Tell whether this client can make use of the server's TLS."""
    tcp = any(not endpoint.socket for endpoint in client.endpoints)
    return tcp and client.sslmode != "disable" and client.gssencmode != "require"


def hardening(client: Client, version: int) -> tuple[Advice, ...]:
    """Return what a careful administrator of a server of major *version* sets besides."""
    found = [
        Advice(
            "password_encryption",
            "scram-sha-256",
            False,
            "reload",
            "passwords that are set from now on are stored as SCRAM",
            quoted=True,
        )
    ]
    if version >= 12 and has_tls(client):
        why = "older versions of TLS are broken"
        found.append(Advice("ssl_min_protocol_version", "TLSv1.2", False, "reload", why, True))
    tcp = [endpoint for endpoint in client.endpoints if not endpoint.socket]
    if tcp:
        local = all(e.dial in ("localhost", "127.0.0.1", "::1") for e in tcp)
        why = "the server listens where the client dials" + (
            "" if local else "; narrow it if you can"
        )
        where = "localhost" if local else "*"
        found.append(Advice("listen_addresses", where, False, "restart", why, quoted=True))
    ports = {endpoint.port for endpoint in client.endpoints} - {5432}
    if len(ports) == 1:
        found.append(Advice("port", str(*ports), False, "restart", "the port the client dials"))
    found.append(
        Advice(
            "superuser_reserved_connections",
            "3",
            False,
            "restart",
            "an administrator gets in while every pool is full",
        )
    )
    return tuple(found)
