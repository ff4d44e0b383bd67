"""One result model in, text out: table, json, junit, sarif, github."""

from __future__ import annotations

from pgmonkey.cli.render.model import (
    Finding,
    PoolFill,
    Report,
    Rung,
    Server,
    TypeResult,
    Value,
)

__all__ = ["Finding", "PoolFill", "Report", "Rung", "Server", "TypeResult", "Value", "render"]


def render(report: Report, format: str, *, width: int | None = None) -> str:
    """Return *report* in *format*, ready for standard output.

    Args:
        width: Columns of the terminal, for tables; None means no limit.
    """
    if format == "json":
        from pgmonkey.cli.render.jsons import to_json

        return to_json(report)
    if format == "junit":
        from pgmonkey.cli.render.junit import to_junit

        return to_junit(report)
    if format == "sarif":
        from pgmonkey.cli.render.sarif import to_sarif

        return to_sarif(report)
    if format == "github":
        from pgmonkey.cli.render.github import to_github

        return to_github(report)
    from pgmonkey.cli.render.table import to_table

    return to_table(report, width)
