"""Whether this client is let in, by which rule, and what else would serve it.

The rules are walked for every attempt that libpq makes; where they cannot be read, the
server is asked which method it would use, which needs neither password nor privilege.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgmonkey.server.checks.login import may_log_in
from pgmonkey.server.checks.model import (
    NO_LOGIN,
    Check,
    Facts,
    Judgement,
    fail,
    not_applicable,
    ok,
    unknown,
)
from pgmonkey.server.checks.words import (
    IN_PSQL,
    deciding,
    demanding_tls,
    in_config,
    is_local,
    rule_finding,
)
from pgmonkey.server.evidence import READ_HBA, Unread
from pgmonkey.server.hba import CLEARTEXT

if TYPE_CHECKING:
    from pgmonkey.server.admission import Step
    from pgmonkey.server.authprobe import AuthAnswer

HOST, SSLMODE = "connection_settings.host", "connection_settings.sslmode"
USER, PASSWORD = "connection_settings.user", "connection_settings.password"

# What the server asks for first, by method. A rule with md5 asks for SCRAM where the role's
# password is stored that way; cert, peer and ident are done before it asks.
ASKS = {
    "trust": ("trust",),
    "cert": ("trust",),
    "peer": ("trust",),
    "ident": ("trust",),
    "scram-sha-256": ("sasl",),
    "oauth": ("sasl",),
    "md5": ("md5", "sasl"),
    "gss": ("gss",),
    "sspi": ("sspi",),
    **dict.fromkeys(CLEARTEXT, ("cleartext",)),
}

NO_RULES = "the lines of pg_hba.conf could not be read"

# Kinds of answers to the probe that mean: there is a rule, and it would let somebody in.
SERVES = ("trust", "cleartext", "md5", "sasl", "gss", "sspi")

# The server's words tell a reject line from none at all, in English only.
REFUSALS = {
    "reject": "a line rejects this client",
    "implicit-reject": "no line matches",
    "refused": "a line rejects this client, or none matches",
}


def answers(facts: Facts) -> tuple[AuthAnswer, ...]:
    """Return what the server answered, in the order of libpq's attempts."""
    plain_first = facts.client.sslmode in ("allow", "disable")
    order = (
        (facts.auth_plain, facts.auth_tls) if plain_first else (facts.auth_tls, facts.auth_plain)
    )
    wanted = {
        "disable": (facts.auth_plain,),
        "allow": order,
        "prefer": order,
    }.get(facts.client.sslmode, (facts.auth_tls,))
    return tuple(answer for answer in wanted if answer is not None)


def reads(kind: str) -> str:
    """Return an answer of the probe as people call it."""
    return {
        "trust": "nothing",
        "cleartext": "the password in clear",
        "md5": "an md5 hash",
        "sasl": "SCRAM",
        "gss": "GSSAPI",
        "sspi": "SSPI",
    }.get(kind, kind)


def rule_text(step: Step) -> str:
    """Return the rule that decides a step, with its place."""
    rule = step.verdict.rule
    if rule is None:
        return step.satisfaction.reason or "no line matches"
    return f"{rule.place}: {rule}"


def admitted(facts: Facts) -> Judgement:
    """Good: a line matches and its method can be satisfied. Bad: reject, or no line."""
    if facts.admission is not None:
        let_in = facts.admission.admitted
        if let_in is not None and let_in.verdict.rule is not None:
            return ok(rule_text(let_in))
        if let_in is not None and facts.own_session:
            rule = deciding(facts)
            which = f"by {rule.place}: {rule}" if rule else "and only the server can tell by which"
            return ok(f"the login succeeded, {which}")
        if let_in is not None or not facts.admission.certain:
            return unknown("the line depends on names or networks that only the server knows")
        # A rule that matches and cannot be satisfied is the business of PGM-ADM-002.
        matched = [s for s in facts.admission.steps if s.verdict.outcome == "method"]
        if matched:
            return ok(f"{rule_text(matched[0])}; see PGM-ADM-002")
        last = facts.admission.steps[-1]
        refused = f"{rule_text(last)}, for {facts.client.user} at {facts.client.dbname}"
        if facts.own_session:
            refused = f"the file admits nobody like this after its next reload: {refused}"
        return rule_finding(facts, refused)
    asked = answers(facts)
    for answer in asked:
        if answer.kind in SERVES:
            return ok(f"the server asks for {reads(answer.kind)}")
    if facts.evidence is not None and facts.client.replication != "physical":
        if facts.address_given:
            return unknown(NO_RULES, READ_HBA)
        return ok("the login succeeded")
    refusals = [a for a in asked if a.detail in REFUSALS]
    if refusals:
        found = REFUSALS[refusals[-1].detail]
        if facts.tls is not None and facts.tls.offered is False:
            found += "; the server takes no TLS, so a hostssl line matches once ssl is on"
        return rule_finding(facts, found)
    if any(a.detail == "certificate" for a in asked):
        return ok("a line matches that demands a client certificate; see PGM-HBA-010")
    return unknown(NO_LOGIN)


