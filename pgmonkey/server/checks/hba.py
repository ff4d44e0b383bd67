"""The lines of pg_hba.conf that this client meets: the one that decides, and those around it.

A line is judged for what it lets others do as well: what is wider than this client needs
is open to whoever learns its password.
"""

from __future__ import annotations

import ipaddress

from pgmonkey.server.checks.admission import HOST, SERVES, SSLMODE, USER, answers, reads
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
from pgmonkey.server.checks.plaintext import no_plain_path
from pgmonkey.server.checks.words import (
    RELOAD,
    deciding,
    in_config,
    live,
    remote,
    rule_finding,
)
from pgmonkey.server.evidence import READ_HBA, Unread
from pgmonkey.server.hba import CLEARTEXT, Rule
from pgmonkey.server.matching import Attempt

CERT = "connection_settings.sslcert"

# Shorter prefixes than these are more than one site's network.
NARROW = {4: 16, 6: 48}


def strong_enough(facts: Facts) -> Judgement:
    """Good: scram-sha-256, cert, gss, or peer on a socket. Bad: trust, password without TLS."""
    rule = deciding(facts)
    if rule is not None and facts.admission is not None:
        used = facts.admission.admitted or facts.admission.steps[0]
        encrypted = used.verdict.attempt.encryption != "none"
        if rule.method == "trust" and rule.client_certificate == "verify-full":
            return ok(f"{rule.place}: {rule}; the certificate names the role, as with cert")
        return _judge_method(facts, rule.method, encrypted, f"{rule.place}: {rule}")
    if facts.admission is not None:
        return not_applicable("no line lets this client in")
    method = ((facts.session.system_user if facts.session else None) or "").partition(":")[0]
    if method and not facts.proxied:
        encrypted = facts.evidence is not None and facts.evidence.client.tls
        return _judge_method(facts, method, encrypted, f"the login was made by {method}")
    kinds = {"cleartext": "password", "sasl": "scram-sha-256"}
    for answer in answers(facts):
        if answer.kind in SERVES:
            method = kinds.get(answer.kind, answer.kind)
            if answer.kind == "trust" and (facts.client.certificate or facts.socket):
                return unknown("the server asks for nothing: trust, cert or peer", READ_HBA)
            found = f"the server asks for {reads(answer.kind)}"
            return _judge_method(facts, method, answer.encrypted, found)
    return unknown(facts.not_asked, READ_HBA)


def _judge_method(facts: Facts, method: str, encrypted: bool, found: str) -> Judgement:
    severity: Severity | None = None
    if method == "trust" and not facts.socket:
        severity = "critical" if remote(facts) else "high"
        found += "; trust lets in whoever can reach the port"
    elif method == "trust":
        severity = "medium"
        found += "; trust lets in every user of the machine"
    elif method in CLEARTEXT and not facts.socket:
        severity = "medium" if encrypted else "critical"
        found += "; it hands the password to the server" + ("" if encrypted else " in clear")
    elif method == "ident" and not facts.socket:
        severity = "high"
        found += "; ident believes the client's machine"
    elif method == "md5":
        severity = "medium"
        found += "; md5 is obsolete"
    return ok(found) if severity is None else rule_finding(facts, found, severity)


def narrow_enough(facts: Facts) -> Judgement:
    """Good: one database, one role, one network. Bad: host all all 0.0.0.0/0."""
    rule = deciding(facts)
    if rule is None:
        rules = live(facts)
        if isinstance(rules, Unread):
            return unknown(rules)
        return not_applicable("no line lets this client in")
    wide = []
    if any(token.text == "all" and not token.quoted for token in rule.databases):
        wide.append("every database")
    if any(token.text == "all" and not token.quoted for token in rule.users):
        wide.append("every role")
    if _wide(rule):
        wide.append(f"addresses {rule.address}")
    if not wide:
        return ok(f"{rule.place}: {rule}")
    return rule_finding(facts, f"{rule.place}: {rule} admits {', '.join(wide)}")


