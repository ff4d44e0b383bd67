"""The line of progress of an import, shown on a terminal while rows go by."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pgmonkey.cli.output import Output

if TYPE_CHECKING:
    from pgmonkey.transfer.plan import Progress

# Seconds between two looks at the progress line; faster than that nobody reads.
EVERY = 0.1


class Meter:
    """The line of progress: rows, bytes, rate, and the time left by the bytes read."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._began = self._shown = time.monotonic()

    def show(self, progress: Progress) -> None:
        """Show *progress*, unless the last time was a moment ago."""
        now = time.monotonic()
        if now - self._shown < EVERY:
            return
        self._shown = now
        self._out.progress(meter_text(progress, now - self._began))


def meter_text(progress: Progress, seconds: float) -> str:
    """Return *progress* after *seconds* in one line."""
    from pgmonkey.cli.pgexport import megabytes

    rate = progress.bytes_read / seconds if seconds > 0 else 0.0
    parts = [f"{progress.rows:,} rows", megabytes(progress.bytes_read)]
    if progress.bytes_total:
        share = min(100, progress.bytes_read * 100 // progress.bytes_total)
        parts[1] = f"{share} % of {megabytes(progress.bytes_total)}"
    parts.append(f"{rate / 1e6:.1f} MB/s")
    if progress.bytes_total and rate:
        left = max(0, progress.bytes_total - progress.bytes_read) / rate
        parts.append(f"{left:.0f} s left" if left < 100 else f"{left / 60:.0f} min left")
    return ", ".join(parts)
