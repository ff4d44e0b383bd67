"""Passwords change while connections come and go: no user of the pool notices."""

from __future__ import annotations

from support.faults import rotation
from support.ledger import Ours


def test_passwords_rotated_under_load_cost_no_error(mortal_server, tmp_path, times):
    """R10. Each new connection reads the file; one that was too early is made again."""
    outcome = rotation(mortal_server, Ours, tmp_path, times=times(10, 100))
    assert (outcome.errors, outcome.surprises) == ([], [])
    assert outcome.connects > 10
