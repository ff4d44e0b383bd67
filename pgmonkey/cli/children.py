"""Programs that are run to their end, and have ended where an interrupt ends whoever runs them."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import Any

from pgmonkey.signals import deferred


def run(command: Sequence[Any], **options: Any) -> subprocess.CompletedProcess[Any]:
    """Run *command* to its end, which it also has where an interrupt ends this.

    ``subprocess.run`` loses sight of a process when a signal raises after the process was
    begun and before it is in hand; such a process goes on, and writes where things are
    being removed.
    """
    process = None
    try:
        with deferred():
            process = subprocess.Popen(command, **options)
        output, _ = process.communicate()
    except BaseException:  # interrupts, above all
        if process is not None:
            process.terminate()
            process.communicate()
        raise
    return subprocess.CompletedProcess(command, process.returncode, output)
