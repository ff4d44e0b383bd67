"""A client's key file: whether libpq will take it from this process, and a copy that it takes.

libpq looks at the owner and the mode before it reads the key: not more than 0600, or 0640
where root owns the file (PostgreSQL documentation, "Client Certificates"). In a container
the owner is often a stranger, and the message libpq gives names neither. What is decided
here is decided from numbers; whether a key is needed at all is the command line's question.
"""

from __future__ import annotations

import atexit
import os
import stat
import tempfile
from pathlib import Path
from typing import NamedTuple

# What may be set in no mode, for root's files and for everybody else's (libpq,
# fe-secure-openssl.c, since the minor releases of February 2022).
_TOO_OPEN_OF_ROOT = stat.S_IWGRP | stat.S_IXGRP | stat.S_IRWXO
_TOO_OPEN = stat.S_IRWXG | stat.S_IRWXO


class KeyFile(NamedTuple):
    """A key as the file system has it, links followed.

    Attributes:
        path: As the user gave it.
        mode: Permission bits only.
        readable: Whether this process may read it, by whatever right.
    """

    path: str
    owner: int
    group: int
    mode: int
    readable: bool
    regular: bool = True


class Identity(NamedTuple):
    """Who a process is: its effective user and group, and every group it has."""

    user: int
    group: int
    groups: frozenset[int] = frozenset()

    def has(self, group: int) -> bool:
        """Return whether *group* is one of its groups."""
        return group == self.group or group in self.groups


class Objection(NamedTuple):
    """Why libpq will not take a key.

    Attributes:
        reason: What is wrong with the file, to stand after its name.
        remedy: What to do, shortest way first.
        copyable: Whether a private copy would do.
    """

    reason: str
    remedy: str
    copyable: bool


def objection(key: KeyFile, me: Identity) -> Objection | None:
    """Return why libpq will refuse *key* when *me* connects, or None when it will not."""
    if not key.regular:
        return Objection("is not a regular file", "name the file that holds the key", False)
    of_root = key.owner == 0
    too_open = bool(key.mode & (_TOO_OPEN_OF_ROOT if of_root else _TOO_OPEN))
    if key.readable and not too_open:
        return None
    is_what = f"belongs to uid {key.owner}, gid {key.group} with mode {key.mode:04o}"
    if key.readable:
        limit = "0640 or less for a file of root's" if of_root else "0600 or less"
        reason = f"{is_what}, and libpq wants {limit}"
    else:
        reason = f"{is_what}, which uid {me.user}, gid {me.group} may not read"
    return Objection(reason, _remedy(key, me, too_open), copyable=key.readable)


def _remedy(key: KeyFile, me: Identity, too_open: bool) -> str:
    if key.owner == me.user:
        return "chmod 0600 the key"
    if key.owner == 0:
        if me.has(key.group):
            return "chmod 0640 the key, which is enough for your group"
        if key.mode & stat.S_IRGRP:
            chmod = "chmod 0640 the key and " if too_open else ""
            return f"{chmod}run with its group (docker run --user {me.user}:{key.group})"
        return f"chgrp {me.group} and chmod 0640 the key, or run as root (docker run --user 0:0)"
    if me.user == 0 and key.readable:
        return "chmod 0600 the key"
    chmod = "chmod 0600 the key and " if too_open else ""
    return (
        f"{chmod}run as its owner (docker run --user {key.owner}:{key.group}), "
        f"or chown {me.user} the key"
    )


def this_process() -> Identity:
    """Return who this process is, as the file system judges it."""
    return Identity(os.geteuid(), os.getegid(), frozenset(os.getgroups()))


def look_at(path: str) -> KeyFile | None:
    """Return the file at *path*, or None where there is none or none can be seen."""
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return None
    regular = stat.S_ISREG(found.st_mode)
    try:
        # By opening it: access() knows nothing of what a security module forbids.
        if regular:
            Path(path).open("rb").close()
        readable = regular
    except OSError:
        readable = False
    mode = stat.S_IMODE(found.st_mode)
    return KeyFile(path, found.st_uid, found.st_gid, mode, readable, regular)


def private_copy(path: str) -> str:
    """Return the path of a copy of *path* with mode 0600 that ends with this process.

    On Linux it is a file in memory without a name, which nothing can leave behind.
    Elsewhere it is a temporary file, removed at exit; only a kill leaves it.

    Raises:
        OSError: *path* cannot be read, or the copy not written.
    """
    key = Path(path).read_bytes()
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("pgmonkey-client-key")
        os.fchmod(fd, 0o600)
        copy = f"/proc/self/fd/{fd}"
    else:
        fd, copy = tempfile.mkstemp(prefix="pgmonkey-", suffix=".key")
        atexit.register(Path(copy).unlink, missing_ok=True)
    # The descriptor stays open: the file in memory lives as long as it does.
    with os.fdopen(fd, "wb", closefd=False) as file:
        file.write(key)
    return copy
