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


def test_session_that_a_primary_ended_takes_the_idle_ones_with_it(server):
    """They live, but whether at a primary is in doubt; nobody needs to ask for one first."""
    args = server.dsn_args(application_name="doubted", target_session_attrs="read-write")
    with opened(Ours, args, min_size=3, max_size=3, timeout=10) as pool:
        until(lambda: pool.handle.stats().idle == 3)
        with pytest.raises(psycopg.errors.AdminShutdown), pool.block() as conn:
            conn.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        until(lambda: pool.handle.stats().discards["demoted"] == 3)
        until(lambda: pool.handle.stats().idle == 3)
        assert both_slots(pool, 3)
