"""Times that must fit each other: the configuration's, the pool's and the server's.

What the server would do is its own value for this role and database, unless the
configuration sets another with sync_settings or async_settings. All in milliseconds here,
since the server counts some in seconds and some not.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pgmonkey.server.checks.model import (
    NO_LOGIN,
    Answer,
    Check,
    Facts,
    Judgement,
    fail,
    not_applicable,
    ok,
    unknown,
)
from pgmonkey.server.checks.words import IN_PSQL, identifier, in_config, remote, set_key
from pgmonkey.server.evidence import Setting, Unread

if TYPE_CHECKING:
    from pgmonkey.config.settings import PoolSettings

CONNECT_TIMEOUT = "connection_settings.connect_timeout"
KEEPALIVES = "connection_settings.keepalives_idle"
MS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "min": 60_000.0, "h": 3_600_000.0, "d": 86_400_000.0}
# A dead peer should be noticed within this many seconds.
NOTICED = 600
# Linux's own keepalive, where nobody sets another (tcp(7)).
OS_IDLE, OS_INTERVAL, OS_COUNT = 7200, 75, 9
_AMOUNT = re.compile(r"\s*([-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)\s*([A-Za-z]*)\s*$")
BYTES = {"B": 1.0, "kB": 1024.0, "MB": 1024.0**2, "GB": 1024.0**3, "TB": 1024.0**4}


def section(facts: Facts) -> str:
    """Return the section of session settings that the connection type uses."""
    asynchronous = facts.client.connection_type.startswith("async")
    return "async_settings" if asynchronous else "sync_settings"


def pooled(facts: Facts) -> PoolSettings | None:
    """Return the pool's settings, None where the type has no pool."""
    kind = facts.client.connection_type
    return facts.settings.pool(kind) if kind in ("pool", "async_pool") else None


def pool_key(facts: Facts, name: str) -> str:
    """Return the dotted key of a pool setting of this type."""
    part = (
        "async_pool_settings" if facts.client.connection_type == "async_pool" else "pool_settings"
    )
    return f"{part}.{name}"


def effective(facts: Facts, name: str) -> float | Unread | None:
    """Return a time in milliseconds as a session of this client has it; None if there is none."""
    setting = facts.setting(name)
    if not isinstance(setting, Setting):
        return setting
    session = facts.settings.session(facts.client.connection_type)
    own = next((value for key, value in session.items() if key.lower() == name), None)
    value = in_unit(own, setting) if own is not None else None
    if value is None:
        value = in_unit(setting.value, setting)
    return None if value is None else value * MS.get(setting.unit, 1.0)


def in_unit(text: str, setting: Setting) -> float | None:
    """Return *text* as a number in the unit of *setting*; None if it is no such amount."""
    found = _AMOUNT.match(text)
    if not found:
        return None
    number, unit = float(found[1]), found[2]
    if not unit:
        return number
    base = re.match(r"(\d*)(\w+)", setting.unit)
    for table in (MS, BYTES):
        if unit in table and base and base[2] in table:
            return number * table[unit] / (table[base[2]] * float(base[1] or 1))
    return None


def connect_timeout(facts: Facts) -> Judgement:
    """Good: 10 seconds. Bad: none, so that a silent host is waited for by the system's limits."""
    if facts.socket:
        return not_applicable("a Unix socket answers at once")
    given = facts.client.connect_timeout
    seconds = int(given) if given.lstrip("-").isdigit() else 0
    limit = effective(facts, "authentication_timeout")
    server = limit / 1000 if isinstance(limit, float) else 60.0
    if seconds <= 0:
        found = "connect_timeout is not set: a host that does not answer is waited for"
        return fail(found, set_key(CONNECT_TIMEOUT, "10"), where=in_config(facts))
    if seconds >= server:
        found = f"connect_timeout is {seconds} s, and the server gives up after {server:g} s"
        return fail(found, set_key(CONNECT_TIMEOUT, "10"), where=in_config(facts), severity="low")
    return ok(f"connect_timeout is {seconds} s")


def pool_wait(facts: Facts) -> Judgement:
    """Good: pool timeout 30 s, connect_timeout 10 s. Bad: 5 s and 10 s, which hides the cause."""
    pool = pooled(facts)
    given = facts.client.connect_timeout
    if pool is None:
        return not_applicable("this type has no pool")
    if not given.isdigit() or int(given) == 0:
        return not_applicable("connect_timeout is not set; see PGM-TMO-001")
    needed = int(given) * len(facts.client.endpoints)
    if pool.timeout >= needed:
        return ok(f"the pool waits {pool.timeout:g} s, a login may take {needed} s")
    key = pool_key(facts, "timeout")
    return fail(
        f"the pool waits {pool.timeout:g} s, and a login may take {needed} s: "
        "callers see the pool's timeout instead of the cause",
        set_key(key, str(needed)),
        where=in_config(facts),
        key=key,
    )


