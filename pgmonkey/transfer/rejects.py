"""The rejects file: one row of CSV for every row that was not loaded.

Its last column is the row as it stood in the source, byte for byte, in the encoding of the
source (UTF-8 where that is UTF-16 or another which no server reads). The file appears when
the load is committed, or never. Which rows these are is found in ``skipping``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pgmonkey.errors import RequestError, TransferError
from pgmonkey.transfer.encodings import server_encoding
from pgmonkey.transfer.outfile import Target, open_target, write_all
from pgmonkey.transfer.plan import Plan
from pgmonkey.transfer.source import Source

if TYPE_CHECKING:
    from typing_extensions import Self

HEADER = b"file,line,column,sqlstate,reason,row\n"
# Bytes to collect before they are written.
CHUNK = 64 * 1024
# Rows to remember for a user who asked for no file: enough to see what is wrong.
FIRST = 3


class Reject(NamedTuple):
    """A row that was not loaded, and why.

    Attributes:
        file: Its file, as the caller named it.
        line: Where it begins, counted from 1 as ``sed -n Np`` does.
        column: What the file calls the field that is to blame; empty where it is the row.
        sqlstate: https://www.postgresql.org/docs/current/errcodes-appendix.html
        reason: What the server said, in one line.
        raw: The bytes of the row, without its line end.
    """

    file: str
    line: int
    column: str
    sqlstate: str
    reason: str
    raw: bytes

    def csv(self, encoding: str) -> bytes:
        """Return the line of the rejects file, whose text is of *encoding* but for the row."""
        fields = (self.file, str(self.line), self.column, self.sqlstate, self.reason)
        told = (_quoted(f.encode(encoding, "backslashreplace")) for f in fields)
        return b",".join((*told, b'"' + self.raw.replace(b'"', b'""') + b'"')) + b"\n"


def _quoted(field: bytes) -> bytes:
    if any(byte in field for byte in b'",\r\n'):
        return b'"' + field.replace(b'"', b'""') + b'"'
    return field


class RejectsFile:
    """The file of ``plan.rejects`` in the making, if there is to be one: a context.

    It tells of the last load, so it replaces the rejects of an earlier one, and no other
    file. A pipe or a device, such as /dev/null, gets the rows as they are found.

    Attributes:
        first: The first rows in words, whether there is a file or not.

    Raises:
        RequestError: It is one of *sources*, or holds something else than rejects.
        OSError: It cannot be written there.
    """

    def __init__(self, plan: Plan, sources: Iterable[Source | Path] = ()) -> None:
        self._path = plan.rejects
        utf8 = server_encoding(plan.dialect) == "UTF8"
        self._encoding = "utf-8" if utf8 else plan.dialect.encoding
        self._file: Target | None = None
        self._pending = bytearray(HEADER)
        self.first: list[str] = []
        if self._path is not None:
            _refuse(self._path, sources)
            self._file = open_target(self._path, overwrite=True)

    def write(self, reject: Reject) -> None:
        """Add one row.

        Raises:
            OSError: The disk is full, for one.
        """
        if len(self.first) < FIRST:
            column = f"column {reject.column}: " if reject.column else ""
            self.first.append(f"{reject.file}:{reject.line}: {column}{reject.reason}")
        self._pending += reject.csv(self._encoding)
        if len(self._pending) > CHUNK:
            self._flush()

    def sync(self) -> None:
        """Have everything on the disk; before the commit, since nothing may fail after it.

        Raises:
            OSError: That failed.
        """
        self._flush()
        if self._file:
            self._file.sync()

    def publish(self, already: str) -> None:
        """Give the file its name; after the commit.

        Args:
            already: What is the case by now, should this fail.

        Raises:
            TransferError: It did; the rejected rows are lost.
        """
        if self._file is None:
            return
        try:
            self._file.publish()
        except OSError as error:
            raise TransferError(
                f"{already}, and the rejects file could not be written: {error.strerror}",
                file=str(self._path),
            ) from error

    def _flush(self) -> None:
        if self._file:
            write_all(self._file.fd, bytes(self._pending), str(self._path))
        self._pending.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._file:
            self._file.close()


def _refuse(path: Path, sources: Iterable[Source | Path]) -> None:
    """Keep a mistyped name from costing the user a file."""
    if str(path) == "-":
        raise RequestError("--rejects needs the name of a file; /dev/stdout is one, too")
    for source in sources:
        other = source if isinstance(source, Path) else source.path
        with contextlib.suppress(OSError):  # a missing file is nobody's double
            if other is not None and path.samefile(other):
                raise RequestError(
                    "the rejects would replace a file to import; name another", file=str(path)
                )
    if path.is_file():
        with path.open("rb") as file:
            begins = file.read(len(HEADER))
        if begins not in (b"", HEADER):
            raise RequestError("it exists and holds no rejects; name another", file=str(path))
