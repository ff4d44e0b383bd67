"""The file pg_hba.conf as a whole: does it load, and whom else does it let in.

What is open to others is open to whoever takes their place: a line that trusts the network
is this client's business, even when another line is the one that it meets.
"""

from __future__ import annotations

import ipaddress
from dataclasses import replace

from pgmonkey.server.admission import judge
from pgmonkey.server.checks.admission import HOST, SSLMODE
from pgmonkey.server.checks.hba import VIEW
from pgmonkey.server.checks.model import (
    Answer,
    Check,
    Facts,
    Judgement,
    fail,
    not_applicable,
    ok,
    unknown,
)
from pgmonkey.server.checks.words import (
    KNOBS,
    NO_PASSWORD,
    RELOAD,
    count,
    deciding,
    is_local,
    live,
    parameter_finding,
)
from pgmonkey.server.evidence import Unread
from pgmonkey.server.hba import Rule

# Names in one finding; the rest is counted.
SHOWN = 5


def loads(facts: Facts) -> Answer:
    """Good: every line is understood. Bad: one is not, so that no reload changes anything."""
    rules = live(facts)
    if isinstance(rules, Unread):
        return unknown(rules)
    if not rules.problems:
        return ok(count(len(rules.rules), "line") + " without an error")
    return tuple(
        fail(
            f"{problem.place}: {problem.error}",
            f"correct or remove line {problem.line} of {problem.file}",
            RELOAD,
            where=f"in {problem.file}; until then every reload is refused, and the lines loaded "
            "before go on",
            subject=problem.error,
        )
        for problem in rules.problems[:SHOWN]
    )


def tls_lines_live(facts: Facts) -> Judgement:
    """Good: ssl is on, or there is no hostssl line. Bad: hostssl lines that can never match."""
    rules = live(facts)
    if isinstance(rules, Unread):
        return unknown(rules)
    dead = [rule for rule in rules.rules if rule.disabled]
    if not dead:
        return ok("every line can match")
    found = f"{dead[0].place}: {dead[0]} can never match while ssl is off"
    if len(dead) > 1:
        found += f", nor can {len(dead) - 1} more"
    return parameter_finding(facts, found, "ssl", "on")


def no_trust(facts: Facts) -> Judgement:
    """Good: trust on sockets and loopback at most. Bad: host all all 10.0.0.0/8 trust."""
    rules = live(facts)
    if isinstance(rules, Unread):
        return unknown(rules)
    open_lines = [
        rule
        for rule in rules.rules
        if rule.type != "local"
        and rule.method == "trust"
        and not _own_machine(rule)
        # The certificate then proves what `cert` would have it prove.
        and rule.client_certificate != "verify-full"
    ]
    if not open_lines:
        return ok("no line trusts the network")
    first = open_lines[0]
    who = "whoever can reach the port, without any proof"
    if first.client_certificate:
        who = "whoever has any certificate of the authority, as any role that it names"
    found = f"{first.place}: {first} lets in {who}"
    if len(open_lines) > 1:
        found += f"; {len(open_lines) - 1} more"
    if facts.platform:
        return _by_the_platform(facts, found)
    better = str(replace(first, method="scram-sha-256"))
    own = first == deciding(facts) and not facts.client.password
    lines = (
        "# first see that every role which comes by this line has a password stored for SCRAM",
        *((NO_PASSWORD,) if own else ()),
        better,
    )
    return fail(found, *lines, where=f"in {first.file}, in place of line {first.line}; then reload")


def _by_the_platform(facts: Facts, found: str) -> Judgement:
    """Return a finding about lines that nobody edits: the platform decides who gets that far."""
    return fail(found, "let in the application's addresses alone", where=KNOBS[facts.platform][1])


def _own_machine(rule: Rule) -> bool:
    if rule.address == "samehost":
        return True
    try:
        return ipaddress.ip_network(rule.address, strict=False).is_loopback
    except ValueError:
        return is_local(rule.address)


def superusers_kept_out(facts: Facts) -> Judgement:
    """Good: superusers log in through the socket. Bad: host all all, which includes postgres."""
    rules = live(facts)
    if isinstance(rules, Unread):
        return unknown(rules)
    assert facts.evidence is not None
    superusers = facts.evidence.superusers
    if isinstance(superusers, Unread):
        return unknown(superusers)
    if facts.admission is None or facts.known is None:
        return unknown("the client's address is not known")
    attempt = facts.admission.steps[0].verdict.attempt
    if attempt.address is None or attempt.address.is_loopback:
        return not_applicable("client and server are on one machine")
    reached: list[str] = []
    unsure = False
    by: Rule | None = None
    for name, groups in superusers.items():
        if name == facts.client.user:
            continue  # that the client is one is what PGM-ROL-001 says
        known = replace(facts.known, member_of=groups)
        for encryption in ("tls", "none"):
            tried = replace(attempt, user=name, encryption=encryption, replication="")
            verdict = judge(rules.rules, tried, known)
            unsure = unsure or verdict.outcome == "indeterminate"
            if verdict.outcome == "method":
                reached.append(name)
                by = by or verdict.rule
                break
    if by is not None:
        names = ", ".join(reached[:SHOWN]) + (" ..." if len(reached) > SHOWN else "")
        found = f"{by.place}: {by} lets superusers in from {attempt.address}: {names}"
        if facts.platform:
            return _by_the_platform(facts, found)
        who = ",".join(str(token) for token in _named(reached, facts))
        # From this client's network alone: an administrator may come from another one.
        networks = dict.fromkeys(rule.address for rule in facts.recommendation.exact)
        lines = tuple(f"host all {who} {network} reject" for network in networks if network)
        return fail(found, *lines, where=f"in {by.file}, above line {by.line}; then reload")
    if unsure:
        return unknown("the lines depend on names or networks that only the server knows")
    return ok("no superuser is let in from the network")


def _named(names: list[str], facts: Facts) -> list[object]:
    from pgmonkey.server.hba import user_token

    tokens = (user_token(name, facts.major) for name in names)
    return [token for token in tokens if token is not None]


HBA_FILE = (
    Check(
        "PGM-HBA-005",
        "pg_hba.conf loads",
        "high",
        HOST,
        "One line with an error, and every reload is refused: the server goes on with the "
        "lines it had, until a restart fails.",
        VIEW,
        "Correct the line, and reload.",
        loads,
    ),
    Check(
        "PGM-HBA-006",
        "hostssl lines can match",
        "high",
        SSLMODE,
        "While ssl is off, hostssl lines are loaded and match nobody; the next line decides.",
        VIEW,
        "ssl = on, with a certificate, and reload.",
        tls_lines_live,
    ),
    Check(
        "PGM-HBA-007",
        "no line trusts the network",
        "critical",
        HOST,
        "trust lets in whoever can reach the port, as any role that the line names.",
        VIEW,
        "Replace trust by scram-sha-256.",
        no_trust,
    ),
    Check(
        "PGM-HBA-008",
        "superusers are not let in from the client's network",
        "high",
        HOST,
        "A superuser owns the machine: whoever guesses that password needs no other.",
        f"{VIEW}, and the superusers of pg_roles",
        "Put a reject line for them above, and let them in through the socket.",
        superusers_kept_out,
    ),
)
