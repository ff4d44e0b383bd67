"""The image built once, and a server in a container beside it.

Without an engine these tests are skipped with the reason, unless PGMONKEY_REQUIRE_DOCKER
is set, as it is in CI.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from support import docker as provider
from support import image as ours
from support.certs import CertKit
from support.image import Image
from support.lacking import lacking
from support.server import Database, PgServer
from support.setup import Setup, Unavailable

SERVER_IMAGE = provider.image_for(None, os.environ.get("PGMONKEY_TEST_IMAGE"))


def _refuse(reason: Unavailable) -> None:
    lacking(f"no container engine: {reason}", engine=True)


@pytest.fixture(scope="session")
def image() -> Iterator[Image]:
    """Our image, from this checkout."""
    try:
        image = ours.build()
    except Unavailable as reason:
        _refuse(reason)
        raise
    yield image
    image.remove()


@pytest.fixture(scope="session")
def neighbour(image: Image, certs: CertKit) -> Iterator[tuple[PgServer, str]]:
    """A server in a container, and the address at which other containers find it."""
    try:
        found = provider.find(SERVER_IMAGE)
    except Unavailable as reason:
        _refuse(reason)
        raise
    setup = Setup(certs)
    running = found.start(setup)
    try:
        yield PgServer(found, running, setup), running.neighbour
    finally:
        running.stop()


@pytest.fixture
def server(neighbour: tuple[PgServer, str]) -> PgServer:
    """The server that ``database`` is made on."""
    return neighbour[0]


@pytest.fixture
def tls_only(server: PgServer) -> Iterator[None]:
    """The server lets nobody in without TLS; that it does otherwise, the audit minds."""
    with server.hba("hostssl all all all scram-sha-256"):
        yield


@pytest.fixture
def variables(neighbour: tuple[PgServer, str], database: Database) -> dict[str, str]:
    """Libpq's variables for a login from a container, in clear unless a test adds TLS."""
    args = database.dsn_args()
    return {
        "PGHOST": args["host"],
        "PGHOSTADDR": neighbour[1],
        "PGPORT": "5432",
        "PGUSER": args["user"],
        "PGPASSWORD": args["password"],
        "PGDATABASE": args["dbname"],
    }
