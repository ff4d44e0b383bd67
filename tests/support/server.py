"""A PostgreSQL server for tests: log in, change its rules, its certificate, its settings.

Every change goes through SQL, so it works on any server whoever started it, and every
change is waited for: pg_reload_conf() only sends a signal, and a backend that started
after the postmaster read its files is the proof that it did. Starting and stopping is
in ``docker`` and ``local``, choosing between them in ``choice``.
"""

from __future__ import annotations

import secrets
import socket
import ssl
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from support.setup import SUPERUSER, Provider, Running, Setup, certificate, hba
from support.wait import until

# The role of ordinary tests: no superuser, so that rules and limits mean something to it.
USER = "app"
# Seconds until a server that does not answer fails the test instead of stopping the run.
CONNECT_TIMEOUT = 10
# How often a reload is looked for; each look is a new connection of some 10 ms.
LOOKS = 500
# libpq's question whether the server would like to speak TLS (protocol, "SSLRequest").
SSL_REQUEST = struct.pack("!ii", 8, 80877103)


class PgServer:
    """One running server.

    Attributes:
        host: The name that its certificate is made for.
        port: TCP port.
        superuser: Who may do anything; rules of ``hba`` never apply to it.
        user: Who ordinary tests log in as.
        password: Of both.
        version: Major version.
        provider: docker, local or wheel.
        certs: The certificates around it.
    """

    host = "localhost"
    superuser = SUPERUSER
    user = USER

    def __init__(
        self, provider: Provider, running: Running, setup: Setup, *, fresh: bool = True
    ) -> None:
        self._provider, self._running, self._setup = provider, running, setup
        self.port = running.port
        self.password = setup.password
        self.provider = provider.name
        self.certs = setup.certs
        self._tls = setup.tls
        with self.admin() as conn:
            self.version = conn.info.server_version // 10000
            if fresh:
                self.set_password(self.password)

    def __repr__(self) -> str:
        return f"<PgServer {self.provider} {self.version} {self.host}:{self.port}>"

    def dsn_args(self, **over: Any) -> dict[str, Any]:
        """Return the libpq keywords of an ordinary login, verified in full where TLS is on.

        Args:
            over: Keywords to add or replace; None takes one away.
        """
        args: dict[str, Any] = {
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "password": self.password,
            "dbname": "postgres",
            "connect_timeout": CONNECT_TIMEOUT,
        }
        if self._running.hostaddr:
            args["hostaddr"] = self._running.hostaddr
        if self._tls:
            args |= {"sslmode": "verify-full", "sslrootcert": str(self.certs.ca)}
        else:
            args |= {"sslmode": "disable"}
        args |= over
        return {key: value for key, value in args.items() if value is not None}

    @property
    def inner_address(self) -> str:
        """Where a container finds a server that is in another one."""
        return self._running.inner_address

    @property
    def address(self) -> tuple[str, int]:
        """Where its TCP port is reached: a numeric address and the port."""
        return (self._running.hostaddr or "127.0.0.1", self.port)

    @contextmanager
    def admin(self, dbname: str = "postgres") -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        """Give an autocommit connection of the superuser, whatever TLS is like now."""
        args = self.dsn_args(user=self.superuser, dbname=dbname, sslmode="prefer", sslrootcert=None)
        with psycopg.connect(**args, autocommit=True) as conn:
            yield conn

    @property
    def socket_folder(self) -> str | None:
        """The folder of its Unix-domain socket; None where that is on another machine."""
        if self.provider == "docker":
            return None
        with self.admin() as conn:
            row = conn.execute("SHOW unix_socket_directories").fetchone()
        assert row is not None
        return str(row[0])

    def log(self) -> str:
        """Return everything the server has logged since its start."""
        return self._running.log()

    def sessions(self, application_name: str) -> int:
        """Count the sessions that carry *application_name*."""
        with self.admin() as conn:
            row = conn.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s",
                [application_name],
            ).fetchone()
        assert row is not None
        return int(row[0])

    def terminate(self, which: str, value: Any) -> None:
        """End the sessions for which column *which* of pg_stat_activity is *value*, and wait.

        Two statements, since before PostgreSQL 14 pg_terminate_backend does not wait.
        """
        where = sql.SQL("FROM pg_stat_activity WHERE {} = %s").format(sql.Identifier(which))
        with self.admin() as conn:
            conn.execute(sql.SQL("SELECT pg_terminate_backend(pid) ") + where, [value])
            until(lambda: conn.execute(sql.SQL("SELECT 1 ") + where, [value]).fetchone() is None)

    @contextmanager
    def hba(self, rules: str | Sequence[str], *, socket: bool = False) -> Iterator[None]:
        """Have *rules* decide about logins, after the harness' own way in, until the end.

        Args:
            socket: Have them decide about the Unix-domain socket, too.

        Raises:
            ValueError: The server does not understand a line.
        """
        lines = rules.splitlines() if isinstance(rules, str) else rules
        try:
            self._write_hba(hba([line for line in lines if line.strip()], socket=not socket))
            yield
        finally:
            self._write_hba(hba())

    @contextmanager
    def settings(self, **values: str) -> Iterator[None]:
        """Have these server settings, all of the kind a reload changes, until the end."""
        with self.admin() as conn:
            for name, value in values.items():
                conn.execute(
                    sql.SQL("ALTER SYSTEM SET {} = {}").format(
                        sql.Identifier(name), sql.Literal(value)
                    )
                )
        try:
            self.reload()
            yield
        finally:
            with self.admin() as conn:
                for name in values:
                    conn.execute(sql.SQL("ALTER SYSTEM RESET {}").format(sql.Identifier(name)))
            self.reload()

    @contextmanager
    def tls(self, on: bool) -> Iterator[None]:
        """Have TLS on or off until the end."""
        with self.settings(ssl="on" if on else "off"):
            yield

    @contextmanager
    def certificate(self, name: str) -> Iterator[None]:
        """Have the server show its certificate called *name* until the end.

        Args:
            name: good, expired or wrong_host.
        """
        with self.settings(**certificate(name)):
            expected = ssl.PEM_cert_to_DER_cert(self.certs.servers[name].cert.decode())
            assert self.shown_certificate() == expected, self.log()
            yield

    def shown_certificate(self) -> bytes | None:
        """Return the certificate that a new client is shown, in DER; None without TLS."""
        anything = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        anything.check_hostname = False
        anything.verify_mode = ssl.CERT_NONE
        with socket.create_connection(self.address, timeout=CONNECT_TIMEOUT) as plain:
            plain.sendall(SSL_REQUEST)
            if plain.recv(1) != b"S":
                return None
            with anything.wrap_socket(plain) as tls:
                return tls.getpeercert(binary_form=True)

    def reload(self) -> None:
        """Have the server read its files again, and return when it has.

        Rules, certificates and settings are read in one go by the postmaster, and a new
        backend inherits the time at which that was.
        """
        with self.admin() as conn:
            row = conn.execute("SELECT clock_timestamp(), pg_reload_conf()").fetchone()
        assert row is not None
        for _ in range(LOOKS):
            with self.admin() as conn:
                done = conn.execute("SELECT pg_conf_load_time() > %s", [row[0]]).fetchone()
            if done == (True,):
                return
        raise TimeoutError(f"the server did not read its configuration again\n{self.log()}")

    @contextmanager
    def database(self) -> Iterator[Database]:
        """Give a fresh database that the ordinary role owns; gone at the end with all sessions."""
        name = f"t_{secrets.token_hex(6)}"
        with self.admin() as conn:
            conn.execute(
                sql.SQL("CREATE DATABASE {} OWNER {}").format(
                    sql.Identifier(name), sql.Identifier(self.user)
                )
            )
        try:
            yield Database(self, name)
        finally:
            with self.admin() as conn:
                conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def set_password(self, password: str) -> None:
        """Have the ordinary role log in with *password* from now on; the harness has its own."""
        with self.admin() as conn:
            exists = conn.execute("SELECT FROM pg_roles WHERE rolname = %s", [USER]).rowcount
            conn.execute(
                sql.SQL("{} ROLE {} LOGIN PASSWORD {}").format(
                    sql.SQL("ALTER" if exists else "CREATE"),
                    sql.Identifier(USER),
                    sql.Literal(password),
                )
            )

    def halt(self, mode: str) -> None:
        """Shut down, ``fast`` (sessions are told) or ``immediate`` (as in a crash)."""
        self._running.halt(mode)

    def resume(self) -> None:
        """Start again after ``halt``, and return when a login succeeds."""
        self._running.resume()
        until(self._answers)

    def signal(self, pid: int, name: str) -> None:
        """Send the signal *name* (STOP, CONT) to one process of the server."""
        self._running.signal(pid, name)

    @contextmanager
    def twin(self) -> Iterator[PgServer]:
        """Give another server like this one, with the same password and data of its own."""
        running = self._provider.start(self._setup)
        try:
            yield PgServer(self._provider, running, self._setup)
        finally:
            running.stop()

    @contextmanager
    def standby(self) -> Iterator[PgServer]:
        """Give a streaming standby of this server.

        Raises:
            Unavailable: The provider cannot make one.
        """
        running = self._provider.standby(self._running, self._setup)
        try:
            yield PgServer(self._provider, running, self._setup, fresh=False)
        finally:
            running.stop()

    def promote(self) -> None:
        """Make a primary of a standby, and return when it takes writes."""
        with self.admin() as conn:
            conn.execute("SELECT pg_promote()")

    def stop(self) -> None:
        """End the server and remove its data."""
        self._running.stop()

    def _answers(self) -> bool:
        try:
            with self.admin():
                return True
        except psycopg.OperationalError:
            return False

    def place(self, name: str, lines: Sequence[str]) -> None:
        """Write *lines* to the file *name* in the data folder, readable by the server only.

        The server's own user writes it, by COPY. Control characters as quote and delimiter
        keep COPY from quoting anything.
        """
        with self.admin() as conn:
            conn.execute(
                sql.SQL(
                    "COPY (SELECT unnest({}::text[])) TO PROGRAM {} "
                    "WITH (FORMAT csv, QUOTE E'\\x02', DELIMITER E'\\x01')"
                ).format(sql.Literal(list(lines)), sql.Literal(f"umask 077; cat >{name}"))
            )

    def _write_hba(self, lines: Sequence[str]) -> None:
        self.place("pg_hba.conf", lines)
        with self.admin() as conn:
            # While ssl is off, every hostssl line is reported though it is a good line.
            wrong = conn.execute(
                "SELECT line_number, error FROM pg_hba_file_rules "
                "WHERE error IS NOT NULL AND error NOT LIKE '%SSL is disabled'"
            ).fetchone()
        if wrong:
            raise ValueError(f"pg_hba.conf line {wrong[0]}: {wrong[1]}: {lines}")
        self.reload()


@dataclass(frozen=True)
class Database:
    """A database of one test."""

    server: PgServer
    name: str

    def dsn_args(self, **over: Any) -> dict[str, Any]:
        """Return the libpq keywords of an ordinary login to it; see ``PgServer.dsn_args``."""
        return self.server.dsn_args(**{"dbname": self.name, **over})
