"""The connection ladder against real servers: the rung that breaks, its code, its time."""

from __future__ import annotations

import socket
import time

import pytest
from psycopg import sql

from pgmonkey.config.load import load_settings
from pgmonkey.connections.ladder import Ladder
from pgmonkey.connections.probe import probe

# Nothing here asks for a wait; this is when one that should not be there is noticed.
SOON = 5.0


def climb(args: dict[str, object], timeout: float | None = SOON) -> Ladder:
    return probe(load_settings({"connection_settings": args}), timeout)


@pytest.fixture
def closed_port() -> int:
    """A port of this machine where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def test_login_over_tls_reaches_the_top(database, server):
    ladder = climb(database.dsn_args(application_name="probe-top"))
    assert ladder.error is None
    assert ladder.failed is None
    assert [step.name for step in ladder.steps if step.ok] == [
        *(["dns"] if "hostaddr" not in database.dsn_args() else []),
        "tcp",
        "tls",
        "login",
        "query",
    ]
    assert ladder.tls == "TLSv1.3"
    assert "> tls TLSv1.3 > login " in ladder.text()
    assert ladder.cipher
    assert ladder.server_version
    assert ladder.server_version // 10000 == server.version
    assert server.sessions("probe-top") == 0


def test_server_without_tls_shows_that_tls_is_off(plain_server):
    ladder = climb(plain_server.dsn_args(sslmode="prefer"))
    assert ladder.error is None
    assert ladder.tls == ""
    assert "> tls off > login " in ladder.text()


def test_address_needs_no_name_lookup(database):
    ladder = climb(database.dsn_args(host="127.0.0.1", hostaddr=None, sslmode="require"))
    assert ladder.steps[0].ok is None or "hostaddr" in database.dsn_args()


def test_wrong_password_breaks_the_login(database, server):
    ladder = climb(database.dsn_args(password="wr0ng"))
    assert ladder.failed == "login"
    assert ladder.error is not None
    assert ladder.error.code == "PGM301"
    assert ladder.error.message == (
        f'password authentication failed for user "{server.user}"'
        f" at localhost:{server.port}/{database.name}"
    )
    assert "wr0ng" not in repr(ladder)
    assert ladder.text().endswith("> login FAILED")


def test_unknown_database_breaks_the_login(server):
    ladder = climb(server.dsn_args(dbname="nowhere"))
    assert (ladder.failed, ladder.error and ladder.error.code) == ("login", "PGM302")


def test_closed_port_breaks_tcp(server, closed_port):
    ladder = climb(server.dsn_args(port=closed_port))
    assert (ladder.failed, ladder.error and ladder.error.code) == ("tcp", "PGM304")


def test_unknown_host_breaks_dns(server):
    ladder = climb(server.dsn_args(host="nowhere.invalid", hostaddr=None))
    assert (ladder.failed, ladder.error and ladder.error.code) == ("dns", "PGM305")


def test_missing_socket_is_called_a_socket(server, tmp_path):
    ladder = climb(server.dsn_args(host=str(tmp_path), hostaddr=None, sslmode=None))
    assert (ladder.failed, ladder.error and ladder.error.code) == ("socket", "PGM304")


def test_tls_that_the_server_does_not_speak_breaks_tls(plain_server):
    ladder = climb(plain_server.dsn_args(sslmode="require"))
    assert (ladder.failed, ladder.error and ladder.error.code) == ("tls", "PGM307")


def test_unknown_authority_breaks_tls(database, server):
    ladder = climb(database.dsn_args(sslrootcert=str(server.certs.wrong_ca)))
    assert (ladder.failed, ladder.error and ladder.error.code) == ("tls", "PGM308")


def test_certificate_for_another_name_breaks_tls(database, server):
    with server.certificate("wrong_host"):
        ladder = climb(database.dsn_args())
    assert (ladder.failed, ladder.error and ladder.error.code) == ("tls", "PGM308")
    assert "host name" in ladder.error.message


def test_missing_client_certificate_is_named(database, server):
    with server.hba("hostssl all all all cert"):
        ladder = climb(database.dsn_args())
    assert (ladder.failed, ladder.error and ladder.error.code) == ("login", "PGM309")


def test_client_certificate_that_the_server_does_not_trust_breaks_tls(database, server):
    """Under TLS 1.3 the alert arrives when the client has finished its handshake long since."""
    client = server.certs.client(server.user, signed_by="wrong")
    with server.hba("hostssl all all all cert"):
        ladder = climb(database.dsn_args(**client.dsn_args()))
    assert (ladder.failed, ladder.error and ladder.error.code) == ("tls", "PGM309")


def test_missing_rule_is_answered_with_what_prints_the_rule(database, server):
    with server.hba([]):
        ladder = climb(database.dsn_args())
    assert (ladder.failed, ladder.error and ladder.error.code) == ("login", "PGM303")
    assert "pgserverconfig --emit pg_hba.conf --least-privilege --client-add" in ladder.error.hint


def test_of_the_two_attempts_of_prefer_the_one_that_came_further_is_told(database, server):
    """TLS is not admitted, the plain login is, and its password is wrong: that is the news."""
    with server.hba("hostnossl all all all scram-sha-256"):
        ladder = climb(database.dsn_args(sslmode="prefer", sslrootcert=None, password="wrong"))
    assert ladder.error is not None
    assert ladder.error.code == "PGM301"
    assert "> tls off > login FAILED" in ladder.text()


def test_full_server_is_told_from_a_refused_login(database, server):
    with server.admin() as conn:
        conn.execute(
            sql.SQL("ALTER ROLE {} CONNECTION LIMIT 0").format(sql.Identifier(server.user))
        )
    try:
        ladder = climb(database.dsn_args())
    finally:
        with server.admin() as conn:
            conn.execute(
                sql.SQL("ALTER ROLE {} CONNECTION LIMIT -1").format(sql.Identifier(server.user))
            )
    assert (ladder.failed, ladder.error and ladder.error.code) == ("login", "PGM320")


def test_silent_server_ends_the_probe_when_the_time_is_over(database, proxy):
    proxy.freeze()
    began = time.monotonic()
    ladder = climb(database.dsn_args(port=proxy.port), timeout=1.0)
    took = time.monotonic() - began
    assert ladder.error is not None
    assert ladder.error.code == "PGM306"
    assert ladder.failed in ("tls", "login")
    assert took < 1.0 + SOON


def test_connect_timeout_bounds_each_address_without_a_timeout_of_the_caller(database, proxy):
    proxy.freeze()
    ladder = climb(database.dsn_args(port=proxy.port, connect_timeout=2), timeout=None)
    assert ladder.error is not None
    assert ladder.error.message.startswith("no answer within 2 s")


def test_second_host_is_tried_and_reached(database, server, closed_port):
    args = database.dsn_args(host="localhost,localhost", port=f"{closed_port},{server.port}")
    if "hostaddr" in args:
        args["hostaddr"] = f"{args['hostaddr']},{args['hostaddr']}"
    assert climb(args).error is None


def test_of_several_hosts_the_one_that_came_furthest_is_told(database, server, closed_port):
    args = database.dsn_args(
        host="localhost,localhost", port=f"{server.port},{closed_port}", password="wrong"
    )
    if "hostaddr" in args:
        args["hostaddr"] = f"{args['hostaddr']},{args['hostaddr']}"
    ladder = climb(args)
    assert ladder.error is not None
    assert ladder.error.code == "PGM301"


def test_keyword_that_libpq_refuses_is_an_answer_and_not_a_traceback(database):
    ladder = climb(database.dsn_args(service="nosvc"))
    assert ladder.error is not None
    assert ladder.error.code == "PGM201"
    assert ladder.failed is None