def credentials_fit(facts: Facts) -> Judgement:
    """Good: a password rule and a password. Bad: a cert rule and no certificate."""
    if facts.admission is not None:
        let_in = facts.admission.admitted
        if let_in is not None and let_in.satisfaction.ok is None:
            if facts.own_session:
                return ok("the login succeeded")
            return unknown(let_in.satisfaction.reason)
        if let_in is not None:
            return ok(let_in.satisfaction.reason)
        matched = [s for s in facts.admission.steps if s.verdict.outcome == "method"]
        if not matched:
            return not_applicable("no line matches")
        last = matched[-1]
        return fail(
            f"{rule_text(last)}: {last.satisfaction.reason}",
            "give the configuration what this line demands, or change the line",
            where=in_config(facts),
        )
    if facts.evidence is not None:
        return ok("the login succeeded")
    for answer in answers(facts):
        if answer.kind in ("cleartext", "md5", "sasl") and not facts.client.password:
            return fail(
                f"the server asks for {reads(answer.kind)}, and there is no password",
                "password: {from_env: PGPASSWORD}",
                where=in_config(facts),
                key=PASSWORD,
            )
        if answer.kind in SERVES:
            return ok(f"the server asks for {reads(answer.kind)}")
    return unknown(NO_LOGIN)


def agrees(facts: Facts) -> Judgement:
    """Good: the server does what its file says. Bad: the file was edited and not loaded."""
    if facts.admission is None or facts.known is None:
        hidden = facts.evidence.hba if facts.evidence else Unread(NO_LOGIN)
        return unknown(hidden if isinstance(hidden, Unread) else Unread(NO_RULES))
    if facts.proxied or facts.address_given:
        return not_applicable("the rules were judged for another address than this session's")
    compared = 0
    for step in facts.admission.steps:
        answer = facts.auth_tls if step.verdict.attempt.encryption == "tls" else facts.auth_plain
        if step.verdict.outcome == "indeterminate" or answer is None:
            continue
        if answer.kind in ("unreachable", "no-tls"):
            continue
        compared += 1
        expected: tuple[str, ...] = ASKS.get(step.verdict.method or "", ())
        same = answer.kind in expected if step.verdict.outcome == "method" else False
        if answer.kind == "error":
            refused = step.verdict.outcome in ("reject", "implicit")
            same = answer.detail not in REFUSALS or refused
        if not same:
            said = answer.detail or reads(answer.kind)
            return _differs(facts, f"{rule_text(step)}, but the server answers: {said}")
    admitted_by = facts.admission.admitted
    used = (facts.session.system_user if facts.session else None) or ""
    if used and facts.own_session and admitted_by is not None and admitted_by.verdict.method:
        compared += 1
        method = used.partition(":")[0]
        if method != admitted_by.verdict.method:
            return _differs(facts, f"{rule_text(admitted_by)}, but the login was made by {method}")
    if not compared:
        return not_applicable("nothing to compare with")
    return ok("the server does what the file says")


def _differs(facts: Facts, found: str) -> Judgement:
    if facts.refused_by_file:
        # A reload as things are would lock this client out: the line comes first.
        return rule_finding(facts, f"{found}; mend the file before it is loaded")
    return fail(
        found,
        "SELECT pg_reload_conf();",
        "SELECT * FROM pg_hba_file_rules WHERE error IS NOT NULL;",
        where=f"{IN_PSQL}; the file may not be loaded, a keyword may be quoted, a name may not resolve",
    )


