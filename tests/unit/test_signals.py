"""Signals that come while they are to wait: none is lost, and an error is told first."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from pgmonkey.signals import INTERRUPTS, deferred


@pytest.fixture
def heard() -> Iterator[list[int]]:
    """What a program's own handlers get; SIGINT's raises as well."""
    heard: list[int] = []

    def hear(number: int, frame: Any) -> None:
        heard.append(number)
        if number == signal.SIGINT:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, hear) for number in INTERRUPTS}
    yield heard
    for number, handler in before.items():
        assert signal.signal(number, handler) is hear


@pytest.mark.parametrize("first", INTERRUPTS)
def test_both_are_heard_afterwards_once_each(heard: list[int], first: signal.Signals) -> None:
    called: list[bool] = []

    def interrupted() -> None:
        with deferred(lambda: called.append(True)):
            for number in (first, *INTERRUPTS):
                signal.raise_signal(number)
            assert (heard, len(called)) == ([], 3)

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert sorted(heard) == sorted(INTERRUPTS)


def test_error_is_told_and_the_signals_are_heard_all_the_same(heard: list[int]) -> None:
    def failing() -> None:
        with deferred():
            for number in INTERRUPTS:
                signal.raise_signal(number)
            raise OSError("the reason")

    with pytest.raises(OSError, match="the reason"):
        failing()
    assert sorted(heard) == sorted(INTERRUPTS)


def test_handler_that_is_set_meanwhile_stays(heard: list[int]) -> None:
    later: list[int] = []

    def other(number: int, frame: Any) -> None:
        later.append(number)

    before = signal.getsignal(signal.SIGTERM)
    with deferred():
        signal.raise_signal(signal.SIGTERM)
        signal.signal(signal.SIGTERM, other)
    assert signal.signal(signal.SIGTERM, before) is other
    assert (heard, later) == ([], [signal.SIGTERM])


def test_one_within_another_hands_on_what_came(heard: list[int]) -> None:
    with deferred():
        with deferred():
            signal.raise_signal(signal.SIGTERM)
        assert heard == []
    assert heard == [signal.SIGTERM]
