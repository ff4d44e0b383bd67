"""A server that has stopped moving holds nobody up for longer than the timeout."""

from __future__ import annotations

import pytest

from support.faults import stall
from support.ledger import Ours

# The promise is 0.2 s, which the benchmark judges; this only tells it from no limit at all.
GENEROUS = 2.0


@pytest.mark.parametrize("everything", [False, True], ids=["one session", "the whole server"])
def test_checkout_from_a_stalled_server_ends_with_the_timeout(mortal_server, everything):
    """R5: a stalled session is replaced; where new ones stall too, the caller is told in time."""
    outcome = stall(mortal_server, Ours, everything)
    assert outcome.beyond_seconds < GENEROUS
    assert outcome.answered == (not everything)
