"""What every fault leaves behind: nothing on standard error, no thread too many."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from support.wait import until


@pytest.fixture
def times(pytestconfig: pytest.Config) -> Callable[[int, int], int]:
    """How often to repeat: ``times(short, long)``, as ``--faults`` has it."""
    long = pytestconfig.getoption("--faults") == "long"
    return lambda few, many: many if long else few


@pytest.fixture(autouse=True)
def _silent_and_tidy(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    until(lambda: set(threading.enumerate()) <= before)
    assert capfd.readouterr().err == ""
