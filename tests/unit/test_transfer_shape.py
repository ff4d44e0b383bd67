"""Inferred types: chosen where they keep every value, and held against the whole file."""

from __future__ import annotations

import pytest

from pgmonkey.errors import ShapeError
from pgmonkey.transfer.shape import Shape, infer, type_of, wider


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("0", "bigint"),
        ("-12", "bigint"),
        ("999999999999999999", "bigint"),
        ("9223372036854775808", "numeric"),
        ("1.50", "numeric"),
        ("0.00", "numeric"),
        ("-0.5", "numeric"),
        ("1.5e-05", "numeric"),
        ("1E+20", "numeric"),
        ("true", "boolean"),
        ("f", "boolean"),
        ("2024-02-29", "date"),
        ("2000-02-29", "date"),
        ("2024-12-31", "date"),
        ("2024-01-02 03:04", "timestamp"),
        ("2024-01-02T03:04:05.123456", "timestamp"),
        ("2024-01-02 03:04:05+02", "timestamptz"),
        ("2024-01-02T03:04:05Z", "timestamptz"),
        ("6f9619ff-8b86-d011-b42d-00c04fc964ff", "uuid"),
    ],
)
def test_value_has_the_narrowest_type_that_keeps_it(value: str, kind: str):
    assert type_of(value) == kind


@pytest.mark.parametrize(
    "value",
    [
        *("00501", "+5", " 5", "5 ", "-0", "-0.0", "5.", ".5", "12E5", "1e5", "1_000", "1,5"),
        *("NaN", "infinity", "yes", "on", "T", "2023-02-29", "1900-02-29", "2024-04-31"),
        *("0000-01-01", "20240102T1200", "01/02/2024", "2024-1-2", "today", "now", "24:00"),
        *("2024-01-02 24:00", "2024-01-02 03:04:05.1234567", "2024-01-02 03:04:60"),
        *("{6f9619ff-8b86-d011-b42d-00c04fc964ff}", "5\n", "\u0665", "", "1e5\n", "0x10"),
    ],
)
def test_value_that_the_server_would_change_or_refuse_stays_text(value: str):
    assert type_of(value) == "text"


def test_column_of_two_types_is_of_the_wider_one():
    assert wider("bigint", "numeric") == "numeric"
    assert wider("bigint", "date") == "text"
    assert wider("date", "timestamp") == "text"
    assert wider(None, "date") == "date"
    assert wider(None, None) is None


def test_empty_and_null_texts_say_nothing_about_a_column():
    records = [["1", "", "x"], ["", "", ""], ["2.5", "", ""]]
    assert infer(records, 3) == ["numeric", None, "text"]
    assert infer(records, 3, null="") == ["numeric", None, "text"]
    assert infer([["1"], ["NA"]], 1) == ["text"]
    assert infer([["1", "2", "3"]], 2) == [None, None]


SHAPE = Shape(("id", "name", "born"), ("bigint", "text", "date"))


@pytest.mark.parametrize(
    "data",
    [
        b"1,a,2024-01-02\n",
        b"1,a,2024-01-02",
        b"1,a,2024-01-02\r\n2,b,\r\n",
        b"1,a,2024-01-02\r2,b,\r",
        b',"a ""quoted"", and\nbroken",""\n"7",x,"2024-01-02"\n',
        b'1,mid"dle, quoted"x,\n',
        b"1,a,2024-01-02\nonly two,fields\n1,2,3,4\n",
        b'1,a,2024-01-02\n2,"never closed,2024\n',
        b"",
    ],
)
def test_records_of_the_shape_and_broken_ones_pass(data: bytes):
    SHAPE.check(data, 2, "a.csv")


@pytest.mark.parametrize(
    ("data", "line", "column", "value"),
    [
        (b"1,a,\n007,b,\n", 3, "id", "007"),
        (b'1,"two\nlines",\n2,b,02/01/2024\n', 4, "born", "02/01/2024"),
        (b"1,a,\r\n2,b,\r\n 3,c,\r\n", 4, "id", " 3"),
        (b"1,a,\r2,b,today", 3, "born", "today"),
        (b'1,a,\n"x""y",b,\n', 3, "id", 'x"y'),
    ],
)
def test_value_of_another_shape_is_named_with_its_line(data, line, column, value):
    with pytest.raises(ShapeError) as caught:
        SHAPE.check(data, 2, "a.csv")
    error = caught.value
    assert (error.file, error.line, error.column, error.value) == ("a.csv", line, column, value)
    assert str(error).startswith(f"a.csv:{line}: column {column}: ")


def test_where_the_server_may_reject_only_silent_changes_are_objected_to():
    shape = Shape(("id", "born"), ("bigint", "date"), lossy_only=True)
    shape.check(b"abc,\n1,hello\n", 2, "a.csv")
    shape.check(b"y,\ntrue,\n1.5,\n2024-01-01,yes\n", 2, "a.csv")  # refused by these types
    for data in (b"007,\n", b" 7,\n", b"1,today\n", b"1,20240102\n", b"1,yesterday\n"):
        with pytest.raises(ShapeError):
            shape.check(data, 2, "a.csv")


def test_empty_text_is_a_value_where_another_text_is_null():
    assert infer([["1", "", "NA"], ["NA", "2", "NA"]], 3, null="NA") == ["bigint", "text", None]
    shape = Shape(("a", "b"), ("bigint", "bigint"), null="NA")
    shape.check(b'1,NA\n"2","NA"\n', 1, "f")
    for data in (b"1,\n", b'1,""\n'):
        with pytest.raises(ShapeError) as caught:
            shape.check(data, 1, "f")
        assert shape.widened(caught.value).types == ("bigint", "text")


def test_null_text_and_other_delimiters_are_part_of_the_shape():
    shape = Shape(("a", "b"), ("bigint", "text"), delimiter="|", quote="'", escape="'", null="N/A")
    shape.check(b"N/A|'x|y'\n1|N/A\n", 1, "f")
    with pytest.raises(ShapeError):
        shape.check(b"n/a|x\n", 1, "f")


def test_long_hostile_text_takes_no_time_to_refuse():
    """Linear: an expression that backtracks would not come back from this."""
    shape = Shape(tuple("abc"), ("bigint", "text", "bigint"))
    with pytest.raises(ShapeError):
        shape.check(b"1," + b'"a"' * 50_000 + b",x\n", 1, "f")
