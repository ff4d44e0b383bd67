"""A client's key in a container, in each combination of owner, mode and user."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product

import pytest

from support.image import env

IMAGE, OTHER, ROOT = "10001:0", "12345:12345", "0:0"

# user, owner, mode: what happens. "as it is" needs no copy, "copied" one, and the rest is
# what the explanation says to do.
TABLE = [
    (IMAGE, 0, 0o640, "as it is"),
    (IMAGE, 0, 0o440, "as it is"),
    (IMAGE, 0, 0o644, "copied"),
    (IMAGE, 0, 0o600, "chmod 0640 the key, which is enough for your group"),
    (IMAGE, 10001, 0o600, "as it is"),
    (IMAGE, 10001, 0o640, "copied"),
    (IMAGE, 12345, 0o600, "run as its owner (docker run --user 12345:12345)"),
    (IMAGE, 12345, 0o644, "copied"),
    (OTHER, 0, 0o600, "run as root (docker run --user 0:0)"),
    (OTHER, 0, 0o640, "run with its group (docker run --user 12345:0)"),
    (OTHER, 0, 0o644, "copied"),
    (OTHER, 12345, 0o600, "as it is"),
    (OTHER, 12345, 0o640, "copied"),
    (ROOT, 0, 0o600, "as it is"),
    (ROOT, 0, 0o644, "copied"),
    (ROOT, 12345, 0o600, "as it is"),
]
OWNERS = (0, 10001, 12345)
MODES = (0o400, 0o440, 0o600, 0o640, 0o644, 0o660, 0o604)
KEYS = tuple(product(OWNERS, MODES))

# Asks pgmonkey what it predicts, then libpq what it does, for each key in /keys.
BOTH = """
import json, psycopg
from pathlib import Path
from pgmonkey.config.keyfile import look_at, objection, this_process
for path in sorted(Path('/keys').glob('*.key')):
    predicted = objection(look_at(str(path)), this_process()) is None
    try:
        psycopg.connect(sslcert='/keys/app.crt', sslkey=str(path)).close()
        taken, words = True, ''
    except psycopg.OperationalError as error:
        taken, words = False, str(error)
    print(json.dumps([path.name, predicted, taken, words]))
"""


@pytest.fixture(scope="module")
def volume(image, neighbour) -> Iterator[str]:
    """A volume with certificates for all, and a key of each owner and mode."""
    server, _ = neighbour
    client = server.certs.client("app")
    key = client.key.read_text()
    files = {name(owner, mode): (key, owner, owner, mode) for owner, mode in KEYS}
    files["app.crt"] = (client.cert.read_text(), 0, 0, 0o644)
    files["ca.crt"] = (server.certs.ca.read_text(), 0, 0, 0o644)
    with image.volume(files) as volume:
        yield volume


@pytest.fixture
def login(volume, variables, server) -> Iterator[tuple[str, ...]]:
    """Options for a login by certificate, and no password; PGSSLKEY is still to be said."""
    del variables["PGPASSWORD"]
    variables |= {
        "PGSSLMODE": "verify-full",
        "PGSSLROOTCERT": "/keys/ca.crt",
        "PGSSLCERT": "/keys/app.crt",
    }
    with server.hba("hostssl all all all cert"):
        yield ("--read-only", "-v", f"{volume}:/keys:ro", *env(variables))


def name(owner: int, mode: int) -> str:
    return f"{owner}-{mode:04o}.key"


def key_of(owner: int, mode: int) -> tuple[str, ...]:
    return env({"PGSSLKEY": f"/keys/{name(owner, mode)}"})


@pytest.mark.parametrize(
    ("user", "owner", "mode", "outcome"),
    [pytest.param(*row, id=f"{row[0]}-{row[1]}-{row[2]:04o}") for row in TABLE],
)
def test_key_works_or_is_explained(image, login, user, owner, mode, outcome):
    options = (*login, *key_of(owner, mode), "--user", user)
    done = image.run("pgconfig", "test", "-v", options=options)
    if outcome in ("as it is", "copied"):
        assert done.code == 0, done.stderr
        assert ("is used from a private copy" in done.stderr) is (outcome == "copied")
    else:
        assert done.code == 3
        where = f"PGSSLKEY: '/keys/{name(owner, mode)}' belongs to uid {owner}, gid {owner} with"
        assert done.stderr.startswith(f"error[PGM309]: {where}")
        assert outcome in done.stderr


@pytest.mark.parametrize(
    "options",
    [("--user", IMAGE), ("--user", OTHER), ("--user", ROOT), ("--user", ROOT, "--cap-drop", "ALL")],
    ids=lambda options: "-".join(options[1:]),
)
def test_prediction_is_what_libpq_does(image, login, options):
    done = image.run("-c", BOTH, options=(*login, *options, "--entrypoint", "python"))
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(KEYS), done.stderr
    assert {taken for _, _, taken, _ in answers} == {True, False}
    for key, predicted, taken, words in answers:
        assert predicted is taken, (key, words)


def test_copy_needs_no_place_that_can_be_written(image, login):
    """The root file system cannot be written, and there is no /tmp: it is in memory, unnamed."""
    options = (*login, *key_of(0, 0o644), "--cap-drop", "ALL")
    done = image.run("pgconfig", "test", "--connection-type", "all", options=options)
    assert done.code == 0, done.stderr


def test_copying_can_be_switched_off(image, login):
    options = (*login, *key_of(0, 0o644))
    done = image.run("pgconfig", "test", "--copy-key", "never", options=options)
    assert (done.code, "; or add --copy-key auto" in done.stderr) == (3, True)
