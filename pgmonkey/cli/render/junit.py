"""JUnit XML, as CI systems read it: one test case a connection type."""

from __future__ import annotations

import re
from xml.sax.saxutils import escape, quoteattr

from pgmonkey.cli.failures import Failure
from pgmonkey.cli.render.model import Report, TypeResult

# What XML 1.0 cannot carry, not even escaped.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def to_junit(report: Report) -> str:
    """Return a ``testsuites`` document with one suite; an error outside of them is a case too."""
    results = [r for r in report.results if isinstance(r, TypeResult)]
    failed = sum(not result.ok for result in results)
    name = f"pgmonkey {report.command}"
    broken = report.error if not results else None
    counts = (
        f'tests="{len(results) + bool(broken)}" failures="{failed}" errors="{int(bool(broken))}"'
    )
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f"<testsuites {counts}>",
        f"  <testsuite name={quoteattr(name)} {counts}>",
    ]
    if broken:
        lines += _case(report.command, name, 0.0, "error", broken)
    for result in results:
        spent = (result.connect_ms or 0.0) + (result.query_ms or 0.0)
        lines += _case(result.type, name, spent / 1000, "failure", result.error)
    return "\n".join((*lines, "  </testsuite>", "</testsuites>", ""))


def _case(
    name: str, suite: str, seconds: float, kind: str, failure: Failure | None
) -> tuple[str, ...]:
    head = f"    <testcase name={quoteattr(name)} classname={quoteattr(suite)}"
    head += f' time="{seconds:.3f}"'
    if failure is None:
        return (f"{head}/>",)
    text = "\n".join(filter(None, (failure.message, failure.reached, failure.hint)))
    tag = f"{kind} type={quoteattr(failure.code)} message={attribute(failure.message)}"
    return (f"{head}>", f"      <{tag}>{plain(escape(text))}</{kind}>", "    </testcase>")


def attribute(text: str) -> str:
    """Return *text* as a quoted attribute."""
    return plain(quoteattr(text))


def plain(text: str) -> str:
    """Return *text* without what XML or an ASCII stream cannot carry."""
    return _FORBIDDEN.sub("?", text).encode("ascii", "xmlcharrefreplace").decode()
