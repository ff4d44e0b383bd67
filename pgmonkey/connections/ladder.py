"""The connection ladder as a value: five rungs, how long each took, and which one broke.

``probe`` climbs it; ``diagnosis`` says why it broke.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pgmonkey.connections.diagnosis import Diagnosis

STEPS = ("dns", "tcp", "tls", "login", "query")


@dataclass(frozen=True)
class Step:
    """One rung: *ok* is None where it was not needed or not reached, and *ms* then too."""

    name: str
    ok: bool | None = None
    ms: float | None = None
    detail: str = ""

    def __str__(self) -> str:
        if self.ok is False:
            return f"{self.name} FAILED"
        if self.detail or self.ms is None:
            return f"{self.name} {self.detail}"
        return f"{self.name} {self.ms:.{0 if self.ms >= 1 else 1}f} ms"


@dataclass(frozen=True)
class Ladder:
    """One probe: its five rungs in order, and why it ended if not at the top.

    Attributes:
        steps: ``STEPS``; the second is called ``socket`` on a Unix-domain socket.
        error: None when the query was answered.
        server_version: As libpq says it, such as 170004; None before the login.
        tls: "TLSv1.3" and the like, "" for a plain connection; None when unknown: before
            the login, and behind a pooler.
        cipher: Its name, or None likewise.
    """

    steps: tuple[Step, ...]
    error: Diagnosis | None = None
    server_version: int | None = None
    tls: str | None = None
    cipher: str | None = None

    @property
    def failed(self) -> str | None:
        """Name of the rung that broke, or None."""
        return next((step.name for step in self.steps if step.ok is False), None)

    @property
    def height(self) -> int:
        """How many rungs were passed before one broke, or all five."""
        return next((i for i, step in enumerate(self.steps) if step.ok is False), len(STEPS))

    @classmethod
    def broken(cls, steps: Sequence[Step], error: Diagnosis) -> Ladder:
        """Return a ladder whose last given rung broke; the ones above were not reached."""
        return cls((*steps, *(Step(name) for name in STEPS[len(steps) :])), error)

    def text(self) -> str:
        """Return ``dns 3 ms > tcp 11 ms > tls TLSv1.3 > login FAILED`` and the like."""
        return " > ".join(str(step) for step in self.steps if step.ok is not None or step.detail)