def lock_before_statement(facts: Facts) -> Judgement:
    """Good: lock 5 s, statement 30 s. Bad: lock 30 s, statement 5 s."""
    lock, statement = effective(facts, "lock_timeout"), effective(facts, "statement_timeout")
    deadlock = effective(facts, "deadlock_timeout")
    for value in (lock, statement, deadlock):
        if isinstance(value, Unread):
            return unknown(value)
    if not isinstance(lock, float) or lock == 0:
        return not_applicable("lock_timeout is not set")
    key = f"{section(facts)}.lock_timeout"
    if isinstance(statement, float) and 0 < statement <= lock:
        found = f"lock_timeout ({lock:g} ms) can never end a wait before statement_timeout ({statement:g} ms)"
        line = set_key(key, f"'{max(int(statement) // 2, 1)}ms'")
        return fail(found, line, where=in_config(facts), key=key)
    if isinstance(deadlock, float) and lock < deadlock:
        found = f"lock_timeout ({lock:g} ms) ends a wait before a deadlock is looked for ({deadlock:g} ms)"
        return fail(
            found, set_key(key, f"'{int(deadlock * 5)}ms'"), where=in_config(facts), key=key
        )
    return ok("the times fit")


def idle_sessions_kept(facts: Facts) -> Judgement:
    """Good: idle_session_timeout 0, or above the pool's max_idle. Bad: 60 s, and max_idle 300."""
    pool = pooled(facts)
    if pool is None:
        return not_applicable("this type has no pool")
    limit = effective(facts, "idle_session_timeout")
    if limit is None:
        return not_applicable("PostgreSQL has this setting from 14 on")
    if isinstance(limit, Unread):
        return unknown(limit)
    key = pool_key(facts, "check_on_checkout")
    if limit == 0 or limit > pool.max_idle * 1000:
        return ok("the server ends no pooled session" if limit == 0 else f"after {limit:g} ms")
    if pool.check_on_checkout:
        return ok("check_on_checkout finds the sessions that the server ended")
    return fail(
        f"the server ends idle sessions after {limit / 1000:g} s, and the pool keeps them {pool.max_idle:g} s",
        set_key(key, "true"),
        where=in_config(facts),
        key=key,
    )


def leaks_end(facts: Facts) -> Judgement:
    """Good: idle_in_transaction_session_timeout 60 s. Bad: 0, and pools."""
    if pooled(facts) is None:
        return not_applicable("this type has no pool")
    limit = effective(facts, "idle_in_transaction_session_timeout")
    if not isinstance(limit, float):
        return unknown(limit or Unread("this server has no such setting"))
    if limit > 0:
        return ok(f"a forgotten transaction ends after {limit / 1000:g} s")
    key = f"{section(facts)}.idle_in_transaction_session_timeout"
    return fail(
        "a forgotten transaction holds its connection and stops vacuum for ever",
        set_key(key, "'60s'"),
        where=in_config(facts),
        key=key,
    )


def dead_peers(facts: Facts) -> Judgement:
    """Good: keepalives on both ends. Bad: the system's, which notice after two hours."""
    if facts.socket or not remote(facts):
        return not_applicable("client and server are on one machine")
    given = facts.settings.connection
    if str(given.get("keepalives", "1")) == "0":
        return fail("keepalives are off", "keepalives: 1", where=in_config(facts))
    mine = _noticed(
        *(
            int(str(given.get(f"keepalives_{part}", "0")) or 0)
            for part in ("idle", "interval", "count")
        )
    )
    if mine > NOTICED and not int(str(given.get("tcp_user_timeout", "0")) or 0):
        return fail(
            f"this client notices a dead server after {mine} s",
            "keepalives_idle: 60",
            "keepalives_interval: 15",
            "keepalives_count: 5",
            where=in_config(facts),
        )
    parts = [facts.setting(f"tcp_keepalives_{part}") for part in ("idle", "interval", "count")]
    if any(not isinstance(part, Setting) for part in parts):
        return unknown(NO_LOGIN if facts.evidence is None else "the settings could not be read")
    theirs = _noticed(*(int(part.value) for part in parts if isinstance(part, Setting)))
    polls = effective(facts, "client_connection_check_interval")
    if theirs > NOTICED and not (isinstance(polls, float) and polls > 0):
        who = identifier(facts.client.user)
        return fail(
            f"the server notices a dead client after {theirs} s and keeps its slot until then",
            f"ALTER ROLE {who} SET tcp_keepalives_idle = '60s';",
            f"ALTER ROLE {who} SET tcp_keepalives_interval = '15s';",
            f"ALTER ROLE {who} SET tcp_keepalives_count = 5;",
            where=IN_PSQL,
        )
    return ok("both ends notice a dead peer")


def _noticed(idle: int, interval: int, probes: int) -> int:
    """Return the seconds until a silent peer counts as dead; 0 means the system's value."""
    return (idle or OS_IDLE) + (interval or OS_INTERVAL) * (probes or OS_COUNT)


