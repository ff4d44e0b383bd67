"""What libpq, OpenSSL, the server and psycopg say, and what pgmonkey makes of it."""

from __future__ import annotations

import pytest

from pgmonkey.config.redaction import Secret
from pgmonkey.config.settings import Mark, Settings
from pgmonkey.connections.diagnosis import classify
from pgmonkey.connections.ladder import Ladder, Step

TO = 'connection to server at "db" (10.0.0.2), port 5432 failed: '

SETTINGS = Settings(
    "prod.yaml",
    connection={
        "host": "db",
        "port": "5432",
        "dbname": "sales",
        "user": "app",
        "password": Secret("s3cret"),
    },
    marks={"connection_settings.password": Mark("prod.yaml", 5, 13)},
)

SAID = [
    ("PGM301", "login", TO + 'FATAL:  password authentication failed for user "app"'),
    ("PGM301", "login", TO + "fe_sendauth: no password supplied"),
    ("PGM301", "login", TO + 'FATAL:  role "app" does not exist'),
    ("PGM301", "login", TO + 'FATAL:  role "app" is not permitted to log in'),
    ("PGM301", "login", TO + "channel binding required, but server did not offer it"),
    ("PGM302", "login", TO + 'FATAL:  database "sales" does not exist'),
    ("PGM302", "login", TO + "FATAL:  no such database: sales"),
    (
        "PGM303",
        "login",
        TO + 'FATAL:  no pg_hba.conf entry for host "10.0.0.4", user "app", database "sales", '
        "no encryption",
    ),
    (
        "PGM303",
        "login",
        TO + 'FATAL:  pg_hba.conf rejects connection for host "10.0.0.4", user "app", '
        'database "sales", SSL encryption',
    ),
    ("PGM304", "tcp", TO + "Connection refused\n\tIs the server running on that host?"),
    ("PGM304", "tcp", TO + "No route to host"),
    (
        "PGM304",
        "socket",
        'connection to server on socket "/run/.s.PGSQL.5432" failed: No such file or directory',
    ),
    ("PGM305", "dns", "failed to resolve host 'db': [Errno -2] Name or service not known"),
    ("PGM305", None, "[Errno -3] Temporary failure in name resolution"),
    ("PGM305", "dns", 'could not translate host name "db" to address: Name or service not known'),
    ("PGM306", "tcp", "connection timeout expired"),
    ("PGM306", "tls", "no answer within 3 s"),
    ("PGM307", "tls", TO + "server does not support SSL, but SSL was required"),
    ("PGM308", "tls", TO + "SSL error: certificate verify failed"),
    ("PGM308", "tls", TO + 'server certificate for "a" does not match host name "db"'),
    ("PGM308", "tls", TO + 'root certificate file "/ca.crt" does not exist\nEither provide it'),
    ("PGM309", "login", TO + "FATAL:  connection requires a valid client certificate"),
    ("PGM309", "login", TO + 'FATAL:  certificate authentication failed for user "app"'),
    ("PGM309", "login", TO + "SSL error: tlsv13 alert certificate required"),
    ("PGM309", "login", TO + "SSL error: tlsv1 alert unknown ca"),
    (
        "PGM309",
        "tls",
        TO + 'private key file "/k" has group or world access; file must have permissions u=rw',
    ),
    ("PGM309", "tls", TO + 'certificate present, but not private key file "/k"'),
    ("PGM320", "login", TO + "FATAL:  sorry, too many clients already"),
    ("PGM320", "login", TO + 'FATAL:  too many connections for role "app"'),
    ("PGM321", "login", TO + "FATAL:  the database system is starting up"),
    ("PGM321", "login", TO + "FATAL:  the database system is shutting down"),
    ("PGM300", "login", TO + 'FATAL:  unrecognized configuration parameter "foo"'),
    ("PGM300", "login", TO + "session is read-only"),
    ("PGM300", "login", TO + "server closed the connection unexpectedly\n\tThis probably means"),
    ("PGM300", "login", TO + 'FATAL:  invalid sslmode value: "the server may say that"'),
    ("PGM201", "dns", "could not match 2 port numbers to 3 hosts"),
]


