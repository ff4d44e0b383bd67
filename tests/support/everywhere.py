"""Ctrl-C at every moment at which Python could handle it, one after the other.

A signal is handled as a function is entered and after a call of something written in C;
these are the moments that a profiler is told of, and what it raises is raised there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

# What Python calls when an object ends: its own method, and the callback of a WeakSet.
ENDS = ("__del__", "_remove")


class _Shot:
    """A profiler that raises KeyboardInterrupt at its *number*-th moment."""

    def __init__(self, work: Callable[[], None], number: int) -> None:
        self._own, self._left = work.__code__, number
        self.where = ""

    def __call__(self, frame: Any, event: str, arg: Any) -> None:
        if event not in ("call", "c_return") or frame.f_code is self._own or _dying(frame):
            return
        self._left -= 1
        if self._left == 0:
            code = frame.f_code
            self.where = f"{code.co_filename}:{frame.f_lineno} {event} {code.co_name}"
            raise KeyboardInterrupt


def _dying(frame: Any) -> bool:
    """Say whether *frame* serves something's end, out of which nothing is raised by anybody."""
    while frame is not None:
        if frame.f_code.co_name in ENDS:
            return True
        frame = frame.f_back
    return False


def everywhere(work: Callable[[], None]) -> Iterator[str]:
    """Do *work* again and again, each time interrupted a moment later; give the moment."""
    number = 0
    while True:
        number += 1
        shot = _Shot(work, number)
        try:
            sys.setprofile(shot)
            work()
        except KeyboardInterrupt:
            pass
        finally:
            sys.setprofile(None)
        if not shot.where:
            return
        yield shot.where
