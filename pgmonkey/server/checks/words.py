"""What findings are made of: remedies that fit the platform, names, addresses, amounts.

A remedy is to be pasted as it is, so it depends on who can change what: nobody edits
pg_hba.conf of a managed platform, and ALTER SYSTEM can be switched off from PostgreSQL 17.
"""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import TYPE_CHECKING

from pgmonkey.server.admission import insertion_point, judge
from pgmonkey.server.checks.model import NO_LOGIN, Facts, Judgement, fail
from pgmonkey.server.credentials import satisfies
from pgmonkey.server.evidence import READ_HBA, Setting, Unread

if TYPE_CHECKING:
    from pgmonkey.server.checks.model import Severity
    from pgmonkey.server.hba import Rule, RuleSet

IN_PSQL = "in psql as a superuser"
RELOAD = "SELECT pg_reload_conf();"
SCRAM = "scram-sha-256"

NO_PASSWORD = "# first give the configuration the password: it has none"

# Where a managed platform keeps what postgresql.conf and pg_hba.conf hold elsewhere.
KNOBS = {
    "rds": ("in the instance's parameter group", "in the instance's security group"),
    "cloudsql": ("in the instance's flags", "in the instance's authorised networks"),
    "alloydb": ("in the instance's flags", "in the cluster's network settings"),
    "azure": ("in the server parameters", "in the firewall rules"),
}

