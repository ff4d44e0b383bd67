"""The connection ladder: how far a login comes, dns > tcp > tls > login > query, timed.

libpq does the climbing: every attempt is one that psycopg would make (same addresses, same
fall-backs of sslmode prefer and allow), polled by hand so that the stages it passes can be
seen. Nothing is simulated, and a login which fails costs one login.

What a failure means is in ``diagnosis``. The command line is the only user.
"""

from __future__ import annotations

import os
import re
import selectors
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from psycopg import Error, OperationalError, pq
from psycopg.conninfo import conninfo_attempts, make_conninfo, timeout_from_conninfo

from pgmonkey.connections.diagnosis import classify, most_telling
from pgmonkey.connections.ladder import Ladder, Step

if TYPE_CHECKING:
    from psycopg.abc import ConnDict
    from psycopg.pq.abc import PGconn, PGresult

    from pgmonkey.config.settings import Settings

_UNCONNECTED = frozenset({pq.ConnStatus.STARTED, pq.ConnStatus.NEEDED, pq.ConnStatus.ALLOCATED})
_HANDSHAKE = frozenset({pq.ConnStatus.SSL_STARTUP, pq.ConnStatus.GSS_STARTUP})


def probe(
    settings: Settings, timeout: float | None = None, limit_said: str | None = None
) -> Ladder:
    """Log in, run one query, log out, and tell how far that came.

    Args:
        settings: Where and how to connect.
        timeout: Seconds for everything together, or None for no such limit. Each address
            has its own ``connect_timeout`` besides, as in psycopg.
        limit_said: What to say nothing came within, such as ``5 s (--timeout)``, when a
            login before this one was given that; None names the seconds waited here.

    Raises:
        EnvInterpolationError: A secret given by reference could not be read.
    """
    end = time.monotonic() + timeout if timeout is not None else float("inf")
    params: ConnDict = {**settings.connect_arguments()}
    started = time.monotonic()
    try:
        limit = timeout_from_conninfo(params)
        make_conninfo("", **params)  # a keyword which this libpq does not know ends here
        attempts = _bounded(
            lambda: conninfo_attempts(params), min(end, started + limit), limit_said
        )
    except (Error, TimeoutError) as error:
        cause = classify(str(error), "dns", settings)
        return Ladder.broken([] if cause.code == "PGM201" else [Step("dns", ok=False)], cause)
    # psycopg adds an address to what it looked up, and to numbers as they are.
    looked_up = any(a.get("hostaddr") not in (None, a.get("host")) for a in attempts)
    dns = Step("dns")
    if looked_up and "hostaddr" not in params:
        dns = Step("dns", ok=True, ms=(time.monotonic() - started) * 1000)

    best: Ladder | None = None
    for attempt in attempts:
        ladder = _climb(settings, attempt, dns, min(end, time.monotonic() + limit), limit_said)
        if ladder.error is None:
            return ladder
        if best is None or ladder.height > best.height:
            best = ladder
        if time.monotonic() >= end:
            break
    assert best is not None  # psycopg raises where there is nothing to attempt
    return best


def _no_answer(since: float, limit_said: str | None) -> str:
    return f"no answer within {limit_said or f'{time.monotonic() - since:.3g} s'}"


def _bounded(
    lookup: Callable[[], list[ConnDict]], end: float, limit_said: str | None
) -> list[ConnDict]:
    """Run a name lookup, which cannot be interrupted, for no longer than until *end*."""
    found: list[list[ConnDict]] = []
    errors: list[OperationalError] = []

    def run() -> None:
        try:
            found.append(lookup())
        except OperationalError as error:
            errors.append(error)

    started = time.monotonic()
    thread = threading.Thread(target=run, name="pgmonkey-dns", daemon=True)
    thread.start()
    thread.join(min(max(0.0, end - started), threading.TIMEOUT_MAX))
    if errors:
        raise errors[0]
    if not found:
        raise TimeoutError(f"failed to resolve host: {_no_answer(started, limit_said)}")
    return found[0]


