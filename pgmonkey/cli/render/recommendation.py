"""A recommendation as text in the shape that users know, as JSON, markdown, or a file's lines."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from pgmonkey.server.conf import Advice
from pgmonkey.server.hba import HEADING, Rule, aligned
from pgmonkey.server.recommend import Recommendation

HBA, CONF, ALTER = "pg_hba.conf", "postgresql.conf", "alter-system"
_WIDTH = 79

_BROAD = "For any database and role of this client's network"
_EXACT = "For this database and role alone"
_ORDER = (
    "the first line of pg_hba.conf that matches decides: put these above any other that matches "
    "this client"
)
_EFFECT = (
    "max_connections is the least: keep a larger one; it needs a restart, everything else a "
    "reload: SELECT pg_reload_conf()"
)
# On a server which others use, too, the line as it stands could take connections away.
_AT_LEAST = "at least; keep a larger value"
_FILES = "ssl_*_file: keep paths of your own; without the file the next start of the server fails"


def shown(found: Recommendation, format: str, *, exact: bool, harden: bool) -> str:
    """Return *found* as ``text``, ``json`` or ``markdown``.

    Args:
        exact: Show the rules for this client alone first.
        harden: Add what a careful administrator sets besides.
    """
    if format == "json":
        return to_json(found)
    if format == "markdown":
        return _markdown(found, exact, harden)
    return _text(found, exact, harden)


def emitted(found: Recommendation, file: str, *, exact: bool, harden: bool) -> str:
    """Return the text to paste into *file*, or the statements of ``alter-system``."""
    settings = (*found.settings, *(found.hardening if harden else ()))
    if file == CONF:
        return _lines(_pasted(settings, "#", "{line}"))
    if file == ALTER:
        lines = [_lines(_pasted(settings, "--", "ALTER SYSTEM SET {line};"))]
        restart = ", ".join(a.name for a in settings if a.needs == "restart")
        return "".join((*lines, "SELECT pg_reload_conf();\n", f"-- needs a restart: {restart}\n"))
    rules = found.exact if exact else found.rules
    ident = "".join(f"# in pg_ident.conf: {line}\n" for line in found.ident)
    return aligned(rules, comment=True) + ident


def _pasted(settings: Sequence[Advice], comment: str, form: str) -> Iterator[str]:
    """Yield each setting in *form*; a file that this client does without, as a comment."""
    yield f"{comment} max_connections: {_AT_LEAST}"
    if any(advice.name == "ssl" for advice in settings):
        yield f"{comment} {_FILES}"
    for advice in settings:
        line = form.format(line=advice.line)
        optional = advice.name.endswith("_file") and not advice.required
        yield f"{comment} {line}  {comment} {advice.why}" if optional else line


def _text(found: Recommendation, exact: bool, harden: bool) -> str:
    first, second = (found.exact, found.rules) if exact else (found.rules, found.exact)
    parts = [
        "1) Database type detected: PostgreSQL\n",
        "2) Minimal database server settings needed for this config file:\n",
        "   a) pg_hba.conf:\n",
        aligned(first),
    ]
    if found.ident:
        parts += ["   pg_ident.conf, which a) refers to:\n", _lines(found.ident)]
    parts += ["   b) postgresql.conf:\n", _lines(a.line for a in found.settings)]
    if harden:
        parts += ["   c) postgresql.conf, to harden it:\n", _lines(a.line for a in found.hardening)]
    if first != second:
        title = _BROAD if exact else _EXACT
        parts += [f"{title}, in place of a) and never beside it:\n", aligned(second)]
    parts.append("Notes:\n" + "".join(map(_note, _notes(found))))
    return "\n".join(parts)


def _notes(found: Recommendation) -> tuple[str, ...]:
    """Return the notes, and how the server is made to take it all."""
    return (_ORDER, *found.notes, _EFFECT)


def _note(text: str) -> str:
    wrapped = textwrap.wrap(
        text,
        _WIDTH,
        initial_indent="- ",
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "".join(f"{line}\n" for line in wrapped)


def _lines(lines: Any) -> str:
    return "".join(f"{line}\n" for line in lines)


def _markdown(found: Recommendation, exact: bool, harden: bool) -> str:
    first, second = (found.exact, found.rules) if exact else (found.rules, found.exact)
    parts = [
        f"# What the server needs for `{found.client.name}`\n",
        "## pg_hba.conf\n",
        _table(first),
    ]
    if found.ident:
        parts += ["## pg_ident.conf\n", f"```\n{_lines(found.ident)}```\n"]
    parts += ["## postgresql.conf\n", f"```\n{_lines(a.line for a in found.settings)}```\n"]
    if harden:
        parts += ["## To harden it\n", f"```\n{_lines(a.line for a in found.hardening)}```\n"]
    if first != second:
        parts += [f"## {_BROAD if exact else _EXACT}, instead\n", _table(second)]
    parts += ["## Notes\n", "".join(f"- {note}\n" for note in _notes(found))]
    return "\n".join(parts)


def _table(rules: tuple[Rule, ...]) -> str:
    rows = [HEADING, tuple("---" for _ in HEADING), *(_cells(rule) for rule in rules)]
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def _cells(rule: Rule) -> tuple[str, ...]:
    return tuple(f"`{cell.replace('|', chr(92) + '|')}`" if cell else "" for cell in rule.cells)


def to_json(found: Recommendation) -> str:
    """Return the document; ASCII, so that no stream can fail on it."""
    document = {
        "schema": "pgmonkey.pgserverconfig/1",
        "ok": True,
        "exit_code": 0,
        "server": None,
        "results": results(found),
        "error": None,
    }
    return json.dumps(document, indent=2) + "\n"


def results(found: Recommendation) -> list[dict[str, Any]]:
    """Return the parts of *found* for a JSON document, each with its ``kind``."""
    fleet = found.fleet
    items: list[dict[str, Any]] = [
        {
            "kind": "client",
            "config": found.client.name,
            "servers": [str(endpoint) for endpoint in found.client.endpoints],
            "user": found.client.user,
            "database": found.client.dbname,
            "sslmode": found.client.sslmode,
            "client_certificate": found.client.certificate is not None,
            "password": found.client.password,
            "connection_type": found.client.connection_type,
            "address": found.origin,
        },
        {
            "kind": "capacity",
            "processes": fleet.processes,
            "replicas": fleet.replicas,
            "surge": float(fleet.surge),
            "extra": fleet.extra,
            "per_process": found.client.max_size,
            "demand": found.demand,
            "max_connections_minimum": int(found.settings[0].value),
            "max_connections_accurate": found.accurate,
        },
    ]
    for kind, settings in (("setting", found.settings), ("hardening", found.hardening)):
        for advice in settings:
            fields = {name: value for name, value in asdict(advice).items() if name != "quoted"}
            items.append({"kind": kind, **fields, "line": advice.line})
    for scope, rules in (("network", found.rules), ("exact", found.exact)):
        for rule in rules:
            cells = zip(map(str.lower, HEADING), rule.cells, strict=True)
            items.append({"kind": "hba", "scope": scope, **dict(cells), "line": str(rule)})
    items += [{"kind": "ident", "line": line} for line in found.ident]
    items += [{"kind": "note", "text": note} for note in found.notes]
    return items
