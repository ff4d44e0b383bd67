"""docker-compose.yml in a clean clone: nothing prepared, and nothing left at the end."""

from __future__ import annotations

import re
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from support.cli import Result
from support.image import BUILD_LIMIT, ROOT, docker
from support.lacking import lacking

README = (ROOT / "README.md").read_text(encoding="utf-8")
ORDERS = (ROOT / "examples/compose/orders.csv").read_text(encoding="utf-8")
Compose = Callable[..., Result]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of this checkout that git knows, and no other."""
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if tracked.returncode:
        pytest.skip("not a git checkout")
    folder = tmp_path_factory.mktemp("clone")
    for name in tracked.stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    # As `git clone` makes them; the containers' users have to read some.
    subprocess.run(["chmod", "-R", "u=rwX,go=rX", folder], check=True)
    for parent in folder.parents[:2]:
        parent.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def compose(image, clone: Path) -> Iterator[Compose]:
    """Runs ``docker compose`` in the clone, under a name of its own."""
    project = f"pgmonkey-test-{secrets.token_hex(4)}"
    # The image is built anew; only its name differs from what a user would have.
    tag = f"pgmonkey:{project}"
    (clone / ".env").write_text(f"PGMONKEY_IMAGE={tag}\n")

    def run(*argv: str) -> Result:
        return docker("compose", "-p", project, *argv, cwd=clone, timeout=BUILD_LIMIT)

    if run("version").code:
        lacking("no docker compose", engine=True)
    yield run
    done = run("down", "--volumes", "--remove-orphans")
    docker("image", "rm", "-f", tag)
    assert done.code == 0, done.stderr


def test_every_service_of_ours_is_locked_up():
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    for name in ("audit", "import", "export"):
        service = services[name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["depends_on"] == {"db": {"condition": "service_healthy"}}
    assert not any("ports" in service for service in services.values())


def test_clean_clone_logs_in_with_tls_at_the_first_command(compose: Compose):
    done = compose("run", "--rm", "-T", "audit", "pgconfig", "test", "--connection-type", "all")
    assert done.code == 0, done.stderr
    assert "4 of 4 connection types passed" in done.stderr
    assert done.stdout.count("TLSv1.3") == 4


def test_audit_finds_nothing_to_object_to(compose: Compose):
    done = compose("run", "--rm", "-T", "audit")
    assert done.code == 0, done.stdout + done.stderr
    assert "ADMITTED" in done.stdout
    assert not re.search(r"^ +(CRITICAL|HIGH|MEDIUM|LOW) PGM-", done.stdout, re.MULTILINE)


def test_orders_come_in_and_go_out_again(compose: Compose):
    """The commands of the README, which says no more than the services do."""
    for line in ("import", "export", "audit"):
        assert f"\ndocker compose run --rm {line}\n" in README
    done = compose("run", "--rm", "-T", "import")
    assert done.code == 0, done.stderr
    assert "imported 4 rows into orders" in done.stderr
    done = compose("run", "--rm", "-T", "export")
    assert (done.code, done.stdout) == (0, ORDERS), done.stderr


def test_secrets_are_made_once(compose: Compose):
    sums = ("run", "--rm", "-T", "--entrypoint", "sh", "certs", "-c", "cat /run/secrets/*|cksum")
    before = compose(*sums)
    assert before.code == 0, before.stderr
    assert compose("run", "--rm", "-T", "certs").code == 0
    assert compose(*sums).stdout == before.stdout


def test_without_tls_nobody_is_let_in(compose: Compose):
    done = compose(
        "run",
        "--rm",
        "-T",
        "audit",
        "pgconfig",
        "test",
        "--dsn",
        "host=db user=app sslmode=disable",
    )
    assert (done.code, "PGM303" in done.stderr) == (3, True), done.stderr
