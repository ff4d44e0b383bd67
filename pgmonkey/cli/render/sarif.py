"""SARIF 2.1.0, as code scanning services read it."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from pgmonkey._version import __version__
from pgmonkey.cli.exits import CATALOGUE
from pgmonkey.cli.render.model import Finding, Report

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def to_sarif(report: Report) -> str:
    """Return a log with one run; an error outside of the findings is a notification."""
    findings = [finding for finding in report.results if isinstance(finding, Finding)]
    codes = sorted({finding.code for finding in findings})
    invocation: dict[str, Any] = {
        "executionSuccessful": report.error is None,
        "exitCode": report.exit_code,
    }
    if report.error:
        message = f"{report.error.code}: {report.error.message}"
        invocation["toolExecutionNotifications"] = [
            {"level": "error", "message": {"text": message}}
        ]
    run = {
        "tool": {
            "driver": {
                "name": "pgmonkey",
                "version": __version__,
                "rules": [_rule(code) for code in codes],
            }
        },
        "invocations": [invocation],
        "columnKind": "unicodeCodePoints",
        "results": [_result(finding, codes) for finding in findings],
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


def _result(finding: Finding, codes: list[str]) -> dict[str, Any]:
    place: dict[str, Any] = {"artifactLocation": {"uri": quote(finding.file, safe="/")}}
    if finding.line is not None:
        place["region"] = {"startLine": finding.line, "startColumn": finding.column or 1}
    text = f"{finding.key}: {finding.message}" if finding.key else finding.message
    return {
        "ruleId": finding.code,
        "ruleIndex": codes.index(finding.code),
        "level": finding.severity,
        "message": {"text": text},
        "locations": [{"physicalLocation": place}],
    }