@pytest.mark.parametrize(
    ("code", "step", "message"), SAID, ids=[f"{c}-{m[-30:]}" for c, _, m in SAID]
)
def test_each_failure_has_one_code_one_line_and_a_remedy(code, step, message):
    found = classify(message, step, SETTINGS)
    assert found.code == code
    assert "\n" not in found.message
    assert "failed: " not in found.message.replace("could not", "")
    assert found.hint


def test_message_names_user_and_place_and_the_hint_names_the_line_of_the_password():
    found = classify(SAID[0][2], "login", SETTINGS)
    assert found.message == 'password authentication failed for user "app" at db:5432/sales'
    assert found.hint == (
        "check connection_settings.password (prod.yaml:5) and connection_settings.user, "
        "or run: pgmonkey pgconfig test -c prod.yaml -W"
    )


@pytest.mark.parametrize(
    ("message", "said", "hint"),
    [
        (
            'invalid sslmode value: "verify_full"',
            'PGSSLMODE: invalid sslmode value: "verify_full"',
            "did you mean 'verify-full'?",
        ),
        (
            'connection failed: invalid target_session_attrs value: "rw"',
            'PGTARGETSESSIONATTRS: invalid target_session_attrs value: "rw"',
            "choose one of any",
        ),
        (
            'invalid port number: "99999"',
            'prod.yaml:4:9: connection_settings.port: invalid port number: "99999"',
            "from 1 to 65535",
        ),
        (
            "failed to resolve host None: Servname not supported for ai_socktype",
            "prod.yaml:4:9: connection_settings.port: invalid port number",
            "from 1 to 65535",
        ),
        (
            "local user with ID 12345 does not exist",
            "PGUSER: local user with ID 12345 does not exist",
            "name the role to log in as",
        ),
        (
            'definition of service "nosvc" not found',
            'PGSERVICE: definition of service "nosvc" not found',
            "~/.pg_service.conf",
        ),
        (
            "could not match 2 host names to 3 hostaddr values",
            "PGHOSTADDR: could not match 2 host names to 3 hostaddr values",
            "one for each host",
        ),
        (
            "bad value for connect_timeout: 'abc'",
            "PGCONNECT_TIMEOUT: bad value for connect_timeout: 'abc'",
            "libpq",
        ),
    ],
)
def test_what_libpq_refuses_by_itself_names_the_key_or_the_variable(message, said, hint):
    settings = Settings(
        "prod.yaml",
        connection={"port": "99999"},
        marks={"connection_settings.port": Mark("prod.yaml", 4, 9)},
    )
    found = classify(message, "dns", settings)
    assert (found.code, found.message) == ("PGM201", said)
    assert hint in found.hint


def test_a_password_that_came_from_the_environment_is_looked_for_there():
    found = classify(SAID[0][2], "login", Settings("<environment>"), where="db:5432/sales")
    assert found.hint == "check PGPASSWORD and PGUSER"


def test_an_empty_value_in_the_file_is_named_beside_the_variable():
    settings = Settings("c.yaml", marks={"connection_settings.sslkey": Mark("c.yaml", 7, 11)})
    found = classify(TO + 'private key file "/k" has group or world access', "tls", settings)
    assert found.hint == "chmod 0600 the file of connection_settings.sslkey (c.yaml:7) or PGSSLKEY"


def test_a_server_that_is_not_postgresql_has_no_certificate_problem():
    found = classify(TO + "received invalid response to SSL negotiation: H", "tls", SETTINGS)
    assert found.code == "PGM300"
    assert "is it PostgreSQL that listens there?" in found.hint


def test_a_full_server_is_answered_with_both_sizes_of_the_pool():
    found = classify(TO + "FATAL:  sorry, too many clients already", "login", SETTINGS)
    assert "min_size and max_size" in found.hint


