"""Items made ahead of their use: the same ones, in order, and nothing is made for nobody."""

from __future__ import annotations

import threading

import pytest

from pgmonkey.transfer.ahead import Ahead
from support.wait import until


def test_items_come_in_order_with_the_next_one_made_meanwhile():
    made: list[int] = []

    def items():
        for i in range(5):
            made.append(i)
            yield i

    taken: list[int] = []
    with Ahead(items()) as them:
        for item in them:
            taken.append(item)
            assert made == taken  # not before it is wanted
            them.want()
            them.want()
            until(lambda: len(made) == 5 or made[-1] > taken[-1])
    assert taken == made == [0, 1, 2, 3, 4]


def test_items_come_without_being_wanted_before():
    with Ahead(range(3)) as them:
        assert list(them) == [0, 1, 2]


def test_what_the_iterator_raises_is_raised_where_the_items_are_taken():
    def items():
        yield 1
        raise ValueError("no more")

    with Ahead(items()) as them:
        taken = iter(them)
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
    with Ahead(items()) as them:
        assert next(iter(them)) == 0
        them.want()
    until(lambda: threading.active_count() == before)
    assert len(made) <= 2  # taken, and in the making
