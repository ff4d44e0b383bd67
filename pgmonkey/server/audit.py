"""The verdict of an audit: evidence times catalogue, and what is made of it.

Nothing here talks to a server or prints: ``examine`` is a function of the facts that
``gathering`` brought together, and its answer is the one value that every output format is
made from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pgmonkey.server.checks import CHECKS
from pgmonkey.server.checks.model import (
    FAILING,
    SEVERITIES,
    Check,
    Facts,
    Judgement,
    Remedy,
    Severity,
    Status,
)
from pgmonkey.server.checks.pasting import pasted
from pgmonkey.server.checks.words import deciding
from pgmonkey.server.evidence import Setting, Unread

if TYPE_CHECKING:
    from pgmonkey.config.settings import Mark, Settings
    from pgmonkey.server.conf import Advice
    from pgmonkey.server.hba import Rule

FINDINGS: tuple[Status, ...] = ("MISMATCH", "REVIEW")
FAIL_ON = (*SEVERITIES[:-1], "mismatch", "unknown", "never")


@dataclass(frozen=True)
class Choice:
    """What the user wants of the catalogue.

    Attributes:
        select, skip: Ids, or beginnings of them such as ``PGM-TLS``; an empty *select* is all.
        severities: By id, in place of the check's own.
        accept: Marks the findings that somebody has accepted (see ``waivers``).
    """

    select: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    severities: Mapping[str, Severity] | None = None
    accept: Callable[[tuple[Result, ...]], tuple[Result, ...]] = lambda results: results

    def wants(self, check: Check) -> bool:
        """Return whether *check* is to be made."""
        chosen = not self.select or any(check.id.startswith(name) for name in self.select)
        return chosen and not any(check.id.startswith(name) for name in self.skip)


@dataclass(frozen=True)
class Result:
    """What one check said about one subject.

    Attributes:
        place: Where the configuration asks for this: the key's own line, or the nearest
            one that the file has.
        waiver: Why the finding was accepted, where it was.
    """

    check: Check
    status: Status
    severity: Severity
    found: str
    remedy: Remedy | None
    subject: str
    key: str
    place: Mark
    grant: str = ""
    waiver: str = ""

    @property
    def fingerprint(self) -> str:
        return self.check.fingerprint(self.subject)

    @property
    def finding(self) -> bool:
        """Whether it is something to look at, and not waived."""
        return self.status in FINDINGS


@dataclass(frozen=True)
class Row:
    """One line of the settings table."""

    setting: str
    recommended: str
    current: str
    source: str
    status: Status


@dataclass(frozen=True)
class Gap:
    """A grant that would decide more checks."""

    grant: str
    ids: tuple[str, ...]


@dataclass(frozen=True)
class Audit:
    """The whole answer.

    Attributes:
        verdict: One line: let in or not, by what, and how many findings.
        admitted: None where that cannot be told.
        rules: The server's lines for this client: those that match one of its attempts.
        total: Checks that were made; *decided* of them have an answer.
    """

    verdict: str
    admitted: bool | None
    rows: tuple[Row, ...]
    rules: tuple[Rule, ...]
    results: tuple[Result, ...]
    gaps: tuple[Gap, ...]
    decided: int
    total: int

    @property
    def findings(self) -> tuple[Result, ...]:
        """What to look at, the gravest first."""
        found = [result for result in self.results if result.finding]
        return tuple(sorted(found, key=lambda r: SEVERITIES.index(r.severity)))

    def count(self, status: Status) -> int:
        """Return how many results have *status*."""
        return sum(result.status == status for result in self.results)

    def fails(self, fail_on: str) -> bool:
        """Return whether the answer is no, by the word of ``--fail-on``.

        ``mismatch`` is a MISMATCH in the table or among the results; a severity is any
        finding of it or graver; ``unknown`` is a mismatch or anything that was not decided.
        """
        if fail_on == "never":
            return False
        if fail_on in ("mismatch", "unknown"):
            rows = {row.status for row in self.rows}
            found = {result.status for result in self.results} | rows
            return "MISMATCH" in found or (fail_on == "unknown" and "UNKNOWN" in found)
        graver = SEVERITIES[: SEVERITIES.index(fail_on) + 1]
        return any(result.severity in graver for result in self.findings)


def examine(facts: Facts, choice: Choice = Choice()) -> Audit:  # frozen
    """Return what the catalogue says about *facts*."""
    made = [check for check in CHECKS if choice.wants(check)]
    results = choice.accept(
        tuple(result for check in made for result in _results(check, facts, choice))
    )
    rows = tuple(_row(advice, facts, results) for advice in facts.recommendation.settings)
    unknown = {result.check.id for result in results if result.status == "UNKNOWN"}
    audit = Audit(
        "",
        _admitted(facts),
        rows,
        _rules(facts),
        results,
        _gaps(facts, results),
        len(made) - len(unknown),
        len(made),
    )
    return replace(audit, verdict=verdict(facts, audit))


def _results(check: Check, facts: Facts, choice: Choice) -> list[Result]:
    answer = check.judge(facts)
    judgements = answer if isinstance(answer, tuple) else (answer,)
    return [_result(check, judgement, facts, choice) for judgement in judgements]


def _result(check: Check, said: Judgement, facts: Facts, choice: Choice) -> Result:
    own = (choice.severities or {}).get(check.id)
    severity = own or said.severity or check.severity
    status: Status
    if said.outcome == "fail":
        failing = severity in FAILING or (bool(check.setting) and own is None)
        status = "MISMATCH" if failing else "REVIEW"
    else:
        words: dict[str, Status] = {"ok": "OK", "unknown": "UNKNOWN", "n/a": "N/A"}
        status = words[said.outcome]
    key = said.key or check.key
    return Result(
        check,
        status,
        severity,
        said.found,
        pasted(said.remedy, key, facts) if said.remedy else None,
        said.subject,
        key,
        place_of(facts.settings, key),
        said.grant.format(role=_role(facts)) if said.grant else "",
    )


def _role(facts: Facts) -> str:
    from pgmonkey.server.checks.words import identifier

    return identifier(facts.session.user if facts.session else facts.client.user)


def place_of(settings: Settings, key: str) -> Mark:
    """Return where *key* stands, or the nearest line for one that is not given.

    That is the first line of its section, or else of the file: what is missing has to be
    written somewhere near.
    """
    mark = settings.mark(key)
    if mark.line is not None:
        return mark
    section = key.partition(".")[0]
    near = [m for k, m in settings.marks.items() if k.partition(".")[0] == section and m.line]
    near = near or [m for m in settings.marks.values() if m.line]
    return min(near, key=lambda m: m.line or 0) if near else mark


def _row(advice: Advice, facts: Facts, results: tuple[Result, ...]) -> Row:
    """Return one line of the table; a file's path is judged by being there at all."""
    setting = facts.setting(advice.name)
    if isinstance(setting, Unread) or setting is None:
        return Row(advice.name, advice.value, "", "", "UNKNOWN")
    shown = (setting.value, setting.source)
    if advice.name.endswith("_file"):
        status: Status = "OK" if setting.value else "MISMATCH" if advice.required else "N/A"
        if facts.platform:
            status = "N/A"
    elif advice.name == "max_connections":
        status = "OK" if int(setting.value) >= int(advice.value) else "MISMATCH"
    else:
        status = "OK" if setting.value == advice.value else "MISMATCH"
    return Row(advice.name, advice.value, *shown, _as_judged(advice.name, status, results))


