"""Remedies for the configuration, written as its reader pastes them.

A check says ``sslmode: verify-full``. In a file that stands under its section; a client that
has no file is configured by libpq's variables or its connection string. Remedies for the
server are in ``words``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pgmonkey.config.keys import ASYNC_POOL, CONNECTION, OPEN_SECTIONS, POOL
from pgmonkey.config.load import DSN, ENVIRONMENT
from pgmonkey.server.checks.words import in_config

if TYPE_CHECKING:
    from pgmonkey.server.checks.model import Facts, Remedy

SECTIONS = (CONNECTION, POOL, ASYNC_POOL, *OPEN_SECTIONS)
VERIFYING = ("sslmode: verify-ca", "sslmode: verify-full")
FILE = "a configuration file"
FROM_VARIABLE = ("password", "{from_env: PGPASSWORD}")


def pasted(remedy: Remedy, key: str, facts: Facts) -> Remedy:
    """Return *remedy* for *key* as it is pasted; one for another place stays as it is.

    An sslmode that verifies comes with an sslrootcert where the client has none: without
    one libpq refuses to connect.
    """
    name = facts.settings.name
    inside = in_config(facts)
    if not remedy.where.startswith(inside) or not all(map(_is_pair, remedy.lines)):
        return remedy
    lines = remedy.lines
    rooted = bool(facts.client.sslrootcert) or any(x.startswith("sslrootcert:") for x in lines)
    if not rooted and any(line in VERIFYING for line in lines):
        lines += ("sslrootcert: ca.crt",)
    section = key.partition(".")[0]
    if section not in SECTIONS:
        return replace(remedy, lines=lines)
    if name != ENVIRONMENT:
        indented = (f"  {line}" for line in lines)
        return replace(remedy, lines=(f"{section}:", *indented))
    pairs = [(x.partition(": ")[0], x.partition(": ")[2].strip("'")) for x in lines]
    if pairs == [FROM_VARIABLE]:
        # The variable is all that is wanted; a secret is no part of a command line.
        return replace(remedy, lines=("PGPASSWORD=...",), where="in the environment")
    marks = (facts.settings.marks.get(f"{CONNECTION}.{keyword}") for keyword, _ in pairs)
    if section == CONNECTION and any(mark is not None and mark.file == DSN for mark in marks):
        # What it says goes before any variable.
        where = remedy.where.replace(inside, f"in {DSN}", 1)
        return replace(remedy, lines=tuple(f"{k}={value}" for k, value in pairs), where=where)
    variables = _variables() if section == CONNECTION else {}
    if all(keyword in variables for keyword, _ in pairs):
        return replace(remedy, lines=tuple(f"{variables[k]}={value}" for k, value in pairs))
    indented = (f"  {line}" for line in lines)
    where = f"in {FILE}: no variable of the environment has this"
    return replace(remedy, lines=(f"{section}:", *indented), where=where)


def _is_pair(line: str) -> bool:
    return ": " in line and line.partition(": ")[0].isidentifier()


def _variables() -> dict[str, str]:
    """Return libpq's variable for each of its keywords that has one."""
    from psycopg import pq

    options = pq.Conninfo.get_defaults()
    return {o.keyword.decode(): o.envvar.decode() for o in options if o.envvar}
