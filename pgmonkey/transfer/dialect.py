"""How one CSV file is written: encoding, delimiter, quotes, header.

CSV has no label that says any of this, so most of it is read off the file's beginning; a
user who knows better says so, in an option or in the settings file. ``sniff`` does the
reading off; nothing here opens a file.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

EmptyAs: TypeAlias = Literal["auto", "null", "text"]

# Byte order marks, the longer before the shorter that it begins with.
BOMS = (
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)


class Dialect(NamedTuple):
    """How the bytes of a file become fields.

    Attributes:
        encoding: Python's name of the codec, such as ``utf-8`` or ``cp1252``; never one
            that handles a byte order mark itself (``utf-8-sig``, ``utf-16``).
        delimiter: One character.
        quote: One character.
        escape: The character before a quote inside quotes; usually the quote itself.
        header: Whether the first record holds the names of the columns.
        skip_lines: Physical lines before the header, or before the data where there is none.
        null: The unquoted text which stands for NULL; None means an empty field.
        empty_as: What an empty field is in a text column: ``auto`` as PostgreSQL's CSV
            has it (unquoted is NULL, quoted is ``''``), or one of the two whatever its
            quotes. Each ``Field.empty`` has what follows from this for its column.
        bom: Bytes of the byte order mark at the start of the first file, 0 to 4. Another
            file of the same load may begin with one where the first has none.
    """

    encoding: str = "utf-8"
    delimiter: str = ","
    quote: str = '"'
    escape: str = '"'
    header: bool = True
    skip_lines: int = 0
    null: str | None = None
    empty_as: EmptyAs = "auto"
    bom: int = 0


def byte_order_mark(data: bytes) -> tuple[int, str] | None:
    """Return the length of the byte order mark that *data* begins with, and its encoding."""
    for mark, encoding in BOMS:
        if data.startswith(mark):
            return len(mark), encoding
    return None
