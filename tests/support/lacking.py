"""What a machine lacks: a skip that says so, and in CI a failure."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

# Read when the tests are collected: they run without the caller's PG* variables.
SERVER = os.environ.get("PGMONKEY_REQUIRE_SERVER", "") not in ("", "0")
ENGINE = os.environ.get("PGMONKEY_REQUIRE_DOCKER", "") not in ("", "0")


def lacking(reason: str, *, engine: bool = False) -> NoReturn:
    """Skip the test for *reason*, or fail it where that is required to be there.

    Args:
        engine: Whether a container engine is what it takes.
    """
    if ENGINE if engine else SERVER:
        pytest.fail(reason)
    pytest.skip(reason)
