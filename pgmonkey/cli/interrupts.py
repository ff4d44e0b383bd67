"""Ctrl-C and SIGTERM: how they end a command, and when they come too late to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import FrameType


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived. To everybody else it is Ctrl-C, for which psycopg cancels its query."""


@contextlib.contextmanager
def sigterm_raises(*, last: bool) -> Iterator[None]:
    """Make SIGTERM end the command like Ctrl-C does: through every ``finally``.

    Args:
        last: Whether the process ends with the command, so that what comes ``too_late``
            does so until then.
    """
    import signal

    def raise_terminated(signum: int, frame: FrameType | None) -> None:
        raise Terminated

    sigint = signal.getsignal(signal.SIGINT)
    try:
        sigterm = signal.signal(signal.SIGTERM, raise_terminated)
    except ValueError:  # not the main thread, which is the only one that gets signals
        yield
        return
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is raise_terminated:
            signal.signal(signal.SIGTERM, sigterm)
        elif not last:
            signal.signal(signal.SIGTERM, sigterm)
            signal.signal(signal.SIGINT, sigint)


def too_late() -> None:
    """Have no interrupt end the command any more: what it was to do is done.

    It would be told as one that was interrupted, and that is taken for one that did nothing.
    """
    import signal

    with contextlib.suppress(ValueError):  # as above
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
