"""What a certificate says of itself: names and dates, read from DER.

Python's ssl gives these for a certificate that it has verified, and for no other; the
interesting ones here are those which fail. Nothing is verified in this module, and no
signature is looked at. Field by field it follows RFC 5280, section 4.1. cryptography would
read them too, and is the judge of this module in the tests; as a dependency it would add
17 MB to an image, as much as all the rest of us, for seven fields.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

_BEGIN, _END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
_COMMON_NAME = bytes([0x55, 0x04, 0x03])
_SUBJECT_ALT_NAME = bytes([0x55, 0x1D, 0x11])
_SHORT = {3: "CN", 6: "C", 7: "L", 8: "ST", 10: "O", 11: "OU"}  # of 2.5.4.x

_SEQUENCE, _OID, _UTC_TIME = 0x30, 0x06, 0x17
_VERSION, _EXTENSIONS = 0xA0, 0xA3
_DNS_NAME, _IP_ADDRESS = 0x82, 0x87
_BMP_STRING, _UNIVERSAL_STRING, _T61_STRING = 0x1E, 0x1C, 0x14


@dataclass(frozen=True)
class CertificateDetails:
    """One certificate, unverified.

    Attributes:
        subject, issuer: In the manner of ``CN=app, O=Company``.
        common_name: The first common name of the subject: the one that libpq and the server look at.
        dns_names, ip_names: Of the subject alternative names.
    """

    subject: str
    issuer: str
    common_name: str | None
    not_before: datetime
    not_after: datetime
    dns_names: tuple[str, ...] = ()
    ip_names: tuple[str, ...] = ()


def read_pem(data: bytes) -> tuple[CertificateDetails, ...]:
    """Return every certificate in PEM *data*, in order; at least one.

    Raises:
        ValueError: There is none, or one is damaged.
    """
    found = []
    rest = data
    while _BEGIN in rest:
        body, end, rest = rest[rest.index(_BEGIN) :].partition(_END)
        text = (body + end).decode("ascii", "replace")
        found.append(read_der(ssl.PEM_cert_to_DER_cert(text)))
    if not found:
        raise ValueError("no certificate in it")
    return tuple(found)


def read_der(data: bytes) -> CertificateDetails:
    """Return what the certificate *data* says.

    Raises:
        ValueError: It is not a certificate.
    """
    try:
        return _read(data)
    except (IndexError, StopIteration, OverflowError) as error:
        raise ValueError("not a certificate") from error


def _read(data: bytes) -> CertificateDetails:
    (certificate,) = _children(data, _SEQUENCE)
    fields = _parts(next(_parts(certificate))[1])
    tag, _ = next(fields)
    if tag == _VERSION:
        next(fields)  # the serial number
    next(fields)  # the algorithm
    issuer, validity, subject = (next(fields)[1] for _ in range(3))
    dns: list[str] = []
    addresses: list[str] = []
    for tag, value in fields:
        if tag == _EXTENSIONS:
            (extensions,) = _children(value, _SEQUENCE)
            for _, extension in _parts(extensions):
                _alternative_names(extension, dns, addresses)
    begins, ends = (_time(tag, value) for tag, value in _parts(validity))
    names = list(_names(subject))
    common = [text for oid, text in names if oid == _COMMON_NAME]
    return CertificateDetails(
        _text(names),
        _text(list(_names(issuer))),
        common[0] if common else None,
        begins,
        ends,
        tuple(dns),
        tuple(addresses),
    )


def _parts(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield tag and content of each element in *data*."""
    at = 0
    while at < len(data):
        tag, length = data[at], data[at + 1]
        at += 2
        if length & 0x80:
            size = length & 0x7F
            length = int.from_bytes(data[at : at + size], "big")
            at += size
        if at + length > len(data):
            raise ValueError("not a certificate: it is cut off")
        yield tag, data[at : at + length]
        at += length


def _children(data: bytes, tag: int) -> list[bytes]:
    found = list(_parts(data))
    if len(found) != 1 or found[0][0] != tag:
        raise ValueError("not a certificate")
    return [found[0][1]]


def _names(data: bytes) -> Iterator[tuple[bytes, str]]:
    for _, relative in _parts(data):
        for _, pair in _parts(relative):
            (_, oid), (tag, value) = _parts(pair)
            encoding = {
                _BMP_STRING: "utf-16-be",
                _UNIVERSAL_STRING: "utf-32-be",
                _T61_STRING: "latin-1",
            }.get(tag, "utf-8")
            yield oid, value.decode(encoding, "replace")


def _text(names: list[tuple[bytes, str]]) -> str:
    shown = (
        (_SHORT.get(oid[2]) if len(oid) == 3 and oid[:2] == b"\x55\x04" else None, text)
        for oid, text in names
    )
    return ", ".join(f"{short}={text}" if short else text for short, text in shown)


def _alternative_names(extension: bytes, dns: list[str], addresses: list[str]) -> None:
    parts = list(_parts(extension))
    if parts[0] != (_OID, _SUBJECT_ALT_NAME):
        return
    (names,) = _children(parts[-1][1], _SEQUENCE)  # parts[1] may be the word "critical"
    for tag, value in _parts(names):
        if tag == _DNS_NAME:
            dns.append(value.decode("ascii", "replace"))
        elif tag == _IP_ADDRESS:
            addresses.append(str(ipaddress.ip_address(value)))


def _time(tag: int, value: bytes) -> datetime:
    """Return a time as RFC 5280 writes it: always in UTC, always with seconds."""
    text = value.decode("ascii")
    if tag == _UTC_TIME:  # two digits: 50 to 99 are of the last century
        text = ("19" if text >= "50" else "20") + text
    try:
        return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=timezone.utc)
    except ValueError:
        # An offset is allowed by ASN.1 and forbidden by the profile; old tools write it.
        moment, sign, offset = text[:14], text[-5:-4], text[-4:]
        shift = timedelta(hours=int(offset[:2]), minutes=int(offset[2:]))
        found = datetime.strptime(moment, "%Y%m%d%H%M%S").replace(tzinfo=timezone.utc)
        return found - shift if sign == "+" else found + shift
