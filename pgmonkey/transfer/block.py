"""A piece of a file on its way: its bytes, and where they stand in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

from pgmonkey.transfer.dialect import Dialect
from pgmonkey.transfer.records import Quoting


@lru_cache
def quoting(dialect: Dialect) -> Quoting:
    """Return the rule by which records of *dialect* end."""
    return Quoting(dialect.quote.encode(), dialect.escape.encode())


@dataclass(frozen=True)
class Block:
    """A piece of a file: whole records, unless one is longer than 2 MiB.

    Such a record comes in pieces, each a block of its own: in the first ``more`` is true,
    in the last ``starts`` is false, in between both are so.

    Attributes:
        data: The bytes of the file; UTF-8 where the server does not know its encoding.
        offset: Of ``data`` in what the reader reads: the file after its byte order mark, in
            UTF-8 where it is not of an encoding that the server knows.
        file: Its name, for messages.
        first_line: Of ``data``, counted in the file from 1; 0 where lines are not counted.
        record_line: The line where the record begins that ``data`` begins with, or goes
            on with; 0 likewise.
        eol: How the file ends its records: LF, CRLF or CR.
        starts: Whether ``data`` begins with the beginning of a record.
        more: Whether its last record goes on in the next block.
        dialect: Of the file.
    """

    data: bytes
    offset: int
    file: str
    first_line: int
    record_line: int
    eol: bytes
    starts: bool
    more: bool
    dialect: Dialect

    @cached_property
    def lines(self) -> int:
        """The physical lines that end in it, as ``wc -l`` counts them; of a file that
        ends them with CR alone, those."""
        return self.data.count(self.eol[-1:])

    @property
    def server_lines(self) -> int:
        """How far the server's count of lines moves on over this block.

        It counts records, and the line ends inside quotes; of these LF where records end
        with LF, otherwise CR (CopyReadLineText in copyfromparse.c).
        """
        return self.lines if len(self.eol) == 1 else self.data.count(self.eol[:1])

    @property
    def plain(self) -> bool:
        """Whether COPY's text format reads it as the CSV format does, and that is sooner.

        Records without a quote, a backslash and a carriage return are the same in both.
        """
        data = self.data
        return (
            self.starts
            and not self.more
            and self.eol == b"\n"
            and b"\\" not in data
            and self.dialect.quote.encode() not in data
            and b"\r" not in data
        )

    @property
    def wire(self) -> bytes:
        r"""The bytes to send: ``data``, with quotes around a line that is ``\.`` alone.

        Unquoted it ends the data before PostgreSQL 18, silently, whatever follows.
        """
        # One byte is searched for ten times as fast as two, and mostly there is none.
        if not self.starts or b"\\" not in self.data or b"\\." not in self.data:
            return self.data
        quote = self.dialect.quote.encode()
        return b"".join(
            record.replace(b"\\.", quote + b"\\." + quote)
            if record.startswith(b"\\.") and record.rstrip(b"\r\n") == b"\\."
            else record
            for record, _ in self.records()
        )

    def records(self) -> Iterator[tuple[bytes, int]]:
        """Yield every record with its line end, and the line of the file where it begins.

        A piece of a long record is yielded as one.
        """
        data, end, first_end = self.data, self.eol[-1:], quoting(self.dialect).first_end
        line, at = self.first_line, 0
        if not self.starts:
            yield data, self.record_line
            return
        while at < len(data):
            stop = first_end(data, end, at) or len(data)
            yield data[at:stop], line
            line += data.count(end, at, stop)
            at = stop
