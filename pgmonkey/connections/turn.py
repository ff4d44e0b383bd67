"""Whose turn it is with something that serves one thread at a time.

A lock of ``threading`` is taken for good if a signal is handled between its acquisition and
the first line that knows of it. Here one stands in line first, so that whoever is
interrupted knows where to step out; the head of the line has the turn. Tasks are cancelled
where they await and nowhere else, so ``aio`` has no need of this.
"""

from __future__ import annotations

import threading
from collections import deque


class _Place:
    """Where one thread stands, and the bare lock on which it sleeps."""

    __slots__ = ("bell", "thread")

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.bell = threading.Lock()
        self.bell.acquire()


class Turn:
    """A lock that an interrupt leaves either taken by who knows of it, or free."""

    def __init__(self) -> None:
        self._line: deque[_Place] = deque()

    @property
    def owner(self) -> int | None:
        """The thread (its ident) whose turn it is, or None."""
        try:
            return self._line[0].thread
        except IndexError:
            return None

    def locked(self) -> bool:
        """Say whether it is somebody's turn."""
        return bool(self._line)

    def acquire(self, seconds: float) -> bool:
        """Wait at most *seconds*, 0 for not at all, and say whether it is the caller's turn."""
        place = _Place()
        try:
            self._line.append(place)
            if self._line[0] is not place and seconds:
                place.bell.acquire(timeout=seconds)
            if self._line[0] is place:
                return True
            self._step_out(place)
            return False
        except BaseException:  # interrupts too: nobody else knows of this place
            self._step_out(place)
            raise

    def release(self) -> None:
        """Let the next one have its turn."""
        self._step_out(self._line[0])

    def _step_out(self, place: _Place) -> None:
        # No contextlib here: it is written in Python, where an interrupt could hit.
        try:
            self._line.remove(place)
        except ValueError:  # out already
            pass
        finally:
            try:  # noqa: SIM105
                self._line[0].bell.release()
            except (IndexError, RuntimeError):  # nobody is there, or awake already
                pass
