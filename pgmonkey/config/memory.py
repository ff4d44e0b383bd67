"""What was made of a configuration before, for as long as it would come out the same.

That is: while its text, the environment variables it read and the files it read once and
for all are unchanged. Variables are compared by a keyed digest, files by ``stat``.
"""

from __future__ import annotations

import hashlib
import marshal
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pgmonkey.config.interpolation import Resolver, Stamp, digest, environment, stamp
from pgmonkey.config.settings import Settings

# Configurations remembered, oldest out first; a program has a handful.
REMEMBERED = 128

# A file that was written this short a time before it was read may be written again
# without a new time stamp: the clock of file systems ticks every 1 to 10 ms.
UNSETTLED_NS = 20_000_000

_KEY = secrets.token_bytes(32)


class _Entry(NamedTuple):
    settings: Settings
    file: Stamp | None
    variables: tuple[str, ...]
    digest: bytes
    files: tuple[tuple[Path, Stamp], ...]


# A plain dict and single operations on it: there is no lock that a fork could catch.
_entries: dict[object, _Entry] = {}


def dict_key(config: Mapping[str, Any]) -> bytes | None:
    """Return what is equal for equal dicts, or None for one that is not plain data."""
    try:
        # Version 2 of the format does not depend on which strings are the same object.
        return hashlib.blake2b(marshal.dumps(config, 2), key=_KEY).digest()  # type: ignore[arg-type]  # refused at run time
    except ValueError:
        return None


def recall(key: object, file: Stamp | None) -> Settings | None:
    """Return the settings kept under *key*, unless something has changed since."""
    entry = _entries.get(key)
    if entry is None or entry.file != file:
        return None
    if entry.variables and digest(entry.variables) != entry.digest:
        return None
    try:
        unchanged = all(stamp(path) == seen for path, seen in entry.files)
    except OSError:
        return None
    return entry.settings if unchanged else None


def keep(key: object, settings: Settings, file: Stamp | None, resolver: Resolver | None) -> None:
    """Remember *settings*, which *resolver* had a part in, under *key*."""
    files = tuple(resolver.files.items()) if resolver else ()
    stamps = [seen for _, seen in files] + ([file] if file else [])
    if any(abs(time.time_ns() - seen[0]) < UNSETTLED_NS for seen in stamps):
        return
    names = tuple(resolver.variables) if resolver else ()
    seen_digest = digest(names)
    if resolver and any(environment(n) != value for n, value in resolver.variables.items()):
        return  # changed while it was read
    while len(_entries) >= REMEMBERED:
        try:
            _entries.pop(next(iter(_entries)), None)
        except (RuntimeError, StopIteration):
            break  # another thread makes room too
    _entries[key] = _Entry(settings, file, names, seen_digest, files)
