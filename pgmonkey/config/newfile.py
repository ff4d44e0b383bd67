"""Write a configuration file: whole or not at all, and for its owner's eyes only."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path


def write_new(path: Path, text: str, *, replace: bool = False) -> None:
    """Write *text* to *path* with mode 0600, so that nobody ever sees half of it.

    Args:
        replace: Whether an existing file may be replaced; where *path* is a symbolic
            link, the file behind it is.

    Raises:
        FileExistsError: There is a file, which is untouched.
        OSError: It cannot be written; nothing is left behind.
    """
    target = Path(os.path.realpath(path)) if replace else path
    if not replace and os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, "exists already", str(path))
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "the folder does not exist", str(target.parent))
    # mkstemp creates with mode 0600, and beside the target a rename is atomic.
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            Path(name).replace(target)
        else:
            _link(name, target)
    finally:
        Path(name).unlink(missing_ok=True)


def _link(name: str, target: Path) -> None:
    """Give the file *name* its place, unless somebody was quicker."""
    try:
        target.hardlink_to(name)
    except FileExistsError:
        raise FileExistsError(errno.EEXIST, "exists already", str(target)) from None
    except OSError:  # a file system without hard links
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, "exists already", str(target)) from None
        Path(name).replace(target)
