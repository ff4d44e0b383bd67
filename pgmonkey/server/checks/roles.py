"""What the client's role may do beyond its work: whoever takes the application has it too."""

from __future__ import annotations

from datetime import timedelta

from pgmonkey.server.checks.admission import USER
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
from pgmonkey.server.checks.words import IN_PSQL, identifier, remote
from pgmonkey.server.evidence import Role, Unread

# Predefined roles with a way out of the database, or around every grant (PostgreSQL
# documentation, "Predefined Roles"), and how bad that is in an application's hands.
DANGEROUS: dict[str, Severity] = {
    "pg_execute_server_program": "critical",
    "pg_write_server_files": "critical",
    "pg_read_server_files": "high",
    "pg_write_all_data": "high",
    "pg_read_all_data": "medium",
    "pg_signal_backend": "medium",
    "pg_create_subscription": "medium",
    "pg_maintain": "medium",
    "pg_checkpoint": "medium",
    "rds_superuser": "high",
    "cloudsqlsuperuser": "high",
    "alloydbsuperuser": "high",
    "azure_pg_admin": "high",
}
ATTRIBUTES: tuple[tuple[str, str, Severity], ...] = (
    ("replication", "REPLICATION", "high"),
    ("bypass_rls", "BYPASSRLS", "high"),
    ("create_role", "CREATEROLE", "medium"),
    ("create_database", "CREATEDB", "medium"),
)
SOON, LATER = timedelta(days=7), timedelta(days=30)


def _role(facts: Facts) -> Role | Unread:
    return facts.evidence.role if facts.evidence else Unread(NO_LOGIN)


def no_superuser(facts: Facts) -> Judgement:
    """Good: an ordinary role. Bad: postgres in the configuration of an application."""
    role = _role(facts)
    if isinstance(role, Unread):
        return unknown(role)
    if not role.superuser:
        return ok(f"{role.name} is no superuser")
    # A name within the server's 63 bytes, and not one that begins with pg_, which is reserved.
    own = identifier(f"{facts.client.dbname[:50].removeprefix('pg_')}_app")
    return fail(
        f"{role.name} is a superuser",
        f"CREATE ROLE {own} LOGIN;",
        f"\\password {own}",
        "-- and what it needs, such as:",
        f"GRANT USAGE ON SCHEMA public TO {own};",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {own};",
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {own};",
        subject=facts.client.user,
        where=f"{IN_PSQL}, in this database; then name that role in the configuration",
        severity="critical" if remote(facts) else "high",
    )


def no_powers(facts: Facts) -> Judgement:
    """Good: LOGIN alone. Bad: BYPASSRLS, REPLICATION, CREATEROLE or CREATEDB."""
    role = _role(facts)
    if isinstance(role, Unread):
        return unknown(role)
    if role.superuser:
        return not_applicable("a superuser has all of them; see PGM-ROL-001")
    has = [(word, severity) for field, word, severity in ATTRIBUTES if getattr(role, field)]
    if facts.client.replication:
        has = [(word, severity) for word, severity in has if word != "REPLICATION"]
    if not has:
        return ok(f"{role.name} has none of the powers")
    words = [word for word, _ in has]
    return fail(
        f"{role.name} has {', '.join(words)}",
        f"ALTER ROLE {identifier(role.name)} {' '.join('NO' + word for word in words)};",
        subject=facts.client.user,
        where=IN_PSQL,
        severity=has[0][1],
    )


def no_dangerous_groups(facts: Facts) -> Judgement:
    """Good: groups of the application. Bad: pg_execute_server_program."""
    role = _role(facts)
    groups = facts.evidence.memberships if facts.evidence else Unread(NO_LOGIN)
    if isinstance(role, Unread) or isinstance(groups, Unread):
        return unknown(role if isinstance(role, Unread) else groups)  # type: ignore[arg-type]  # one of them is
    found = [name for name in DANGEROUS if name in groups]
    if not found:
        return ok(f"{role.name} is in no such role")
    return fail(
        f"{role.name} is a member of {', '.join(found)}",
        *_revocations(facts, found, role.name),
        subject=facts.client.user,
        where=IN_PSQL,
        severity=DANGEROUS[found[0]],
    )


