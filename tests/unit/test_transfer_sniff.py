"""The dialect is read off the file's beginning, and what is no CSV is called so."""

from __future__ import annotations

import codecs
from typing import Any

import pytest

from pgmonkey.errors import CsvError, RequestError
from pgmonkey.transfer.cutter import Cutter
from pgmonkey.transfer.sniff import Given, Head, sniff


def look(data: bytes, *, complete: bool = True, **given: Any) -> Head:
    return sniff(data, Given(**given), "f.csv", complete=complete)


GERMAN = 'Name;Größe\r\n"Müller; Hans";1,5\r\n'


@pytest.mark.parametrize(
    ("data", "encoding", "bom"),
    [
        (b"a,b\n1,2\n", "utf-8", 0),
        (GERMAN.encode("utf-8"), "utf-8", 0),
        (GERMAN.encode("utf-8-sig"), "utf-8", 3),
        (GERMAN.encode("cp1252"), "cp1252", 0),
        ("a;b\n\u20ac;1\n".encode("cp1252"), "cp1252", 0),
        (b"a;b\n\x81;\xe9\n", "iso8859-1", 0),
        (GERMAN.encode("utf-16"), "utf-16-le", 2),
        (codecs.BOM_UTF16_BE + GERMAN.encode("utf-16-be"), "utf-16-be", 2),
        (GERMAN.encode("utf-16-le"), "utf-16-le", 0),
        (GERMAN.encode("utf-16-be"), "utf-16-be", 0),
        (GERMAN.encode("utf-32"), "utf-32-le", 4),
    ],
)
def test_encoding_is_found_by_mark_or_by_what_the_bytes_can_be(data, encoding, bom):
    dialect = look(data).dialect
    assert (dialect.encoding, dialect.bom) == (encoding, bom)


def test_a_few_bad_bytes_do_not_make_all_other_characters_of_another_encoding():
    data = b"id,v\n" + "1,Zoë\n".encode() * 20 + b"2,bad\xff\n"
    with pytest.raises(CsvError, match=r"f\.csv:22: byte 0xff is not utf-8"):
        look(data)
    head = sniff(data, Given(), "f.csv", complete=True, lenient=True)
    assert (head.dialect.encoding, head.names) == ("utf-8", ("id", "v"))
    assert look("id,v\n1,Zoë é ü\n".encode("cp1252")).dialect.encoding == "cp1252"


def test_character_cut_in_two_at_the_end_of_the_sample_is_no_error():
    data = "a,b\n1,ü".encode()
    assert look(data[:-1], complete=False).dialect.encoding == "utf-8"
    assert look(data[:-1], complete=True).dialect.encoding == "cp1252"


@pytest.mark.parametrize(
    ("text", "delimiter", "names"),
    [
        ("a,b,c\n1,2,3\n", ",", ("a", "b", "c")),
        ("a;b\n1,5;2,5\n", ";", ("a", "b")),
        ("a\tb c, d\n1\t2\n", "\t", ("a", "b c, d")),
        ("a|b|c\n1|2,2|3\n", "|", ("a", "b", "c")),
        ("name\nSmith\nJones\n", ",", ("name",)),
        ('"a,b";c\n"1;1";2\n', ";", ("a,b", "c")),
        ("sep=|\r\na|b\r\n1|2\r\n", "|", ("a", "b")),
        ("a,b", ",", ("a", "b")),
        ("a,b\r1,2\r", ",", ("a", "b")),
        ('a,b\n"x\ny",2\n', ",", ("a", "b")),
        ("a,b,c\n1,2,3\n1;2;3;4\n5,6,7\n", ",", ("a", "b", "c")),
    ],
)
def test_delimiter_is_the_one_by_which_records_agree(text, delimiter, names):
    head = look(text.encode())
    assert (head.dialect.delimiter, head.names) == (delimiter, names)


@pytest.mark.parametrize(
    ("text", "quote", "apostrophes"),
    [
        ("a,b\n'x,y','1'\n'z','2'\n", "'", False),
        ("a;b\n1;'x;y'\n2;'z'\n", "'", False),
        ("a,b\n'x','1'\n'z','2'\n", '"', True),
        ("a,b\n'tis,1\nx,2\n", '"', False),
        ("a,b\n'x',\"1\"\n", '"', False),
        ("a,b\n'x,y',1\n", "'", False),
        ("''\n", '"', False),
        ("''\n''\n", '"', True),
    ],
)
def test_single_quotes_are_quotes_only_where_records_agree_by_them_alone(text, quote, apostrophes):
    """A table may hold such values, and COPY writes them as they are."""
    head = look(text.encode())
    assert (head.dialect.quote, head.apostrophes) == (quote, apostrophes)


