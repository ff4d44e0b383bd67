"""Certificates for one test run: an authority, its servers and clients, and every wrong one.

Everything is made in memory by trustme and written, keys with mode 0600, into a folder
that lives as long as the run. PostgreSQL compares the common name of a client's
certificate with the role it wants; libpq compares the subject alternative names of the
server's certificate with ``host``. Nothing here knows where a server runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

# Names of the server: as tests dial it, by address, and as a neighbour container would.
SERVER_NAMES = ("localhost", "127.0.0.1", "::1", "db")
# Reserved by RFC 2606, so that nobody's server ever answers to it.
OTHER_NAME = "other.example.test"
# A day in the past that no clock is going to reach again.
LONG_AGO = (datetime(2001, 1, 1), datetime(2001, 1, 2))


@dataclass(frozen=True)
class ServerCert:
    """A certificate and its key in PEM, as the server reads them."""

    cert: bytes
    key: bytes


@dataclass(frozen=True)
class ClientCert:
    """Files of one client; *password* opens the key, None when it is not encrypted."""

    cert: Path
    key: Path
    password: str | None = None

    def dsn_args(self) -> dict[str, str]:
        """Return the libpq keywords that present this certificate."""
        args = {"sslcert": str(self.cert), "sslkey": str(self.key)}
        return args if self.password is None else args | {"sslpassword": self.password}


class CertKit:
    """One authority, another one nobody should trust, and what they signed.

    Attributes:
        ca: The authority that signs the server and the clients, as clients name it in
            ``sslrootcert``.
        wrong_ca: An authority that signed nothing the server shows.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._right = trustme.CA()
        self._wrong = trustme.CA()
        self.ca = self._write("ca.crt", self._right.cert_pem.bytes())
        self.wrong_ca = self._write("wrong-ca.crt", self._wrong.cert_pem.bytes())
        self._clients: dict[tuple[str, str, str | None], ClientCert] = {}

    @cached_property
    def servers(self) -> dict[str, ServerCert]:
        """The certificates a server can show, by name: good, expired, wrong_host."""
        return {
            "good": self._server(*SERVER_NAMES),
            "expired": self._server(*SERVER_NAMES, validity=LONG_AGO),
            "wrong_host": self._server(OTHER_NAME),
        }

    def client(
        self, role: str, *, signed_by: str = "right", password: str | None = None
    ) -> ClientCert:
        """Return a client's certificate whose common name is *role*; the same one each time.

        Args:
            signed_by: "right" is the authority the server knows, "wrong" the other one.
            password: Encrypts the key with it; None leaves the key open.
        """
        wanted = (role, signed_by, password)
        if wanted not in self._clients:
            authority = {"right": self._right, "wrong": self._wrong}[signed_by]
            leaf = authority.issue_cert(common_name=role)
            key = leaf.private_key_pem.bytes()
            if password is not None:
                key = load_pem_private_key(key, None).private_bytes(
                    Encoding.PEM,
                    PrivateFormat.PKCS8,
                    BestAvailableEncryption(password.encode()),
                )
            stem = f"client-{len(self._clients)}"  # a role may be called /etc or ..
            self._clients[wanted] = ClientCert(
                self._write(f"{stem}.crt", leaf.cert_chain_pems[0].bytes()),
                self._write(f"{stem}.key", key),
                password,
            )
        return self._clients[wanted]

    def _server(self, *names: str, validity: tuple[datetime, datetime] | None = None) -> ServerCert:
        not_before, not_after = validity or (None, None)
        leaf = self._right.issue_cert(*names, not_before=not_before, not_after=not_after)
        return ServerCert(leaf.cert_chain_pems[0].bytes(), leaf.private_key_pem.bytes())

    def _write(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        path.touch(mode=0o600, exist_ok=False)
        path.write_bytes(content)
        return path
