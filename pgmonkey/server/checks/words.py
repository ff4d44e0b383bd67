"""What findings are made of: remedies that fit the platform, names, addresses, amounts.

A remedy is to be pasted as it is, so it depends on who can change what: nobody edits
pg_hba.conf of a managed platform, and ALTER SYSTEM can be switched off from PostgreSQL 17.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from pgmonkey.server.admission import insertion_point
from pgmonkey.server.checks.model import Facts, Judgement, fail
from pgmonkey.server.evidence import Setting, Unread

if TYPE_CHECKING:
    from pgmonkey.server.checks.model import Severity
    from pgmonkey.server.hba import Rule

IN_PSQL = "in psql as a superuser"
RELOAD = "SELECT pg_reload_conf();"

# Where a managed platform keeps what postgresql.conf and pg_hba.conf hold elsewhere.
KNOBS = {
    "rds": ("in the instance's parameter group", "in the instance's security group"),
    "cloudsql": ("in the instance's flags", "in the instance's authorised networks"),
    "alloydb": ("in the instance's flags", "in the cluster's network settings"),
    "azure": ("in the server parameters", "in the firewall rules"),
}

LOCAL_NAMES = ("localhost", "")


def is_local(host: str) -> bool:
    """Return whether *host*, a name, address or folder, is this machine."""
    if host in LOCAL_NAMES or host.startswith(("/", "@")):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def remote(facts: Facts) -> bool:
    """Return whether the configuration names a server on another machine."""
    return not is_local(facts.endpoint.host or facts.endpoint.hostaddr)


def identifier(name: str) -> str:
    """Return *name* as SQL writes it."""
    from psycopg import sql

    return sql.Identifier(name).as_string(None)


def literal(text: str) -> str:
    """Return *text* as a SQL string."""
    return "'" + text.replace("'", "''") + "'"


def in_config(facts: Facts) -> str:
    """Return where a key of the configuration is changed."""
    name = facts.settings.name
    return "in the environment" if name == "<environment>" else f"in {name}"


def set_key(key: str, value: str) -> str:
    """Return a YAML line for the last part of a dotted *key*."""
    return f"{key.rpartition('.')[2]}: {value}"


def set_parameter(facts: Facts, name: str, value: str) -> tuple[tuple[str, ...], str]:
    """Return the lines that give a server setting a value, and where they belong."""
    if facts.platform:
        return (f"{name} = {value}",), KNOBS[facts.platform][0]
    current, switch = facts.setting(name), facts.setting("allow_alter_system")
    restart = isinstance(current, Setting) and current.context == "postmaster"
    if isinstance(switch, Setting) and switch.value == "off":
        when = "restart the server" if restart else "reload it"
        return (f"{name} = {literal(value)}",), f"in postgresql.conf; then {when}"
    then = "-- then restart the server" if restart else RELOAD
    return (f"ALTER SYSTEM SET {name} = {literal(value)};", then), IN_PSQL


def parameter_finding(
    facts: Facts, found: str, name: str, value: str, severity: Severity | None = None
) -> Judgement:
    """Return a finding whose remedy is a server setting."""
    lines, where = set_parameter(facts, name, value)
    return fail(found, *lines, where=where, severity=severity, subject=name)


def rule_finding(facts: Facts, found: str, severity: Severity | None = None) -> Judgement:
    """Return a finding whose remedy is the line of pg_hba.conf made for this client."""
    if facts.platform:
        return fail(
            found,
            f"let {facts.address or 'the application'} in for role {facts.client.user}",
            where=KNOBS[facts.platform][1],
            severity=severity,
        )
    lines = tuple(str(rule) for rule in facts.recommendation.exact)
    # The line itself and not its number, which changes with every line above it.
    rule = deciding(facts)
    subject = str(rule) if rule is not None else ""
    return fail(found, *lines, where=above(facts), severity=severity, subject=subject)


def deciding(facts: Facts) -> Rule | None:
    """Return the rule that lets this client in, or that it fails at."""
    if facts.admission is None:
        return None
    if facts.admission.admitted is not None:
        return facts.admission.admitted.verdict.rule
    return next(
        (s.verdict.rule for s in facts.admission.steps if s.verdict.outcome == "method"), None
    )


def above(facts: Facts) -> str:
    """Return where in pg_hba.conf a new line for this client has to stand to be reached."""
    place: Rule | None = None
    if facts.admission is not None and facts.known is not None and facts.evidence is not None:
        rules = facts.evidence.hba
        if not isinstance(rules, Unread):
            attempts = tuple(step.verdict.attempt for step in facts.admission.steps)
            place = insertion_point(rules.rules, attempts, facts.known)
        if place is None:
            return "at the end of pg_hba.conf; then reload"
        return f"in {place.file}, above line {place.line}; then reload"
    return "in pg_hba.conf, above the first line that matches this client; then reload"


def count(number: int, what: str) -> str:
    """Return a number with its noun."""
    return f"{number} {what}" + ("" if number == 1 else "s")
