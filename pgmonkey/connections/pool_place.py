"""A place in the queue of a pool, and what is true of it whether a thread or a task stands there.

How one sleeps and wakes differs: that is in ``pool`` and ``pool_aio``.
"""

from __future__ import annotations

import traceback
from typing import Any


class Place:
    """Where one stands who wants a connection, and then the title to what one got.

    Attributes:
        conn: What it was given.
        error: Why it will get nothing.
        handed: Whether the connection came from somebody's block or was just made.
        left: Whether nobody stands here any more.
        lent_at: Since when the connection is in use (monotonic seconds).
        borrowed_in: The calls which led to the borrowing, where leaks are looked for.
        told: Whether the leak was reported.
    """

    __slots__ = ("borrowed_in", "conn", "error", "handed", "left", "lent_at", "told")

    def __init__(self) -> None:
        self.conn: Any = None
        self.error: BaseException | None = None
        self.handed = self.left = self.told = False
        self.lent_at = 0.0
        self.borrowed_in: traceback.StackSummary | None = None

    @property
    def open(self) -> bool:
        """Whether somebody stands here and has got nothing yet."""
        return not self.left and self.conn is None and self.error is None

    def give(self, conn: Any) -> None:
        """Hand *conn* over; a second time, with the same one, does no harm."""
        self.conn, self.handed = conn, True
        self.wake()

    def wake(self) -> None:
        """Have whoever waits here look again."""
        raise NotImplementedError
