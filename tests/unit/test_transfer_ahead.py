"""Items made ahead of their use: the same ones, in order, and nothing is made for nobody."""

from __future__ import annotations

import threading

import pytest

from pgmonkey.transfer.ahead import ahead
from support.wait import until


def test_items_come_in_order_with_the_next_one_made_meanwhile():
    made: list[int] = []

    def items():
        for i in range(5):
            made.append(i)
            yield i

    taken: list[int] = []
    for item in ahead(items()):
        taken.append(item)
        until(lambda: len(made) == 5 or made[-1] > taken[-1])
    assert taken == [0, 1, 2, 3, 4]


def test_what_the_iterator_raises_is_raised_where_the_items_are_taken():
    def items():
        yield 1
        raise ValueError("no more")

    taken = ahead(items())
    assert next(taken) == 1
    with pytest.raises(ValueError, match="no more"):
        next(taken)


def test_iterator_is_at_rest_once_nobody_wants_the_rest():
    made: list[int] = []

    def items():
        for i in range(1000):
            made.append(i)
            yield i

    before = threading.active_count()
    taken = ahead(items())
    assert next(taken) == 0
    taken.close()
    until(lambda: threading.active_count() == before)
    assert len(made) <= 4  # taken, ready, and in the making