def right_address(facts: Facts) -> Judgement:
    """Good: --client-address, or the same machine. Bad: a CI runner speaks for the application."""
    if facts.address_given:
        return ok(f"judged for {facts.address}")
    if facts.socket or is_local(facts.address):
        return ok("client and server are on one machine")
    return fail(
        f"judged for {facts.address or 'an unknown address'}, where this audit runs"
        + (" behind a pooler or proxy" if facts.proxied else ""),
        "--client-address 10.0.0.0/24",
        where="on the command line, with the network of the application",
    )


def no_downgrade(facts: Facts) -> Judgement:
    """Good: without TLS the server refuses. Bad: hostnossl ... password beside hostssl ... reject."""
    if facts.socket or facts.client.sslmode not in ("allow", "prefer"):
        return not_applicable("libpq makes no attempt without TLS here")
    remedy, where = ("sslmode: verify-full",), demanding_tls(facts)
    if facts.admission is not None and facts.admission.certain:
        plain = facts.admission.plaintext
        if plain is None:
            return ok("without TLS the server refuses this client")
        rule = plain.verdict.rule
        encrypted = [
            s.verdict.rule
            for s in facts.admission.steps
            if s.verdict.attempt.encryption == "tls" and s.verdict.outcome == "method"
        ]
        weaker = rule is not None and (
            rule.method in CLEARTEXT
            or rule.method == "trust"
            or any(r is not None and rule.strength < r.strength for r in encrypted)
            or not encrypted
        )
        found = f"without TLS, {rule_text(plain)} serves this client"
        return fail(
            found,
            *remedy,
            where=where,
            severity="high" if weaker else "medium",
        )
    if facts.plain_login:
        found = "this login was made without TLS although TLS was asked for first"
        return fail(found, *remedy, where=where)
    if facts.auth_plain is None or facts.auth_plain.kind == "unreachable":
        return unknown(facts.not_asked, READ_HBA)
    if facts.auth_plain.kind not in SERVES:
        return ok("without TLS the server refuses this client")
    weak = facts.auth_plain.kind in ("trust", "cleartext", "md5")
    found = f"without TLS, the server asks for {reads(facts.auth_plain.kind)}"
    return fail(found, *remedy, where=where, severity="high" if weak else "medium")


ADMISSION = (
    Check(
        "PGM-ADM-001",
        "some line of pg_hba.conf admits this client",
        "critical",
        USER,
        "The first line that matches host, user, database and encryption decides; without one "
        "the server refuses the login whatever the password.",
        "pg_hba_file_rules (superuser, or SELECT on the view and EXECUTE on its function); "
        "else the server's first answer to a login without password",
        "Add the line that the finding prints at the place that it names, and reload.",
        admitted,
    ),
    Check(
        "PGM-ADM-002",
        "the method of that line fits the credentials of the configuration",
        "high",
        PASSWORD,
        "There is no second line for a client that cannot satisfy the first one that matches.",
        "the matching line, and the configuration",
        "Give the configuration the password or certificate, or change the line's method.",
        credentials_fit,
    ),
    Check(
        "PGM-ADM-003",
        "the server does what its pg_hba.conf says",
        "medium",
        HOST,
        "The view shows the file, not what is loaded: one syntax error and every reload is "
        "refused while the old lines go on.",
        "pg_hba_file_rules against the server's first answer, and system_user from 16 on",
        "Reload; look for lines with an error, quoted keywords, host names and proxies.",
        agrees,
    ),
    Check(
        "PGM-ADM-004",
        "the rules were judged for the application's address",
        "info",
        HOST,
        "The audit may run elsewhere than the application, and lines match by address.",
        "the address that the server sees",
        "Pass --client-address with the application's network.",
        right_address,
    ),
    Check(
        "PGM-ADM-005",
        "the role may log in and the database accepts it",
        "critical",
        USER,
        "LOGIN, VALID UNTIL, ALLOW_CONNECTIONS and CONNECT are asked after pg_hba.conf.",
        "pg_roles and pg_database, as any role",
        "ALTER ROLE ... LOGIN or VALID UNTIL; GRANT CONNECT ON DATABASE.",
        may_log_in,
    ),
    Check(
        "PGM-ADM-006",
        "an attempt without TLS meets no weaker line",
        "high",
        SSLMODE,
        "With sslmode prefer or allow, libpq tries again without TLS after any refusal, a wrong "
        "password included; a line for that attempt may take the password in clear.",
        "the line that matches without TLS, or the server's first answer without TLS",
        "Set sslmode to require or above; on the server, use hostssl lines only.",
        no_downgrade,
    ),
)
