"""Waiting on a condition, never on the clock."""

from __future__ import annotations

import time
from collections.abc import Callable

# Machines are noisy: this is when a test gives up, not how long anything should take.
LIMIT_SECONDS = 60.0


def until(condition: Callable[[], bool]) -> None:
    """Return when *condition* is true; fail when it never becomes so."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "the awaited condition never came true"
        time.sleep(0.02)
