"""Would this client be let in, by which rule, and what else might let it in?

libpq makes up to three attempts for one connection (with GSS encryption, with TLS,
without), and the server looks its rules up for each of them from the top. The first rule
that matches decides; when its method then fails, no further rule is tried, but libpq may
try again in another way. That is how a ``prefer`` client ends up sending its password in
clear.

Everything here is a function of values: the rules come from ``hba_view`` or ``hba_file``,
the client from ``client``, and what is known of the server with ``Known``. Which rule is for
which attempt is decided in ``matching``.

PostgreSQL documentation: "The pg_hba.conf File", and "SSL Support" of libpq.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from pgmonkey.server.client import Client, Endpoint
from pgmonkey.server.credentials import Satisfaction, satisfies
from pgmonkey.server.hba import Rule
from pgmonkey.server.matching import Attempt, Encryption, IPAddress, Known, matches

Outcome = Literal["method", "reject", "implicit", "indeterminate", "no-tls"]


@dataclass(frozen=True)
class Verdict:
    """Which rule an attempt meets.

    Attributes:
        outcome: "method": the rule's method decides; "reject" and "implicit": refused, by
            a rule or by the lack of one; "indeterminate": it hangs on what only the
            server can find out (names in the DNS, its own interfaces), and the
            possibilities differ; "no-tls": the server does not take this attempt.
        rule: The one that decides; None where none does or it cannot be told.
        branches: Every rule that may decide, in order; the last is the one that surely
            matches, or None for none.
        shadowed: Rules below the deciding one which match this attempt as well.
    """

    attempt: Attempt
    outcome: Outcome
    rule: Rule | None = None
    branches: tuple[Rule | None, ...] = ()
    shadowed: tuple[Rule, ...] = ()

    @property
    def method(self) -> str:
        """The method that is used, "" where the attempt is refused or nothing is certain."""
        return self.rule.method if self.rule is not None and self.outcome == "method" else ""

    @property
    def stricter(self) -> Rule | None:
        """The first shadowed rule that is safer than the one which decides."""
        if self.rule is None:
            return None
        strength = self.rule.strength
        return next((rule for rule in self.shadowed if rule.strength > strength), None)


@dataclass(frozen=True)
class Step:
    """One attempt: what it meets, and whether this client can do what is asked then."""

    verdict: Verdict
    satisfaction: Satisfaction


@dataclass(frozen=True)
class Admission:
    """What becomes of one connection of this client.

    Attributes:
        steps: libpq's attempts in its order, the ones after a success included.
        admitted: The first attempt that succeeds, as far as can be told; None if none does.
        certain: Whether nothing of it hangs on what only the server can find out.
        plaintext: The attempt without encryption which libpq falls back to, or begins
            with, when the server would serve it; its password is in danger there.
    """

    steps: tuple[Step, ...]
    admitted: Step | None
    certain: bool
    plaintext: Step | None


def attempts(client: Client, endpoint: Endpoint, address: IPAddress | None) -> tuple[Attempt, ...]:
    """Return the logins libpq tries at *endpoint*, in order.

    A later one is made when the one before is refused: by the server's lack of TLS, by a
    rule, and also for a wrong password.

    Args:
        address: The client's address as the server sees it; ignored on a socket.
    """

    def attempt(encryption: Encryption, of: IPAddress | None = address) -> Attempt:
        return Attempt(client.user, client.dbname, of, encryption, client.replication)

    if endpoint.socket:
        return (attempt("none", None),)
    if client.gssencmode == "require":
        return (attempt("gss"),)
    encryptions: dict[str, tuple[Encryption, ...]] = {
        "disable": ("none",),
        "allow": ("none", "tls"),
        "prefer": ("tls", "none"),
    }
    return tuple(attempt(e) for e in encryptions.get(client.sslmode, ("tls",)))


def judge(rules: Sequence[Rule], attempt: Attempt, known: Known) -> Verdict:
    """Return which of *rules* decides about *attempt*."""
    if attempt.encryption == "tls" and known.tls is False:
        return Verdict(attempt, "no-tls")
    branches: list[Rule | None] = []
    for position, rule in enumerate(rules):
        answer = matches(rule, attempt, known)
        if answer is None:
            branches.append(rule)
        if answer:
            branches.append(rule)
            below = tuple(r for r in rules[position + 1 :] if matches(r, attempt, known))
            return _verdict(attempt, branches, below)
    return _verdict(attempt, [*branches, None], ())


def admission(
    client: Client,
    rules: Sequence[Rule],
    known: Known,
    *,
    endpoint: Endpoint,
    address: IPAddress | None,
) -> Admission:
    """Return what becomes of a connection of *client* to *endpoint*.

    Args:
        address: The client's address as the server sees it; None on a socket.
    """
    steps = []
    for attempt in attempts(client, endpoint, address):
        verdict = judge(rules, attempt, known)
        steps.append(Step(verdict, _satisfaction(client, verdict)))
    admitted = next((step for step in steps if step.satisfaction.ok is not False), None)
    reached = steps[: steps.index(admitted) + 1] if admitted else steps
    certain = all(step.satisfaction.ok is not None for step in reached)
    several = len(steps) > 1
    plaintext = next(
        (
            step
            for step in steps
            if several
            and step.verdict.attempt.encryption == "none"
            and any(r is not None and r.method != "reject" for r in step.verdict.branches)
        ),
        None,
    )
    return Admission(tuple(steps), admitted, certain, plaintext)


def insertion_point(rules: Sequence[Rule], wanted: Iterable[Attempt], known: Known) -> Rule | None:
    """Return the rule above which a new one must stand to be met by these attempts.

    None: it may stand anywhere, also at the end.
    """
    wanted = tuple(wanted)
    for rule in rules:
        if any(matches(rule, attempt, known) is not False for attempt in wanted):
            return rule
    return None


def _verdict(attempt: Attempt, branches: list[Rule | None], below: tuple[Rule, ...]) -> Verdict:
    outcomes = {
        "implicit" if rule is None else "reject" if rule.method == "reject" else "method"
        for rule in branches
    }
    if len(branches) == 1:
        (outcome,) = outcomes
        return Verdict(attempt, outcome, branches[0], tuple(branches), below)  # type: ignore[arg-type]  # one of three Outcomes
    if outcomes <= {"implicit", "reject"}:
        # Refused either way; which line it will be makes no difference to the client.
        last = branches[-1]
        return Verdict(attempt, "reject" if last else "implicit", last, tuple(branches), below)
    return Verdict(attempt, "indeterminate", None, tuple(branches), below)


def _satisfaction(client: Client, verdict: Verdict) -> Satisfaction:
    if verdict.outcome == "no-tls":
        return Satisfaction(False, "the server takes no TLS")
    if verdict.outcome == "implicit":
        return Satisfaction(False, "no rule matches")
    if verdict.outcome == "reject":
        assert verdict.rule is not None
        return Satisfaction(False, f"{verdict.rule.place} rejects")
    encrypted = verdict.attempt.encryption == "tls"
    answers = [
        satisfies(client, rule, encrypted=encrypted)
        if rule is not None
        else Satisfaction(False, "no rule matches")
        for rule in verdict.branches
    ]
    if all(answer == answers[0] for answer in answers):
        return answers[0]
    names = ", ".join(str(rule.place) if rule else "no rule" for rule in verdict.branches)
    return Satisfaction(None, f"only the server can tell which decides: {names}")
