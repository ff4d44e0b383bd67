"""What the server does for this client without TLS, and how that is ended.

Refusing what comes without TLS is a remedy only for a client that comes with it: any other
is shut out, so that for those something else comes first.
"""

from __future__ import annotations

from dataclasses import replace

from pgmonkey.server.admission import judge
from pgmonkey.server.checks.admission import SERVES, SSLMODE, reads
from pgmonkey.server.checks.model import (
    NO_LOGIN,
    Facts,
    Judgement,
    Severity,
    fail,
    not_applicable,
    ok,
    unknown,
)
from pgmonkey.server.checks.words import (
    CLIENTS_OVER_TLS,
    IN_POOLER,
    KNOBS,
    SERVER_OVER_TLS,
    above,
    demanding_tls,
    line_for_client,
    live,
    parameter_finding,
    remote,
    served_over_tls,
    set_key,
    takes_tls,
)
from pgmonkey.server.evidence import READ_HBA, Tls, Unread

# How a managed platform, whose pg_hba.conf nobody edits, refuses what comes without TLS.
ENFORCED = {
    "rds": "rds.force_ssl = 1",
    "cloudsql": "sslMode = ENCRYPTED_ONLY",
    "alloydb": "sslMode = ENCRYPTED_ONLY",
    "azure": "require_secure_transport = on",
}


def no_plain_path(facts: Facts) -> Judgement:
    """Good: hostssl lines only. Bad: a host line, which matches without TLS too."""
    if facts.socket or not remote(facts):
        return not_applicable("client and server are on one machine")
    severity: Severity = "medium" if facts.client.sslmode in _ENCRYPTED else "high"
    rules = live(facts)
    if not isinstance(rules, Unread) and facts.known is not None and facts.admission is not None:
        for step in facts.admission.steps:
            attempt = replace(step.verdict.attempt, encryption="none")
            verdict = judge(rules.rules, attempt, facts.known)
            if verdict.outcome == "indeterminate":
                return unknown("the line depends on names that only the server knows")
            if verdict.outcome == "method" and verdict.rule is not None:
                rule = verdict.rule
                found = f"{rule.place}: {rule} serves this role without TLS too"
                return _close_plain(facts, found, severity)
            break
        return ok("without TLS the server refuses this role")
    if facts.auth_plain is None:
        return unknown(
            facts.not_asked if facts.evidence is None else "the lines could not be read", READ_HBA
        )
    if facts.auth_plain.kind in SERVES:
        found = f"without TLS, the server asks this role for {reads(facts.auth_plain.kind)}"
        if facts.proxied:  # who answers is the pooler
            return fail(found, CLIENTS_OVER_TLS, where=IN_POOLER, severity=severity)
        return _close_plain(facts, found, severity)
    if facts.auth_plain.kind == "unreachable":
        return unknown("the server did not answer", READ_HBA)
    return ok("without TLS the server refuses this role")


_ENCRYPTED = ("require", "verify-ca", "verify-full")


def _close_plain(facts: Facts, found: str, severity: Severity) -> Judgement:
    """Return the finding, with what keeps everybody out who comes without TLS but not this client."""
    if facts.platform:
        where = KNOBS[facts.platform][0]
        return fail(found, ENFORCED[facts.platform], where=where, severity=severity)
    if facts.proxied:
        tls = facts.evidence.tls if facts.evidence else Unread(NO_LOGIN)
        if isinstance(tls, Tls) and tls.version is None:
            return fail(found, SERVER_OVER_TLS, where=IN_POOLER, severity=severity)
        return fail(found, *_refusals(facts), where=above(facts, plain=True), severity=severity)
    if takes_tls(facts) is False:
        finding = parameter_finding(facts, found, "ssl", "on", severity)
        return replace(finding, subject="")
    if facts.client.sslmode == "disable":
        where = f"{demanding_tls(facts)}; only then can a line refuse what comes without TLS"
        return fail(found, set_key(SSLMODE, "verify-full"), where=where, severity=severity)
    lines = _refusals(facts)
    if not served_over_tls(facts):
        lines = (*line_for_client(facts), *lines)
    return fail(found, *lines, where=above(facts, plain=True), severity=severity)


def _refusals(facts: Facts) -> tuple[str, ...]:
    """Return lines that refuse this client, and nobody else, where it comes without TLS."""
    return tuple(
        str(replace(rule, type="hostnossl", method="reject", options=()))
        for rule in facts.recommendation.exact
        if rule.type != "local"
    )
