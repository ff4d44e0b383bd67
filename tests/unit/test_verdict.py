"""What an error of COPY says of a row; the texts are PostgreSQL's own, of its translations too."""

from __future__ import annotations

import pytest

from pgmonkey.transfer import verdict


@pytest.mark.parametrize(
    ("context", "line"),
    [
        ('COPY stock, line 3, column qty: "abc"', 3),
        ("COPY stock, line 1042", 1042),
        ("COPY stock, Zeile 7, Spalte qty: »abc«", 7),
        ('COPY stock、行 12、列 qty: "abc"', 12),
        ('PL/pgSQL function f() line 3 at RAISE\nCOPY stock, line 5: "a,b"', 5),
        ('SQL statement "SELECT 1 FROM ONLY parent"', None),
        ("COPY stocks, line 9", None),
        (None, None),
    ],
)
def test_line_is_read_from_the_context_in_any_language(context, line):
    assert verdict.line_in(context, "stock") == line


def test_line_of_a_table_whose_name_has_digits_and_brackets():
    assert verdict.line_in('COPY t2 (1), line 40, column a: "x"', "t2 (1)") == 40


@pytest.mark.parametrize(
    ("context", "column"),
    [
        ('COPY stock, line 3, column qty: "abc"', "qty"),
        ("COPY stock, Zeile 3, Spalte qty: »abc«", "qty"),
        ("COPY stock, line 3, column qty: null input", "qty"),
        ('COPY stock, line 3, column qty: of: "x"', "qty: of"),
        ('COPY stock, line 3: "qty: 3"', ""),
        ("COPY stock, line 3", ""),
        (None, ""),
    ],
)
def test_column_is_one_of_the_table_that_the_context_names(context, column):
    assert verdict.column_in(context, "stock", ["qty", "qty: of", "name"]) == column


@pytest.mark.parametrize(
    "sqlstate", ["22P02", "22021", "23505", "23503", "P0001", "44000", "42501", "54000"]
)
def test_error_of_a_row_is_told(sqlstate):
    assert verdict.blames_a_row(sqlstate)


@pytest.mark.parametrize(
    "sqlstate", ["08006", "40P01", "53100", "55P03", "57014", "57P01", "58030", "XX000", None]
)
def test_error_that_is_no_rows_fault_is_told(sqlstate):
    assert not verdict.blames_a_row(sqlstate)


def test_reason_is_one_line_with_the_value_that_was_there_already():
    said = verdict.reason(
        "23505", 'duplicate key value violates "k"', "Key (a)=(x\ny) already exists."
    )
    assert said == 'duplicate key value violates "k": Key (a)=(x y) already exists'


def test_reason_does_not_repeat_the_row():
    detail = "Failing row contains (1, secret)."
    assert verdict.reason("23514", 'new row violates "c"', detail) == 'new row violates "c"'