def _wide(rule: Rule) -> bool:
    if rule.address == "all":
        return True
    try:
        network = ipaddress.ip_network(rule.address, strict=False)
    except ValueError:
        return False
    if network.is_loopback:
        return False  # it is one machine, whatever the mask
    return network.prefixlen < NARROW[network.version]


def reachable(facts: Facts) -> Judgement:
    """Good: the line to recommend would decide. Bad: an earlier line with another method does."""
    rules = live(facts)
    if isinstance(rules, Unread):
        return unknown(rules)
    if facts.admission is None:
        return unknown("the client's address is not known")
    wanted = {rule.method for rule in facts.recommendation.exact}
    steps = [step for step in facts.admission.steps if _meant(step.verdict.attempt, facts)]
    served = any(step.satisfaction.ok is not False for step in steps)
    for step in steps:
        rule = step.verdict.rule
        if step.verdict.outcome == "indeterminate":
            return unknown("the line depends on names or networks that only the server knows")
        if rule is None:
            continue
        if rule.method not in wanted and rule.strength < min(
            (r.strength for r in facts.recommendation.exact), default=0
        ):
            found = f"{rule.place}: {rule} would be met before a line added at the end"
            return rule_finding(facts, found)
        if rule.method == "reject" and not served:
            found = f"{rule.place}: {rule} would be met before a line added at the end"
            return rule_finding(facts, found)
    return ok("no earlier line stands in its way")


def _meant(attempt: Attempt, facts: Facts) -> bool:
    """Return whether a recommended line is for *attempt*: a hostssl line is not without TLS."""
    never = "hostnossl" if attempt.encryption == "tls" else "hostssl"
    return any(rule.type != never for rule in facts.recommendation.exact)


def numeric(facts: Facts) -> Judgement:
    """Good: a CIDR. Bad: a host name, which the server has to look up for each login."""
    rules = live(facts)
    if isinstance(rules, Unread):
        return unknown(rules)
    if facts.admission is None:
        return unknown("the client's address is not known")
    # A line of which only the server can tell whether it matches, or the deciding one.
    asked = [
        rule
        for step in facts.admission.steps
        for rule in step.verdict.branches
        if rule is not None and rule.type != "local" and rule.address != "all"
    ]
    for rule in asked:
        try:
            ipaddress.ip_network(rule.address, strict=False)
        except ValueError:
            found = f"{rule.place}: {rule} hangs on "
            found += "the interfaces of the server" if rule.address.startswith("same") else "DNS"
            return rule_finding(facts, found)
    return ok("addresses decide")


def certificate_demand(facts: Facts) -> Judgement:
    """Good: both sides want a client certificate, or neither. Bad: one of them does."""
    if facts.socket:
        return not_applicable("there is no TLS on a socket")
    has = facts.client.certificate is not None and not facts.client.certificate.missing
    rule = deciding(facts)
    if rule is not None:
        demand = rule.client_certificate
        if demand and not has:
            return _certificate_missing(f"{rule.place}: {rule} demands a client certificate", facts)
        if has and not demand:
            found = f"{rule.place}: {rule} asks for no certificate, and the configuration has one"
            return rule_finding(facts, found, "low")
        return ok("both sides want a client certificate" if has else "neither side wants one")
    if any(answer.detail == "certificate" for answer in answers(facts)):
        found = "the server demands a client certificate"
        if has and facts.key_problem:
            return unknown(f"{found}, and the configuration's cannot be shown; see PGM-TLS-012")
        if has:
            return fail(
                f"{found}, and does not accept the one of the configuration",
                "have it signed by an authority in the server's ssl_ca_file, or add its own there",
                where="where the client's certificate is issued",
            )
        return _certificate_missing(found, facts)
    if has:
        return unknown("whether the server asks for the certificate stands in its rules", READ_HBA)
    if facts.admission is not None:
        return not_applicable("no line lets this client in")
    return ok("neither side wants a client certificate") if facts.evidence else unknown(NO_LOGIN)


def _certificate_missing(found: str, facts: Facts) -> Judgement:
    return fail(
        f"{found}, and the configuration has none",
        "sslcert: client.crt",
        "sslkey: client.key",
        where=in_config(facts),
    )