@pytest.mark.parametrize(
    ("text", "stray"),
    [
        ('a,b\n1,x\n2,6" and 7"\n3,"x"y\n', ('6" and 7"', 3)),
        ('a,b\n"x\ny",1\n1, "a,b"\n', (' "a,b"', 4)),
        ('a,b\n{"x":1},2\n', ('{"x":1}', 2)),
        ('a,b\n"x",""\n"y ""z"", 1",\n', None),
    ],
)
def test_field_with_quotes_beside_other_text_is_noticed(text, stray):
    assert look(text.encode()).stray == stray
    assert look(text.encode(), quote="~").stray is None


def test_escape_of_another_kind_is_no_stray_quote():
    assert look(b'a,b\n"x\\"y",1\n', escape="\\").stray is None


def test_what_is_said_is_not_looked_for():
    head = look(b"x\n# comment\na;b|1\nc;d|2\n", delimiter="|", skip_lines=2, header=False)
    assert head.names == ()
    assert head.first is not None
    assert (head.first.values, head.first.line) == (("a;b", "1"), 3)
    assert head.types == ("text", "bigint")


def test_header_that_looks_like_data_is_doubtful_unless_it_was_said_to_be_one():
    assert look(b"17,Smith\n18,Jones\n").doubtful == "17"
    assert look(b"17,Smith\n18,Jones\n", header=True).doubtful is None
    assert look(b"country,2023,2024\nx,1,2\n").doubtful is None
    assert look(b"id,name\n1,x\n").doubtful is None
    assert look(b"id,t\n1,x\n").doubtful is None
    assert look(b"true,false,note\ntrue,false,x\n").doubtful is None
    assert look(b"t\n12\n").doubtful is None
    assert look(b"t\nf\n").doubtful == "t"
    assert look(b"t,17\nf,18\n").doubtful == "t"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "f.csv: is empty"),
        (b"\xef\xbb\xbf", "f.csv: is empty"),
        (b"PK\x03\x04 and so on", "f.csv: is a ZIP archive or an Excel workbook"),
        (b"%PDF-1.7\n", "f.csv: is a PDF"),
        (b"PGDMP\x01", "f.csv: is an archive of pg_dump"),
        (b'{"a": 1}\n', "f.csv: looks like JSON"),
        (b"\n<html><body>\n", "f.csv: looks like XML"),
        (b"a,b\n1,\0\n", "f.csv:2: a NUL character"),
        (b'"a,b\n1,2\n', "f.csv:1: the first record has no end"),
    ],
)
def test_what_is_no_csv_is_called_so(data, problem):
    with pytest.raises(CsvError) as caught:
        look(data)
    assert str(caught.value).startswith(problem)


def test_byte_that_the_named_encoding_does_not_have_is_named_with_its_line():
    with pytest.raises(CsvError, match=r"^f.csv:3: byte 0xe9 is not ascii;"):
        look(b"a,b\n1,2\n\xe9,3\n", encoding="ascii")


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"encoding": "base64"}, "encoding: 'base64'"),
        ({"encoding": "klingon"}, "encoding: 'klingon'"),
        ({"delimiter": "||"}, "delimiter: '||'"),
        ({"delimiter": "\n"}, "delimiter:"),
        ({"delimiter": '"'}, "delimiter and quote"),
        ({"quote": "\u201c"}, "quote:"),
        ({"null": "a,b"}, "null:"),
    ],
)
def test_dialect_that_copy_cannot_read_is_refused(given, problem):
    with pytest.raises(RequestError) as caught:
        look(b"a,b\n1,2\n", **given)
    assert str(caught.value).startswith(problem)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ('a,"b ""x"", c",\n', ("a", 'b "x", c', "")),
        ('ab"c,d"e,f\n', ("abc,de", "f")),
        ('"",x\n', ("", "x")),
        ("\n", ("",)),
        (",\n", ("", "")),
        ('"two\nlines",2', ("two\nlines", "2")),
    ],
)
def test_record_is_cut_as_copy_cuts_it(text, values):
    assert [r.values for r in Cutter().records(text)] == [values]


def test_backslash_can_be_the_escape():
    text = "'a\\'b;c';'x\\\\';d\\e;'f\\g'\n'un;closed\n"
    records = list(Cutter(";", "'", "\\").records(text))
    assert [r.values for r in records] == [("a'b;c", "x\\", "d\\e", "f\\g")]


def test_last_record_of_a_sample_is_left_out_since_it_may_go_on():
    records = list(Cutter().records("a,b\n1,2", complete=False))
    assert [r.values for r in records] == [("a", "b")]
    assert list(Cutter().records("a,b\r", complete=False)) == []


def test_text_made_to_backtrack_is_cut_in_no_time():
    hostile = '"' * 99_999 + "\n" + 'a"b' * 33_332
    assert list(Cutter().records(hostile)) == []
    assert list(Cutter(",", '"', "\\").records('"' + "\\" * 99_999)) == []
