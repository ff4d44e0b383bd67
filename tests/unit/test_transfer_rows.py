"""Rows of a block: cut, numbered, counted, and what of them needs no server to be refused."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgmonkey.transfer.block import Block
from pgmonkey.transfer.dialect import Dialect
from pgmonkey.transfer.rejects import Reject
from pgmonkey.transfer.rows import FieldCounter, Rows, assembled, pieces, sort


def block(
    data: bytes, *, eol: bytes = b"\n", line: int = 1, more: bool = False, **dialect
) -> Block:
    return Block(data, 0, "t.csv", line, line, eol, True, more, Dialect(**dialect))


def texts(rows: Rows) -> list[tuple[int, bytes]]:
    return [(rows.line(i), rows.text(i)) for i in range(len(rows))]


def test_rows_have_the_line_where_they_begin_also_after_newlines_in_quotes():
    rows = Rows(block(b'1,a\n2,"b\nb\n"\n3,c', line=10))
    assert texts(rows) == [(10, b"1,a"), (11, b'2,"b\nb\n"'), (14, b"3,c")]


@pytest.mark.parametrize("eol", [b"\n", b"\r\n", b"\r"])
def test_rows_end_as_the_file_ends_them(eol):
    rows = Rows(block(eol.join([b"1,a", b'2,"b' + eol + b'b"', b"", b"3"]) + eol, eol=eol))
    assert texts(rows) == [(1, b"1,a"), (2, b'2,"b' + eol + b'b"'), (4, b""), (5, b"3")]


def test_quote_that_is_never_closed_costs_its_own_line_only():
    rows = Rows(block(b'1,a\n2,"b\n3,c\n4,d\n'))
    assert texts(rows) == [(1, b"1,a"), (2, b'2,"b'), (3, b"3,c"), (4, b"4,d")]


def test_quote_with_another_escape_does_not_end_a_row():
    rows = Rows(block(b'1,"a\\"\nb"\n2,c\n', escape="\\"))
    assert texts(rows) == [(1, b'1,"a\\"\nb"'), (3, b"2,c")]


def test_lone_end_of_data_mark_is_sent_in_quotes_and_kept_as_it_is():
    rows = Rows(block(b"a\n\\.\n\\.x\n"))
    assert rows.wire(range(3)) == b'a\n"\\."\n\\.x\n'
    assert rows.text(1) == b"\\."


def test_record_in_pieces_becomes_one():
    first = block(b'1,"a', more=True)
    rest = Block(b'b"\n', 0, "t.csv", 1, 1, b"\n", False, False, Dialect())
    (whole,) = assembled([first, rest])
    assert texts(Rows(whole)) == [(1, b'1,"ab"')]


@given(st.lists(st.text('ab",\n', max_size=8), min_size=1, max_size=20), st.integers(1, 60))
def test_pieces_are_the_block_and_end_with_a_record(fields, size):
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([field, "x"] for field in fields)
    whole = block(out.getvalue().encode(), line=7)
    parts = list(pieces(whole, size))
    assert b"".join(part.data for part in parts) == whole.data
    assert [row for part in parts for row in texts(Rows(part))] == texts(Rows(whole))


@settings(max_examples=200)
@given(st.lists(st.text('ab";,\\', max_size=6), min_size=1, max_size=6))
def test_fields_are_counted_as_they_were_written(fields):
    out = io.StringIO()
    csv.writer(out, delimiter=";", lineterminator="").writerow([*fields, "x"])
    assert FieldCounter(Dialect(delimiter=";")).fields(out.getvalue().encode()) == len(fields) + 1


def test_row_with_quotes_in_the_middle_of_a_field_is_counted_as_copy_does():
    assert FieldCounter(Dialect()).fields(b'1,ab"c,d"e,f') == 3
    assert FieldCounter(Dialect(escape="\\")).fields(b'1,"a\\",b",c') == 3


def test_ragged_rows_are_told_from_those_with_delimiters_in_quotes():
    rows = Rows(block(b'1,a\n2\n3,"b,c"\n4,d,e\n\n'))
    found = sort(rows, range(5), 2)
    assert list(found.good) == [0, 2]
    assert found.short == [(1, 1), (4, 1)]
    assert found.bad == [(3, "22P04", "extra data after last expected column")]


def test_delimiters_in_quotes_make_up_for_missing_fields_unless_all_are_counted():
    rows = Rows(block(b'1,a\n"2,b"\n'))
    assert list(sort(rows, range(2), 2).good) == [0, 1]
    assert sort(rows, range(2), 2, exact=True).short == [(1, 1)]


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"1,\xff\xfe", "0xff"),
        (b"1,caf\xe9,", "0xe9 0x2c 0x0a"),
        (b"1,\xc3(", "0xc3 0x28"),
        (b"1,\xed\xa0\x80", "0xed 0xa0 0x80"),
        (b"1,a\0b", "0x00"),
        (b"1,a\0\xff", "0x00"),
        (b"1,\xff\0", "0xff"),
    ],
)
def test_byte_that_is_no_utf8_is_named_as_the_server_does(raw, shown):
    rows = Rows(block(b"1,\xc3\xa9\n" + raw + b"\n"))
    (bad,) = sort(rows, range(2), 2).bad
    assert bad == (1, "22021", f'invalid byte sequence for encoding "UTF8": {shown}')


def test_bytes_of_another_encoding_are_left_to_the_server():
    assert not sort(Rows(block(b"1,\xff\n", encoding="cp1252")), range(1), 2).bad


def test_reject_is_one_record_of_csv_whose_last_field_is_the_row():
    reject = Reject("a,b.csv", 3, "qty", "22P02", 'not "x"', b'3,"x ""y""\nz"\xff')
    assert reject.csv("utf-8") == (
        b'"a,b.csv",3,qty,22P02,"not ""x""","3,""x """"y""""\nz""\xff"\n'
    )
    (fields,) = csv.reader(io.StringIO(reject.csv("utf-8").decode("latin-1"), newline=""))
    assert fields[-1].encode("latin-1") == reject.raw