@dataclass
class _Attempt:
    """What was seen of one attempt on the wire; times by the monotonic clock."""

    started: float
    connected: float | None = None
    handshake: bool = False
    encrypted: float | None = None
    plain: bool = False

    def see(self, status: int, ssl_in_use: bool, now: float) -> None:
        if status in _UNCONNECTED or status == pq.ConnStatus.BAD:
            return
        self.connected = self.connected or now
        if status in _HANDSHAKE:
            self.handshake = True
        elif ssl_in_use:
            self.encrypted = self.encrypted or now
        elif status != pq.ConnStatus.MADE:
            self.plain = True

    @property
    def at(self) -> str:
        """The rung this attempt stands before."""
        if self.connected is None:
            return "tcp"
        return "tls" if self.handshake and not (self.encrypted or self.plain) else "login"


def _climb(
    settings: Settings, params: ConnDict, dns: Step, end: float, limit_said: str | None
) -> Ladder:
    started = time.monotonic()
    conn = pq.PGconn.connect_start(make_conninfo("", **params).encode())
    seen = [_Attempt(time.monotonic())]  # the connect() is on its way from here on
    try:
        with _sqlstates(conn) as sqlstates:
            try:
                _connect(conn, seen, end)
                message = conn.get_error_message() if conn.status == pq.ConnStatus.BAD else ""
            except TimeoutError:
                message = _no_answer(started, limit_said)
        name = "socket" if conn.host.startswith(b"/") else "tcp"
        if message:
            where = f"{conn.host.decode()}:{conn.port.decode()}/{conn.db.decode()}"
            return _fallen(settings, message, seen, [dns], name, where, tuple(sqlstates))
        logged_in = time.monotonic()
        steps = [dns, *_climbed(seen[-1], name, logged_in)]
        return _query(settings, conn, steps, end, limit_said)
    finally:
        conn.finish()


def _connect(conn: PGconn, seen: list[_Attempt], end: float) -> None:
    """Poll until libpq is connected or gives up, noting every stage in *seen*."""
    polling = pq.PollingStatus.WRITING
    while polling != pq.PollingStatus.OK:
        status = conn.status
        if status == pq.ConnStatus.BAD:
            return
        if status in _UNCONNECTED and seen[-1].connected:
            seen.append(_Attempt(time.monotonic()))  # a fall-back: libpq dials again
        seen[-1].see(status, conn.ssl_in_use, time.monotonic())
        _wait(conn, polling == pq.PollingStatus.READING, end)
        polling = pq.PollingStatus(conn.connect_poll())
    seen[-1].see(conn.status, conn.ssl_in_use, time.monotonic())


def _wait(conn: PGconn, reading: bool, end: float) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(conn.socket, selectors.EVENT_READ if reading else selectors.EVENT_WRITE)
        left = end - time.monotonic()
        if left <= 0 or not selector.select(None if left == float("inf") else left):
            raise TimeoutError


@contextmanager
def _sqlstates(conn: PGconn) -> Iterator[list[str]]:
    """Collect the SQLSTATE of each error the server sends while *conn* is connecting.

    libpq keeps them to itself, but its protocol trace has them, untranslated. The trace
    may hold a password, so it goes to memory and nowhere else; without Linux's memfd
    the list stays empty and the words have to do.
    """
    states: list[str] = []
    if not hasattr(os, "memfd_create"):
        yield states
        return
    fd = os.memfd_create("pgmonkey-trace")
    try:
        conn.trace(fd)
        yield states
        conn.untrace()
        trace = os.pread(fd, os.fstat(fd).st_size, 0)
        states += re.findall(r'ErrorResponse\t.*? C "(\w{5})"', trace.decode(errors="replace"))
    finally:
        conn.untrace()
        os.close(fd)