# A reload goes on without a file that is missing, and says so in the log alone; the next
# start ends there (be-secure-openssl.c, be_tls_init).
BEFORE_TLS = {
    "ssl": "first put the files of ssl_cert_file and ssl_key_file in place: without them "
    "TLS stays off, and the next start of the server fails",
    "ssl_ca_file": "first put ca.crt, the authority of the clients' certificates, into the data "
    "directory: without it the next start of the server fails",
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


def demanding_tls(facts: Facts, *, verified: bool = True) -> str:
    """Return where the configuration is told to demand TLS, and what has to come before.

    A client that demands what it cannot have yet is locked out by its own remedy.

    Args:
        verified: Whether it is to check the server's certificate, too.
    """
    first = []
    if takes_tls(facts) is False:
        first.append("the server offers TLS")
    elif served_over_tls(facts) is False:
        first.append("a hostssl line admits this client")
    if verified and facts.tls is not None:
        if facts.tls.name_matches is False:
            first.append("the server's certificate names this host (PGM-TLS-009)")
        if facts.tls.chain_verified is False:
            first.append("sslrootcert vouches for it (PGM-TLS-010)")
    return in_config(facts) + (f", once {' and '.join(first)}" if first else "")


def takes_tls(facts: Facts) -> bool | None:
    """Return whether the server takes TLS; None where that is not known."""
    if facts.tls is not None and facts.tls.offered is not None:
        return facts.tls.offered
    if facts.evidence is not None and facts.evidence.client.tls:
        return True
    setting = facts.setting("ssl")
    return setting.value == "on" if isinstance(setting, Setting) else None


def served_over_tls(facts: Facts) -> bool | None:
    """Return whether this client would be let in with TLS; None where that is not known."""
    walked = facts.admission is not None and not facts.proxied
    if walked and facts.admission and facts.known is not None and facts.evidence is not None:
        rules = facts.evidence.hba
        attempt = facts.admission.steps[0].verdict.attempt
        if not isinstance(rules, Unread) and attempt.address is not None:
            verdict = judge(rules.rules, replace(attempt, encryption="tls"), facts.known)
            if verdict.rule is None or verdict.outcome != "method":
                return None if verdict.outcome == "indeterminate" else False
            return satisfies(facts.client, verdict.rule, encrypted=True).ok is not False
    if facts.auth_tls is None or facts.auth_tls.kind == "unreachable":
        return None
    return facts.auth_tls.kind != "error"


IN_POOLER = "in pgbouncer.ini, or the like of what stands in between"
# What has a pooler demand TLS of its clients, and of the server.
CLIENTS_OVER_TLS = "client_tls_sslmode = require"
SERVER_OVER_TLS = "server_tls_sslmode = verify-full"


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
        first = (f"# {BEFORE_TLS[name]}",) if name in BEFORE_TLS else ()
        return (*first, f"{name} = {literal(value)}"), f"in postgresql.conf; then {when}"
    then = "-- then restart the server" if restart else RELOAD
    first = (f"-- {BEFORE_TLS[name]}",) if name in BEFORE_TLS else ()
    return (*first, f"ALTER SYSTEM SET {name} = {literal(value)};", then), IN_PSQL


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
    lines = line_for_client(facts)
    # The line itself and not its number, which changes with every line above it.
    rule = deciding(facts)
    subject = str(rule) if rule is not None else ""
    return fail(found, *lines, where=above(facts), severity=severity, subject=subject)


def line_for_client(facts: Facts) -> tuple[str, ...]:
    """Return the recommended line, and above it what has to be done before it is loaded."""
    advice = facts.recommendation
    maps = (f"# first, in pg_ident.conf: {line}" for line in advice.ident)
    return (*maps, *_before_password(facts), *map(str, advice.exact))


def _before_password(facts: Facts) -> tuple[str, ...]:
    """Return comments for what the recommended line needs first, or it would lock the client out."""
    if not any(rule.method == SCRAM for rule in facts.recommendation.exact):
        return ()
    found: list[str] = []
    stored = stored_as(facts)
    if stored != SCRAM and facts.evidence is not None:
        why = "may not be" if isinstance(stored, Unread) else "is not"
        found.append(
            f"# first, in psql: SET password_encryption = '{SCRAM}'; then \\password "
            f"{identifier(facts.client.user)}: its password {why} stored for SCRAM"
        )
    if not facts.client.password:
        found.append(NO_PASSWORD)
    return tuple(found)


def stored_as(facts: Facts) -> str | Unread:
    """Return how the role's password is stored: scram-sha-256, md5, "" for none, or why unknown.

    Where the role may not see it, the server's question tells: a line with md5 asks for what
    is stored, one with scram-sha-256 asks for SCRAM alone.
    """
    stored = facts.evidence.verifier if facts.evidence else Unread("nobody could log in")
    if not isinstance(stored, Unread) or facts.proxied:
        return stored
    rule = deciding(facts)
    kinds = {answer.kind for answer in (facts.auth_tls, facts.auth_plain) if answer is not None}
    if "md5" in kinds:
        return "md5"
    if facts.evidence is None:
        return stored
    # The login has succeeded, so whatever asked it for SCRAM got it.
    asked = facts.auth_tls if facts.evidence.client.tls else facts.auth_plain
    used = (facts.session.system_user if facts.session else None) or ""
    by_scram = (
        used.startswith(f"{SCRAM}:")
        or (rule is not None and rule.method == SCRAM and not facts.address_given)
        or (asked is not None and any(name.startswith("SCRAM") for name in asked.mechanisms))
    )
    return SCRAM if by_scram else stored


def live(facts: Facts) -> RuleSet | Unread:
    """Return the rules of the server, or why there are none to look at."""
    return facts.evidence.hba if facts.evidence else Unread(NO_LOGIN, READ_HBA)


def deciding(facts: Facts) -> Rule | None:
    """Return the rule that lets this client in, or that it fails at."""
    if facts.admission is None:
        return None
    if facts.admission.admitted is not None:
        return facts.admission.admitted.verdict.rule or _left_over(facts)
    return next(
        (s.verdict.rule for s in facts.admission.steps if s.verdict.outcome == "method"), None
    )


def _left_over(facts: Facts) -> Rule | None:
    """Return the one line that can have let this session in, of those that only the server tells.

    A line that hangs on names or networks may have been passed over; but the login succeeded,
    and neither a line with reject nor the end of the file lets anybody in.
    """
    if facts.evidence is None or not facts.own_session or facts.admission is None:
        return None
    wanted = "tls" if facts.evidence.client.tls else "none"
    able = [
        rule
        for step in facts.admission.steps
        if step.verdict.attempt.encryption == wanted
        for rule in step.verdict.branches
        if rule is not None
        and satisfies(facts.client, rule, encrypted=wanted == "tls").ok is not False
    ]
    used = ((facts.session.system_user if facts.session else None) or "").partition(":")[0]
    able = [rule for rule in able if not used or rule.method == used]
    return able[0] if len(able) == 1 else None


def above(facts: Facts, *, plain: bool = False) -> str:
    """Return where in pg_hba.conf a new line for this client has to stand to be reached.

    Args:
        plain: Whether it is for an attempt without TLS as well, be it one of libpq's or not.
    """
    place: Rule | None = None
    if facts.admission is not None and facts.known is not None and facts.evidence is not None:
        rules = facts.evidence.hba
        if not isinstance(rules, Unread):
            attempts = [step.verdict.attempt for step in facts.admission.steps]
            attempts += [replace(a, encryption="none") for a in attempts if plain]
            place = insertion_point(rules.rules, attempts, facts.known)
        if place is None:
            return "at the end of pg_hba.conf; then reload"
        return f"in {place.file}, above line {place.line}; then reload"
    return "in pg_hba.conf, above the first line that matches this client; then reload"


def count(number: int, what: str) -> str:
    """Return a number with its noun."""
    return f"{number} {what}" + ("" if number == 1 else "s")
