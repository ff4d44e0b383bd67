"""What a pool has seen, in numbers: the value that ``handle.stats()`` returns, and its counters.

Counters only ever grow while the pool is open, as monitoring systems want them; rates and
averages are for the reader to make. Nothing here talks to a server.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


class Cause(str, enum.Enum):
    """Why a pool gave a connection up."""

    DEAD = "dead"  # its server hung up while it was idle
    STALLED = "stalled"  # no sign of life in time when asked for one before being lent
    BROKEN = "broken"  # died, or was left in the middle of a command, in somebody's block
    DEMOTED = "demoted"  # its server no longer is what target_session_attrs asks for
    INTERRUPTED = "interrupted"  # an interrupt or a cancellation hit while it changed hands
    EXPIRED = "expired"  # older than max_lifetime


@dataclass(frozen=True)
class PoolStats:
    """A pool at one moment, and what it has counted since it was opened; times in seconds.

    Attributes:
        size: Connections that are open or being opened.
        idle: Of these, those that wait for a borrower.
        in_use: Of these, those that are lent.
        waiting: How many threads or tasks wait for one now.
        requests: How often one was asked for.
        queued: How many of the requests had to wait.
        wait_seconds: What they waited, all together.
        longest_wait: What the most patient of them waited.
        timeouts: How many gave up after ``timeout``.
        use_seconds: How long connections were lent, all together.
        connects: Attempts to connect.
        connect_errors: How many of these failed.
        connect_seconds: What the others took.
        discards: Connections given up, by cause: each name of ``Cause``.
        leaks: Connections that were held for longer than ``leak_after``.
    """

    size: int = 0
    idle: int = 0
    in_use: int = 0
    waiting: int = 0
    min_size: int = 0
    max_size: int = 0
    requests: int = 0
    queued: int = 0
    wait_seconds: float = 0.0
    longest_wait: float = 0.0
    timeouts: int = 0
    use_seconds: float = 0.0
    connects: int = 0
    connect_errors: int = 0
    connect_seconds: float = 0.0
    discards: Mapping[str, int] = field(default_factory=dict)
    leaks: int = 0


class Counters:
    """The counting half of ``PoolStats``; whoever counts holds the pool's lock."""

    def __init__(self) -> None:
        self.requests = self.queued = self.timeouts = self.leaks = 0
        self.connects = self.connect_errors = 0
        self.wait_seconds = self.longest_wait = self.use_seconds = self.connect_seconds = 0.0
        self.discards: Counter[Cause] = Counter()

    def waited(self, seconds: float) -> None:
        """Count one who had to wait for *seconds*, in vain or not."""
        self.wait_seconds += seconds
        self.longest_wait = max(self.longest_wait, seconds)

    def snapshot(self, **now: int) -> PoolStats:
        """Return all of it, with what is true *now*."""
        counted = {**vars(self), **now}
        counted["discards"] = MappingProxyType({c.value: self.discards[c] for c in Cause})
        return PoolStats(**counted)