def _as_judged(setting: str, status: Status, results: tuple[Result, ...]) -> Status:
    """Return the status of a row, which fails no more than its check does.

    What the user has waived, made a lesser matter or left out there is so in the table too.
    """
    if status != "MISMATCH":
        return status
    said = [result.status for result in results if result.check.setting == setting]
    if not said and any(check.setting == setting for check in CHECKS):
        return "N/A"
    return next((word for word in said if word in ("WAIVED", "REVIEW")), status)


def _rules(facts: Facts) -> tuple[Rule, ...]:
    """Return the lines that matter to this client: the deciding ones, and those they shadow."""
    if facts.admission is None:
        return ()
    seen: dict[Rule, None] = {}
    for step in facts.admission.steps:
        for rule in (*step.verdict.branches, *step.verdict.shadowed):
            if rule is not None:
                seen[rule] = None
    return tuple(sorted(seen, key=lambda r: (r.number or 0, r.line or 0)))


def _gaps(facts: Facts, results: tuple[Result, ...]) -> tuple[Gap, ...]:
    by_grant: dict[str, list[str]] = {}
    for result in results:
        if result.status == "UNKNOWN" and result.grant:
            by_grant.setdefault(result.grant, []).append(result.check.id)
    return tuple(Gap(grant, tuple(dict.fromkeys(ids))) for grant, ids in by_grant.items())


