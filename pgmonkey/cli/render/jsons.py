"""The JSON form of a report: one shape for every command, whatever the exit code."""

from __future__ import annotations

import json
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
        "server": report.server._asdict() if report.server else None,
        "results": _plain(report.results),
        "error": _error(report.error),
    }
    # ASCII, so that no stream can fail on it.
    return json.dumps(document, indent=2) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, Failure):
        return _error(value)
    if hasattr(value, "_asdict"):
        return {name: _plain(inner) for name, inner in value._asdict().items()}
    if isinstance(value, tuple):
        return [_plain(inner) for inner in value]
    return value


def _error(failure: Failure | None) -> dict[str, str] | None:
    if failure is None:
        return None
    return {"code": failure.code, "message": failure.message, "hint": failure.hint}
