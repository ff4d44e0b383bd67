"""Which keys are secret, and what stands in their place."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

REDACTED = "***REDACTED***"


class Secret:
    """A string that shows itself to nobody: repr, str, format and pickle see a mask."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the secret in clear."""
        return self._value

    def identity(self) -> str:
        """Return what stands for this secret in a fingerprint: its value."""
        return "value:" + self._value

    def known_values(self) -> tuple[str, ...]:
        """Return the clear texts that must appear nowhere."""
        return (self._value,)

    def __repr__(self) -> str:
        return REDACTED


def scrub(text: str, secrets: Iterable[str]) -> str:
    """Replace each secret in *text*, also percent-encoded."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        for form in {secret, quote(secret, safe=""), quote(secret)}:
            text = text.replace(form, REDACTED)
    return text


def redact_config(config: Any) -> Any:
    raise NotImplementedError
