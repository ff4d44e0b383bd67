"""scripts/make-certs: its files log a client in, and it destroys nobody's files."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import psycopg
import pytest

from support.server import Database, PgServer

SCRIPT = Path(__file__).parents[2] / "scripts" / "make-certs"

# CI must not skip for want of a tool; there the tests fail instead.
pytestmark = pytest.mark.skipif(
    shutil.which("openssl") is None and not os.environ.get("PGMONKEY_REQUIRE_SERVER"),
    reason="the script needs openssl, and so does its test",
)


def make(folder: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", SCRIPT, "--dir", folder, *argv], capture_output=True, encoding="utf-8", check=False
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with an authority, a server and a client."""
    done = make(tmp_path / "certs", "--host", "localhost", "--host", "127.0.0.1", "--role", "app")
    assert done.returncode == 0, done.stderr
    return tmp_path / "certs"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_files_log_the_client_in_with_verify_full_and_no_password(
    server: PgServer, database: Database, folder: Path, host: str
):
    for name in ("ca.crt", "server.crt", "server.key"):
        server.place(f"made-{name}", (folder / name).read_text().splitlines())
    shown = {
        "ssl_ca_file": "made-ca.crt",
        "ssl_cert_file": "made-server.crt",
        "ssl_key_file": "made-server.key",
    }
    login = database.dsn_args(
        host=host,
        hostaddr=server.address[0],
        password=None,
        sslrootcert=str(folder / "ca.crt"),
        sslcert=str(folder / "app.crt"),
        sslkey=str(folder / "app.key"),
    )
    with (
        server.settings(**shown),
        server.hba("hostssl all all all cert"),
        psycopg.connect(**login) as conn,
    ):
        row = conn.execute(
            "SELECT client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        ).fetchone()
    assert row == ("/CN=app",)


def test_keys_are_for_their_owner_and_certificates_for_everybody(folder: Path):
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert modes == {
        **dict.fromkeys(["ca.key", "server.key", "app.key"], 0o600),
        **dict.fromkeys(["ca.crt", "server.crt", "app.crt"], 0o644),
    }


def test_it_says_who_needs_which_file(tmp_path: Path):
    said = make(tmp_path, "--host", "localhost", "--role", "app").stdout
    assert "client that logs in as app (sslcert, sslkey)" in said
    assert "for the server (ssl_cert_file, ssl_key_file)" in said


def test_files_that_are_there_are_not_overwritten(folder: Path):
    before = contents(folder)
    done = make(folder, "--role", "other", "--role", "app")
    assert done.returncode == 2
    assert "app.crt exists; nothing was made; --force replaces it" in done.stderr
    assert contents(folder) == before


def test_force_replaces_what_was_asked_for_and_keeps_the_authority(folder: Path):
    before = contents(folder)
    assert make(folder, "--role", "app", "--force").returncode == 0
    after = contents(folder)
    assert {name for name in before if after[name] != before[name]} == {"app.crt", "app.key"}


def test_role_is_added_later_under_the_same_authority(folder: Path):
    before = contents(folder)
    assert make(folder, "--role", "report").returncode == 0
    added = {name: text for name, text in contents(folder).items() if before.get(name) != text}
    assert set(added) == {"report.crt", "report.key"}
    verified = subprocess.run(
        ["openssl", "verify", "-CAfile", folder / "ca.crt", folder / "report.crt"],
        capture_output=True,
        check=False,
    )
    assert verified.returncode == 0


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ((), "nothing to make"),
        (("--role",), "--role needs a value"),
        (("--role", "a/../b"), "characters that are not supported"),
        (("--role", "*"), "characters that are not supported"),
        (("--role", ""), "is empty"),
        (("--role", "server"), "is the name of another file"),
        (("--host", "a\nCN = b"), "characters that are not supported"),
        (("--days", "soon", "--role", "app"), "is not a number"),
        (("--rolle", "app"), "unknown argument '--rolle'"),
    ],
)
def test_wrong_use_is_named_and_makes_nothing(tmp_path: Path, argv: tuple[str, ...], message: str):
    done = make(tmp_path, *argv)
    assert done.returncode == 2
    assert message in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_authority_without_its_key_is_left_alone(folder: Path):
    (folder / "ca.key").unlink()
    before = contents(folder)
    done = make(folder, "--role", "report")
    assert done.returncode == 2
    assert "ca.crt exists without ca.key" in done.stderr
    assert contents(folder) == before