def _revocations(facts: Facts, found: list[str], name: str) -> tuple[str, ...]:
    """Return the statements that take *found* away, from the role itself or one between."""
    grants = facts.evidence.grants if facts.evidence else Unread(NO_LOGIN)
    if isinstance(grants, Unread):
        grants = tuple((group, name) for group in found)
    lines: list[str] = []
    for group, member in grants:
        if group in found:
            if member != name:
                lines.append(f"-- {name} has it through {member}, whose other members lose it too")
            lines.append(f"REVOKE {identifier(group)} FROM {identifier(member)};")
    return tuple(lines)


def public_schema(facts: Facts) -> Judgement:
    """Good: PUBLIC may not create there, as from 15 on. Bad: it may, as up to 14."""
    schema = facts.evidence.schema if facts.evidence else Unread(NO_LOGIN)
    if isinstance(schema, Unread):
        return unknown(schema)
    if not schema.exists:
        return ok("there is no schema public")
    if not schema.public_creates:
        return ok("PUBLIC may not create in schema public")
    return fail(
        "every role may create objects in schema public, which most search paths begin with",
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC;",
        subject=facts.client.user,
        where=f"{IN_PSQL}, in this database",
    )


def lasting(facts: Facts) -> Judgement:
    """Good: no VALID UNTIL, or a distant one. Bad: the password ends this week."""
    role = _role(facts)
    if isinstance(role, Unread):
        return unknown(role)
    if role.valid_until is None:
        return not_applicable("the role has no VALID UNTIL")
    left = role.valid_until - facts.now
    if left > LATER:
        return ok(f"valid until {role.valid_until:%Y-%m-%d}")
    return fail(
        f"the password of {role.name} ends on {role.valid_until:%Y-%m-%d}",
        f"\\password {identifier(role.name)}",
        f"ALTER ROLE {identifier(role.name)} VALID UNTIL 'infinity'; -- or the next date",
        subject=facts.client.user,
        where=IN_PSQL,
        severity="high" if left < SOON else "medium",
    )


ROLES = (
    Check(
        "PGM-ROL-001",
        "the role is no superuser",
        "critical",
        USER,
        "A superuser runs programs on the server and passes every rule that the database has.",
        "pg_roles, as any role",
        "Make a role for the application, and grant it what it needs.",
        no_superuser,
    ),
    Check(
        "PGM-ROL-002",
        "the role has no power beyond its data",
        "high",
        USER,
        "REPLICATION copies the whole cluster, BYPASSRLS reads every row, CREATEROLE makes roles.",
        "pg_roles, as any role",
        "ALTER ROLE ... NOBYPASSRLS NOREPLICATION NOCREATEROLE NOCREATEDB.",
        no_powers,
    ),
    Check(
        "PGM-ROL-003",
        "the role is in no predefined role that leads out of the database",
        "critical",
        USER,
        "pg_execute_server_program runs programs as the server's user; others read its files.",
        "pg_auth_members, as any role",
        "REVOKE the predefined role.",
        no_dangerous_groups,
    ),
    Check(
        "PGM-ROL-004",
        "PUBLIC cannot create in schema public",
        "medium",
        USER,
        "Who creates there can shadow functions that others call; an upgraded database keeps "
        "the old grant.",
        "pg_namespace, as any role",
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC.",
        public_schema,
    ),
    Check(
        "PGM-ROL-005",
        "the role's password does not end soon",
        "high",
        USER,
        "After VALID UNTIL every password login is refused.",
        "pg_roles, as any role",
        "Set a new password and a later VALID UNTIL.",
        lasting,
    ),
)
