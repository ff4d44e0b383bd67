"""Rows on their way into files: joined, compressed, cut into several.

Rows come as the server sent them, one message each, and are never looked into.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from pgmonkey.errors import TransferError
from pgmonkey.transfer.outfile import write_all
from pgmonkey.transfer.packing import Packing, packer
from pgmonkey.transfer.selection import Form


class OneFile:
    """Everything into one open file.

    Attributes:
        taken: Bytes of CSV so far.
        bytes: Bytes written so far, compressed or not.
    """

    def __init__(self, fd: int, name: str, packing: Packing | None, mark: bytes) -> None:
        self._fd = fd
        self._name = name
        self._packer = packer(packing) if packing else None
        self.taken = 0
        self.bytes = 0
        if mark:
            self._write(mark)

    def take(self, rows: list[memoryview], size: int) -> None:
        """Write *rows*, of *size* bytes."""
        self._write(b"".join(rows))
        self.taken += size

    def end(self) -> None:
        """Write what a compressor still holds."""
        if self._packer is not None:
            data = self._packer.flush()
            write_all(self._fd, data, self._name)
            self.bytes += len(data)

    def _write(self, data: bytes) -> None:
        if self._packer is not None:
            data = self._packer.compress(data)
        if data:
            write_all(self._fd, data, self._name)
            self.bytes += len(data)


class Split:
    """So many rows into each file, with the header in every one of them.

    Args:
        another: Opens the file of a number, counted from 1, and returns it and its name.

    Attributes:
        taken: Bytes of CSV so far.
        parts: Name, rows and bytes of every file that is complete.
    """

    def __init__(
        self,
        another: Callable[[int], tuple[int, str]],
        rows_each: int,
        packing: Packing | None,
        form: Form,
    ) -> None:
        self._another = another
        self._each = rows_each
        self._packing = packing
        self._form = form
        self._header: memoryview | None = None
        self._name = ""
        self._file: OneFile | None = None
        self._rows = 0
        self.taken = 0
        self.parts: list[tuple[str, int, int]] = []

    def take(self, rows: list[memoryview], size: int) -> None:
        """Write *rows*, of *size* bytes; the very first is the header, if there is one."""
        self.taken += size
        if self._form.header and self._header is None:
            self._header, rows = rows[0], rows[1:]
        at = 0
        while at < len(rows):
            if self._file is None or self._rows == self._each:
                self._next()
            assert self._file is not None
            piece = rows[at : at + self._each - self._rows]
            self._file.take(piece, sum(map(len, piece)))
            self._rows += len(piece)
            at += len(piece)

    def end(self) -> None:
        """Complete the last file; an export without rows has one as well."""
        if self._file is None:
            self._next()
        self._complete()

    def _next(self) -> None:
        self._complete()
        try:
            fd, self._name = self._another(len(self.parts) + 1)
        except OSError as error:
            if error.errno != errno.EMFILE:
                raise
            raise TransferError(
                f"{len(self.parts)} files are as many as this process may have open at once; "
                "put more rows into each, or raise `ulimit -n`"
            ) from error
        self._file, self._rows = OneFile(fd, self._name, self._packing, self._form.mark), 0
        if self._header is not None:
            self._file.take([self._header], len(self._header))

    def _complete(self) -> None:
        if self._file is not None:
            self._file.end()
            self.parts.append((self._name, self._rows, self._file.bytes))


def part_name(name: str, number: int) -> str:
    """Return the name of a part: ``orders.csv.gz`` becomes ``orders-0001.csv.gz``."""
    stem, dot, suffixes = name.partition(".")
    return f"{stem}-{number:04}{dot}{suffixes}"
