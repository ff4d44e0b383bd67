"""Names of server certificates are compared as libpq compares them."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from pgmonkey.server.tlsprobe import name_matches
from pgmonkey.server.x509 import CertificateDetails

NOW = datetime(2030, 1, 1, tzinfo=timezone.utc)


def leaf(*dns: str, ips: tuple[str, ...] = (), cn: str | None = None) -> CertificateDetails:
    return CertificateDetails("", "", cn, NOW, NOW, dns, ips)


@pytest.mark.parametrize(
    ("certificate", "host", "answer"),
    [
        (leaf("db.example.com"), "db.example.com", True),
        (leaf("db.example.com"), "DB.Example.COM", True),
        (leaf("a", "b"), "b", True),
        (leaf("*.example.com"), "db.example.com", True),
        (leaf("*.example.com"), "a.db.example.com", False),
        (leaf("*.example.com"), "example.com", False),
        (leaf("d*.example.com"), "db.example.com", False),
        (leaf("*"), "db", False),
        (leaf(cn="db"), "db", True),
        (leaf("other", cn="db"), "db", False),
        (leaf(ips=("10.0.0.1",), cn="db"), "db", True),
        (leaf(ips=("10.0.0.1",)), "10.0.0.1", True),
        (leaf(ips=("10.0.0.1",)), "10.0.0.2", False),
        (leaf(ips=("::1",)), "0:0:0:0:0:0:0:1", True),
        (leaf("10.0.0.1"), "10.0.0.1", True),
        (leaf("db"), "10.0.0.1", False),
        (leaf("db", cn="10.0.0.1"), "10.0.0.1", True),
        (leaf(ips=("10.0.0.2",), cn="10.0.0.1"), "10.0.0.1", False),
        (leaf("db"), "", None),
        (leaf("db"), "/run/postgresql", None),
    ],
)
def test_name(certificate, host, answer):
    found, why = name_matches(certificate, host)
    assert found is answer
    assert bool(why) is (answer is False)


def test_names_it_has_are_listed_with_the_one_it_lacks():
    assert name_matches(leaf("a", ips=("10.0.0.1",)), "b")[1] == "it is for a, 10.0.0.1, not for b"
    assert name_matches(leaf(), "b")[1] == "it is for nobody, not for b"
