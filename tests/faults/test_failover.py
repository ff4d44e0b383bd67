"""The primary crashes, its standby is promoted, and one configuration names both."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pgmonkey import PGConnectionManager
from support import faults
from support.ledger import Ours
from support.server import PgServer


@pytest.fixture
def standby(primary: PgServer) -> Iterator[PgServer]:
    """A streaming standby which every commit of ``primary`` waits for."""
    with primary.standby() as standby, primary.settings(synchronous_standby_names="*"):
        yield standby


def test_failover_to_the_promoted_standby_loses_no_acknowledged_commit(primary, standby):
    """R3. The time until the first commit, 0.8 s after promotion, is judged by the benchmark."""
    try:
        outage = faults.failover(primary, standby, Ours)
    finally:
        primary.resume()
    assert (outage.lost, outage.surprises) == (0, [])
    assert outage.sessions <= 8


@pytest.mark.parametrize(
    ("wanted", "recovering"),
    [("primary", False), ("standby", True), ("read-only", True), ("prefer-standby", True)],
)
def test_several_hosts_are_tried_for_the_one_that_is_wanted(primary, standby, wanted, recovering):
    args = primary.dsn_args(
        host="127.0.0.1,127.0.0.1",
        port=f"{primary.port},{standby.port}",
        target_session_attrs=wanted,
    )
    manager = PGConnectionManager()
    for kind in ("normal", "pool"):
        with manager.get_database_connection_from_dict({"connection_settings": args}, kind) as conn:
            assert conn.execute("SELECT pg_is_in_recovery()").fetchone() == (recovering,)
    manager.clear_cache()


def test_random_balance_reaches_every_host(mortal_server, other_server):
    """The chance that 40 of 40 go to the same of two is one in 5e11."""
    args = mortal_server.dsn_args(
        host="127.0.0.1,127.0.0.1",
        port=f"{mortal_server.port},{other_server.port}",
        load_balance_hosts="random",
    )
    manager = PGConnectionManager()
    config = {"connection_settings": args}
    ports = set()
    for _ in range(40):
        handle = manager.get_database_connection_from_dict(config, "normal")
        with handle as conn:
            ports.add(conn.info.port)
        handle.disconnect()
    assert ports == {mortal_server.port, other_server.port}
