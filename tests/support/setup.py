"""What every server of the tests is given before its first start, whoever starts it.

Files for the data folder, settings, rules and passwords as values; ``docker`` and
``local`` bring them to a server in their own way. Certificates are all put there at
once, so that later ALTER SYSTEM and a reload are enough to show another one.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pgmonkey.cli import throwaway
from support.certs import CertKit

SUPERUSER = throwaway.SUPERUSER


class Unavailable(Exception):
    """This machine cannot start such a server; the text says what is missing."""


class Running(Protocol):
    """A started server, as its provider knows it.

    Attributes:
        hostaddr: Address to dial in place of "localhost" where the server is on another
            machine; None when it is on this one.
        port: TCP port.
        inner_address: Its address for containers, where it is in one itself; else "".
    """

    hostaddr: str | None
    port: int
    inner_address: str

    def log(self) -> str:
        """Return everything the server has logged so far."""

    def stop(self) -> None:
        """End the server and remove its data; a second call does nothing."""

    def halt(self, mode: str) -> None:
        """Shut the server down, ``fast`` or ``immediate``, and keep its data."""

    def resume(self) -> None:
        """Start it again, on the same port, and return when it accepts connections."""

    def signal(self, pid: int, name: str) -> None:
        """Send the signal *name*, such as STOP, to the process *pid* of the server."""


class Provider(Protocol):
    """A way to start servers that is known to work on this machine.

    Attributes:
        name: docker, local or wheel.
        title: Name, version and where from, for the head of the run.
        major: Major version of PostgreSQL, or None when only the server can tell.
    """

    name: str
    title: str
    major: int | None

    def start(self, setup: Setup) -> Running:
        """Start one server and return when it accepts connections.

        Raises:
            RuntimeError: It did not start; the text ends with its log.
        """

    def standby(self, primary: Any, setup: Setup) -> Running:
        """Start a streaming standby of *primary*, which this provider has started.

        Raises:
            Unavailable: This provider cannot make one.
        """


@dataclass(frozen=True)
class Setup:
    """One server as it should be after its first start.

    Attributes:
        certs: Where its certificates come from.
        tls: Whether ``ssl`` is on.
        password: Of the superuser.
        fixed_port: Whether its port stays the same when it is halted and resumed.
    """

    certs: CertKit
    tls: bool = True
    password: str = field(default_factory=lambda: secrets.token_hex(12))
    fixed_port: bool = False

    def files(self) -> dict[str, bytes]:
        """Return what belongs into the data folder with mode 0600, by name."""
        files = {"ca.crt": self.certs.ca.read_bytes()}
        for name, server in self.certs.servers.items():
            files |= {f"{name}.crt": server.cert, f"{name}.key": server.key}
        return files | {"pg_hba.conf": "".join(f"{line}\n" for line in hba()).encode()}

    def settings(self) -> dict[str, str]:
        """Return what goes into postgresql.conf."""
        return {
            "ssl": "on" if self.tls else "off",
            "ssl_ca_file": "ca.crt",
            **certificate("good"),
            # 200 threads of one test, and the administrator beside them.
            "max_connections": "220",
            # Two-phase commit of an import on one server, and what is done without on the other.
            "max_prepared_transactions": "20" if self.tls else "0",
            "password_encryption": "scram-sha-256",
            "fsync": "off",
            "full_page_writes": "off",
        }

    def conf(self, **more: str) -> str:
        """Return the lines to append to postgresql.conf, with *more* settings of a provider."""
        lines = (f"{name} = '{value}'\n" for name, value in (self.settings() | more).items())
        return "".join(lines)


def certificate(name: str) -> dict[str, str]:
    """Return the settings that make a server show the certificate called *name*."""
    return {"ssl_cert_file": f"{name}.crt", "ssl_key_file": f"{name}.key"}


def hba(
    rules: Sequence[str] = ("host all all all scram-sha-256",), *, socket: bool = True
) -> tuple[str, ...]:
    """Return the lines of pg_hba.conf: the harness' own way in, then *rules*.

    Without *socket*, what they say of the Unix-domain socket counts, too.

    The first line that matches decides, so no rule can lock the harness out. The socket
    is for the container's init scripts; elsewhere it lies in a folder nobody else enters.
    """
    return (
        *(("local all all trust",) if socket else ()),
        f"host all {SUPERUSER} all scram-sha-256",
        f"host replication {SUPERUSER} all scram-sha-256",
        *rules,
    )
