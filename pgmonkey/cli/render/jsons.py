"""The JSON form of a report: one shape for every command, whatever the exit code."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from pgmonkey.cli.exits import OK
from pgmonkey.cli.failures import Failure
from pgmonkey.cli.render.model import Report


def to_json(report: Report) -> str:
    """Return the document; its ``schema`` changes its number when a field changes meaning."""
    document = {
        "schema": f"pgmonkey.{report.command.replace(' ', '-')}/1",
        "ok": report.exit_code == OK,
        "exit_code": report.exit_code,
        "server": asdict(report.server) if report.server else None,
        "results": [_result(result) for result in report.results],
        "error": _error(report.error),
    }
    # ASCII, so that no stream can fail on it.
    return json.dumps(document, indent=2) + "\n"


def _result(result: Any) -> dict[str, Any]:
    fields: dict[str, Any] = asdict(result)
    if "error" in fields:
        fields["error"] = _error(result.error)
    return fields


def _error(failure: Failure | None) -> dict[str, str] | None:
    if failure is None:
        return None
    return {"code": failure.code, "message": failure.message, "hint": failure.hint}