def _admitted(facts: Facts) -> bool | None:
    if facts.admission is not None:
        if facts.admission.admitted is None:
            return facts.refused_by_file
        if facts.admission.admitted.satisfaction.ok or facts.own_session or facts.proxied:
            return True
        return None
    return True if facts.own_session or (facts.proxied and not facts.address_given) else None


def verdict(facts: Facts, audit: Audit) -> str:
    """Return the first line of the audit."""
    return f"{_decision(facts, audit.admitted)}, {tally(audit)}"


def _decision(facts: Facts, admitted: bool | None) -> str:
    word = {True: "ADMITTED", False: "REFUSED", None: "UNDECIDED"}[admitted]
    if facts.address_given:
        word += f" from {facts.address}"
    rule = deciding(facts) if facts.admission is not None else None
    if rule is None and facts.admission is not None and facts.admission.admitted is None:
        rule = facts.admission.steps[-1].verdict.rule
    tls = _tls(facts)
    if facts.refused_by_file and facts.admission is not None:
        last = facts.admission.steps[-1]
        how = f"by {rule.place} ({rule.type}, {rule.method})" if rule else last.satisfaction.reason
        text = f"{word} now; REFUSED {how} after the next reload"
    elif rule is not None:
        text = f"{word} by {rule.place} ({rule.type}, {rule.method})"
    elif facts.admission is not None and admitted is False:
        return f"{word}: {facts.admission.steps[-1].satisfaction.reason}"
    elif facts.evidence is None:
        return facts.refusal or "NOT REACHED"
    else:
        method = ((facts.session.system_user if facts.session else None) or "").partition(":")[0]
        text = f"{word} by a line that "
        text += "this role may not read" if facts.admission is None else "only the server can tell"
        text += f" ({method})" if method and not facts.proxied else ""
    if facts.proxied:
        text += ", through a pooler"
    return f"{text}, {tls}" if admitted is not False and tls else text


def _tls(facts: Facts) -> str:
    if facts.socket:
        return "Unix socket"
    if facts.evidence is None:
        return ""
    tls = facts.evidence.tls
    if not facts.evidence.client.tls:
        return "no TLS"
    if facts.proxied or isinstance(tls, Unread) or tls.version is None:
        return facts.tls.version if facts.tls is not None and facts.tls.version else "TLS"
    return tls.version


def tally(audit: Audit) -> str:
    """Return how many findings there are: ``3 findings (1 critical, 1 high)``."""
    found = audit.findings
    grave = [(s, sum(r.severity == s for r in found)) for s in FAILING]
    detail = ", ".join(f"{number} {severity}" for severity, number in grave if number)
    noun = "finding" if len(found) == 1 else "findings"
    return f"{len(found) or 'no'} {noun}" + (f" ({detail})" if detail else "")


__all__ = ["FAIL_ON", "Audit", "Choice", "Gap", "Result", "Row", "Setting", "examine", "place_of"]
