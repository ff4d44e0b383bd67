"""Who holds a connection for too long: the calls that led to its borrowing, and the log's line.

The calls are noted at every borrowing where leaks are looked for, so what is noted is cheap:
no line of source is read before there is something to report. When that is, the pool decides.
"""

from __future__ import annotations

import logging
import traceback
from pathlib import Path
from types import FrameType

logger = logging.getLogger("pgmonkey.connections")

# Innermost calls to show.
FRAMES = 20
HERE = str(Path(__file__).parent)


def calls(frame: FrameType) -> traceback.StackSummary:
    """Return the innermost calls that led to *frame*, itself included."""
    stack = traceback.walk_stack(frame)
    return traceback.StackSummary.extract(stack, limit=FRAMES, lookup_lines=False)


def report(pool: str, seconds: float, borrowed_in: traceback.StackSummary | None) -> None:
    """Log that a connection of *pool* is held for *seconds*, and the user's calls behind it."""
    theirs = [call for call in borrowed_in or [] if HERE not in call.filename]
    logger.warning(
        "pool %s: a connection is held for %.0f s by now; it was borrowed in\n%s",
        pool,
        seconds,
        "".join(traceback.StackSummary.from_list(theirs[::-1]).format()).rstrip(),
    )
