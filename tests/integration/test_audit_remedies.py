"""What an audit says to paste: it never shuts out the client that pastes it.

Each remedy of a scene is pasted into a server and a configuration as they were, and the
client logs in again. One that names what has to come first is not pasted without that.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

import psycopg
import pytest
from psycopg import sql

from pgmonkey.config.load import load_settings
from pgmonkey.server.audit import Result
from pgmonkey.server.collect import PLATFORMS
from pgmonkey.server.gathering import Wanted
from support.audits import Config, audit_of, paste, result_of, seen_through
from support.server import Database, PgServer
from support.setup import hba

GRANTS = (
    "GRANT SELECT ON pg_hba_file_rules TO app; GRANT EXECUTE ON FUNCTION pg_hba_file_rules() TO app"
)


@dataclass(frozen=True)
class Scene:
    """A way in that an audit finds fault with.

    Attributes:
        tls: Whether the server offers TLS.
        stored: How the role's password is stored.
        certificate: Whose certificate the client has, if any.
        at_least: Checks that must have a remedy here for who may read the rules, or the scene
            would prove nothing.
    """

    rules: tuple[str, ...]
    connection: dict[str, Any]
    at_least: frozenset[str]
    tls: bool = True
    stored: str = "scram-sha-256"
    certificate: str = ""


SCENES = {
    "downgrade": Scene(
        ("hostnossl all app all password", "hostssl all app all reject"),
        {"sslmode": "prefer", "sslrootcert": None},
        frozenset({"PGM-ADM-006", "PGM-HBA-004", "PGM-AUT-003"}),
    ),
    "clear by choice": Scene(
        ("host all app all scram-sha-256",),
        {"sslmode": "disable"},
        frozenset({"PGM-HBA-004", "PGM-TLS-002"}),
    ),
    "no TLS at all": Scene(
        ("host all app all scram-sha-256",),
        {"sslmode": "prefer", "sslrootcert": None},
        frozenset({"PGM-ADM-006", "PGM-TLS-002", "PGM-TLS-003"}),
        tls=False,
    ),
    "old password": Scene(
        ("hostssl all app all md5",),
        {"sslmode": "require", "sslrootcert": None},
        frozenset({"PGM-HBA-001", "PGM-AUT-003"}),
        stored="md5",
    ),
    "old password, and trust": Scene(
        ("hostssl all app all trust",),
        {"sslmode": "verify-full"},
        frozenset({"PGM-HBA-001"}),
        stored="md5",
    ),
    "somebody else's certificate": Scene(
        ("hostssl all app all trust clientcert=verify-ca",),
        {"sslmode": "verify-full", "password": None},
        frozenset({"PGM-HBA-001", "PGM-HBA-003", "PGM-HBA-007"}),
        certificate="other",
    ),
    "line that serves all": Scene(
        ("host all app all scram-sha-256",),
        {"sslmode": "require", "sslrootcert": None},
        frozenset({"PGM-HBA-004", "PGM-TLS-004"}),
    ),
}


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def store(server: PgServer, kind: str) -> None:
    """Have the password of the ordinary role stored in this way."""
    with server.admin() as conn:
        conn.execute(sql.SQL("SET password_encryption = {}").format(sql.Literal(kind)))
        conn.execute(sql.SQL("ALTER ROLE app PASSWORD {}").format(sql.Literal(server.password)))


def elsewhere(server: PgServer, database: Database, **connection: Any) -> Config:
    """Return a configuration that names its server as one on another machine."""
    args = database.dsn_args(host="db", hostaddr=server.address[0], **connection)
    return {"connection_type": "normal", "connection_settings": args}


def followed(result: Result, server: PgServer, database: Database, config: Config) -> Config:
    """Do what a remedy says, what it wants first included; return the configuration after it."""
    assert result.remedy is not None
    first = [line for line in result.remedy.lines if line.startswith("# first")]
    maps = [line.partition("pg_ident.conf: ")[2] for line in first if "pg_ident.conf: " in line]
    server.place("pg_ident.conf", maps)
    if len(first) > len(maps):
        store(server, "scram-sha-256")
        password = {"password": server.password}
        config = {**config, "connection_settings": {**config["connection_settings"], **password}}
    changed = paste(result, server, database.name, config)
    connection = changed["connection_settings"]
    if connection.get("sslrootcert") == "ca.crt":
        connection["sslrootcert"] = str(server.certs.ca)
    return changed


@pytest.mark.parametrize("granted", [True, False], ids=["granted", "plain"])
@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES.keys())
def test_remedy_that_is_pasted_still_lets_the_client_in(
    scene: Scene, granted: bool, server: PgServer, database: Database, stack: ExitStack
):
    config = elsewhere(server, database, **scene.connection)
    if scene.certificate:
        config["connection_settings"] |= server.certs.client(scene.certificate).dsn_args()
    if granted:
        with server.admin(database.name) as conn:
            conn.execute(sql.SQL(GRANTS))
    stack.callback(store, server, "scram-sha-256")
    stack.callback(server.place, "pg_ident.conf", ())
    stack.enter_context(server.hba(scene.rules))
    if not scene.tls:
        stack.enter_context(server.tls(False))
    store(server, scene.stored)
    pasted = set()
    for finding in audit_of(config).findings:
        if finding.check.id == "PGM-HBA-008":
            continue  # shuts out superusers, as it says; the harness is one
        where = finding.remedy.where if finding.remedy else ""
        if not (where.startswith("in config.yaml") or "pg_hba.conf" in where):
            continue
        if ", once " in where:
            pasted.add(finding.check.id)  # something else has to come first, and it says so
            continue
        store(server, scene.stored)
        server.place("pg_hba.conf", hba(scene.rules))
        server.reload()
        after = followed(finding, server, database, config)
        with psycopg.connect(**load_settings(after).connect_arguments()) as conn:
            assert conn.info.user == "app", finding
        pasted.add(finding.check.id)
    assert pasted >= (scene.at_least if granted else {"PGM-TMO-006"})


def test_tls_is_switched_on_after_its_files_are_there(
    server: PgServer, database: Database, stack: ExitStack
):
    """A missing file is a word in the log after a reload, and the end of the next start."""
    config = elsewhere(server, database, sslmode="prefer", sslrootcert=None)
    stack.enter_context(server.hba("host all app all scram-sha-256"))
    stack.enter_context(server.tls(False))
    for id in ("PGM-TLS-001", "PGM-HBA-004"):
        remedy = result_of(config, id).remedy
        assert remedy is not None
        assert remedy.lines[0].startswith("-- first put the files of ssl_cert_file"), remedy
        assert remedy.lines[1] == "ALTER SYSTEM SET ssl = 'on';"


@pytest.mark.parametrize("platform", PLATFORMS.values())
def test_managed_platform_is_not_told_to_edit_its_files(
    platform: str, server: PgServer, database: Database, stack: ExitStack
):
    config = elsewhere(server, database, sslmode="prefer", sslrootcert=None)
    with server.admin(database.name) as conn:
        conn.execute(sql.SQL(GRANTS))
    afar = Wanted(addresses=(ip_network("10.1.0.0/16"),))
    stack.enter_context(server.hba(("host all all all trust",)))
    for wanted in (Wanted(), afar):
        audit = audit_of(config, wanted, lambda facts: seen_through(facts, platform=platform))
        ids = {finding.check.id for finding in audit.findings}
        assert {"PGM-HBA-001", "PGM-HBA-004", "PGM-HBA-007"} <= ids
        assert wanted is not afar or "PGM-HBA-008" in ids
        for finding in audit.findings:
            assert finding.remedy is not None
            for text in (*finding.remedy.lines, finding.remedy.where):
                assert "pg_hba.conf" not in text, finding
                assert "ALTER SYSTEM" not in text, finding
                assert not text.startswith("host"), finding


def test_line_that_only_the_server_can_tell_is_found_by_elimination(
    server: PgServer, database: Database
):
    config = elsewhere(server, database)
    with server.admin(database.name) as conn:
        conn.execute(sql.SQL(GRANTS))
    first = len(hba(())) + 1
    every = "hostssl all app all scram-sha-256"
    with server.hba(("hostssl all app .invalid reject", every)):
        audit = audit_of(config)
    (found,) = [result for result in audit.results if result.check.id == "PGM-ADM-001"]
    assert found.status == "OK"
    assert f"pg_hba.conf:{first + 1}" in found.found
    assert audit.verdict.startswith(f"ADMITTED by pg_hba.conf:{first + 1} (hostssl, scram-sha-256)")
    with server.hba(("hostssl all app .invalid password", every)):
        audit = audit_of(config)
    assert audit.admitted
    # From 16 on the server says which method it was.
    which = f"pg_hba.conf:{first + 1} (" if server.version >= 16 else "a line that only the server"
    assert audit.verdict.startswith(f"ADMITTED by {which}")


def test_client_that_replicates_is_not_taken_for_the_session_of_the_audit(
    server: PgServer, database: Database, stack: ExitStack
):
    """`all` is never for physical replication, and the audit logs in as an ordinary client."""
    config = elsewhere(server, database, replication="true")
    with server.admin(database.name) as conn:
        conn.execute(sql.SQL(GRANTS))
    stack.enter_context(server.hba(("hostssl all app all scram-sha-256",)))
    before = audit_of(config)
    assert before.admitted is False
    assert before.verdict.startswith("REFUSED: no rule matches")
    (refused,) = [result for result in before.results if result.check.id == "PGM-ADM-001"]
    assert "reload" not in refused.found
    paste(refused, server, database.name, config)
    after = audit_of(config)
    assert after.admitted is True
    (role,) = [result for result in after.results if result.check.id == "PGM-ADM-005"]
    assert role.remedy is not None
    assert role.remedy.lines == ('ALTER ROLE "app" REPLICATION;',)


def test_certificate_that_cannot_be_shown_or_is_not_accepted_is_not_called_missing(
    server: PgServer, database: Database, stack: ExitStack
):
    stack.enter_context(server.hba(("hostssl all app all cert",)))
    locked = server.certs.client("app", password="opens").dsn_args()
    locked.pop("sslpassword", None)
    config = elsewhere(server, database, password=None, **locked)
    for password, lacks in (("no", "sslpassword does not open"), (None, "there is no sslpassword")):
        wanted = Wanted(key_password=password)
        config["connection_settings"]["sslpassword"] = password or ""
        own = result_of(config, "PGM-TLS-012", wanted)
        assert (own.status, own.severity) == ("MISMATCH", "critical")
        assert lacks in own.found
        assert result_of(config, "PGM-HBA-010", wanted).status == "UNKNOWN"
    foreign = server.certs.client("app", signed_by="wrong").dsn_args()
    config = elsewhere(server, database, password=None, **foreign)
    refused = result_of(config, "PGM-HBA-010")
    assert (refused.status, refused.severity) == ("MISMATCH", "high")
    assert "does not accept" in refused.found


def test_trust_that_demands_the_roles_certificate_is_as_good_as_cert(
    server: PgServer, database: Database, stack: ExitStack
):
    config = elsewhere(server, database, password=None, **server.certs.client("app").dsn_args())
    with server.admin(database.name) as conn:
        conn.execute(sql.SQL(GRANTS))
    rule = "hostssl all app all trust clientcert={}"
    stack.enter_context(server.hba(rule.format("verify-full")))
    for id in ("PGM-HBA-001", "PGM-HBA-003", "PGM-HBA-007"):
        assert result_of(config, id).status == "OK", id
    stack.enter_context(server.hba(rule.format("verify-ca")))
    anybody = result_of(config, "PGM-HBA-007")
    assert (anybody.status, anybody.severity) == ("MISMATCH", "critical")
    assert "any certificate of the authority" in anybody.found
    assert anybody.remedy is not None
    assert anybody.remedy.lines[-1].endswith("scram-sha-256 clientcert=verify-ca")
