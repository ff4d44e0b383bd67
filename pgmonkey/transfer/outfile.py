"""Files that appear whole or not at all.

On Linux a file can be written before it has a name (O_TMPFILE, open(2)): however the
process ends, SIGKILL and power included, nothing is left of it. Where the file system has
no such files (NFS, FAT, macOS) it is a hidden one beside the target, locked for as long as
its writer lives; what a killed writer left is removed by the next export of that name.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import stat
import sys
from pathlib import Path
from typing import Protocol

from pgmonkey.errors import TransferError

STDOUT = "-"
_PROC_FD = "/proc/self/fd"


class Target(Protocol):
    """Where bytes go: a new file, or something that is there already, such as a pipe."""

    @property
    def fd(self) -> int: ...
    def sync(self) -> None: ...
    def publish(self) -> None: ...
    def close(self) -> None: ...


class Existing:
    """Standard output, a device or a pipe: bytes are gone once they are written."""

    def __init__(self, fd: int, *, ours: bool) -> None:
        self.fd = fd
        self._ours = ours

    def sync(self) -> None:
        """Do nothing."""

    def publish(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Close it, unless it was somebody else's."""
        if self._ours:
            self._ours = False
            os.close(self.fd)


class NewFile:
    """A regular file in the making. Nobody sees it until ``publish``.

    Args:
        path: The name it will have. Where that is a symbolic link, the file behind it.
        overwrite: Whether a file of that name may be replaced, which keeps its permissions.
        anonymous: Whether to try O_TMPFILE first.

    Attributes:
        fd: Open for reading and writing.

    Raises:
        OSError: It cannot be created there; FileExistsError where it may not be replaced.
    """

    def __init__(self, path: Path, *, overwrite: bool = False, anonymous: bool = True) -> None:
        self._path = path
        self._overwrite = overwrite
        if not overwrite and os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        target = Path(os.path.realpath(path)) if overwrite else path
        self._target = target
        try:
            self._folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise type(error)(error.errno, f"{error.strerror} (its folder)", str(path)) from error
        self._hidden: str | None = None
        sweep(target)
        try:
            self.fd = self._anonymous() if anonymous else -1
            if self.fd < 0:
                self.fd = self._named()
            _lock(self.fd)
        except OSError as error:
            os.close(self._folder)
            raise type(error)(error.errno, error.strerror, str(path)) from error
        self._open = True
        if overwrite:
            self._take_permissions()

    def sync(self) -> None:
        """Have every byte on the disk.

        Raises:
            OSError: That failed.
        """
        try:
            os.fsync(self.fd)
        except OSError as error:
            raise type(error)(error.errno, error.strerror, str(self._path)) from error

    def publish(self) -> None:
        """Give the file its name, once every byte of it is on the disk.

        Raises:
            OSError: That failed, and the target is as it was; FileExistsError where
                somebody else made a file of that name meanwhile.
        """
        name = self._target.name
        try:
            os.fsync(self.fd)
            if self._overwrite:
                if self._hidden is None:  # an unnamed file cannot replace another one
                    self._hidden = _hidden_name(name)
                    self._link(self._hidden)
                os.rename(  # relative to an open folder, which Path cannot
                    self._hidden, name, src_dir_fd=self._folder, dst_dir_fd=self._folder
                )
                self._hidden = None
            else:
                self._link(name)
            os.fsync(self._folder)
        except OSError as error:
            raise type(error)(error.errno, error.strerror, str(self._path)) from error
        finally:
            self.close()

    def close(self) -> None:
        """Forget the file, unless it was published."""
        if not self._open:
            return
        self._open = False
        if self._hidden is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._hidden, dir_fd=self._folder)  # as above
        os.close(self.fd)
        os.close(self._folder)

    def _anonymous(self) -> int:
        """Return a file without a name, or -1 where there can be none."""
        if not hasattr(os, "O_TMPFILE") or not os.path.isdir(_PROC_FD):  # noqa: PTH112
            return -1
        try:
            return os.open(self._target.parent, os.O_TMPFILE | os.O_RDWR, 0o666)
        except OSError as error:
            # EISDIR: a kernel before 3.11; EINVAL, EOPNOTSUPP: the file system has none.
            if error.errno in (errno.EISDIR, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOENT):
                return -1
            raise

    def _named(self) -> int:
        """Return a hidden file, locked as long as it is open here or in a forked child."""
        while True:
            self._hidden = _hidden_name(self._target.name)
            flags = os.O_CREAT | os.O_EXCL | os.O_RDWR
            fd = os.open(self._hidden, flags, 0o666, dir_fd=self._folder)
            _lock(fd)
            if os.fstat(fd).st_nlink:
                return fd
            os.close(fd)  # swept away by somebody between its creation and its lock

    def _link(self, name: str) -> None:
        """Give the open file the name *name*, which must be free."""
        if self._hidden in (None, name):
            # A folder's descriptor makes Python call linkat(), which follows /proc's link.
            os.link(f"{_PROC_FD}/{self.fd}", name, dst_dir_fd=self._folder, follow_symlinks=True)
            return
        try:
            os.link(self._hidden, name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links, such as FAT
            if os.path.lexists(self._target):
                raise FileExistsError(
                    errno.EEXIST, os.strerror(errno.EEXIST), str(self._path)
                ) from None
            os.rename(  # as above
                self._hidden, name, src_dir_fd=self._folder, dst_dir_fd=self._folder
            )
            self._hidden = None

    def _take_permissions(self) -> None:
        try:
            old = os.stat(self._target)  # noqa: PTH116  # its name is known to be followed
        except OSError:
            return  # there is none to replace
        os.fchmod(self.fd, stat.S_IMODE(old.st_mode))
        with contextlib.suppress(PermissionError):
            os.fchown(self.fd, old.st_uid, old.st_gid)


def open_target(path: str | os.PathLike[str], *, overwrite: bool = False) -> Target:
    """Return where the bytes for *path* go; ``-`` is standard output.

    Raises:
        OSError: It cannot be written there; FileExistsError where it may not be replaced.
        TransferError: It is a folder, or standard output was closed by whoever started us.
    """
    if path == STDOUT:
        if sys.stdout is None:  # nobody has 1, or somebody else has
            raise TransferError("is closed; nothing was written", file="standard output")
        return Existing(1, ours=False)
    path = Path(path)
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return NewFile(path, overwrite=overwrite)
    if stat.S_ISDIR(mode):
        raise TransferError("is a folder; name the file in it", file=str(path))
    if stat.S_ISREG(mode):
        return NewFile(path, overwrite=overwrite)
    return Existing(os.open(path, os.O_WRONLY), ours=True)


def write_all(fd: int, data: bytes | memoryview, name: str) -> None:
    """Write *data* to *fd*, all of it.

    Raises:
        OSError: That failed; it has *name*, which the system's own has not.
    """
    try:
        written = os.write(fd, data)
        while written < len(data):  # a pipe, a nearly full disk, a signal
            data = memoryview(data)[written:]
            written = os.write(fd, data)
    except OSError as error:
        raise type(error)(error.errno, error.strerror, name) from error


def append(fd: int, part: int, name: str) -> None:
    """Append the whole file *part* to *fd*, inside the kernel where it can.

    Raises:
        OSError: The disk is full, for one; it has *name*.
    """
    os.lseek(fd, 0, os.SEEK_END)
    left = os.lseek(part, 0, os.SEEK_END)
    os.lseek(part, 0, os.SEEK_SET)
    copy = getattr(os, "copy_file_range", None)  # Linux only
    try:
        while copy and left > 0 and (copied := copy(part, fd, left)):
            left -= copied
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
            raise type(error)(error.errno, error.strerror, name) from error
    while block := os.read(part, 1 << 20):
        write_all(fd, block, name)


def sweep(target: Path) -> None:
    """Remove what killed exports to *target* have left: hidden files nobody holds a lock on."""
    for path in target.parent.glob(f".{_escaped(target.name)}.pgmonkey-*"):
        with contextlib.suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


def _lock(fd: int) -> None:
    with contextlib.suppress(OSError):  # a file system without locks
        fcntl.flock(fd, fcntl.LOCK_EX)


def _hidden_name(name: str) -> str:
    # A name may have 255 bytes; 30 are for what is added here.
    short = os.fsdecode(os.fsencode(name)[:220])
    return f".{short}.pgmonkey-{secrets.token_hex(6)}"


def _escaped(name: str) -> str:
    import glob

    return glob.escape(os.fsdecode(os.fsencode(name)[:220]))
