"""The two probes: what a server wants of a login, and what its TLS shows, without logging in."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from pgmonkey.config.load import load_settings
from pgmonkey.server import authprobe, tlsprobe
from pgmonkey.server.client import Client, Endpoint, resolve
from support.certs import CertKit
from support.choice import DIRECT_TLS_SINCE
from support.server import PgServer


def client_of(server: PgServer, **over: Any) -> Client:
    args = {key: str(value) for key, value in server.dsn_args(**over).items()}
    return resolve(load_settings({"connection_settings": args}))


def ask(server: PgServer, *, encrypted: bool = True, **over: Any) -> authprobe.AuthAnswer:
    client = client_of(server, **over)
    return authprobe.probe(client, client.endpoints[0], encrypted=encrypted)


@pytest.mark.parametrize(
    ("method", "kind"),
    [("trust", "trust"), ("scram-sha-256", "sasl"), ("password", "cleartext"), ("md5", "sasl")],
)
def test_method_is_named_without_a_password(server: PgServer, method: str, kind: str):
    with server.hba([f"host all all all {method}"]):
        for encrypted in (True, False):
            answer = ask(server, encrypted=encrypted, password=None)
            assert (answer.kind, answer.encrypted, answer.message) == (kind, encrypted, "")
            bound = "SCRAM-SHA-256-PLUS" in answer.mechanisms
            assert bound is (kind == "sasl" and encrypted)


@pytest.mark.parametrize(
    ("rule", "detail"),
    [
        ("host all all all reject", "reject"),
        ("host nobody all all trust", "implicit-reject"),
        ("hostssl all all all trust clientcert=verify-ca", "certificate"),
    ],
)
def test_refusal_is_told_apart(server: PgServer, rule: str, detail: str):
    with server.hba([rule]):
        answer = ask(server)
        assert (answer.kind, answer.sqlstate, answer.detail) == ("error", "28000", detail)


def test_certificate_that_is_configured_is_shown(server: PgServer, certs: CertKit):
    with server.hba(["hostssl all all all cert"]):
        shown = certs.client(server.user).dsn_args()
        assert ask(server, **shown).kind == "trust"
        assert ask(server, **certs.client("somebody-else").dsn_args()).kind == "error"
        answer = ask(server, **certs.client(server.user, signed_by="wrong").dsn_args())
        assert (answer.kind, answer.detail) == ("error", "certificate"), answer


def test_encrypted_key_needs_its_password_and_never_asks_for_it(server: PgServer, certs: CertKit):
    locked = certs.client(server.user, password="opens")
    client = client_of(server, **locked.dsn_args())
    with server.hba(["hostssl all all all cert"]):
        endpoint = client.endpoints[0]
        opened = authprobe.probe(client, endpoint, encrypted=True, key_password="opens")
        assert opened.kind == "trust"
        closed = authprobe.probe(client, endpoint, encrypted=True)
        assert closed.kind == "unreachable"
        assert str(locked.key) in closed.message


def test_server_without_tls_says_so(plain_server: PgServer):
    assert ask(plain_server, encrypted=True).kind == "no-tls"
    assert ask(plain_server, encrypted=False).kind == "sasl"
    client = client_of(plain_server)
    assert tlsprobe.probe(client, client.endpoints[0]).offered is False


def test_probe_that_is_not_refused_leaves_no_word_in_the_log(server: PgServer):
    client = client_of(server)
    before = len(server.log())
    assert ask(server).kind == "sasl"
    assert ask(server, encrypted=False).kind == "sasl"
    assert tlsprobe.probe(client, client.endpoints[0]).chain_verified is True
    server.reload()  # what it has to say of the sessions before is written by then
    said = [line for line in server.log()[before:].splitlines() if "SIGHUP" not in line]
    assert said == []


def test_session_that_trust_began_is_ended(server: PgServer):
    with server.hba(["host all all all trust"]):
        assert ask(server).kind == "trust"
        with server.admin() as conn:
            left = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgmonkey'"
            for _ in range(500):
                if conn.execute(left).fetchone() == (0,):
                    return
            pytest.fail("the probe's session is still there")


@contextmanager
def listener(talk: Callable[[socket.socket], None]) -> Iterator[Endpoint]:
    """Something on a port of this machine that is no PostgreSQL."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)

        def serve() -> None:
            while True:
                try:
                    conn, _ = server.accept()
                except OSError:
                    return
                with conn, suppress(OSError):
                    talk(conn)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield Endpoint("", "127.0.0.1", server.getsockname()[1])
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def silent(conn: socket.socket) -> None:
    while conn.recv(100):
        pass


def garbage(conn: socket.socket) -> None:
    conn.recv(100)
    conn.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def agrees_and_is_silent(conn: socket.socket) -> None:
    conn.recv(100)
    conn.sendall(b"S")
    silent(conn)


