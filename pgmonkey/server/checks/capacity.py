"""Connections: how many this client may want, and how many the server has for it.

Reserved slots are not for an ordinary role, and a limit of the role or of the database is
often the one that is met first. A superuser is bound by max_connections alone. Behind a
pooler none of this is the client's to use up, which the findings say.
"""

from __future__ import annotations

from pgmonkey.server.checks.admission import USER
from pgmonkey.server.checks.login import WHO_HOLDS_THEM
from pgmonkey.server.checks.model import (
    NO_LOGIN,
    Check,
    Facts,
    Judgement,
    Severity,
    fail,
    not_applicable,
    ok,
    unknown,
)
from pgmonkey.server.checks.words import IN_PSQL, count, identifier, parameter_finding
from pgmonkey.server.evidence import Role, Unread

SINGLE, POOL, ASYNC_POOL = (
    "connection_type",
    "pool_settings.max_size",
    "async_pool_settings.max_size",
)
# May use the slots of reserved_connections (16 and newer).
RESERVED_ROLE = "pg_use_reserved_connections"
BEHIND = "connections are the pooler's to make"
FULL, NEARLY = 90, 80  # percent of what ordinary roles may use


def size_key(facts: Facts) -> str:
    """Return the key that says how many connections one process makes."""
    return {"pool": POOL, "async_pool": ASYNC_POOL}.get(facts.client.connection_type, SINGLE)


def _number(facts: Facts, name: str) -> int | Unread:
    setting = facts.setting(name)
    if setting is None:
        return 0  # older than this setting
    return setting if isinstance(setting, Unread) else int(setting.value)


def _usable(facts: Facts) -> int | Unread:
    """Return the slots that the client's role may use, or why they cannot be counted."""
    if facts.evidence is None:
        return Unread(NO_LOGIN)
    role, groups = facts.evidence.role, facts.evidence.memberships
    total = _number(facts, "max_connections")
    if isinstance(total, Unread):
        return total
    if isinstance(role, Role) and role.superuser:
        return total
    for name in ("superuser_reserved_connections", "reserved_connections"):
        kept = _number(facts, name)
        if isinstance(kept, Unread):
            return kept
        exempt = not isinstance(groups, Unread) and RESERVED_ROLE in groups
        if not (exempt and name == "reserved_connections"):
            total -= kept
    return total


def minimum(facts: Facts) -> Judgement:
    """Good: max_connections 100 and a pool of 20. Bad: 10 and a pool of 20."""
    current = _number(facts, "max_connections")
    if isinstance(current, Unread):
        return unknown(current)
    advice = next(a for a in facts.recommendation.settings if a.name == "max_connections")
    if current >= int(advice.value):
        return ok(f"max_connections is {current}")
    found = f"max_connections is {current}, and {advice.value} is recommended"
    finding = parameter_finding(facts, found, "max_connections", enough(facts))
    return _for(facts, finding)


def enough(facts: Facts) -> str:
    """Return the max_connections that satisfies the table's minimum and every slot's use."""
    advice = next(a for a in facts.recommendation.settings if a.name == "max_connections")
    return str(max(int(advice.value), facts.recommendation.accurate))


def _for(facts: Facts, finding: Judgement) -> Judgement:
    from dataclasses import replace

    return replace(finding, key=size_key(facts))


def demand_fits(facts: Facts) -> Judgement:
    """Good: all processes fit. Bad: 4 processes with pools of 30, and 97 slots."""
    usable = _usable(facts)
    if isinstance(usable, Unread):
        return unknown(usable)
    if facts.proxied:
        return not_applicable(BEHIND)
    if facts.recommendation.demand <= usable:
        return ok(f"{count(facts.recommendation.demand, 'connection')} wanted at most, of {usable}")
    found = (
        f"{count(facts.recommendation.demand, 'connection')} wanted at most, and {usable} to be had"
    )
    return _for(facts, parameter_finding(facts, found, "max_connections", enough(facts)))


def room_now(facts: Facts) -> Judgement:
    """Good: enough free slots at this moment. Bad: others hold most of them."""
    usable = _usable(facts)
    usage = facts.evidence.usage if facts.evidence else Unread(NO_LOGIN)
    if isinstance(usable, Unread) or isinstance(usage, Unread):
        return unknown(usable if isinstance(usable, Unread) else usage)  # type: ignore[arg-type]  # one of them is
    if facts.proxied:
        return not_applicable(BEHIND)
    missing = facts.recommendation.demand - usage.own
    free = usable - usage.all
    if missing <= free:
        return ok(f"{free} free now, {max(missing, 0)} still wanted")
    return _for(
        facts,
        fail(
            f"{free} free now, and {missing} still wanted",
            WHO_HOLDS_THEM,
            where=f"{IN_PSQL}, to see who holds the others",
        ),
    )


