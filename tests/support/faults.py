"""Faults, each done to a pool and told in numbers; the tests judge ours, the benchmark compares.

A fault is a function of a server, a kind of pool (``Ours`` or ``Raw``) and sizes.
Servers that are halted or demoted are of the caller's own.
"""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psycopg_pool import ConnectionPool, PoolTimeout

from support.ledger import EXPECTED, Ledger, opened
from support.wait import until

# What no server process answers within; pools of these tests wait far less.
PATIENCE = 5.0
# After which, beyond its timeout, a caller that a stalled server holds up is let go.
RESCUE_SECONDS = 3.0


@dataclass(frozen=True)
class Idle:
    """After all idle sessions were killed: errors of the requests, and the first answer."""

    errors: int
    first_seconds: float


def kill_idle(server: Any, kind: Any, size: int, requests: int = 40) -> Idle:
    """R1: kill all idle sessions of a pool of *size*, then ask one after the other."""
    args = server.dsn_args(application_name="killed")
    with opened(kind, args, min_size=size, max_size=size, timeout=PATIENCE) as pool:
        until(lambda: server.sessions("killed") == size)
        server.terminate("application_name", "killed")
        errors, first = 0, 0.0
        began = time.monotonic()
        for _ in range(requests):
            try:
                with pool.block() as conn:
                    conn.execute("SELECT 1")
                first = first or time.monotonic() - began
            except EXPECTED:
                errors += 1
    return Idle(errors, first)


@dataclass(frozen=True)
class Outage:
    """After outages under load: what was lost, and the slowest return to work."""

    acknowledged: int
    lost: int
    errors: int
    surprises: list[Exception]
    slowest_seconds: float
    sessions: int


def restart(server: Any, kind: Any, mode: str, writers: int = 16, rounds: int = 1) -> Outage:
    """R2: halt the server and start it again while *writers* commit; *mode* as of ``halt``."""
    Ledger.create(server)
    args = server.dsn_args(application_name="restarted")
    slowest = 0.0
    with opened(kind, args, min_size=4, max_size=8, timeout=PATIENCE) as pool:
        with Ledger(pool, writers) as ledger:
            for _ in range(rounds):
                ledger.goes_on()
                server.halt(mode)
                server.resume()
                slowest = max(slowest, ledger.returns_after(time.monotonic()))
            sessions = server.sessions("restarted")
        lost = ledger.lost(server)
    return Outage(
        len(ledger.acknowledged), lost, len(ledger.errors), ledger.surprises, slowest, sessions
    )


def failover(primary: Any, standby: Any, kind: Any, writers: int = 16) -> Outage:
    """R3: crash the primary under load, promote its standby; a configuration with both hosts.

    The primary waits for the standby with every commit (synchronous_standby_names), as it
    must where none may be lost.
    """
    Ledger.create(primary)
    args = primary.dsn_args(
        host="127.0.0.1,127.0.0.1",
        port=f"{primary.port},{standby.port}",
        target_session_attrs="read-write",
        application_name="failed-over",
        connect_timeout=2,
    )
    with opened(kind, args, min_size=4, max_size=8, timeout=PATIENCE) as pool:
        with Ledger(pool, writers) as ledger:
            ledger.goes_on()
            primary.halt("immediate")
            standby.promote()
            slowest = ledger.returns_after(time.monotonic())
            ledger.goes_on()
            sessions = standby.sessions("failed-over")
        lost = ledger.lost(standby)
    return Outage(
        len(ledger.acknowledged), lost, len(ledger.errors), ledger.surprises, slowest, sessions
    )


def demotion(old: Any, new: Any, kind: Any, size: int = 4, requests: int = 40) -> tuple[int, int]:
    """R4: one of two servers stops taking writes, and its sessions live on.

    Returns:
        Errors of the requests, and how many of the last ten of them went to *new*.
    """
    for server in (old, new):
        Ledger.create(server)
    args = old.dsn_args(
        host="127.0.0.1,127.0.0.1",
        port=f"{old.port},{new.port}",
        target_session_attrs="read-write",
        application_name="demoted",
    )
    errors, served = 0, []
    with opened(kind, args, min_size=size, max_size=size, timeout=PATIENCE) as pool:
        until(lambda: old.sessions("demoted") == size)
        with old.settings(default_transaction_read_only="on"):
            for row in range(requests):
                try:
                    with pool.block() as conn:
                        conn.execute("INSERT INTO ledger VALUES (%s)", [row])
                        served.append(conn.info.port)
                except EXPECTED:
                    errors += 1
                    served.append(0)
    return errors, sum(port == new.port for port in served[-10:])


