"""Values that ``pgconfig create`` begins with: from libpq's variables, or from a URI.

A secret is never among them. What stands in its place is a reference to the variable or
the file that holds it, so that the file written may be shown to anybody.
"""

from __future__ import annotations

import json
import os
from typing import NamedTuple

from pgmonkey.config.conninfo import keywords
from pgmonkey.config.keys import CONNECTION, KEYS

_SECRET = frozenset(key.name for key in KEYS if key.section == CONNECTION and key.secret)


class Beginning(NamedTuple):
    """YAML for values of ``connection_settings``, and the variables that hold secrets."""

    values: dict[str, str]
    variables: tuple[str, ...] = ()


def from_environment() -> Beginning:
    """Return what libpq's variables say in this process."""
    from psycopg import pq

    given = {}
    for option in pq.Conninfo.get_defaults():
        variable = option.envvar.decode() if option.envvar else ""
        if value := os.environ.get(variable, ""):
            given[option.keyword.decode()] = value
    begin = _without_secrets(given)
    path = os.environ.get("PGPASSWORD_FILE")
    if path and "password" not in given:
        begin.values["password"] = f"{{from_file: {scalar(path)}}}"
    return begin


def from_dsn(dsn: str) -> Beginning:
    """Return what a URI or conninfo string says.

    Raises:
        ConfigError: libpq cannot read it.
    """
    return _without_secrets(keywords(dsn, file="--from-dsn"))


def scalar(text: str) -> str:
    """Return *text* as a quoted YAML scalar, on one line."""
    if text.isprintable():
        return "'" + text.replace("'", "''") + "'"
    return json.dumps(text)  # JSON's escapes are YAML's


def _without_secrets(given: dict[str, str]) -> Beginning:
    values, variables = {}, []
    for name, text in given.items():
        if name in _SECRET:
            variables.append(f"PG{name.upper()}")
            values[name] = f"{{from_env: {variables[-1]}}}"
        else:
            values[name] = scalar(text)
    return Beginning(values, tuple(variables))