def test_missing_pg_hba_rule_is_answered_with_what_prints_the_rule():
    message = SAID[8][2].replace("rejects connection", "has no entry")
    found = classify(message, "login", SETTINGS)
    assert found.hint.endswith("--least-privilege --client-address 10.0.0.4/32")


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [
        # sslmode prefer: TLS is not admitted, and the plain attempt has a wrong password
        ("no pg_hba.conf entry for host", "password authentication failed", "PGM301"),
        # the key is bad; that no plain login is allowed either is not the news
        ("certificate present, but not private key", "no pg_hba.conf entry", "PGM309"),
        # two hosts, one of them down
        ("Connection refused", 'database "sales" does not exist', "PGM302"),
        ('database "sales" does not exist', "Connection refused", "PGM302"),
    ],
)
def test_of_two_attempts_the_more_telling_one_is_reported(first, second, code):
    assert classify(f"{TO}{first}\n{TO}{second}\n", "login", SETTINGS).code == code


def test_psycopgs_list_of_all_failures_is_read_as_attempts():
    message = (
        f"connection failed: {TO}Connection refused\n"
        "Multiple connection attempts failed. All failures were:\n"
        f"- host: 'a', port: '5432', hostaddr: '10.0.0.1': connection failed: {TO}"
        'FATAL:  password authentication failed for user "app"\n'
        f"- host: 'b', port: '5432', hostaddr: '10.0.0.2': connection failed: {TO}Connection refused"
    )
    found = classify(message, None, SETTINGS)
    assert found.code == "PGM301"
    assert found.message == 'password authentication failed for user "app" at db:5432/sales'


@pytest.mark.parametrize(
    ("sqlstate", "words", "code"),
    [
        ("28P01", "FATAL:  Passwort-Authentifizierung für Benutzer »app« fehlgeschlagen", "PGM301"),
        ("3D000", "FATAL:  Datenbank »sales« existiert nicht", "PGM302"),
        ("53300", "FATALE :  désolé, trop de clients sont déjà connectés", "PGM320"),
        ("57P03", "ВАЖНО:  система баз данных запускается", "PGM321"),
    ],
)
def test_a_server_that_speaks_another_language_is_understood_by_its_code(sqlstate, words, code):
    assert classify(TO + words, "login", SETTINGS, sqlstates=(sqlstate,)).code == code


def test_words_nobody_knows_are_judged_by_the_stage_that_was_reached():
    assert classify(TO + "Verbindungsaufbau abgelehnt", "tcp", SETTINGS).code == "PGM304"
    assert classify(TO + "Zertifikatsprüfung fehlgeschlagen", "tls", SETTINGS).code == "PGM308"
    assert classify(TO + "FATAL:  etwas anderes", "login", SETTINGS).code == "PGM300"


def test_a_secret_inside_the_words_of_the_server_is_masked():
    found = classify(TO + "FATAL:  s3cret is not what I expected", "login", SETTINGS)
    assert "s3cret" not in found.message + found.hint


def test_ladder_reads_from_the_bottom_to_the_rung_that_broke():
    error = classify(SAID[0][2], "login", SETTINGS)
    steps = [
        Step("dns", ok=True, ms=3.2),
        Step("tcp", ok=True, ms=0.04),
        Step("tls", ok=True, ms=6, detail="TLSv1.3"),
        Step("login", ok=False),
    ]
    ladder = Ladder.broken(steps, error)
    assert ladder.text() == "dns 3 ms > tcp 0.0 ms > tls TLSv1.3 > login FAILED"
    assert ladder.failed == "login"
    assert [step.name for step in ladder.steps] == ["dns", "tcp", "tls", "login", "query"]


def test_a_rung_that_was_not_needed_is_not_shown_but_tls_off_is():
    ladder = Ladder(
        (
            Step("dns"),
            Step("socket", ok=True, ms=1),
            Step("tls", detail="off"),
            Step("login", ok=True, ms=2),
            Step("query", ok=True, ms=1),
        )
    )
    assert ladder.text() == "socket 1 ms > tls off > login 2 ms > query 1 ms"
    assert ladder.failed is None
