"""An audit for CI systems: SARIF, JUnit, GitHub's annotations, GitLab's code quality.

A finding points at the line of the configuration that asks for it, since that is the file
which the project has; the server's own line is in the text. Findings are results, checks
that pass are none, and what could not be decided is told in words only.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape, quoteattr

from pgmonkey.cli.render.github import escaped, property_of
from pgmonkey.cli.render.junit import attribute, plain
from pgmonkey.cli.render.sarif import location, log

if TYPE_CHECKING:
    from pgmonkey.cli.render.audit import AuditReport
    from pgmonkey.server.audit import Result
    from pgmonkey.server.checks.model import Check

LEVELS = {
    "critical": "error",
    "high": "error",
    "medium": "warning",
    "low": "note",
    "info": "note",
}
# What GitHub sorts security findings by: a number like CVSS's (code scanning documentation).
SCORES = {"critical": "9.5", "high": "8.0", "medium": "5.5", "low": "3.0", "info": "1.0"}
GITHUB = {"error": "error", "warning": "warning", "note": "notice"}
GITLAB = {
    "critical": "blocker",
    "high": "critical",
    "medium": "major",
    "low": "minor",
    "info": "info",
}


def text(result: Result) -> str:
    """Return a finding with its remedy, for a place that shows one text."""
    lines = [f"{result.key}: {result.found} (wanted: {result.check.title})"]
    if result.remedy:
        lines.append(f"{result.remedy.where}:" if result.remedy.where else "remedy:")
        lines += [f"  {line}" for line in result.remedy.lines]
    return "\n".join(lines)


def to_sarif(report: AuditReport) -> str:
    """Return a SARIF 2.1.0 log that declares every check made and has every finding."""
    checks = {result.check.id: result.check for result in report.audit.results}
    ids = list(checks)
    shown = [r for r in report.audit.results if r.finding or r.status == "WAIVED"]
    return log(
        [_rule(check) for check in checks.values()],
        [_sarif(result, ids) for result in shown],
        exit_code=report.exit_code,
        error=report.error,
    )


def _rule(check: Check) -> dict[str, Any]:
    return {
        "id": check.id,
        "shortDescription": {"text": check.title},
        "fullDescription": {"text": check.why},
        "help": {"text": f"{check.remedy} (read from: {check.reads})"},
        "defaultConfiguration": {"level": LEVELS[check.severity]},
        "properties": {"security-severity": SCORES[check.severity], "tags": ["security"]},
    }


def _sarif(result: Result, ids: list[str]) -> dict[str, Any]:
    place = result.place
    found: dict[str, Any] = {
        "ruleId": result.check.id,
        "ruleIndex": ids.index(result.check.id),
        "level": LEVELS[result.severity],
        "message": {"text": text(result)},
        # A configuration from the environment has no lines: the first stands for all.
        "locations": [location(place.file, place.line or 1, place.column)],
        "partialFingerprints": {"pgmonkey/v1": result.fingerprint},
        "properties": {"severity": result.severity, "status": result.status},
    }
    if result.status == "WAIVED":
        found["suppressions"] = [{"kind": "external", "justification": result.waiver}]
    return found


def to_junit(report: AuditReport) -> str:
    """Return one test case a result: findings fail, what has no answer is skipped."""
    results, error = report.audit.results, report.error
    failed = len(report.audit.findings)
    skipped = sum(r.status in ("UNKNOWN", "N/A", "WAIVED") for r in results)
    counts = f'tests="{len(results) + bool(error)}" failures="{failed}" errors="{int(bool(error))}"'
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f"<testsuites {counts}>",
        f'  <testsuite name="pgmonkey pgserverconfig" {counts} skipped="{skipped}">',
    ]
    if error:
        lines += [
            '    <testcase name="login" classname="pgmonkey.pgserverconfig" time="0">',
            f"      <error type={quoteattr(error.code)} message={attribute(error.message)}/>",
            "    </testcase>",
        ]
    for result in results:
        lines += _case(result)
    return "\n".join((*lines, "  </testsuite>", "</testsuites>", ""))


def _case(result: Result) -> list[str]:
    name = f"{result.check.id} {result.check.title}"
    name += f" [{result.subject}]" if result.subject else ""
    head = f'    <testcase name={attribute(name)} classname={attribute(result.place.file)} time="0"'
    if result.finding:
        kind = f"{result.severity} {result.status}"
        body = f"      <failure type={quoteattr(kind)} message={attribute(result.found)}>"
        return [f"{head}>", f"{body}{plain(escape(text(result)))}</failure>", "    </testcase>"]
    if result.status == "OK":
        return [f"{head}/>"]
    why = f"{result.status}: {result.waiver or result.found}"
    return [f"{head}>", f"      <skipped message={attribute(why)}/>", "    </testcase>"]


def to_github(report: AuditReport) -> str:
    """Return an annotation for each finding, and one for the login if it failed."""
    lines = []
    for result in report.audit.findings:
        place = result.place
        fields = {"file": place.file, "line": place.line or 1, "col": place.column}
        fields["title"] = f"{result.check.id} ({result.severity})"
        shown = ",".join(f"{k}={property_of(str(v))}" for k, v in fields.items() if v is not None)
        lines.append(f"::{GITHUB[LEVELS[result.severity]]} {shown}::{escaped(text(result))}")
    if report.error:
        lines.append(f"::error title={report.error.code}::{escaped(report.error.message)}")
    return "".join(f"{line}\n" for line in lines)


def to_gitlab(report: AuditReport) -> str:
    """Return a code quality report, as GitLab's merge requests show it."""
    found = [
        {
            "description": text(result),
            "check_name": result.check.id,
            "fingerprint": result.fingerprint,
            "severity": GITLAB[result.severity],
            "location": {"path": result.place.file, "lines": {"begin": result.place.line or 1}},
        }
        for result in report.audit.findings
    ]
    return json.dumps(found, indent=2) + "\n"