def mapped(facts: Facts) -> Judgement:
    """Good: pg_ident.conf maps somebody to this role. Bad: the map= of the line is not there."""
    rule = deciding(facts)
    if rule is None:
        rules = live(facts)
        return unknown(rules) if isinstance(rules, Unread) else not_applicable("no line matches")
    name = rule.option("map")
    if name is None:
        return not_applicable("the line has no map=")
    assert facts.evidence is not None
    rows = facts.evidence.ident
    if isinstance(rows, Unread):
        return unknown(rows)
    # A regular expression may name the role by what it captured, and `all` is a keyword
    # from 16 on: these can only be judged by the server.
    fitting = [
        row
        for row in rows
        if row.map == name
        and row.role is not None
        and (
            row.role == facts.client.user
            or row.role[:1] in ("+", "/", "\\")
            or row.role == "all"
            or "\\1" in row.role
        )
    ]
    broken = [row for row in rows if row.error]
    if broken:
        line = broken[0].line
        return fail(
            f"pg_ident.conf:{line}: {broken[0].error}",
            f"correct line {line}",
            RELOAD,
            where="in pg_ident.conf",
        )
    if fitting:
        return ok(f"map {name} stands at pg_ident.conf:{fitting[0].line}")
    certificate = facts.client.certificate
    who = (certificate.common_name if certificate else None) or facts.client.os_user
    return fail(
        f"{rule.place}: {rule} needs map {name}, which maps nobody to {facts.client.user}",
        f'{name} "{who}" "{facts.client.user}"',
        where="in pg_ident.conf; then reload",
    )


VIEW = "pg_hba_file_rules (superuser, or SELECT on the view and EXECUTE on its function)"

HBA = (
    Check(
        "PGM-HBA-001",
        "the method that lets this client in is a strong one",
        "critical",
        USER,
        "trust asks for nothing, ident believes the other machine, password and its like hand "
        "the password to the server, and md5 can be replayed from a stolen table.",
        f"{VIEW}; else system_user (16+) or the server's first answer",
        "Change the line's method to scram-sha-256, after the password was set anew.",
        strong_enough,
    ),
    Check(
        "PGM-HBA-002",
        "the line that decides is no wider than needed",
        "medium",
        USER,
        "all databases, all roles or a large network are open to whoever learns any password.",
        VIEW,
        "Put a line with this database, role and network above it.",
        narrow_enough,
    ),
    Check(
        "PGM-HBA-003",
        "the recommended line would be reached",
        "high",
        HOST,
        "The first line that matches decides; one added at the end of the file often does not.",
        VIEW,
        "Insert the line above the one that the finding names.",
        reachable,
    ),
    Check(
        "PGM-HBA-004",
        "this role cannot log in without TLS",
        "high",
        SSLMODE,
        "What the server accepts without TLS, a misconfigured client will send without TLS.",
        f"{VIEW}; else the server's first answer without TLS",
        "Turn host lines into hostssl, or put a hostnossl line with reject above.",
        no_plain_path,
    ),
    Check(
        "PGM-HBA-009",
        "the decision does not hang on DNS or interfaces",
        "low",
        HOST,
        "A host name is looked up twice for each login; where that fails, the line is skipped.",
        VIEW,
        "Write the network as a CIDR.",
        numeric,
    ),
    Check(
        "PGM-HBA-010",
        "the demand for a client certificate fits the client",
        "high",
        CERT,
        "A line that demands a certificate ends the login of a client without one, and a "
        "certificate which nobody asks for protects nothing.",
        f"{VIEW}; else the server's first answer",
        "Give the configuration a certificate, or change the line.",
        certificate_demand,
    ),
    Check(
        "PGM-HBA-011",
        "the user map of the line knows this role",
        "high",
        USER,
        "With map=, the name of the certificate or of the system user must be mapped to the "
        "role in pg_ident.conf.",
        "pg_ident_file_mappings (superuser, or the two grants; from 15 on)",
        "Add the line that the finding prints to pg_ident.conf, and reload.",
        mapped,
    ),
)
