"""The harness keeps its own promises: rules apply, certificates change, networks break."""

from __future__ import annotations

import ssl
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from support.proxy import TcpProxy
from support.server import Database, PgServer


def test_ordinary_login_is_encrypted_and_verified_in_full(database: Database):
    args = database.dsn_args()
    assert args["sslmode"] == "verify-full"
    with psycopg.connect(**args) as conn:
        row = conn.execute(
            "SELECT ssl, usesuper FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) "
            "JOIN pg_user USING (usename) WHERE pid = pg_backend_pid()"
        ).fetchone()
    assert row == (True, False)


def test_database_belongs_to_one_test_and_its_role_may_create_tables(server: PgServer):
    with server.database() as one, server.database() as two:
        for database in (one, two):
            with psycopg.connect(**database.dsn_args()) as conn:
                conn.execute("CREATE TABLE t (n int)")


def test_database_is_dropped_while_a_session_is_open_in_it(server: PgServer):
    with server.database() as database:
        conn = psycopg.connect(**database.dsn_args())
    with server.admin() as admin:
        row = admin.execute(
            "SELECT count(*) FROM pg_database WHERE datname = %s", [database.name]
        ).fetchone()
    assert row == (0,)
    with conn, pytest.raises(psycopg.OperationalError):
        conn.execute("SELECT 1")


def test_rules_are_in_force_inside_the_block_and_gone_after_it(server: PgServer):
    with server.hba("host all all all reject"):
        with pytest.raises(psycopg.OperationalError, match=r"pg_hba\.conf rejects"):
            psycopg.connect(**server.dsn_args())
        with server.admin() as conn:
            conn.execute("SELECT 1")
    psycopg.connect(**server.dsn_args()).close()


def test_rule_the_server_does_not_understand_is_named(server: PgServer):
    with pytest.raises(ValueError, match="line 4"), server.hba("host everything"):
        pass
    psycopg.connect(**server.dsn_args()).close()


def test_rule_arrives_as_written_whatever_characters_it_has(server: PgServer):
    rule = r'hostssl "a b" "x,\y" all cert map="m ,\1"'
    with server.hba(rule), server.admin() as conn:
        row = conn.execute(
            "SELECT database, user_name, options FROM pg_hba_file_rules "
            "ORDER BY line_number DESC LIMIT 1"
        ).fetchone()
    assert row is not None
    assert row[:2] == (["a b"], [r"x,\y"])
    assert r"map=m ,\1" in row[2]


@pytest.mark.parametrize("name", ["expired", "wrong_host", "good"])
def test_certificate_is_shown_inside_the_block_and_the_good_one_after_it(server: PgServer, name):
    def der(which: str) -> bytes:
        return ssl.PEM_cert_to_DER_cert(server.certs.servers[which].cert.decode())

    with server.certificate(name):
        assert server.shown_certificate() == der(name)
    assert server.shown_certificate() == der("good")


def test_tls_can_be_switched_off_and_comes_back(server: PgServer):
    with server.tls(False):
        assert server.shown_certificate() is None
    assert server.shown_certificate() is not None


def test_plain_server_speaks_no_tls_and_lets_the_ordinary_role_in(plain_server: PgServer):
    assert plain_server.shown_certificate() is None
    psycopg.connect(**plain_server.dsn_args()).close()


def test_sessions_are_counted_by_application_name(server: PgServer):
    assert server.sessions("counted") == 0
    with psycopg.connect(**server.dsn_args(application_name="counted")):
        assert server.sessions("counted") == 1


def test_log_tells_why_a_login_failed(server: PgServer):
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(**server.dsn_args(password="wrong"))
    assert 'password authentication failed for user "app"' in server.log()


def test_variables_of_the_caller_do_not_reach_libpq(server: PgServer):
    """An earlier test in this process may not leave some behind either."""
    with psycopg.connect(**server.dsn_args()) as conn:
        assert "application_name" not in conn.info.get_parameters()


def test_proxy_passes_tls_through(server: PgServer, proxy: TcpProxy):
    with psycopg.connect(**server.dsn_args(port=proxy.port)) as conn:
        assert conn.pgconn.ssl_in_use


def test_proxy_cut_breaks_open_connections_and_lets_new_ones_pass(
    server: PgServer, proxy: TcpProxy
):
    args = server.dsn_args(port=proxy.port)
    with psycopg.connect(**args) as conn:
        proxy.cut()
        with pytest.raises(psycopg.OperationalError):
            conn.execute("SELECT 1")
    psycopg.connect(**args).close()


def test_proxy_frozen_is_silent_and_thawed_delivers_what_it_held_back(
    server: PgServer, proxy: TcpProxy
):
    args = server.dsn_args(port=proxy.port, connect_timeout=2)
    with psycopg.connect(**args) as conn, ThreadPoolExecutor(1) as pool:
        proxy.freeze()
        try:
            answer = pool.submit(conn.execute, "SELECT 42")
            with pytest.raises(psycopg.OperationalError, match="timeout"):
                psycopg.connect(**args)
            assert not answer.done()
        finally:
            proxy.thaw()
        assert answer.result(timeout=10).fetchone() == (42,)


def test_proxy_delay_holds_every_answer_back(server: PgServer, proxy: TcpProxy):
    with psycopg.connect(**server.dsn_args(port=proxy.port), autocommit=True) as conn:
        proxy.delay(0.1)
        started = time.monotonic()
        conn.execute("SELECT 1")
        assert time.monotonic() - started >= 0.2
        proxy.delay(0)
