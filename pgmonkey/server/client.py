"""The client as a server meets it: one model, made from the settings and from libpq.

A configuration leaves much to libpq: PG* variables, service and password files, defaults
that differ between builds. Nobody knows them better than libpq, so it is asked: given one
value which it refuses as the last of its checks, it has filled in everything else, has
looked into the password file, and has dialled nobody.

What such a client needs is in ``recommend``, whether it is let in in ``admission``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pgmonkey.config.keys import ASYNC_POOL, CONNECTION, POOL
from pgmonkey.config.settings import ConnectionType, Settings
from pgmonkey.errors import ConfigError

if TYPE_CHECKING:
    from psycopg.pq.abc import PGconn

# Checked last of all keywords (libpq, pqConnectOptions2), and before any name is looked up.
_REFUSED = {"target_session_attrs": "pgmonkey-only-asks"}

# Without these no line of pg_hba.conf can be written.
_NEEDED = (
    *(f"{CONNECTION}.{key}" for key in ("host", "hostaddr", "port", "user", "dbname", "service")),
    *(f"{CONNECTION}.{key}" for key in ("sslmode", "sslcert", "sslkey", "gssencmode")),
    f"{CONNECTION}.replication",
    f"{POOL}.max_size",
    f"{ASYNC_POOL}.max_size",
)

# Where libpq looks when sslcert, sslkey and sslrootcert say nothing.
_DEFAULT_FILES = Path("~/.postgresql")


@dataclass(frozen=True)
class Endpoint:
    """One server of the configuration.

    Attributes:
        host: A name, an address, a socket's folder, ``@abstract``; "" with hostaddr alone.
        hostaddr: The address that is dialled in place of *host*, or "".
    """

    host: str
    hostaddr: str
    port: int

    @property
    def socket(self) -> bool:
        """Whether it is a Unix-domain socket, where sslmode means nothing."""
        return not self.hostaddr and self.host.startswith(("/", "@"))

    @property
    def dial(self) -> str:
        """What a connection is made to: the address, name or folder."""
        return self.hostaddr or self.host

    def __str__(self) -> str:
        host = self.host or self.hostaddr
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"


@dataclass(frozen=True)
class Certificate:
    """The client's certificate, as far as it can be read on this machine.

    Attributes:
        common_name: What PostgreSQL compares with the role; None where it is not known.
        missing: The file does not exist here. libpq would go on without it.
        problem: Why it could not be read; "" when it was.
    """

    cert: str
    key: str
    common_name: str | None = None
    not_before: datetime | None = None
    not_after: datetime | None = None
    missing: bool = False
    problem: str = ""


@dataclass(frozen=True)
class Client:
    """One client, everything resolved.

    Attributes:
        name: The configuration, as the user named it.
        sslrootcert: A path, ``system``, or "" where there is none.
        certificate: None where none is configured, or none is sent.
        password: Whether any source has one: the configuration, PGPASSWORD, a password file.
        replication: "physical" and "database" as the server tells them apart.
        os_user: Who runs this process, for ``peer``.
        max_size: Connections that one process may hold, for the configured type.
        largest_pool: The same for the largest pool that the configuration sizes, whatever
            its type; 0 when it sizes none.
        connect_timeout: In seconds, as it was written; "" where no source sets it.
    """

    name: str
    endpoints: tuple[Endpoint, ...]
    user: str
    dbname: str
    sslmode: str = "prefer"
    gssencmode: str = "disable"
    sslnegotiation: str = "postgres"
    channel_binding: str = "prefer"
    require_auth: str = ""
    sslrootcert: str = ""
    sslcrl: str = ""
    sslsni: bool = True
    certificate: Certificate | None = None
    password: bool = False
    replication: Literal["", "physical", "database"] = ""
    connection_type: ConnectionType = "normal"
    os_user: str = ""
    max_size: int = 1
    largest_pool: int = 0
    connect_timeout: str = ""
    root_exists: bool = field(default=False, compare=False)

    @property
    def socket(self) -> bool:
        """Whether every server is reached through a socket."""
        return all(endpoint.socket for endpoint in self.endpoints)

    @property
    def verifies(self) -> Literal["none", "ca", "full"]:
        """What is checked of the server's certificate.

        With a root certificate at hand, ``require`` checks as ``verify-ca`` does
        (PostgreSQL documentation, "Protection Provided in Different Modes").
        """
        if self.sslmode == "verify-full":
            return "full"
        if self.sslmode == "verify-ca" or (self.sslmode == "require" and self.root_exists):
            return "ca"
        return "none"


def resolve(settings: Settings) -> Client:
    """Return the client that *settings* describe, with libpq's own values in force.

    No connection is made, no secret is read.

    Raises:
        ConfigError: A value that is needed is a reference which was not resolved, or
            libpq refuses the values.
    """
    for key in _NEEDED:
        if key in settings.unresolved:
            problem = "is a reference, and what the server needs depends on it"
            raise settings.mark(key).error(f"{problem}; add --resolve-env", key)
    given = {
        key: value
        for key, value in settings.connection.items()
        if isinstance(value, str) and f"{CONNECTION}.{key}" not in settings.unresolved
    }
    in_force, has_password, default_host = _ask_libpq(given, settings)

    def value(key: str) -> str:
        return in_force.get(key, "")

    root = value("sslrootcert") or _default("root.crt")
    sslmode = value("sslmode") or "prefer"
    if settings.connection_type in ("pool", "async_pool"):
        max_size = settings.pool(settings.connection_type).max_size
    else:
        max_size = 1
    pools = {POOL: settings.pool_settings, ASYNC_POOL: settings.async_pool_settings}
    sized = [pool.max_size for name, pool in pools.items() if _is_given(settings, name)]
    return Client(
        name=settings.name,
        endpoints=_endpoints(value("host"), value("hostaddr"), value("port"), default_host),
        user=value("user"),
        dbname=value("dbname") or value("user"),
        sslmode=sslmode,
        gssencmode=value("gssencmode") or "disable",
        sslnegotiation=value("sslnegotiation") or "postgres",
        channel_binding=value("channel_binding") or "prefer",
        require_auth=value("require_auth"),
        sslrootcert=root,
        sslcrl=value("sslcrl"),
        sslsni=value("sslsni") != "0",
        certificate=_certificate(value),
        password=has_password or "password" in settings.connection,
        replication=_replication(value("replication")),
        connection_type=settings.connection_type,
        os_user=_os_user(),
        max_size=max_size,
        largest_pool=max(sized, default=0),
        connect_timeout=value("connect_timeout"),
        root_exists=root == "system" or (bool(root) and Path(root).exists()),
    )


def _is_given(settings: Settings, section: str) -> bool:
    return any(path.startswith(f"{section}.") for path in settings.marks)


def _ask_libpq(given: dict[str, str], settings: Settings) -> tuple[dict[str, str], bool, str]:
    """Return libpq's keywords in force, whether it found a password, and its default host."""
    from psycopg import pq
    from psycopg.conninfo import make_conninfo

    def ask(**arguments: str) -> PGconn:
        return pq.PGconn.connect_start(make_conninfo("", **arguments).encode())

    conn = ask(**{**given, **_REFUSED})
    try:
        message = conn.get_error_message()
        if _REFUSED["target_session_attrs"] not in message:
            raise ConfigError(f"libpq: {settings.scrub(message)}", file=settings.name)
        values = {
            option.keyword.decode(): option.val.decode(errors="replace")
            for option in conn.info
            if option.val is not None
        }
        found = bool(conn.password)
    finally:
        conn.finish()
    socket_default = ask(host=",", **_REFUSED)  # two empty hosts, whatever PGHOST says
    try:
        return values, found, socket_default.host.decode()
    finally:
        socket_default.finish()


