"""Interrupts that wait: for the few moments in which one would leave things half done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType
from typing import Any

INTERRUPTS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def deferred(on_signal: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Have SIGINT and SIGTERM wait for the end, and call *on_signal* meanwhile.

    They are raised again then; where an error ends the block, that is what is told, and a
    KeyboardInterrupt is not. Handlers that somebody sets within the block stay. Signals are
    the main thread's; in another one there is nothing to defer. They are noted and not
    blocked, since a process that is begun here would inherit that.
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
        for number in INTERRUPTS:
            if (handler := signal.getsignal(number)) is not None:  # None: not Python's own
                before[number] = handler
                signal.signal(number, note)
        yield
    except BaseException:  # raised again: it is told first, the signals are heard all the same
        with suppress(KeyboardInterrupt):
            _end(before, note, came)
        raise
    else:
        _end(before, note, came)


def _end(before: dict[signal.Signals, Any], note: Any, came: dict[int, None]) -> None:
    """Give all handlers back, then raise every signal that came."""
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTS)
    try:
        for number, handler in before.items():
            if signal.getsignal(number) is note:
                signal.signal(number, handler)
    finally:
        with ExitStack() as stack:  # each of them, whatever the others raise
            for sent in reversed(came):
                stack.callback(signal.raise_signal, sent)
            stack.callback(signal.pthread_sigmask, signal.SIG_SETMASK, blocked)
