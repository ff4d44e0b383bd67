"""Certificates are read as the cryptography package reads them."""

from __future__ import annotations

import contextlib
from datetime import datetime, timezone

import pytest
import trustme
from cryptography import x509 as judge
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from pgmonkey.server import x509

AUTHORITY = trustme.CA()
LEAVES = {
    "names": AUTHORITY.issue_cert("db.example.com", "*.example.com", "10.0.0.1", "::1"),
    "client": AUTHORITY.issue_cert(common_name="ünï, app"),
    "old": AUTHORITY.issue_cert(
        "x", not_before=datetime(1960, 1, 1), not_after=datetime(2061, 2, 3, 4, 5, 6)
    ),
    "intermediate": AUTHORITY.create_child_ca().issue_cert("x", organization_name="A, B"),
}
PEMS = {name: leaf.cert_chain_pems[0].bytes() for name, leaf in LEAVES.items()}
PEMS["authority"] = AUTHORITY.cert_pem.bytes()


@pytest.mark.parametrize("name", PEMS)
def test_certificate_says_the_same_to_us_as_to_the_package(name):
    (ours,) = x509.read_pem(PEMS[name])
    theirs = judge.load_pem_x509_certificate(PEMS[name])
    common = [str(a.value) for a in theirs.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    assert ours.common_name == (common[0] if common else None)
    assert ours.not_before == theirs.not_valid_before_utc
    assert ours.not_after == theirs.not_valid_after_utc
    assert all(str(a.value) in ours.subject for a in theirs.subject)
    assert all(str(a.value) in ours.issuer for a in theirs.issuer)
    try:
        names = theirs.extensions.get_extension_for_class(judge.SubjectAlternativeName).value
    except judge.ExtensionNotFound:
        assert (ours.dns_names, ours.ip_names) == ((), ())
        return
    assert list(ours.dns_names) == names.get_values_for_type(judge.DNSName)
    assert list(ours.ip_names) == [str(ip) for ip in names.get_values_for_type(judge.IPAddress)]


def test_chain_is_read_in_its_order():
    chain = PEMS["client"] + b"some words\n" + PEMS["authority"]
    assert [c.common_name for c in x509.read_pem(chain)] == ["ünï, app", None]


@given(st.integers(0, 500), st.integers(0, 255))
def test_damaged_certificate_is_refused_or_read_and_never_a_crash(position, byte):
    der = bytearray(judge.load_pem_x509_certificate(PEMS["names"]).public_bytes(Encoding.DER))
    der[position % len(der)] = byte
    with contextlib.suppress(ValueError):
        x509.read_der(bytes(der))


@pytest.mark.parametrize("data", [b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_what_is_no_certificate_is_said_to_be_none(data):
    with pytest.raises(ValueError, match=r"certificate|PEM|padding"):
        x509.read_pem(data)


def test_offset_that_an_old_tool_wrote_is_understood():
    assert x509._time(0x18, b"20300101020000+0200") == datetime(2030, 1, 1, tzinfo=timezone.utc)
