"""Blocks: every byte once, cut between records, with the lines that sed would count."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgmonkey.errors import CsvError
from pgmonkey.transfer.block import Block
from pgmonkey.transfer.dialect import Dialect
from pgmonkey.transfer.reader import LONGEST, Reader, blocks, open_source
from pgmonkey.transfer.records import Quoting
from pgmonkey.transfer.source import Source

PLAIN = Dialect(header=False)


class Bytes(io.BytesIO):
    """A file of a test, which gives at most *step* bytes at a time as a pipe does."""

    def __init__(self, data: bytes, step: int) -> None:
        super().__init__(data)
        self.step = step

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        part = self.read(min(self.step, len(buffer)))
        buffer[: len(part)] = part
        return len(part)


def source(data: bytes, step: int = 1 << 20) -> Source:
    return Source(Bytes(data, step), "t.csv", None, None)


def cut(data: bytes, dialect: Dialect = PLAIN, *, size: int = 1, step: int = 7) -> list[Block]:
    return list(blocks(source(data, step), dialect, size=size))


CELL = st.text(st.sampled_from('ab",\r\n\\.é'), max_size=6)
TABLE = st.lists(st.lists(CELL, min_size=1, max_size=4), min_size=1, max_size=12)


@settings(max_examples=200, deadline=None)
@given(TABLE, st.sampled_from(["\n", "\r\n", "\r"]), st.integers(1, 40), st.integers(1, 9))
def test_blocks_hold_the_records_which_the_csv_module_reads(
    table: list[list[str]], eol: str, size: int, step: int
) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=eol, quoting=csv.QUOTE_ALL).writerows(table)
    data = text.getvalue().encode()
    found = cut(data, size=size, step=step)
    assert b"".join(block.data for block in found) == data
    rows = [
        row
        for block in found
        for row in csv.reader(io.StringIO(block.data.decode(), newline=""), strict=True)
    ]
    assert rows == table


@settings(max_examples=200, deadline=None)
@given(TABLE, st.sampled_from(["\n", "\r\n"]), st.integers(1, 40))
def test_line_of_every_record_is_the_one_that_sed_shows(
    table: list[list[str]], eol: str, size: int
) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=eol, quoting=csv.QUOTE_ALL)
    lines = []
    for row in table:
        lines.append(text.getvalue().count("\n") + 1)
        writer.writerow(row)
    data = text.getvalue().encode()
    found = [line for block in cut(data, size=size) for _, line in block.records()]
    assert found == lines
    for block in cut(data, size=size):
        assert sum(1 for _ in block.records()) == len(
            list(csv.reader(io.StringIO(block.data.decode(), newline="")))
        )


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60).map(lambda b: bytes(b'ab"\\\n\r,.'[x % 8] for x in b)))
def test_anything_at_all_arrives_whole_and_in_order(data: bytes) -> None:
    for quoting in (Dialect(header=False), Dialect(header=False, escape="\\")):
        found = cut(data, quoting, size=5)
        assert b"".join(block.data for block in found) == data
        assert b"".join(record for block in found for record, _ in block.records()) == data


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40).map(lambda b: bytes(b'a"\\\n'[x % 4] for x in b)), st.booleans())
def test_record_ends_are_those_of_the_servers_own_loop(data: bytes, escaped: bool) -> None:
    """The loop is that of CopyReadLineText, character by character."""
    escape = b"\\" if escaped else b'"'
    ends, inside, was_escape = [], False, False
    for i, byte in enumerate(data):
        if inside and escaped and byte == escape[0]:
            was_escape = not was_escape
        if byte == ord('"') and not was_escape:
            inside = not inside
        if byte != escape[0]:
            was_escape = False
        if byte == ord("\n") and not inside:
            ends.append(i + 1)
    quoting = Quoting(b'"', escape)
    assert quoting.last_end(data, b"\n") == (ends[-1] if ends else 0)
    at, found = 0, []
    while at := quoting.first_end(data, b"\n", at):
        found.append(at)
    assert found == ends


def test_header_skipped_lines_and_byte_order_mark_count_as_lines_and_are_not_data() -> None:
    data = b'\xef\xbb\xbfcomment\nanother "one\n"a\nb",c\n1,2\n3,4\n'
    reader = Reader(source(data), Dialect(skip_lines=2))
    assert (reader.header, reader.header_line, reader.eol) == (["a\nb", "c"], 3, b"\n")
    [block] = reader.blocks()
    assert (block.data, block.first_line) == (b"1,2\n3,4\n", 5)


@pytest.mark.parametrize(
    ("data", "eol"),
    [
        (b"a,b\n1,2\n", b"\n"),
        (b"a,b\r\n1,2\r\n", b"\r\n"),
        (b"a,b\r1,2\r", b"\r"),
        (b'"a\r\nb",c\n1,2\n', b"\n"),
        (b'"a\nb",c\r\n1,2\r\n', b"\r\n"),
        (b"a,b", b"\n"),
        (b"a,b\r", b"\r"),
        (b"", b"\n"),
    ],
)
def test_line_end_is_the_first_outside_quotes(data: bytes, eol: bytes) -> None:
    for step in (1, 100):
        assert Reader(source(data, step), PLAIN).eol == eol


def test_utf_16_becomes_utf_8_and_keeps_its_lines() -> None:
    text = 'é,"x\ny"\n1,😀\n'
    for codec, mark in (("utf-16-le", b"\xff\xfe"), ("utf-16-be", b"\xfe\xff")):
        data = mark + text.encode(codec)
        found = cut(data, Dialect(encoding=codec, header=False), size=4, step=3)
        assert b"".join(block.data for block in found).decode() == text
        assert [line for block in found for _, line in block.records()] == [1, 3]


def test_byte_outside_the_encoding_is_named_with_its_line_however_late() -> None:
    data = "a\n".encode("utf-16-le") * 1000 + b"\x00\xdc" + "\n".encode("utf-16-le")
    with pytest.raises(CsvError, match=r"^t.csv:1001: 0x00 0xdc is not valid utf-16-le") as wrong:
        cut(data, Dialect(encoding="utf-16-le", header=False), size=100, step=33)
    assert wrong.value.line == 1001


def test_half_a_character_at_the_end_is_an_error() -> None:
    with pytest.raises(CsvError, match=r"t.csv:2: 0x61 is not valid utf-16-le"):
        cut("a\n".encode("utf-16-le") + b"a", Dialect(encoding="utf-16-le", header=False))


def test_ascii_is_checked_to_the_end() -> None:
    with pytest.raises(CsvError, match=r"t.csv:2: 0xe9 is not valid ascii"):
        cut(b"a\n\xe9\n", Dialect(encoding="ascii", header=False))


def test_byte_order_mark_of_another_encoding_is_an_error() -> None:
    with pytest.raises(CsvError, match="say --encoding utf-16-le"):
        cut(b"\xff\xfea\x00")


def test_quote_left_open_in_the_header_does_not_swallow_the_file() -> None:
    with pytest.raises(CsvError, match=r"^t.csv:1: a quote is opened in the header"):
        Reader(source(b'a,"b\n1,2\n3,4\n'), Dialect())


def test_more_lines_to_skip_than_there_are_is_an_error() -> None:
    with pytest.raises(CsvError, match="it has 2 lines, and 3 are to be skipped"):
        Reader(source(b"a\nb\n"), Dialect(skip_lines=3))


@pytest.mark.parametrize(
    ("data", "wire"),
    [
        (b"a\n\\.\nb\n", b'a\n"\\."\nb\n'),
        (b"\\.\r\n\\.\r\n", b'"\\."\r\n"\\."\r\n'),
        (b"\\.", b'"\\."'),
        (b'"x\n\\.\n"\n\\.\n', b'"x\n\\.\n"\n"\\."\n'),
        (b"\\.,1\na\\.\n \\.\n\\.\\.\n", b"\\.,1\na\\.\n \\.\n\\.\\.\n"),
    ],
)
def test_line_that_would_end_the_data_is_quoted_and_no_other(data: bytes, wire: bytes) -> None:
    [block] = cut(data, size=1000)
    assert block.wire == wire
    assert b"".join(block.wire for block in cut(data, size=1)) == wire


def test_record_longer_than_memory_should_hold_comes_in_pieces() -> None:
    giant = b'9,"' + b'x,""\n' * (LONGEST // 2) + b'"\n'
    data = b"1,2\n" * 10 + giant + b"3,4\n5,6\n"
    found = cut(data, size=1 << 20, step=1 << 20)
    assert b"".join(block.data for block in found) == data
    assert max(len(block.data) for block in found) <= LONGEST + (1 << 20)
    before, first, *between, last, after = found
    assert (before.data, after.data) == (b"1,2\n" * 10, b"3,4\n5,6\n")
    assert (first.starts, first.more) == (True, True)
    assert {(block.starts, block.more) for block in between} == {(False, True)}
    assert (last.starts, last.more) == (False, False)
    assert {block.record_line for block in (first, *between, last)} == {11}
    assert after.first_line == data.count(b"\n") - 1


def test_open_source_is_read_by_name(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"a\n1\n")
    with open_source(path) as opened:
        assert [block.data for block in blocks(opened, Dialect())] == [b"1\n"]