def agrees_to_nonsense(conn: socket.socket) -> None:
    conn.recv(100)
    conn.sendall(b"S" + b"nonsense" * 10)


@pytest.mark.parametrize("talk", [silent, garbage, agrees_and_is_silent, agrees_to_nonsense])
@pytest.mark.parametrize("encrypted", [True, False])
def test_what_is_no_server_ends_the_probe_and_never_blocks_it(talk, encrypted):
    client = Client("x", (), "app", "app")
    with listener(talk) as endpoint:
        started = time.monotonic()
        answer = authprobe.probe(client, endpoint, encrypted=encrypted, timeout=0.5)
        seen = tlsprobe.probe(client, endpoint, timeout=0.5)
        assert time.monotonic() - started < 30
    assert answer.kind in ("unreachable", "error")
    assert answer.message
    assert seen.error
    assert seen.chain == ()


def test_nobody_there_is_said_in_the_systems_words():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    client = Client("x", (), "app", "app")
    for endpoint in (Endpoint("", "127.0.0.1", port), Endpoint("/nowhere", "", port)):
        answer = authprobe.probe(client, endpoint, encrypted=False)
        assert (answer.kind, answer.sqlstate) == ("unreachable", "")
        assert answer.message in ("Connection refused", "No such file or directory")


def libpq_accepts(server: PgServer, sslmode: str, **over: Any) -> bool:
    try:
        psycopg.connect(**server.dsn_args(sslmode=sslmode, **over)).close()
    except psycopg.OperationalError as error:
        if "certificate" not in str(error):
            raise
        return False
    return True


@pytest.mark.parametrize("shown", ["good", "expired", "wrong_host"])
def test_certificate_is_judged_as_libpq_judges_it(server: PgServer, certs: CertKit, shown: str):
    with server.certificate(shown):
        for authority in (certs.ca, certs.wrong_ca):
            for host in ("localhost", "127.0.0.1", "other.example.test", "LOCALHOST", "db"):
                over = {
                    "host": host,
                    "hostaddr": server.address[0],
                    "sslrootcert": str(authority),
                }
                client = client_of(server, **over)
                seen = tlsprobe.probe(client, client.endpoints[0])
                ca, full = (
                    libpq_accepts(server, mode, **over) for mode in ("verify-ca", "verify-full")
                )
                assert seen.chain_verified is ca, (host, authority, seen)
                assert (bool(seen.chain_verified) and bool(seen.name_matches)) is full, (host, seen)
                assert bool(seen.chain_problem) is not ca


def test_what_is_negotiated_and_how_long_it_lasts_is_told(server: PgServer):
    client = client_of(server)
    seen = tlsprobe.probe(client, client.endpoints[0])
    assert (seen.offered, seen.version, seen.error) == (True, "TLSv1.3", "")
    assert seen.cipher.startswith("TLS_")
    assert seen.leaf is not None
    assert seen.leaf.dns_names == ("localhost", "db")
    assert seen.leaf.ip_names == ("127.0.0.1", "::1")
    assert seen.leaf.not_before < seen.leaf.not_after


def test_without_a_root_certificate_nothing_is_verified_and_all_is_seen(server: PgServer):
    client = client_of(server, sslmode="require", sslrootcert=None)
    seen = tlsprobe.probe(client, client.endpoints[0])
    assert (seen.chain_verified, seen.chain_problem, seen.name_matches) == (None, "", True)


def test_root_certificate_that_cannot_be_read_is_the_chains_problem(server: PgServer):
    client = replace(client_of(server), sslrootcert="/nowhere/ca.crt")
    seen = tlsprobe.probe(client, client.endpoints[0])
    assert seen.chain_verified is False
    assert seen.chain_problem == "/nowhere/ca.crt: No such file or directory"
    assert seen.leaf is not None


def test_direct_tls_is_spoken_where_it_is_configured(server: PgServer):
    client = replace(client_of(server), sslnegotiation="direct")
    seen = tlsprobe.probe(client, client.endpoints[0])
    answer = authprobe.probe(client, client.endpoints[0], encrypted=True)
    if server.version >= DIRECT_TLS_SINCE:
        assert (seen.version, seen.chain_verified, answer.kind) == ("TLSv1.3", True, "sasl")
    else:
        assert seen.error
        assert answer.kind in ("unreachable", "error")


def test_socket_has_no_tls_and_is_asked_all_the_same(server: PgServer):
    if server.socket_folder is None:
        pytest.skip("the server's socket is on another machine")
    endpoint = Endpoint(server.socket_folder, "", server.port)
    client = Client("x", (endpoint,), server.user, "postgres")
    with server.hba(["local all all scram-sha-256"], socket=True):
        answer = authprobe.probe(client, endpoint, encrypted=True)
    assert (answer.kind, answer.encrypted, answer.mechanisms) == ("sasl", False, ("SCRAM-SHA-256",))
    assert tlsprobe.probe(client, endpoint).error == "a Unix-domain socket has no TLS"
