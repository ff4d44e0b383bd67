"""The rejects file: one row of CSV for every row that was not loaded.

Its last column is the row as it stood in the source, byte for byte, in the encoding of the
source (UTF-8 where that is UTF-16 or another which no server reads). The file appears when
the load is committed, or never. Which rows these are is found in ``skipping``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from pgmonkey.transfer.outfile import NewFile, write_all

HEADER = b"file,line,column,sqlstate,reason,row\n"
# Bytes to collect before they are written.
CHUNK = 64 * 1024


@dataclass(frozen=True)
class Reject:
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
    """The file in the making: a context, in which ``publish`` gives it its name.

    Raises:
        OSError: It cannot be written there.
    """

    def __init__(self, path: Path, encoding: str = "utf-8") -> None:
        self._name = str(path)
        self._encoding = encoding
        # It tells of the last load, so it replaces what an earlier one left.
        self._file = NewFile(path, overwrite=True)
        self._pending = bytearray(HEADER)

    def write(self, reject: Reject) -> None:
        """Add one row."""
        self._pending += reject.csv(self._encoding)
        if len(self._pending) > CHUNK:
            self.flush()

    def flush(self) -> None:
        """Have everything in the system's hands; call it before the commit.

        Raises:
            OSError: The disk is full, for one.
        """
        write_all(self._file.fd, bytes(self._pending), self._name)
        self._pending.clear()

    def publish(self) -> None:
        """Give the file its name."""
        self.flush()
        self._file.publish()

    def __enter__(self) -> RejectsFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()
