"""SARIF 2.1.0, as code scanning services read it."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from pgmonkey._version import __version__
from pgmonkey.cli.exits import CATALOGUE
from pgmonkey.cli.failures import Failure
from pgmonkey.cli.render.model import Finding, Report

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def to_sarif(report: Report) -> str:
    """Return a log with one run; an error outside of the findings is a notification."""
    findings = [finding for finding in report.results if isinstance(finding, Finding)]
    codes = sorted({finding.code for finding in findings})
    return log(
        [_rule(code) for code in codes],
        [_result(finding, codes) for finding in findings],
        exit_code=report.exit_code,
        error=report.error,
    )


def log(
    rules: list[dict[str, Any]],
    results: list[dict[str, Any]],
    *,
    exit_code: int,
    error: Failure | None,
) -> str:
    """Return a log with one run of these rules and results, as text."""
    invocation: dict[str, Any] = {"executionSuccessful": error is None, "exitCode": exit_code}
    if error:
        message = f"{error.code}: {error.message}"
        invocation["toolExecutionNotifications"] = [
            {"level": "error", "message": {"text": message}}
        ]
    run = {
        "tool": {"driver": {"name": "pgmonkey", "version": __version__, "rules": rules}},
        "invocations": [invocation],
        "columnKind": "unicodeCodePoints",
        "results": results,
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _rule(code: str) -> dict[str, Any]:
    entry = CATALOGUE[code]
    return {
        "id": code,
        "shortDescription": {"text": entry.title},
        "fullDescription": {"text": entry.why},
        "help": {"text": entry.remedy},
    }


def location(file: str, line: int | None, column: int | None) -> dict[str, Any]:
    """Return a place in a file; lines and columns count from 1."""
    place: dict[str, Any] = {"artifactLocation": {"uri": quote(file, safe="/")}}
    if line is not None:
        place["region"] = {"startLine": line, "startColumn": column or 1}
    return {"physicalLocation": place}


def _result(finding: Finding, codes: list[str]) -> dict[str, Any]:
    text = f"{finding.key}: {finding.message}" if finding.key else finding.message
    return {
        "ruleId": finding.code,
        "ruleIndex": codes.index(finding.code),
        "level": finding.severity,
        "message": {"text": text},
        "locations": [location(finding.file, finding.line, finding.column)],
    }
