"""The command line, struck by a signal at one chosen call of a Python function.

    python struck.py FILE:FUNCTION SIGNAL CALLS WORD...

The signal comes CALLS calls after FUNCTION of the module FILE was called; 0 is never. How
many calls there were is the last line of standard error.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Any

from pgmonkey.cli.main import main

if __name__ == "__main__":
    file, function = sys.argv[1].split(":")
    which, after = int(sys.argv[2]), int(sys.argv[3])
    sys.argv[1:] = sys.argv[4:]
    # A program that a shell starts in the background is born deaf to it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    calls = 0

    def count(frame: FrameType, event: str, arg: Any) -> None:
        global calls
        code = frame.f_code
        begins = code.co_name == function and code.co_filename.endswith(f"/{file}")
        if event == "call" and (calls or begins):
            calls += 1
            if calls == after:
                signal.raise_signal(which)

    sys.setprofile(count)
    ended = main()
    if not after:
        print(calls, file=sys.stderr)
    sys.exit(ended)