@dataclass(frozen=True)
class Stall:
    """How long a checkout took beyond its timeout, and what it gave."""

    beyond_seconds: float
    answered: bool


def stall(server: Any, kind: Any, everything: bool, timeout: float = 1.5) -> Stall:
    """R5: stop an idle session's process, or the whole server, then ask.

    With ``check_on_checkout``, or psycopg_pool's ``check``, which is the same promise.
    """
    args = server.dsn_args(application_name="stalled", connect_timeout=2)
    check: dict[str, Any]
    if kind.name == "pgmonkey":
        check = {"check_on_checkout": True}
    else:
        check = {"check": ConnectionPool.check_connection}
    with opened(kind, args, min_size=1, max_size=1, timeout=timeout, **check) as pool:
        with pool.block() as conn:
            pids = [conn.info.backend_pid]
            if everything:
                pids.append(postmaster(server))
        for pid in pids:
            server.signal(pid, "STOP")
        # Whoever has not come back by then does not come back by himself.
        rescue = threading.Timer(timeout + RESCUE_SECONDS, lambda: _continue(server, pids))
        rescue.start()
        began = time.monotonic()
        try:
            with pool.block() as conn:
                took = time.monotonic() - began
                conn.execute("SELECT 1")
                answered = time.monotonic() - began < timeout + RESCUE_SECONDS
        except PoolTimeout:
            took, answered = time.monotonic() - began, False
        finally:
            rescue.cancel()
            rescue.join()
            _continue(server, pids)
    return Stall(took - timeout, answered)


def _continue(server: Any, pids: list[int]) -> None:
    for pid in reversed(pids):
        with contextlib.suppress(Exception):  # it ended with its client, or goes on already
            server.signal(pid, "CONT")


def postmaster(server: Any) -> int:
    """Return the process id of the server's first process."""
    with server.admin() as conn:
        row = conn.execute("SELECT pg_read_file('postmaster.pid')").fetchone()
    return int(row[0].split()[0])


@dataclass(frozen=True)
class Rotation:
    """After passwords changed under load."""

    connects: int
    errors: list[Exception]
    surprises: list[Exception]


def rotation(server: Any, kind: Any, folder: Path, times: int = 10, writers: int = 4) -> Rotation:
    """R10: change the password again and again, while connections live for a moment only.

    Ours reads it from a file (``from_file``); raw psycopg_pool has a callable that does.
    The file is written before the server learns the password, as rotations do, so
    for a moment the file is ahead of the server.
    """
    secret = folder / "password"
    secret.touch(mode=0o600)
    secret.write_text(server.password)
    args = server.dsn_args(application_name="rotated")
    Ledger.create(server)
    sizes: dict[str, Any] = {
        "min_size": 2,
        "max_size": 4,
        "timeout": PATIENCE,
        "max_lifetime": 0.05,
    }
    pool: Any
    if kind.name == "pgmonkey":
        pool = FromFile(args, secret, sizes)
    else:
        pool = kind.__new__(kind)
        pool.pool = ConnectionPool(
            kwargs=lambda: {**args, "password": secret.read_text()}, open=False, **sizes
        )
        pool.pool.open(wait=True)
    try:
        with Ledger(pool, writers) as ledger:
            for number in range(times):
                ledger.goes_on()
                secret.write_text(f"rotated-{number}")
                server.set_password(f"rotated-{number}")
            ledger.goes_on()
        connects = pool.handle.stats().connects if kind.name == "pgmonkey" else 0
    finally:
        pool.close()
        server.set_password(server.password)
    assert ledger.lost(server) == 0
    return Rotation(connects, ledger.errors, ledger.surprises)


class FromFile:
    """pgmonkey's pool with a password from a file."""

    def __init__(self, args: dict[str, Any], secret: Path, sizes: dict[str, Any]) -> None:
        from pgmonkey import PGConnectionManager

        self._manager = PGConnectionManager()
        config = {
            "connection_settings": {**args, "password": {"from_file": str(secret)}},
            "pool_settings": sizes,
        }
        self.handle = self._manager.get_database_connection_from_dict(
            config, "pool", resolve_env=True
        )

    def block(self) -> Any:
        return self.handle.connection()

    def close(self) -> None:
        self._manager.clear_cache()
