"""Read the dialect of a CSV file off its beginning.

What is found here is a guess, and it is kept honest elsewhere: the encoding is checked to
the end of the file, a record with another number of fields is an error, and what was found
is shown and written into the settings file. Only bytes come in; ``reader`` opened the file.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, islice
from typing import NamedTuple

from pgmonkey.errors import CsvError, RequestError
from pgmonkey.transfer.cutter import Cutter, Record
from pgmonkey.transfer.dialect import Dialect, EmptyAs, byte_order_mark
from pgmonkey.transfer.shape import infer, type_of

# Bytes of the decompressed file that are looked at, and records in them for the types of a new
# table: nothing rests on it, since the load checks what follows.
HEAD = 1024 * 1024
RECORDS = 10_000
# Characters and records that decide about delimiter and quotes.
_SOME = 128 * 1024
_SOME_RECORDS = 500

DELIMITERS = (",", ";", "\t", "|")

# Files that people try to import although they are no text, by their first bytes.
_NOT_CSV = (
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook; save the sheet as CSV"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook; save the sheet as CSV"),
    (b"%PDF-", "a PDF document"),
    (b"PAR1", "a Parquet file"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"PGDMP", "an archive of pg_dump; use pg_restore"),
    (b"PGCOPY\n\xff", "COPY's binary format, not CSV"),
    (b"\x7fELF", "a program"),
    (b"\x89PNG", "an image"),
    (b"\xff\xd8\xff", "an image"),
)
# Excel's own way to name the delimiter, in a line before the header.
_SEP_LINE = re.compile(r'"?sep=(.)"?\r?\n', re.IGNORECASE)


class Given(NamedTuple):
    """What the user says about the file; None where it is to be found out."""

    encoding: str | None = None
    delimiter: str | None = None
    quote: str | None = None
    escape: str | None = None
    header: bool | None = None
    skip_lines: int | None = None
    null: str | None = None
    empty_as: EmptyAs | None = None


@dataclass(frozen=True)
class Head:
    """The beginning of a file, understood.

    Attributes:
        dialect: How the file is written.
        names: The fields of the header; empty where there is none.
        first: The first record of data; None where there is none, or it is longer than the
            part looked at.
        header_given: Whether the user said that there is a header.
        apostrophes: Whether every line of data has values in single quotes, which are taken
            for a part of them.
        stray: The first field with quotes beside other text, as 6" or  "x" is, and its line;
            COPY reads them without the quotes.
        text: What was looked at, from the header on, and whether it goes to the end.
    """

    dialect: Dialect
    names: tuple[str, ...]
    first: Record | None
    header_given: bool
    apostrophes: bool
    stray: tuple[str, int] | None
    text: tuple[str, bool] = field(repr=False)

    @cached_property
    def types(self) -> tuple[str | None, ...]:
        """Inferred for each field of a record; None where no value was seen.

        Takes a tenth of a second, so it waits until somebody asks: a table that is there
        has its types already.
        """
        dialect, (text, complete) = self.dialect, self.text
        cutter = Cutter(dialect.delimiter, dialect.quote, dialect.escape)
        records = islice(cutter.records(text, complete=complete), dialect.header, RECORDS)
        width = len(self.names) or (len(self.first.raw) if self.first else 0)
        return tuple(infer((r.values for r in records), width, null=dialect.null))

    @property
    def doubtful(self) -> str | None:
        """The name in the header that looks like data, if nobody said that it is one."""
        if self.header_given:
            return None
        kinds = [type_of(name) for name in self.names]
        years = re.compile(r"[12][0-9]{3}\Z")
        # t is a usual name for a column, and a usual value only among other values.
        values = "text" not in kinds and not any(
            kind == "boolean" and found not in ("boolean", None)
            for kind, found in zip(kinds, self.types, strict=False)
        )
        return next(
            (
                name
                for name, kind in zip(self.names, kinds, strict=True)
                if kind != "text" and not years.match(name) and (kind != "boolean" or values)
            ),
            None,
        )


def sniff(data: bytes, given: Given, file: str, *, complete: bool, lenient: bool = False) -> Head:
    """Return the dialect of the file that begins with *data*, and its first records.

    Args:
        given: What is known already, and is not looked for.
        file: Its name, for messages.
        complete: Whether *data* is the whole file.
        lenient: Whether bytes that are not of the encoding are left to be rejected, with
            their rows.

    Raises:
        CsvError: It is no text, or its first record has no end.
        RequestError: *given* cannot be.
    """
    for magic, what in _NOT_CSV:
        if data.startswith(magic):
            raise CsvError(f"is {what}", file=file)
    mark = byte_order_mark(data)
    bom = mark[0] if mark else 0
    if len(data) == bom:
        raise CsvError("is empty; there is not even a header", file=file)
    encoding = _encoding(given.encoding, data, mark, complete)
    text = _decode(data[bom:], encoding, file, complete, lenient)
    if (at := text.find("\0")) >= 0 and not (lenient and "\n" in text[:at]):
        line = text.count("\n", 0, at) + 1
        raise CsvError("a NUL character; this is not a text file", file=file, line=line)
    if given.header is None and given.delimiter is None and text.lstrip()[:1] in ("{", "[", "<"):
        what = "JSON" if text.lstrip()[0] in "{[" else "XML or HTML"
        hint = "if it is CSV all the same, say --header yes"
        raise CsvError(f"looks like {what}, not CSV; {hint}", file=file)

    skip, delimiter = given.skip_lines or 0, given.delimiter
    if delimiter is None and given.skip_lines is None and (sep := _SEP_LINE.match(text)):
        skip, delimiter = 1, sep[1]
    text = _after_lines(text, skip)
    wrapped = given.quote is None and _wrapped(text)
    quote, delimiter = _quote_and_delimiter(text, given, delimiter, wrapped, complete)
    escape = given.escape or quote
    dialect = Dialect(
        encoding=encoding,
        delimiter=delimiter,
        quote=quote,
        escape=escape,
        header=given.header is not False,
        skip_lines=skip,
        null=given.null,
        empty_as=given.empty_as or "auto",
        bom=bom,
    )
    check(dialect)
    cutter = Cutter(delimiter, quote, escape)
    records = cutter.records(text, complete=complete, line=skip + 1)
    first = next(records, None)
    if first is None and text:
        problem = "the first record has no end; a quote is opened in it and never closed"
        raise CsvError(problem, file=file, line=skip + 1)
    names: tuple[str, ...] = ()
    if dialect.header:
        if first is None:
            raise CsvError("has no header; there is nothing but the lines to skip", file=file)
        names, first = first.values, next(records, None)
    some = islice(chain([first] if first else [], records), _SOME_RECORDS)
    stray = ((found, record.line) for record in some if (found := cutter.stray(record)) is not None)
    return Head(
        dialect,
        names,
        first,
        given.header is True,
        apostrophes=wrapped and quote != "'",
        stray=next(stray, None),
        text=(text, complete),
    )


def check(dialect: Dialect) -> None:
    """Refuse what COPY could not do: https://www.postgresql.org/docs/current/sql-copy.html.

    Raises:
        RequestError: A delimiter, quote or NULL text cannot be.
    """
    for what, char in (
        ("delimiter", dialect.delimiter),
        ("quote", dialect.quote),
        ("escape", dialect.escape),
    ):
        if len(char) != 1 or not char.isascii() or char in "\r\n\0":
            raise RequestError(f"{what}: {char!r} is not one ASCII character")
    if dialect.delimiter == dialect.quote:
        raise RequestError(f"delimiter and quote are both {dialect.quote!r}")
    null = dialect.null
    if null is not None and any(c in null for c in ("\r", "\n", dialect.delimiter, dialect.quote)):
        raise RequestError(f"null: {null!r} holds a line end, the delimiter or the quote")


def codec(name: str) -> str:
    """Return Python's own name of the encoding *name*.

    Raises:
        RequestError: There is none.
    """
    try:
        found = codecs.lookup(name)
        "".encode(found.name)  # refuses base64 and its like
    except (LookupError, ValueError):
        raise RequestError(f"encoding: {name!r} is not an encoding that Python knows") from None
    return {"utf-8-sig": "utf-8", "utf_8_sig": "utf-8"}.get(found.name, found.name)


def misread(data: bytes, encoding: str) -> tuple[str, str] | None:
    """Return a word of the UTF-8 text *data*, and what a single-byte *encoding* makes of it.

    None where the encoding is another, or *data* is ASCII only or no UTF-8.
    """
    name = codec(encoding)
    if name == "utf-8" or len(bytes(range(256)).decode(name, "replace")) != 256:
        return None
    if data.isascii() or not _decodes(data, "utf-8", complete=False):
        return None
    word = re.compile(r"\w*[^\x00-\x7f]\w*").search(data.decode("utf-8", "ignore"))
    return (word[0], word[0].encode().decode(name, "replace")) if word else None


def _encoding(given: str | None, data: bytes, mark: tuple[int, str] | None, complete: bool) -> str:
    """Return the encoding: what was said, what the mark says, or what the bytes look like."""
    name = codec(given) if given is not None else None
    if name in ("utf-16", "utf-32"):
        found = mark[1] if mark else _wide(data)
        return found if found and found.startswith(name) else f"{name}-le"
    if name is not None:
        return name
    if mark is not None:
        return mark[1]
    if (wide := _wide(data)) is not None:
        return wide
    if _decodes(data, "utf-8", complete) or _mostly_utf8(data):
        return "utf-8"
    # Windows writes cp1252, which has no character for five bytes; latin-1 takes them all.
    return "cp1252" if _decodes(data, "cp1252", complete) else "iso8859-1"


def _wide(data: bytes) -> str | None:
    """Return UTF-16 without a mark by its NULs: every second byte of Western text is one."""
    some = data[:4096]
    half = len(some) // 2
    if half < 4:
        return None
    if some[1::2].count(0) > half * 0.4 and not some[0::2].count(0):
        return "utf-16-le"
    if some[0::2].count(0) > half * 0.4 and not some[1::2].count(0):
        return "utf-16-be"
    return None


def _decodes(data: bytes, encoding: str, complete: bool) -> bool:
    try:
        codecs.getincrementaldecoder(encoding)().decode(data, complete)
    except UnicodeDecodeError:
        return False
    return True


def _mostly_utf8(data: bytes) -> bool:
    """Return whether more characters beyond ASCII are UTF-8 than bytes are not.

    In a text of another encoding hardly any is, and a few bad bytes must not change all others.
    """
    text = data.decode("utf-8", "replace")
    bad = text.count("\ufffd")
    return len(text) - len(text.encode("ascii", "ignore")) - bad > bad


def _decode(data: bytes, encoding: str, file: str, complete: bool, lenient: bool) -> str:
    if lenient:
        return codecs.getincrementaldecoder(encoding)("replace").decode(data, complete)
    try:
        return codecs.getincrementaldecoder(encoding)().decode(data, complete)
    except UnicodeDecodeError as error:
        before = data[: error.start].decode(encoding, "replace")
        bad = data[error.start : error.start + 1].hex()
        problem = f"byte 0x{bad} is not {encoding}; another --encoding, such as cp1252?"
        raise CsvError(problem, file=file, line=before.count("\n") + 1) from None


def _after_lines(text: str, number: int) -> str:
    for _ in range(number):
        found = re.compile(r"[^\r\n]*(?:\r\n|\n|\r|\Z)").match(text)
        assert found is not None  # it matches the empty text too
        text = text[found.end() :]
    return text


def _wrapped(text: str) -> bool:
    """Tell whether no field is in double quotes, and each line of data has one in single ones."""
    some = text[:_SOME]
    if '"' in some:
        return False
    wrapped = re.compile(r"(?:\A|[,;\t|])'(?:[^']|'')*'(?=[,;\t|]|\Z)")
    lines = some.splitlines()[1:50]
    return bool(lines) and all(wrapped.search(line) for line in lines)


def _quote_and_delimiter(
    text: str, given: Given, delimiter: str | None, wrapped: bool, complete: bool
) -> tuple[str, str]:
    """Return the quote and the delimiter.

    Single quotes are quotes where more records have as many fields as the first by them:
    'x' may be a value of three characters, and COPY and others write it as it is.
    """
    quotes = (given.quote,) if given.quote else ('"', "'") if wrapped else ('"',)
    delimiters = (delimiter,) if delimiter else DELIMITERS
    found = [(quote, *_fit(text, quote, given.escape, delimiters, complete)) for quote in quotes]
    quote, _, choice = max(found, key=lambda each: each[1])
    return quote, choice


def _fit(
    text: str, quote: str, escape: str | None, delimiters: Sequence[str], complete: bool
) -> tuple[float, str]:
    """Return the delimiter by which most records have as many fields as the first one.

    A file in which none makes two fields of the first record has one column.

    Returns:
        The share of the records that have, and the delimiter.
    """
    complete = complete and len(text) <= _SOME
    best, choice = (0.0, 1), delimiters[0]
    for delimiter in delimiters:
        if delimiter == quote:
            continue
        records = Cutter(delimiter, quote, escape or quote).records(text[:_SOME], complete=complete)
        some = islice(records, _SOME_RECORDS)
        widths = (len(record.raw) for record in some if record.raw != ("",))
        first = next(widths, 1)
        if first == 1:
            continue
        same = [True, *(width == first for width in widths)]
        score = (sum(same) / len(same), first)
        if score > best:
            best, choice = score, delimiter
    return best[0], choice
