"""A connection URI, or a list of key=value, taken apart by libpq itself."""

from __future__ import annotations

import re

from pgmonkey.errors import ConfigError

# libpq repeats what it was given, password included, so only its own words are passed on.
_WORDS = (
    "invalid percent-encoded token",
    "forbidden value %00 in percent-encoded value",
    "invalid URI query parameter",
    "unexpected character",
    "end of string reached",
    "IPv6 host address may not be empty",
    'missing "="',
    "unterminated quoted string",
    "invalid connection option",
)

# What libpq takes for the scheme, and for user and password after it.
_BEFORE_HOST = re.compile(r"postgres(?:ql)?://(?:[^@/]*@)?")


def keywords(dsn: str, *, file: str) -> dict[str, str]:
    """Return the libpq keywords in *dsn*; *file* stands for it in messages.

    Raises:
        ConfigError: libpq cannot read it, or would take part of a password for the host.
    """
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    before = _BEFORE_HOST.match(dsn)
    if before and "@" in dsn[before.end() :].partition("?")[0]:
        problem = "has an @ too many; an @ in a password is written %40, and a / is %2F"
        raise ConfigError(problem, file=file)
    try:
        return {key: str(value) for key, value in conninfo_to_dict(dsn).items()}
    except ProgrammingError as error:
        said = next((f": {words}" for words in _WORDS if words in str(error)), "")
    raise ConfigError(f"is neither a URI nor a list of key=value{said}", file=file)