def _endpoints(host: str, hostaddr: str, port: str, default_host: str) -> tuple[Endpoint, ...]:
    """Pair up the lists, as libpq does: one port serves every host."""
    addresses = hostaddr.split(",") if hostaddr else []
    hosts = host.split(",") if host else [""] * max(1, len(addresses))
    addresses = addresses or [""] * len(hosts)
    ports = port.split(",") if port else [""]
    if len(ports) == 1:
        ports *= len(hosts)
    return tuple(
        Endpoint(h or ("" if a else default_host), a, int(p or 5432))
        for h, a, p in zip(hosts, addresses, ports, strict=True)
    )


def _default(name: str) -> str:
    path = (_DEFAULT_FILES / name).expanduser()
    return str(path) if path.exists() else ""


def _certificate(value: Callable[[str], str]) -> Certificate | None:
    from pgmonkey.server import x509

    if value("sslcertmode") == "disable":
        return None
    path = value("sslcert") or _default("postgresql.crt")
    if not path:
        return None
    key = value("sslkey") or str((_DEFAULT_FILES / "postgresql.key").expanduser())
    try:
        leaf = x509.read_pem(Path(path).read_bytes())[0]
    except FileNotFoundError:
        return Certificate(path, key, missing=True, problem="no such file")
    except OSError as error:
        return Certificate(path, key, problem=error.strerror or "cannot be read")
    except ValueError as error:
        return Certificate(path, key, problem=str(error))
    return Certificate(path, key, leaf.common_name, leaf.not_before, leaf.not_after)


def _replication(value: str) -> Literal["", "physical", "database"]:
    """Read the keyword as the server does (ProcessStartupPacket)."""
    if value == "database":
        return "database"
    return "physical" if value.lower() in ("true", "on", "yes", "1", "t", "y") else ""


def _os_user() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container's arbitrary user id
        return ""