def role_limit(facts: Facts) -> Judgement:
    """Good: no CONNECTION LIMIT, or a larger one. Bad: one below the pool's size."""
    role = facts.evidence.role if facts.evidence else Unread(NO_LOGIN)
    if isinstance(role, Unread):
        return unknown(role)
    if role.limit is None or role.superuser:
        return not_applicable("no limit binds this role")
    if facts.recommendation.demand <= role.limit:
        return ok(f"{facts.recommendation.demand} wanted at most, of {role.limit}")
    return _for(
        facts,
        fail(
            f"role {role.name} may have {count(role.limit, 'connection')}, and {facts.recommendation.demand} are wanted",
            f"ALTER ROLE {identifier(role.name)} CONNECTION LIMIT {facts.recommendation.demand};",
            where=IN_PSQL,
        ),
    )


def database_limit(facts: Facts) -> Judgement:
    """Good: no CONNECTION LIMIT, or a larger one. Bad: one below the pool's size."""
    database = facts.evidence.database if facts.evidence else Unread(NO_LOGIN)
    if isinstance(database, Unread):
        return unknown(database)
    role = facts.evidence.role if facts.evidence else None
    if database.limit is None or (isinstance(role, Role) and role.superuser):
        return not_applicable("no limit binds this database")
    if facts.recommendation.demand <= database.limit:
        return ok(f"{facts.recommendation.demand} wanted at most, of {database.limit}")
    found = f"database {database.name} takes {count(database.limit, 'connection')}"
    return _for(
        facts,
        fail(
            f"{found}, and {facts.recommendation.demand} are wanted",
            f"ALTER DATABASE {identifier(database.name)} CONNECTION LIMIT {facts.recommendation.demand};",
            where=IN_PSQL,
        ),
    )


def utilisation(facts: Facts) -> Judgement:
    """Good: less than 80 % of the slots in use. Bad: nearly all."""
    usable = _usable(facts)
    usage = facts.evidence.usage if facts.evidence else Unread(NO_LOGIN)
    if isinstance(usable, Unread) or isinstance(usage, Unread):
        return unknown(usable if isinstance(usable, Unread) else usage)  # type: ignore[arg-type]  # one of them is
    percent = usage.all * 100 // max(usable, 1)
    found = f"{usage.all} of {usable} connections in use ({percent} %)"
    if percent <= NEARLY:
        return ok(found)
    severity: Severity = "high" if percent > FULL else "medium"
    return fail(
        found,
        WHO_HOLDS_THEM,
        where=f"{IN_PSQL}, to see who holds them",
        severity=severity,
    )


CAPACITY = (
    Check(
        "PGM-CAP-001",
        "max_connections is at least what is recommended",
        "high",
        POOL,
        "A pool that cannot be filled fails at the worst time: under load.",
        "the setting max_connections",
        "Raise max_connections and restart, or make max_size smaller.",
        minimum,
        setting="max_connections",
    ),
    Check(
        "PGM-CAP-002",
        "all processes together fit into the slots for ordinary roles",
        "high",
        POOL,
        "Reserved slots are not for the application, and each process has a pool of its own.",
        "max_connections and the reserved slots; --processes, --replicas, --surge, --extra",
        "Lower max_size, put a pooler in between, or raise max_connections.",
        demand_fits,
    ),
    Check(
        "PGM-CAP-003",
        "there is room for the rest right now",
        "medium",
        POOL,
        "The slots are shared with every other client of the server.",
        "pg_stat_database and pg_stat_activity, as any role",
        "Find who holds the others; lower max_size.",
        room_now,
    ),
    Check(
        "PGM-CAP-004",
        "the role's connection limit is no smaller",
        "high",
        POOL,
        "A role's CONNECTION LIMIT ends logins while the server has slots left.",
        "pg_roles, as any role",
        "ALTER ROLE ... CONNECTION LIMIT.",
        role_limit,
    ),
    Check(
        "PGM-CAP-005",
        "the database's connection limit is no smaller",
        "high",
        POOL,
        "A database's CONNECTION LIMIT counts the sessions of all roles.",
        "pg_database, as any role",
        "ALTER DATABASE ... CONNECTION LIMIT.",
        database_limit,
    ),
    Check(
        "PGM-CAP-006",
        "the server is not nearly full",
        "high",
        USER,
        "Near the limit, one more deployment locks the administrator out as well.",
        "pg_stat_database, as any role",
        "Find the leak; end idle sessions.",
        utilisation,
    ),
)
