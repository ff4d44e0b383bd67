"""Text for people: tables where there is room, one line a value where there is none."""

from __future__ import annotations

from collections.abc import Sequence

from pgmonkey.cli.render.model import Finding, Report, TypeResult, Value

_TEST_HEADERS = ("type", "result", "connect", "query", "user@database", "server", "TLS", "pool")


def to_table(report: Report, width: int | None = None) -> str:
    """Return *report* as text of at most *width* columns, as far as its values allow."""
    findings = [r for r in report.results if isinstance(r, Finding)]
    if findings:
        return "".join(f"{_finding(finding)}\n" for finding in findings)
    types = [_type(r) for r in report.results if isinstance(r, TypeResult)]
    if types:
        return grid(_TEST_HEADERS, types, width)
    values = [(r.key, r.value, r.origin) for r in report.results if isinstance(r, Value)]
    return grid(("key", "value", "origin"), values, width) if values else ""


def grid(headers: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None) -> str:
    """Lay *rows* out in columns; as blocks of ``header: value`` where *width* is too small.

    A column without any value is left out.
    """
    from tabulate import tabulate

    used = [i for i in range(len(headers)) if any(row[i] for row in rows)]
    headers = [headers[i] for i in used]
    rows = [[row[i] for i in used] for row in rows]

    # Each cell is shown as it is: 007 stays 007, 1_000 is no number.
    text: str = tabulate(rows, headers, tablefmt="simple", disable_numparse=True)
    lines = [line.rstrip() for line in text.split("\n")]
    if width is None or max(map(len, lines)) <= width:
        return "\n".join((*lines, ""))
    label = max(map(len, headers)) + 1
    blocks = (
        "".join(f"{h + ':':<{label}} {c}\n" for h, c in zip(headers, row, strict=True) if c)
        for row in rows
    )
    return "\n".join(blocks)


def _finding(finding: Finding) -> str:
    where = ":".join(str(p) for p in (finding.file, finding.line, finding.column) if p is not None)
    key = f"{finding.key}: " if finding.key else ""
    return f"{where}: {finding.severity}: {key}{finding.message}"


def _type(result: TypeResult) -> tuple[str, ...]:
    server = result.server
    tls = "" if server is None else f"{server.tls} {server.cipher}" if server.tls else "none"
    return (
        result.type,
        "ok" if result.ok else "FAILED",
        _ms(result.connect_ms),
        _ms(result.query_ms),
        f"{server.user}@{server.database}" if server else "",
        server.version if server else "",
        tls,
        str(result.pool) if result.pool else "",
    )


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} ms"
