"""Interrupts that wait: for the few moments in which one would leave things half done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def deferred(on_signal: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Have SIGINT and SIGTERM wait for the end, and call *on_signal* meanwhile.

    They are raised again then, unless an error ends the block, which is to be told first.
    Handlers that somebody sets within the block stay. Signals are the main thread's; in
    another one there is nothing to defer. They are noted and not blocked, since a process
    that is begun here would inherit that.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[signal.Signals, Any] = {}
    came: dict[int, None] = {}

    def note(number: int, frame: FrameType | None) -> None:
        came[number] = None
        on_signal()

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            if (handler := signal.getsignal(number)) is not None:  # None: not Python's own
                before[number] = handler
                signal.signal(number, note)
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is note:
                signal.signal(number, handler)
    for sent in came:
        signal.raise_signal(sent)
