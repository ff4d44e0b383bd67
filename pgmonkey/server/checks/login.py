"""What is asked once a line of pg_hba.conf was met: the role, the database, and room for one more.

The lines themselves are judged in ``admission``. Where the login was refused by then, its
SQLSTATE is all that is known of the reason.
"""

from __future__ import annotations

from pgmonkey.server.checks.model import NO_LOGIN, Answer, Facts, Judgement, fail, ok, unknown
from pgmonkey.server.checks.words import IN_PSQL, identifier, literal
from pgmonkey.server.evidence import Unread

WHO_HOLDS_THEM = (
    "SELECT usename, datname, application_name, state, count(*) FROM pg_stat_activity "
    "GROUP BY 1, 2, 3, 4 ORDER BY 5 DESC;"
)


def may_log_in(facts: Facts) -> Answer:
    """Good: LOGIN, valid, CONNECT. Bad: the role's password has expired."""
    if facts.evidence is None:
        return _after_the_rules(facts)
    role, database = facts.evidence.role, facts.evidence.database
    if isinstance(role, Unread):
        return unknown(role)
    name = identifier(role.name)
    if not role.login:
        return fail(f"role {role.name} may not log in", f"ALTER ROLE {name} LOGIN;", where=IN_PSQL)
    if role.valid_until is not None and role.valid_until <= facts.now:
        return fail(
            f"the password of role {role.name} expired on {role.valid_until:%Y-%m-%d}",
            f"ALTER ROLE {name} VALID UNTIL 'infinity';",
            where=IN_PSQL,
        )
    if facts.client.replication and not (role.replication or role.superuser):
        lines = (f"ALTER ROLE {name} REPLICATION;",)
        return fail(f"role {role.name} may not replicate", *lines, where=IN_PSQL)
    if isinstance(database, Unread):
        return unknown(database)
    base = identifier(database.name)
    if not database.allows_connections:
        lines = (f"ALTER DATABASE {base} ALLOW_CONNECTIONS true;",)
        return fail(f"database {database.name} allows no connections", *lines, where=IN_PSQL)
    if not database.connect:
        lines = (f"GRANT CONNECT ON DATABASE {base} TO {name};",)
        return fail(f"role {role.name} lacks CONNECT on {database.name}", *lines, where=IN_PSQL)
    return ok(f"{role.name} may connect to {database.name}")


def _after_the_rules(facts: Facts) -> Judgement:
    """Return what a login was refused for that the rules had let through, by its SQLSTATE."""
    role, base = identifier(facts.client.user), identifier(facts.client.dbname)
    lines = {
        "28000": (f"ALTER ROLE {role} LOGIN;",),
        "42501": (f"GRANT CONNECT ON DATABASE {base} TO {role};",),
        "3D000": (f"CREATE DATABASE {base} OWNER {role};",),
        "53300": _limits(facts),
    }.get(facts.login_state)
    if lines is None:
        return unknown(NO_LOGIN)
    return fail(facts.refusal.removeprefix("REFUSED: "), *lines, where=IN_PSQL)


def _limits(facts: Facts) -> tuple[str, ...]:
    """Return what to do about a limit that is used up: the role's, the database's, the server's.

    One SQLSTATE stands for the three of them, and only English tells which it is.
    """
    user, database = facts.client.user, facts.client.dbname
    if "too many connections for role" in facts.refusal:
        return (f"ALTER ROLE {identifier(user)} CONNECTION LIMIT -1;",)
    if "too many connections for database" in facts.refusal:
        return (f"ALTER DATABASE {identifier(database)} CONNECTION LIMIT -1;",)
    return (
        "-- the first of these limits that is used up; raise it, or end the sessions that fill it",
        f"SELECT rolconnlimit FROM pg_roles WHERE rolname = {literal(user)};",
        f"SELECT datconnlimit FROM pg_database WHERE datname = {literal(database)};",
        "SHOW max_connections;",
        WHO_HOLDS_THEM,
    )
