"""Programs that are run to their end, and have ended where an interrupt ends whoever runs them."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any


def run(command: Sequence[Any], **options: Any) -> subprocess.CompletedProcess[Any]:
    """Run *command* to its end, which it also has where an interrupt ends this.

    ``subprocess.run`` loses sight of a process when a signal raises after the process was
    begun and before it is in hand; such a process goes on, and writes where things are
    being removed.
    """
    process = None
    try:
        with _signals_kept():
            process = subprocess.Popen(command, **options)
        output, _ = process.communicate()
    except BaseException:  # interrupts, above all
        if process is not None:
            process.terminate()
            process.communicate()
        raise
    return subprocess.CompletedProcess(command, process.returncode, output)


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Have SIGINT and SIGTERM wait for the end; they are the main thread's alone.

    They are noted and not blocked, since a process that is begun here would inherit that.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda no, _: came.append(no)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])
