"""Workflow commands of GitHub Actions: each finding becomes an annotation at its line."""

from __future__ import annotations

from pgmonkey.cli.render.model import Finding, Report


def to_github(report: Report) -> str:
    """Return one ``::error`` or ``::warning`` line for each finding, and for the error if any."""
    lines = [_line(finding) for finding in report.results if isinstance(finding, Finding)]
    if report.error:
        lines.append(f"::error title={report.error.code}::{escaped(report.error.message)}")
    return "".join(f"{line}\n" for line in lines)


def _line(finding: Finding) -> str:
    place = {"file": finding.file, "line": finding.line, "col": finding.column}
    place["title"] = finding.code
    fields = ",".join(f"{k}={property_of(str(v))}" for k, v in place.items() if v is not None)
    text = f"{finding.key}: {finding.message}" if finding.key else finding.message
    return f"::{finding.severity} {fields}::{escaped(text)}"


def escaped(text: str) -> str:
    """Escape as the runner unescapes (actions/toolkit, ``command.ts``)."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def property_of(text: str) -> str:
    """Escape what stands before the text, such as a file's name."""
    return escaped(text).replace(":", "%3A").replace(",", "%2C")
