"""Audits for tests: make one in this process, and paste what a finding says to paste.

A remedy is worth something only if the finding is gone once it was pasted where it says.
``paste`` does what a reader would: SQL goes to psql, lines to the place in pg_hba.conf that
is named, keys into the configuration.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import psycopg
import yaml

from pgmonkey.config.load import load_settings
from pgmonkey.server.audit import Audit, Choice, Result, examine
from pgmonkey.server.checks.model import Facts
from pgmonkey.server.client import resolve
from pgmonkey.server.gathering import Gathered, Wanted, gather
from support.server import PgServer
from support.setup import hba

Config = dict[str, Any]

# Lines above these are the harness' own way in, which no test may lose.
HARNESS_LINES = len(hba(()))


def facts_of(config: Config, wanted: Wanted = Wanted()) -> Gathered:  # noqa: B008  # frozen
    """Return what an audit of *config* would see."""
    settings = load_settings(config, name="config.yaml")

    def connect() -> psycopg.Connection[Any]:
        arguments: dict[str, Any] = settings.connect_arguments()
        arguments.pop("replication", None)  # as the command does: no query runs there
        return psycopg.connect(**arguments, autocommit=True, prepare_threshold=None)

    return gather(settings, resolve(settings), connect, wanted)


def audit_of(
    config: Config,
    wanted: Wanted = Wanted(),  # noqa: B008  # frozen
    change: Callable[[Facts], Facts] = lambda facts: facts,
) -> Audit:
    """Return the audit of *config*, of facts that *change* may have changed."""
    return examine(change(facts_of(config, wanted).facts), Choice())


def result_of(config: Config, id: str, wanted: Wanted = Wanted()) -> Result:  # noqa: B008  # frozen
    """Return what one check says about *config*, the first of several subjects."""
    facts = facts_of(config, wanted).facts
    return examine(facts, Choice(select=(id,))).results[0]


def paste(result: Result, server: PgServer, database: str, config: Config) -> Config:
    """Do what the remedy of *result* says, and return the configuration it leaves."""
    remedy = result.remedy
    assert remedy is not None, result
    where, lines = remedy.where, remedy.lines
    if where.startswith("in psql"):
        with server.admin(database) as conn:
            for line in lines:
                if not line.startswith("\\"):
                    conn.execute(line)
        server.reload()
    elif where.startswith("in pg_ident.conf"):
        server.place("pg_ident.conf", lines)
        server.reload()
    elif "pg_hba.conf" in where:
        server.place("pg_hba.conf", edited(hba_lines(server), where, lines))
        server.reload()
    elif where.startswith("in config.yaml"):
        config = merged(config, result.key, "\n".join(lines))
    else:
        raise AssertionError(f"nowhere to paste: {where}")
    return config


def hba_lines(server: PgServer) -> list[str]:
    """Return the lines of the server's pg_hba.conf as they stand."""
    with server.admin() as conn:
        row = conn.execute("SELECT pg_read_file('pg_hba.conf')").fetchone()
    assert row is not None
    return str(row[0]).splitlines()


def edited(lines: list[str], where: str, new: Sequence[str]) -> list[str]:
    """Return *lines* with *new* ones where the remedy says."""
    place = re.search(r"(above|in place of) line (\d+)", where)
    if place is None:
        at = len(lines) if "at the end" in where else HARNESS_LINES
        return [*lines[:at], *new, *lines[at:]]
    at = int(place[2]) - 1
    return [*lines[:at], *new, *lines[at + (place[1] == "in place of") :]]


def merged(config: Config, key: str, text: str) -> Config:
    """Return *config* with the YAML *text* in the section of *key*."""
    section = key.partition(".")[0]
    values = yaml.safe_load(text)
    values = values.get(section, values)
    return {**config, section: {**config.get(section, {}), **values}}


def seen_through(result: Facts, **changes: Any) -> Facts:
    """Return facts with some of the evidence replaced."""
    assert result.evidence is not None
    return replace(result, evidence=replace(result.evidence, **changes))
