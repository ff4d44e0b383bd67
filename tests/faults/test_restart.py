"""The server goes down and comes back under load: what was acknowledged is there."""

from __future__ import annotations

import logging

import pytest

from support import faults
from support.ledger import Ours, both_slots, opened
from support.wait import until


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_restart_under_load_loses_no_acknowledged_commit(mortal_server, mode, times):
    """R2. The time until the first commit, 1.2 s, is judged by the benchmark."""
    outage = faults.restart(mortal_server, Ours, mode, rounds=times(1, 20))
    assert (outage.lost, outage.surprises) == (0, [])
    assert outage.sessions <= 8


def test_pool_tries_on_as_long_as_somebody_waits_and_then_rests(mortal_server, caplog):
    """Also beyond reconnect_timeout; the pauses between attempts stop growing at half a second."""
    args = mortal_server.dsn_args(application_name="waited")
    with opened(Ours, args, min_size=1, max_size=1, timeout=60, reconnect_timeout=0.2) as pool:
        mortal_server.halt("fast")
        try:
            with caplog.at_level(logging.WARNING):
                failures = 12  # with pauses that only grew it would take minutes

                def come_back() -> None:
                    until(lambda: pool.handle.stats().connect_errors >= failures)
                    mortal_server.resume()

                import threading

                rescue = threading.Thread(target=come_back)
                rescue.start()
                with pool.block() as conn:
                    assert conn.execute("SELECT 1").fetchone() == (1,)
                rescue.join()
            assert caplog.text == ""  # somebody waited all the time
            mortal_server.halt("fast")
            with caplog.at_level(logging.WARNING), pytest.raises(faults.PoolTimeout):
                pool.handle._pool.getconn(timeout=0.5)
            until(lambda: "none is tried until somebody asks" in caplog.text)
            caplog.clear()
            tried = pool.handle.stats().connect_errors
            assert pool.handle.stats().size == 0
        finally:
            mortal_server.resume()
        with pool.block() as conn:
            assert conn.execute("SELECT 1").fetchone() == (1,)
        assert pool.handle.stats().connect_errors <= tried + 1


def test_who_comes_in_a_long_pause_is_served_at_once_and_the_pool_is_whole_again(server):
    """With nobody waiting the pauses grow to 5 s, twice what this one is ready to wait."""
    name = "hastened"
    with server.database() as database, server.admin() as admin:
        args = database.dsn_args(application_name=name)
        with opened(Ours, args, min_size=4, max_size=4, timeout=2.5) as pool:
            until(lambda: pool.handle.stats().idle == 4)
            admin.execute(f'ALTER DATABASE "{database.name}" ALLOW_CONNECTIONS false')
            server.terminate("application_name", name)
            with pytest.raises(faults.PoolTimeout), pool.block():
                pass
            until(lambda: pool.handle._pool._pause >= 4)
            admin.execute(f'ALTER DATABASE "{database.name}" ALLOW_CONNECTIONS true')
            with pool.block() as conn:
                assert conn.execute("SELECT 1").fetchone() == (1,)
            until(lambda: server.sessions(name) == 4)
            assert both_slots(pool, 4)
