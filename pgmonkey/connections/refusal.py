"""What libpq refuses before it dials: a value that means nothing to it, or a missing service.

No server is needed for that to be wrong, so it is the configuration's fault, and the place
to look at is a key of the file or libpq's variable for it. The texts are libpq's, in
English; translated ones are not recognised, and are told as they come.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgmonkey.config.keys import CONNECTION, keys_of, nearest

if TYPE_CHECKING:
    from pgmonkey.config.settings import Settings

# The C library says the second of a port which is no number, and names no port.
_PORT = "invalid port number|[Ss]ervname not supported"

# Each with the key that is at fault, or the number of the group that names it.
_TEXTS: tuple[tuple[str, str | int], ...] = (
    (r'invalid "?(\w+)"? value: ', 1),
    (r'invalid integer value ".*" for connection option "(\w+)"', 1),
    (r"bad value for (\w+)", 1),
    (r'weak (sslmode) ".*" may not be used', 1),
    (_PORT, "port"),
    (r"could not match [0-9]+ port numbers to", "port"),
    (r"could not match [0-9]+ host names to", "hostaddr"),
    (r"definition of service .* not found|service file .* not found", "service"),
    (r"local user with ID \d+ does not exist", "user"),
)

# libpq's variables are PG and the keyword without _, but for these.
_VARIABLES = {"dbname": "PGDATABASE", "connect_timeout": "PGCONNECT_TIMEOUT"}


@dataclass(frozen=True)
class Refusal:
    """One refused value: the place and what is wrong there, and what to do."""

    message: str
    hint: str


def refused(reason: str) -> bool:
    """Return whether *reason* tells of something that libpq refused by itself."""
    return _key(reason) is not None


def refusal(reason: str, settings: Settings) -> Refusal:
    """Say where the value stands that libpq refuses in *reason*, and what may stand there."""
    key = _key(reason) or ""
    words = "invalid port number" if re.search("[Ss]ervname", reason) else reason
    path = f"{CONNECTION}.{key}"
    if key in settings.connection:
        place = f"{settings.mark(path)}: {path}"
    else:
        place = _VARIABLES.get(key, "PG" + key.replace("_", "").upper())
    return Refusal(f"{place}: {words}", _hint(key, reason))


def _key(reason: str) -> str | None:
    for text, key in _TEXTS:
        if found := re.search(text, reason):
            return key if isinstance(key, str) else found[key]
    return None


def _hint(key: str, reason: str) -> str:
    if "could not match" in reason:
        one = "one for all hosts, or " if key == "port" else ""
        return f"give {one}one for each host, with commas between them"
    if key == "user":
        return "name the role to log in as; a user id without an account has no name to begin with"
    if key == "service":
        return (
            "name a [section] of ~/.pg_service.conf, of the file in PGSERVICEFILE or of the "
            "system's pg_service.conf"
        )
    if key == "port":
        return "a port is a whole number from 1 to 65535"
    known = keys_of(CONNECTION).get(key)
    if known is None or not known.choices:
        return f"see {key} in the documentation of libpq"
    if key == "sslmode" and "weak" in reason:
        return "set sslmode to verify-full"
    wrong = re.search(r'value: "(.*)"', reason)
    guess = nearest(wrong[1], known.choices) if wrong else ""
    return guess.removeprefix("; ") or "choose one of " + ", ".join(known.choices)
