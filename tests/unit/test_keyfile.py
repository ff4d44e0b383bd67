"""Which key files libpq takes, from owner, mode and uid; the image's tests ask libpq itself."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from pgmonkey.cli.clientkey import offers_certificate
from pgmonkey.config.keyfile import (
    Identity,
    KeyFile,
    look_at,
    objection,
    private_copy,
    this_process,
)

IMAGE = Identity(10001, 0)  # the image's own user, and any user of OpenShift
OTHER = Identity(12345, 12345)
ROOT = Identity(0, 0)


def key(owner: int, mode: int, me: Identity, group: int | None = None) -> KeyFile:
    """Return a key as a plain file system shows it to *me*."""
    group = owner if group is None else group
    if me.user == 0:
        readable = True
    elif me.user == owner:
        readable = bool(mode & stat.S_IRUSR)
    else:
        readable = bool(mode & (stat.S_IRGRP if me.has(group) else stat.S_IROTH))
    return KeyFile("app.key", owner, group, mode, readable)


@pytest.mark.parametrize(
    ("owner", "mode", "me"),
    [
        (0, 0o600, ROOT),
        (0, 0o640, ROOT),
        (0, 0o640, IMAGE),
        (0, 0o440, IMAGE),
        (10001, 0o600, IMAGE),
        (10001, 0o400, IMAGE),
        (12345, 0o600, OTHER),
        (12345, 0o600, ROOT),
    ],
)
def test_key_that_libpq_takes_meets_no_objection(owner: int, mode: int, me: Identity):
    assert objection(key(owner, mode, me), me) is None


@pytest.mark.parametrize(
    ("owner", "mode", "me", "remedy"),
    [
        (0, 0o644, IMAGE, "chmod 0640 the key, which is enough for your group"),
        (0, 0o644, ROOT, "chmod 0600 the key"),
        (0, 0o644, OTHER, "chmod 0640 the key and run with its group (docker run --user 12345:0)"),
        (10001, 0o640, IMAGE, "chmod 0600 the key"),
        (12345, 0o644, ROOT, "chmod 0600 the key"),
        (
            12345,
            0o644,
            IMAGE,
            "chmod 0600 the key and run as its owner (docker run --user 12345:12345), or chown 10001 the key",
        ),
    ],
)
def test_readable_key_that_is_too_open_may_be_copied(
    owner: int, mode: int, me: Identity, remedy: str
):
    found = objection(key(owner, mode, me), me)
    assert found is not None
    assert (found.remedy, found.copyable) == (remedy, True)
    assert f"uid {owner}, gid {owner} with mode {mode:04o}, and libpq wants" in found.reason


@pytest.mark.parametrize(
    ("owner", "mode", "me", "remedy"),
    [
        (0, 0o600, IMAGE, "chmod 0640 the key, which is enough for your group"),
        (0, 0o640, OTHER, "run with its group (docker run --user 12345:0)"),
        (
            0,
            0o600,
            OTHER,
            "chgrp 12345 and chmod 0640 the key, or run as root (docker run --user 0:0)",
        ),
        (
            10001,
            0o600,
            OTHER,
            "run as its owner (docker run --user 10001:10001), or chown 12345 the key",
        ),
        (10001, 0o000, IMAGE, "chmod 0600 the key"),
    ],
)
def test_key_that_cannot_be_read_cannot_be_copied_either(
    owner: int, mode: int, me: Identity, remedy: str
):
    found = objection(key(owner, mode, me), me)
    assert found is not None
    assert (found.remedy, found.copyable) == (remedy, False)
    assert f"which uid {me.user}, gid {me.group} may not read" in found.reason


def test_group_counts_also_when_it_is_a_supplementary_one():
    me = Identity(12345, 12345, frozenset({2000}))
    assert objection(key(0, 0o640, me, group=2000), me) is None


def test_remedy_does_what_it_says():
    """Whatever it tells one to do leaves a key that libpq takes."""
    fixed = {
        "chmod 0600": lambda k, me: key(k.owner, 0o600, me, k.group),
        "chmod 0640": lambda k, me: key(k.owner, 0o640, me, k.group),
        "chgrp": lambda k, me: key(k.owner, 0o640, me, me.group),
        "run as its owner": lambda k, me: key(k.owner, k.mode & 0o700, Identity(k.owner, k.group)),
    }
    for owner in (0, 10001, 12345):
        for mode in range(0o1000):
            for me in (IMAGE, OTHER, ROOT):
                found = objection(key(owner, mode, me), me)
                if found is None or not mode & stat.S_IRUSR:
                    continue
                if "with its group" in found.remedy:
                    assert mode & stat.S_IRGRP
                    who = Identity(me.user, owner)
                    assert objection(key(owner, mode & 0o640, who), who) is None
                    continue
                word = next(w for w in ("run as its owner", "chgrp", *fixed) if w in found.remedy)
                who = Identity(owner, owner) if word == "run as its owner" else me
                assert objection(fixed[word](key(owner, mode, me), me), who) is None, found


def test_pipe_is_no_key_and_is_not_opened(tmp_path: Path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    found = look_at(str(pipe))
    assert found is not None
    wrong = objection(found, this_process())
    assert wrong is not None
    assert "is not a regular file" in wrong.reason


def test_key_that_is_not_there_is_left_to_libpq(tmp_path: Path):
    assert look_at(str(tmp_path / "none")) is None
    assert look_at("a\0b") is None


def test_link_is_judged_by_the_file_it_leads_to(tmp_path: Path):
    """A Kubernetes secret is a folder of links."""
    (tmp_path / "real").touch(mode=0o600)
    (tmp_path / "link").symlink_to("real")
    found = look_at(str(tmp_path / "link"))
    assert found is not None
    assert (found.mode, found.owner) == (0o600, os.geteuid())


def test_copy_has_the_key_and_is_the_owners_alone(tmp_path: Path):
    original = tmp_path / "app.key"
    original.write_bytes(b"what a key holds\n")
    original.chmod(0o644)
    copy = private_copy(str(original))
    found = look_at(copy)
    assert found is not None
    assert (found.mode, found.owner, found.regular) == (0o600, os.geteuid(), True)
    assert Path(copy).read_bytes() == original.read_bytes()


@pytest.mark.parametrize(
    ("given", "offers"),
    [
        ({}, True),
        ({"sslmode": "disable"}, False),
        ({"sslcertmode": "disable"}, False),
        ({"host": "/run/postgresql"}, False),
        ({"host": ""}, False),
        ({"host": "/run/postgresql,db"}, True),
        ({"host": "", "hostaddr": "10.0.0.5"}, True),
        ({"sslkey": "pkcs11:token=x"}, False),
        ({"sslcert": "/nowhere/app.crt"}, False),
    ],
)
def test_key_matters_only_where_a_certificate_is_offered(
    given: dict[str, str], offers: bool, tmp_path: Path
):
    cert = tmp_path / "app.crt"
    cert.touch()
    basic = {"host": "db", "sslmode": "require", "sslcert": str(cert), "sslkey": "/x/app.key"}
    assert offers_certificate(basic | given) is offers
