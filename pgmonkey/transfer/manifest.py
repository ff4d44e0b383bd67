"""The manifest beside an export: how many rows and bytes each file has, and its SHA-256.

It says whether a file is still what was exported, wherever it was copied to since. The
digest is of the file's bytes, compressed if it is, so ``sha256sum`` gives the same one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from pgmonkey.errors import TransferError

SCHEMA = "pgmonkey.manifest/1"
SUFFIX = ".manifest.json"
# What --split-rows puts between the stem of a file and its suffixes.
PART = re.compile(r"-\d{4,}(?=\.|$)")
_READ = 1 << 20


class Entry(NamedTuple):
    """One file: its name without a folder, data rows, bytes and SHA-256 in hexadecimal."""

    name: str
    rows: int
    bytes: int
    sha256: str


def path_of(file: Path) -> Path:
    """Return where the manifest of the export to *file* is."""
    return file.with_name(file.name + SUFFIX)


def digest(fd: int) -> tuple[int, str]:
    """Return the size in bytes and the SHA-256 of what the open file *fd* has on it."""
    sha = hashlib.sha256()
    at = 0
    while block := os.pread(fd, _READ, at):
        sha.update(block)
        at += len(block)
    return at, sha.hexdigest()


def text(entries: Iterable[Entry]) -> bytes:
    """Return the manifest of *entries*."""
    document = {"schema": SCHEMA, "files": [entry._asdict() for entry in entries]}
    return (json.dumps(document, indent=2) + "\n").encode("ascii")


def find(file: Path) -> Entry | None:
    """Return what a manifest beside *file* says about it, None where there is none.

    Raises:
        TransferError: There is a manifest, and it cannot be read or does not name the file.
    """
    whole = file.with_name(PART.sub("", file.name, count=1))
    for beside in dict.fromkeys((path_of(file), path_of(whole))):
        if beside.is_file():
            break
    else:
        return None
    try:
        document: Any = json.loads(beside.read_bytes())
        if document["schema"] != SCHEMA:
            raise ValueError(f"its schema is not {SCHEMA}")
        entries = [Entry(**entry) for entry in document["files"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TransferError(f"this manifest cannot be read: {error}", file=str(beside)) from error
    entry = next((entry for entry in entries if entry.name == file.name), None)
    if entry is None and beside == path_of(file):
        raise TransferError(f"this manifest says nothing of {file.name}", file=str(beside))
    return entry


def verify(file: Path) -> Entry | None:
    """Check *file* against the manifest beside it, and return its entry; None without one.

    The file is read once from end to end.

    Raises:
        TransferError: It is not what was exported, or the manifest cannot be read.
        OSError: The file cannot be read.
    """
    entry = find(file)
    if entry is None:
        return None
    with file.open("rb") as opened:
        size, sha256 = digest(opened.fileno())
    if size != entry.bytes:
        raise TransferError(
            f"has {size} bytes where its manifest has {entry.bytes}; it was changed or cut short "
            "since the export",
            file=str(file),
        )
    if sha256 != entry.sha256:
        raise TransferError(
            "has another SHA-256 than its manifest; it was changed since the export",
            file=str(file),
        )
    return entry
