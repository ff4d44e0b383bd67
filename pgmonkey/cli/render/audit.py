"""An audit as text: one value in, eight formats out.

``AuditReport`` is what every format is made from; texts in it are free of secrets already.
Formats for people are in ``audit_text``, those for CI systems in ``audit_ci``.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pgmonkey.cli.exits import OK
from pgmonkey.cli.failures import Failure
from pgmonkey.cli.render.model import Server

if TYPE_CHECKING:
    from pgmonkey.server.audit import Audit, Result
    from pgmonkey.server.recommend import Recommendation

FORMATS = ("table", "json", "sarif", "junit", "markdown", "github", "gitlab")


@dataclass(frozen=True)
class AuditReport:
    """An audit and how the process will end.

    Attributes:
        config: The configuration, as the user named it.
        accepted_by: The files of waivers and baselines that were given.
        error: Why nobody could log in; the audit then has what can be told from outside.
    """

    config: str
    exit_code: int
    audit: Audit
    recommendation: Recommendation
    server: Server | None = None
    error: Failure | None = None
    accepted_by: tuple[str, ...] = ()

    @property
    def accepted(self) -> str:
        """How many findings the user's files accept; "" where there are none such files."""
        if not self.accepted_by:
            return ""
        number = self.audit.count("WAIVED")
        noun = "finding" if number == 1 else "findings"
        return f"{number or 'no'} {noun} accepted by {' and '.join(self.accepted_by)}"


def render_audit(report: AuditReport, format: str, *, width: int | None = None) -> str:
    """Return *report* in *format*; *width* is the terminal's, for tables."""
    if format == "json":
        return to_json(report)
    if format in ("sarif", "junit", "github", "gitlab"):
        from pgmonkey.cli.render import audit_ci

        return {
            "sarif": audit_ci.to_sarif,
            "junit": audit_ci.to_junit,
            "github": audit_ci.to_github,
            "gitlab": audit_ci.to_gitlab,
        }[format](report)
    from pgmonkey.cli.render import audit_text

    if format == "markdown":
        return audit_text.to_markdown(report)
    return audit_text.to_table(report, width)


def to_json(report: AuditReport) -> str:
    """Return the whole audit; its ``schema`` changes its number when a field changes meaning."""
    audit, advice = report.audit, report.recommendation
    error = report.error
    document = {
        "schema": "pgmonkey.pgserverconfig-audit/1",
        "ok": report.exit_code == OK,
        "exit_code": report.exit_code,
        "config": report.config,
        "server": report.server._asdict() if report.server else None,
        "verdict": audit.verdict,
        "admitted": audit.admitted,
        "settings": [asdict(row) for row in audit.rows],
        "rules": [{"place": rule.place, "rule": str(rule)} for rule in audit.rules],
        "results": [_result(result) for result in audit.results],
        "counts": counts(audit),
        "coverage": {
            "decided": audit.decided,
            "total": audit.total,
            "grants": [asdict(gap) for gap in audit.gaps],
        },
        "recommendation": {
            "postgresql.conf": [line.line for line in advice.settings],
            "pg_hba.conf": [str(rule) for rule in advice.exact],
            "pg_ident.conf": list(advice.ident),
        },
        "error": (
            {"code": error.code, "message": error.message, "hint": error.hint} if error else None
        ),
    }
    return json.dumps(document, indent=2) + "\n"


def counts(audit: Audit) -> dict[str, int]:
    """Return how many results have each status, and how many findings each severity."""
    from pgmonkey.server.checks.model import SEVERITIES, STATUSES

    found: dict[str, int] = {status: audit.count(status) for status in STATUSES}
    for severity in SEVERITIES:
        found[severity] = sum(result.severity == severity for result in audit.findings)
    return found


def _result(result: Result) -> dict[str, Any]:
    remedy = result.remedy
    return {
        "id": result.check.id,
        "title": result.check.title,
        "severity": result.severity,
        "status": result.status,
        "found": result.found,
        "why": result.check.why,
        "remedy": {"where": remedy.where, "lines": list(remedy.lines)} if remedy else None,
        "grant": result.grant or None,
        "subject": result.subject or None,
        "key": result.key,
        "file": result.place.file,
        "line": result.place.line,
        "column": result.place.column,
        "fingerprint": result.fingerprint,
        "waiver": result.waiver or None,
    }
