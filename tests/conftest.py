"""Fixtures of every test: servers for the run; databases, files and proxies for one test.

A server starts when the first test asks for one, and stops at the end of the run
whatever happened. The variables of the caller that libpq or pgmonkey would read are
taken away, and HOME is an empty folder, since libpq looks for certificates there.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

import pgmonkey
from support.certs import CertKit
from support.choice import PROVIDERS, VERSIONS, Choice, Wish, choose
from support.proxy import TcpProxy
from support.server import Database, PgServer
from support.setup import Setup

CHOICE = pytest.StashKey[Choice]()
WISH = pytest.StashKey[Wish]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("pgmonkey")
    group.addoption(
        "--provider",
        metavar="NAMES",
        help=f"who starts the PostgreSQL server: auto, or some of {','.join(PROVIDERS)}; "
        "the first that works (default: auto, all of them in that order)",
    )
    group.addoption(
        "--pg",
        metavar="MAJOR",
        help=f"major version of PostgreSQL, such as {', '.join(map(str, VERSIONS))}",
    )
    group.addoption(
        "--faults",
        choices=("short", "long"),
        default="short",
        help="how often tests/faults repeats each fault (default: %(default)s)",
    )


def pytest_configure(config: pytest.Config) -> None:
    # Asked to end, by `timeout` or a cancelled job, the run ends as by Ctrl-C: servers stop.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # A shell starts `pytest &` with Ctrl-C ignored, and every command of a test would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "integration: needs a PostgreSQL server")
    config.addinivalue_line("markers", "image: needs a container engine, and builds our image")
    try:
        config.stash[WISH] = Wish.of(
            os.environ, config.getoption("--provider"), config.getoption("--pg")
        )
    except ValueError as e:
        raise pytest.UsageError(str(e)) from e


def pytest_report_header() -> str:
    return f"pgmonkey: {pgmonkey.__version__} from {Path(pgmonkey.__file__).parent}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        folder = item.path.relative_to(here).parts[0]
        if folder != "unit":
            item.add_marker("image" if folder == "image" else "integration")


def pytest_report_collectionfinish(config: pytest.Config, items: list[pytest.Item]) -> list[str]:
    """Say which server is used, once it is known that some test needs one."""
    if not any("server" in getattr(item, "fixturenames", ()) for item in items):
        return []
    return _choice(config).lines()


def _choice(config: pytest.Config) -> Choice:
    if CHOICE not in config.stash:
        config.stash[CHOICE] = choose(config.stash[WISH])
    return config.stash[CHOICE]


def _start(
    config: pytest.Config,
    certs: CertKit,
    *,
    tls: bool,
    fixed_port: bool = False,
    choice: Choice | None = None,
) -> Iterator[PgServer]:
    choice = choice or _choice(config)
    if choice.provider is None:
        refuse = pytest.fail if config.stash[WISH].required else pytest.skip
        refuse("no PostgreSQL server: " + "; ".join(choice.reasons))
    setup = Setup(certs, tls, fixed_port=fixed_port)
    running = choice.provider.start(setup)
    try:
        yield PgServer(choice.provider, running, setup)
    finally:
        running.stop()


@pytest.fixture(scope="session")
def certs(tmp_path_factory: pytest.TempPathFactory) -> CertKit:
    """The certificates of this run."""
    return CertKit(tmp_path_factory.mktemp("certs"))


@pytest.fixture(scope="session")
def server(pytestconfig: pytest.Config, certs: CertKit) -> Iterator[PgServer]:
    """The server of this run, with TLS."""
    yield from _start(pytestconfig, certs, tls=True)


@pytest.fixture(scope="session")
def plain_server(pytestconfig: pytest.Config, certs: CertKit) -> Iterator[PgServer]:
    """A second server, without TLS."""
    yield from _start(pytestconfig, certs, tls=False)


@pytest.fixture(scope="session")
def mortal_server(pytestconfig: pytest.Config, certs: CertKit) -> Iterator[PgServer]:
    """A server without TLS that a test may halt, and resumes."""
    yield from _start(pytestconfig, certs, tls=False, fixed_port=True)


@pytest.fixture(scope="session")
def primary(pytestconfig: pytest.Config, certs: CertKit) -> Iterator[PgServer]:
    """One with a standby at its side: of binaries, since a container cannot give a second one."""
    own = _choice(pytestconfig)
    wish = pytestconfig.stash[WISH]
    if own.provider is not None and own.provider.name != "docker":
        yield from _start(pytestconfig, certs, tls=False, fixed_port=True)
        return
    choice = choose(replace(wish, providers=("local", "wheel"), major=None))
    yield from _start(pytestconfig, certs, tls=False, fixed_port=True, choice=choice)


@pytest.fixture(scope="session")
def other_server(mortal_server: PgServer) -> Iterator[PgServer]:
    """A second one of these, with the same password."""
    with mortal_server.twin() as other:
        yield other


@pytest.fixture(scope="session", autouse=True)
def _own_variables() -> Iterator[None]:
    """Keep the caller's PG* and PGMONKEY_* variables out, for the fixtures of the run too."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith("PG"):
                patch.delenv(name)
        yield


@pytest.fixture(autouse=True)
def _empty_home(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep ~/.postgresql and ~/.pgpass out, and what another test wrote there."""
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture
def database(server: PgServer) -> Iterator[Database]:
    """A database of this test's own."""
    with server.database() as database:
        yield database


@pytest.fixture
def config_dict(database: Database) -> dict[str, Any]:
    """A configuration that logs in to ``database`` with verify-full; small pools."""
    pool = {"min_size": 1, "max_size": 4, "timeout": 10}
    return {
        "connection_type": "normal",
        "connection_settings": database.dsn_args(),
        "pool_settings": dict(pool),
        "async_pool_settings": dict(pool),
    }


@pytest.fixture
def config_file(config_dict: dict[str, Any], tmp_path: Path) -> Path:
    """The same configuration as a file that only its owner may read."""
    path = tmp_path / "pgmonkey.yaml"
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(config_dict, sort_keys=False), encoding="utf-8")
    return path


@pytest.fixture
def proxy(server: PgServer) -> Iterator[TcpProxy]:
    """A network in front of ``server`` that can be cut, frozen and slowed down."""
    with TcpProxy(server.address) as proxy:
        yield proxy