def settings_valid(facts: Facts) -> Answer:
    """Good: statement_timeout '30s'. Bad: a name or a value that this server refuses."""
    name = section(facts)
    session = facts.settings.session(facts.client.connection_type)
    if not session:
        return not_applicable(f"the configuration has no {name}")
    if facts.evidence is None:
        return unknown(NO_LOGIN)
    if isinstance(facts.evidence.settings, Unread):
        return unknown(facts.evidence.settings)
    found: list[Judgement] = []
    for key, value in session.items():
        problem = _problem(facts, key, value)
        if problem:
            found.append(
                fail(
                    f"{key}: {problem}",
                    f"correct {key}, or take it out",
                    where=f"{in_config(facts)}, under {name}",
                    subject=key,
                    key=f"{name}.{key}",
                )
            )
    return tuple(found) or ok(f"the server takes every value of {name}")


def _problem(facts: Facts, key: str, value: str) -> str:
    """Return why the server would refuse a session setting, "" where it would not."""
    setting = facts.setting(key.lower())
    if not isinstance(setting, Setting):
        # Any name with a dot is taken, for an extension that may come later. One without
        # may be hidden from this role: the login itself decides then.
        return "" if "." in key or isinstance(setting, Unread) else "the server has no such setting"
    superuser = getattr(facts.evidence.role, "superuser", False) if facts.evidence else False
    if setting.context in ("internal", "postmaster", "sighup"):
        return f"cannot be set for a session (its context is {setting.context})"
    if setting.context == "superuser" and not (superuser or setting.granted):
        return "may be set by superusers only"
    if setting.context in ("backend", "superuser-backend"):
        return "can be set only as a connection begins, with options"
    if setting.kind == "enum" and value.lower() not in (c.lower() for c in setting.choices):
        # Booleans have more spellings than are listed, for enums that grew out of one.
        spelled = {"true", "false", "yes", "no", "1", "0", "on", "off"}
        if not (value.lower() in spelled and "on" in setting.choices):
            return f"{value!r} is not one of {', '.join(setting.choices)}"
    if setting.kind == "bool" and not re.fullmatch(
        r"t|tr|tru|true|f|fa|fal|fals|false|y|ye|yes|n|no|on|of|off|1|0", value.strip().lower()
    ):
        return f"{value!r} is neither on nor off"
    if setting.kind in ("integer", "real"):
        number = in_unit(value, setting)
        if number is None:
            return f"{value!r} is no amount" + (f" in {setting.unit}" if setting.unit else "")
        low, high = setting.minimum, setting.maximum
        if low is not None and high is not None and not float(low) <= round(number) <= float(high):
            return f"{value!r} is outside of {low} .. {high}"
    return ""


TIMEOUTS = (
    Check(
        "PGM-TMO-001",
        "a login does not wait for ever",
        "medium",
        CONNECT_TIMEOUT,
        "Without connect_timeout a host that drops packets holds the caller for minutes.",
        "the configuration, and the setting authentication_timeout",
        "connect_timeout: 10.",
        connect_timeout,
    ),
    Check(
        "PGM-TMO-002",
        "the pool waits at least as long as a login may take",
        "low",
        "pool_settings.timeout",
        "Otherwise callers see the pool's timeout, and the cause stays hidden.",
        "the configuration",
        "Raise the pool's timeout, or lower connect_timeout.",
        pool_wait,
    ),
    Check(
        "PGM-TMO-003",
        "lock_timeout lies between deadlock_timeout and statement_timeout",
        "low",
        "sync_settings.lock_timeout",
        "Above statement_timeout it never fires; below deadlock_timeout it hides deadlocks.",
        "the three settings as this role has them",
        "Lower lock_timeout below statement_timeout, and keep it above one second.",
        lock_before_statement,
    ),
    Check(
        "PGM-TMO-004",
        "the server does not end sessions that the pool keeps",
        "high",
        "pool_settings.max_idle",
        "The next borrower gets a connection that is dead already.",
        "the setting idle_session_timeout (14 and newer), and the pool's max_idle",
        "check_on_checkout: true, a smaller max_idle, or ALTER ROLE ... SET.",
        idle_sessions_kept,
    ),
    Check(
        "PGM-TMO-005",
        "a forgotten transaction ends",
        "medium",
        "sync_settings.idle_in_transaction_session_timeout",
        "It holds a connection of the pool, its locks, and keeps vacuum from cleaning up.",
        "the setting idle_in_transaction_session_timeout as this role has it",
        "Set it in sync_settings and async_settings, or with ALTER ROLE.",
        leaks_end,
    ),
    Check(
        "PGM-TMO-006",
        "both ends notice a dead peer within ten minutes",
        "medium",
        KEEPALIVES,
        "The system's keepalives take more than two hours, while the server keeps the slot.",
        "the configuration, and the settings tcp_keepalives_*",
        "keepalives_idle, _interval and _count; tcp_keepalives_* on the server.",
        dead_peers,
    ),
    Check(
        "PGM-TMO-007",
        "the server takes every session setting",
        "high",
        "sync_settings",
        "One that it refuses ends every connection with an error.",
        "name, kind, range and context in pg_settings",
        "Correct the key or the value.",
        settings_valid,
    ),
)
