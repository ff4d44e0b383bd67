"""A server that does not take writes any more is left behind, and so are all sessions to it."""

from __future__ import annotations

import psycopg
import pytest

from support import faults
from support.ledger import Ours, both_slots, opened
from support.wait import until


def test_pool_leaves_a_server_that_stopped_taking_writes(mortal_server, other_server):
    """R4: at most an error for each connection in use, here one; raw pools stay for ever."""
    errors, arrived = faults.demotion(mortal_server, other_server, Ours)
    assert errors == 1
    assert arrived == 10


def test_statement_refused_in_a_transaction_that_asked_to_be_read_only_costs_no_connection(server):
    """From 14 on a server reports what it is itself."""
    if server.version < 14:
        pytest.skip("servers before 14 do not report default_transaction_read_only")
    args = server.dsn_args(application_name="reader", target_session_attrs="read-write")
    with opened(Ours, args, min_size=2, max_size=2, timeout=10) as pool:
        until(lambda: pool.handle.stats().idle == 2)
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction), pool.block() as conn:
            conn.execute("SET TRANSACTION READ ONLY")
            conn.execute("CREATE TABLE refused ()")
        assert both_slots(pool, 2)
        assert sum(pool.handle.stats().discards.values()) == 0
