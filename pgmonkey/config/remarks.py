"""What ``pgconfig validate`` says of values that load and may fail all the same.

They are warnings, since the machine that connects may be another one: a certificate that
is missing here may be there, and there ``PGMONKEY_RESOLVE_ENV`` may be set.
"""

from __future__ import annotations

from pathlib import Path

from pgmonkey.config.keys import CONNECTION
from pgmonkey.config.validate import Item, Reading
from pgmonkey.errors import ConfigError

UNRESOLVED = "is a reference; commands need --resolve-env"

_FILES = frozenset({"sslcert", "sslkey", "sslrootcert"})


def remarks(reading: Reading) -> list[ConfigError]:
    """Return a warning for each reference that was not resolved and each missing TLS file."""
    found = []
    for item in reading.items:
        if item.literal:
            found.append(_warning(item, UNRESOLVED))
        elif item.key.section == CONNECTION and item.key.name in _FILES and _missing(item):
            found.append(_warning(item, "names a file that does not exist here"))
    return found


def _missing(item: Item) -> bool:
    """Return whether libpq would look for a file and not find it. It expands no ``~``."""
    path = item.value
    if not isinstance(path, str) or (item.key.name, path) == ("sslrootcert", "system"):
        return False
    if item.key.name == "sslkey" and ":" in path and not Path(path).is_absolute():
        return False  # engine:name, a key in hardware
    try:
        return not Path(path).exists()
    except OSError:  # not ours to see
        return False


def _warning(item: Item, problem: str) -> ConfigError:
    warning = item.mark.error(problem, item.path)
    warning.severity = "warning"
    return warning
