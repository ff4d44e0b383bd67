"""An audit for people: on a terminal, and in Markdown for a merge request.

The order is that of the questions: let in or not, do the settings fit, which lines are
there, what is wrong, and what could not be seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgmonkey.cli.render.recommendation import shown
from pgmonkey.cli.render.table import grid

if TYPE_CHECKING:
    from pgmonkey.cli.render.audit import AuditReport
    from pgmonkey.server.audit import Audit, Gap, Result

COLUMNS = ("Setting", "Recommended", "Current", "Source", "Status")
RULES = ("LINE", "TYPE", "DATABASE", "USER", "ADDRESS", "METHOD", "OPTIONS")


def to_table(report: AuditReport, width: int | None = None) -> str:
    """Return the audit as text of at most *width* columns, as far as its values allow."""
    audit = report.audit
    if report.error is not None:
        return _without_login(report)
    version = f" {report.server.version}" if report.server else ""
    parts = [
        f"{audit.verdict}\n",
        f"1) Database type detected: PostgreSQL{version}\n",
        "2) Server settings audit:\n",
        "   postgresql.conf:\n",
        grid(COLUMNS, _rows(audit), width),
    ]
    if audit.rules:
        parts += [
            "   pg_hba.conf, the lines for this client in the order in which they are tried:\n",
            grid(RULES, [(r.place, *r.cells) for r in audit.rules], width),
        ]
    if report.recommendation.exact:
        parts += [
            "   pg_hba.conf, recommended for this client:\n",
            grid(RULES[1:], [r.cells for r in report.recommendation.exact], width),
        ]
    parts += ["3) Findings:\n", _findings(audit)]
    parts += [f"   {report.accepted}\n"] if report.accepted else []
    parts += ["4) Coverage:\n", "".join(f"   {line}\n" for line in coverage(audit))]
    return "\n".join(parts)


def _without_login(report: AuditReport) -> str:
    """Return what is left to say where nobody could log in: the recommendation, and findings."""
    parts = [
        f"{report.audit.verdict}\n",
        shown(report.recommendation, "text", exact=False, harden=False),
        "Findings without a login:\n",
        _findings(report.audit),
    ]
    return "\n".join(parts)


def _rows(audit: Audit) -> list[tuple[str, ...]]:
    return [
        (row.setting, row.recommended, row.current, row.source, row.status) for row in audit.rows
    ]


def _findings(audit: Audit) -> str:
    if not audit.findings:
        return "   none\n"
    return "\n".join(_finding(result) for result in audit.findings)


def _finding(result: Result) -> str:
    lines = [
        f"   {result.severity.upper()} {result.check.id}: {result.found}",
        f"     wanted  {result.check.title}",
        f"     why     {result.check.why}",
    ]
    if result.remedy:
        lines.append(f"     remedy  {result.remedy.where or 'paste'}:")
        lines += [f"               {line}" for line in result.remedy.lines]
    lines.append(f"     asked   {result.place}: {result.key}")
    return "".join(f"{line}\n" for line in lines)


def coverage(audit: Audit) -> list[str]:
    """Return how many checks were decided, and what grants would decide more."""
    lines = [f"{audit.decided} of {audit.total} checks decided"]
    lines += [_gap(gap) for gap in audit.gaps]
    granted = {name for gap in audit.gaps for name in gap.ids}
    other = [
        f"{r.check.id}: {r.found}"
        for r in audit.results
        if r.status == "UNKNOWN" and r.check.id not in granted
    ]
    return [*lines, *dict.fromkeys(other)]


def _gap(gap: Gap) -> str:
    more = f"{len(gap.ids)} more ({', '.join(gap.ids)})"
    return f"would decide {more}: {gap.grant}"


def to_markdown(report: AuditReport) -> str:
    """Return the audit as GitHub's and GitLab's Markdown."""
    audit = report.audit
    lines = [f"## {_cell(audit.verdict)}", ""]
    if report.error:
        lines += [f"**{report.error.code}**: {_cell(report.error.message)}", ""]
    lines += _table(COLUMNS, _rows(audit))
    if audit.rules:
        lines += [
            "",
            "### pg_hba.conf",
            "",
            *_table(RULES, [(r.place, *r.cells) for r in audit.rules]),
        ]
    lines += ["", "### Findings", ""]
    if not audit.findings:
        lines.append("none")
    for result in audit.findings:
        lines += _markdown(result)
    lines += ["", _cell(report.accepted)] if report.accepted else []
    lines += ["", "### Coverage", "", *(f"- {_cell(line)}" for line in coverage(audit)), ""]
    return "\n".join(lines)


def _markdown(result: Result) -> list[str]:
    wanted = f"wanted: {result.check.title}; asked by `{result.key}` at `{result.place}`"
    head = f"- **{result.severity}** `{result.check.id}` {_cell(result.found)}"
    lines = [head, f"  ({wanted})"]
    if result.remedy:
        lines += ["", f"  {_cell(result.remedy.where)}:" if result.remedy.where else "", "  ```"]
        lines += [*(f"  {line}" for line in result.remedy.lines), "  ```", ""]
    return lines


def _table(headers: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    lines = [_line(headers), _line(["---"] * len(headers))]
    return lines + [_line([_cell(cell) for cell in row]) for row in rows]


def _line(cells: tuple[str, ...] | list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    """Escape what Markdown would take for a column, a tag or a mark."""
    for mark in ("\\", "|", "<", "*", "_", "`"):
        text = text.replace(mark, f"\\{mark}")
    return text.replace("\n", " ")