def _climbed(attempt: _Attempt, name: str, until: float) -> list[Step]:
    """Return the rungs from tcp to login of an attempt which reached the top of them."""
    assert attempt.connected is not None
    tcp = Step(name, ok=True, ms=(attempt.connected - attempt.started) * 1000)
    if attempt.encrypted:
        tls = Step("tls", ok=True, ms=(attempt.encrypted - attempt.connected) * 1000)
    else:
        tls = Step("tls", detail="off")
    since = attempt.encrypted or attempt.connected
    return [tcp, tls, Step("login", ok=True, ms=(until - since) * 1000)]


def _fallen(
    settings: Settings,
    message: str,
    seen: list[_Attempt],
    below: list[Step],
    name: str,
    where: str,
    sqlstates: tuple[str, ...],
) -> Ladder:
    """Return the ladder of a connection which libpq gave up, or which took too long."""
    attempt = seen[-1]
    if len(seen) > 1:
        # One reason for each attempt, as a rule; tell of the attempt that the reason is from.
        index = most_telling(message, attempt.at, sqlstates)
        attempt = seen[index] if index < len(seen) else attempt
    step = attempt.at
    error = classify(message, step, settings, where=where, sqlstates=sqlstates)
    if error.code == "PGM201":
        return Ladder.broken([], error)  # libpq never dialled
    if error.code in ("PGM307", "PGM308") or (error.code == "PGM309" and "SSL" in error.message):
        step = "tls"  # under TLS 1.3 the server's refusal arrives after the client's handshake
    elif error.code == "PGM305":
        step = "dns"  # a host from a service file, which libpq looked up by itself
    if attempt.connected is None or step == "dns":
        failed = Step("dns" if step == "dns" else name, ok=False)
        return Ladder.broken([*below, failed] if step != "dns" else [failed], error)
    rungs = _climbed(attempt, name, attempt.connected)
    kept = rungs[:1] if step == "tls" else rungs[:2]
    return Ladder.broken([*below, *kept, Step(step, ok=False)], error)


def _query(
    settings: Settings, conn: PGconn, steps: list[Step], end: float, limit_said: str | None
) -> Ladder:
    """Ask ``SELECT 1``, and which TLS the server sees."""
    where = f"{conn.host.decode()}:{conn.port.decode()}/{conn.db.decode()}"
    started = time.monotonic()
    version: str | None = None if conn.ssl_in_use else ""
    cipher: str | None = None
    try:
        _ask(conn, b"SELECT 1", end)
        query = Step("query", ok=True, ms=(time.monotonic() - started) * 1000)
        if conn.ssl_in_use:
            # By the process id of the handshake: behind a pooler, pg_stat_ssl would tell of
            # the pooler's own connection, and the number given to us is not to be found.
            row = _ask(
                conn,
                b"SELECT version, cipher FROM pg_catalog.pg_stat_ssl WHERE pid = %d"
                % conn.backend_pid,
                end,
            )
            if row.ntuples:
                version, cipher = ((row.get_value(0, i) or b"").decode() for i in (0, 1))
    except (Error, TimeoutError) as error:
        text = str(error) or _no_answer(started, limit_said)
        steps = [*steps, Step("query", ok=False)]
        return Ladder.broken(steps, classify(text, "query", settings, where=where))
    if version:
        steps = [replace(s, detail=version) if s.name == "tls" else s for s in steps]
    return Ladder((*steps, query), None, conn.server_version, version, cipher)


def _ask(conn: PGconn, query: bytes, end: float) -> PGresult:
    conn.send_query(query)
    while conn.is_busy():
        _wait(conn, reading=True, end=end)
        conn.consume_input()
    result = conn.get_result()
    assert result is not None  # one statement was sent
    if result.status != pq.ExecStatus.TUPLES_OK:
        raise OperationalError(result.get_error_message())
    while conn.get_result() is not None:
        pass
    return result
