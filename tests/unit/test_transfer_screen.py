"""Rows that are sure to convert, told from doubtful ones: no row is cut, lost or taken for two."""

from __future__ import annotations

import random

import pytest

from pgmonkey.transfer.block import Block
from pgmonkey.transfer.dialect import Dialect
from pgmonkey.transfer.plan import Field, Plan, Table
from pgmonkey.transfer.screen import Screen, Suspicion

TYPES = ["integer", "text", "numeric(6,2)", "date", "character varying(3)", "text"]
# Values of each column: sure ones, and others.
SURE = [
    ["1", "-20", '"3"', ""],
    ["a", '"two\nlines"', '"say ""x"", y"', ""],
    ["1.25", "-9999", "0.", ""],
    ["2024-02-28", "1999-12-31", ""],
    ["abc", '"d,f"', ""],
    ["z", '"\n"', "'", ""],
]
DOUBTFUL = [
    ["bad", "1e3", " 1", "12345678901"],
    ['a"b"c'],
    ["12345", "NaN"],
    ["2024-02-30", "31.12.1999", "infinity"],
    ["abcd", '"\u00e9\u00e9"'],
    ['x"\n"'],
]


def plan(**dialect: str) -> Plan:
    fields = tuple(Field(i, f"c{i}", f"c{i}", type, type == "text") for i, type in enumerate(TYPES))
    return Plan(Table("public", "t"), fields, Dialect(**dialect), on_error="skip")  # type: ignore[arg-type]  # all of them are texts


def block(data: bytes, plan: Plan, eol: bytes = b"\n") -> Block:
    return Block(data, 0, "t.csv", 1, 1, eol, True, False, plan.dialect)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("eol", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("counted", [False, True])
@pytest.mark.parametrize("suspected", [{0}, {2, 3}, {4}, {0, 2, 3, 4}, set()])
def test_doubtful_rows_are_those_with_a_doubtful_value_where_it_is_looked_for(
    seed, eol, counted, suspected
):
    if not suspected and not counted:
        return  # there is nothing to look for
    rng = random.Random(seed)
    records, doubtful = [], []
    for _ in range(60):
        values = [rng.choice(values) for values in SURE]
        # A sure row may be told for doubtful because of quotes in strange places, not the reverse.
        at = rng.choice([0, 2, 3, 4]) if rng.random() < 0.3 else None
        if at is not None:
            values[at] = rng.choice(DOUBTFUL[at])
        if rng.random() < 0.1:
            values.append("more")
        records.append((",".join(values).replace("\n", eol) + eol).encode())
        if at in suspected or (counted and len(values) > len(TYPES)):
            doubtful.append(len(records) - 1)
    it = plan()
    data = b"".join(records)

    parted = Screen(it, suspected, eol.encode(), counted=counted).parted(
        block(data, it, eol.encode())
    )

    assert parted is not None
    assert [data[place.start : place.stop] for place in parted.doubtful] == [
        records[i] for i in doubtful
    ]
    assert b"".join(parted.certain()) == b"".join(
        record for i, record in enumerate(records) if i not in doubtful
    )


def test_other_delimiters_and_quotes_and_words_for_null_are_understood():
    it = plan(delimiter=";", quote="'", escape="'", null="NULL")
    data = b"1;a;1.5;2024-01-01;b;c\n'2';'x;''y';NULL;NULL;NULL;NULL\n;a;1.5;2024-01-01;b;c\n\"3\";;;;;\n"
    parted = Screen(it, {0}, b"\n", counted=True).parted(block(data, it))
    assert parted is not None
    # With a word for NULL, an empty number is none; and " is no quote here.
    assert [data[place.start : place.stop][:3] for place in parted.doubtful] == [b";a;", b'"3"']


@pytest.mark.parametrize(
    "data",
    [b'1,"never closed\n2,x\n', b"1,a\n\\.\n"],
    ids=["open quote", "end mark"],
)
def test_block_that_no_expression_understands_is_left_to_others(data):
    it = plan()
    assert Screen(it, {0}, b"\n", counted=True).parted(block(data, it)) is None


def test_nothing_is_looked_for_until_it_failed_and_after_it_was_in_vain():
    it = plan()
    suspicion, some = Suspicion(it), block(b"x,a,1,2024-01-01,b,c\n", it)
    suspicion.add("23514", "c0")  # a check: no expression knows its rows
    suspicion.add("22P02", "c5")  # any text is text
    assert suspicion.parted(some) is None
    suspicion.add("22P02", "c0")
    parted = suspicion.parted(some)
    assert parted is not None
    assert len(parted.doubtful) == 1
    suspicion.drop()
    suspicion.add("22P02", "c0")  # no news
    assert suspicion.parted(some) is None
    suspicion.add("22P04", "")
    assert suspicion.parted(some) is not None


def test_expressions_take_no_more_than_linear_time():
    """What does not fit must not be tried in every way there is."""
    it = plan()
    for piece in (b'"', b'""', b"1", b"a,", b'","', b'"\n'):
        data = piece * (200_000 // len(piece)) + b"\n"
        Screen(it, {0, 2, 3, 4}, b"\n", counted=True).parted(block(data, it))
