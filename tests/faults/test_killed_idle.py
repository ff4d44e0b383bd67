"""Idle sessions are killed: nobody who asks afterwards notices."""

from __future__ import annotations

import select

import psycopg
import pytest

from support.faults import kill_idle
from support.ledger import Ours, both_slots, opened
from support.proxy import TcpProxy
from support.wait import until


def _has_news(conn: psycopg.Connection) -> bool:
    return bool(select.select([conn], [], [], 0)[0])


@pytest.mark.parametrize("size", [1, 4, 20])
def test_no_request_fails_after_all_idle_sessions_were_killed(server, size):
    """R1. The target for the first answer, 100 ms, is judged by the benchmark."""
    assert kill_idle(server, Ours, size).errors == 0


def test_one_dead_session_has_the_other_idle_ones_looked_at_too(server):
    """Also those that the borrower, who took the first live one, would not have met."""
    args = server.dsn_args(application_name="swept")
    with opened(Ours, args, min_size=4, max_size=4, timeout=10) as pool:
        until(lambda: pool.handle.stats().idle == 4)
        pids = []
        for _ in range(4):  # they take turns
            with pool.block() as conn:
                pids.append(conn.info.backend_pid)
        for dead in (0, 2, 3):
            server.terminate("pid", pids[dead])
        with pool.block() as conn:
            assert conn.info.backend_pid == pids[1]
        until(lambda: pool.handle.stats().discards["dead"] == 3)
        until(lambda: server.sessions("swept") == 4)
        assert both_slots(pool, 4)


def test_sessions_that_live_are_kept_when_another_is_found_dead(server):
    args = server.dsn_args(application_name="spared")
    with opened(Ours, args, min_size=3, max_size=3, timeout=10) as pool:
        until(lambda: pool.handle.stats().idle == 3)
        with pool.block() as conn:  # goes to the end of the queue
            pid = conn.info.backend_pid
        server.terminate("pid", pid)
        for _ in range(6):
            with pool.block() as conn:
                conn.execute("SELECT 1")
        until(lambda: server.sessions("spared") == 3)
        assert pool.handle.stats().discards["dead"] == 1


def test_session_that_dies_in_a_block_has_the_idle_ones_looked_at(server):
    """Nobody asks for a connection afterwards, so nobody else would look."""
    args = server.dsn_args(application_name="struck")
    with opened(Ours, args, min_size=4, max_size=4, timeout=10) as pool:
        until(lambda: pool.handle.stats().idle == 4)
        all_four = []
        for _ in range(4):  # they take turns
            with pool.block() as conn:
                all_four.append(conn)
        with pytest.raises(psycopg.OperationalError), pool.block() as conn:
            server.terminate("application_name", "struck")
            until(lambda: all(map(_has_news, all_four)))
            conn.execute("SELECT 1")
        until(lambda: pool.handle.stats().discards["dead"] == 3)
        assert pool.handle.stats().discards["broken"] == 1
        until(lambda: server.sessions("struck") == 4)


def test_last_words_of_a_server_suffice_where_its_hanging_up_has_not_arrived_yet(mortal_server):
    with TcpProxy(mortal_server.address) as proxy:
        args = mortal_server.dsn_args(port=proxy.port, hostaddr="127.0.0.1")
        with opened(Ours, args, min_size=1, max_size=1, timeout=10) as pool:
            with pool.block() as conn:
                pid = conn.info.backend_pid
            proxy.withhold_ends()
            mortal_server.terminate("pid", pid)
            until(lambda: _has_news(conn))
            with pool.block() as conn:
                assert conn.info.backend_pid != pid
                assert conn.execute("SELECT 1").fetchone() == (1,)
