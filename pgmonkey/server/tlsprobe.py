"""The server's side of TLS, looked at as libpq looks at it: version, cipher, certificates.

libpq says whether it accepted a certificate; this says why not, and until when it will.
The rules are libpq's own: which names count, and that a private authority need not be
as strict as public ones are. A login is begun only where that is asked for.

PostgreSQL documentation: "SSL Support" of libpq, "Client Verification of Server Certificates".
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from pgmonkey.server import authprobe, wire, x509
from pgmonkey.server.authprobe import AuthAnswer
from pgmonkey.server.client import Client, Endpoint
from pgmonkey.server.wire import Deadline, NoTls, WireError
from pgmonkey.server.x509 import CertificateDetails

# X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED (X509_STORE_CTX_get_error(3)).
OUT_OF_DAYS = (9, 10)


@dataclass(frozen=True)
class TlsAnswer:
    """What a TLS handshake with the server showed.

    Attributes:
        offered: Whether the server takes TLS; None when it could not be asked.
        version, cipher: As negotiated, such as ``TLSv1.3``.
        chain: Every certificate the server sent, its own first. Before Python 3.13 only
            that one can be had.
        name_matches: Whether the certificate is for the configured host; None where there
            is nothing to compare.
        chain_verified: Whether it leads to ``sslrootcert``; None without one.
        only_dated: Whether that is so but for the days of the server's own certificate.
        error: Why the handshake failed, or the server was not reached.
        auth: How the server would let the client in, where that was asked.
    """

    offered: bool | None = None
    version: str = ""
    cipher: str = ""
    chain: tuple[CertificateDetails, ...] = ()
    name_matches: bool | None = None
    name_problem: str = ""
    chain_verified: bool | None = None
    chain_problem: str = ""
    only_dated: bool = False
    error: str = ""
    auth: AuthAnswer | None = None

    @property
    def leaf(self) -> CertificateDetails | None:
        """The server's own certificate."""
        return self.chain[0] if self.chain else None


def probe(
    client: Client,
    endpoint: Endpoint,
    *,
    timeout: float = 5.0,
    key_password: str | None = None,
    ask_auth: bool = False,
) -> TlsAnswer:
    """Shake hands with the server as *client* would, twice at most, and say what was seen.

    Args:
        timeout: Seconds for each handshake.
        key_password: Opens the key of the client's certificate.
        ask_auth: Begin a login over the same connection, as ``authprobe`` does.
    """
    if endpoint.socket:
        return TlsAnswer(error="a Unix-domain socket has no TLS")
    try:
        tls = wire.context(client, key_password)
    except WireError:
        # That is the client's trouble, and another check's; the server is looked at without.
        tls = wire.context(replace(client, certificate=None))
    verified, problem = _trust(tls, client)
    out_of_days = False
    seen = _shake_hands(client, endpoint, tls, timeout, ask_auth)
    if verified is not False and tls.verify_mode == ssl.CERT_REQUIRED:
        if isinstance(seen, ssl.SSLCertVerificationError):
            verified, problem = False, seen.verify_message
            out_of_days = seen.verify_code in OUT_OF_DAYS
            tls.verify_mode = ssl.CERT_NONE
            seen = _shake_hands(client, endpoint, tls, timeout, ask_auth)
        elif isinstance(seen, TlsAnswer) and seen.offered:
            verified = True
    if not isinstance(seen, TlsAnswer):
        return TlsAnswer(offered=True, error=_words(seen))
    if not seen.chain:
        return seen
    leaf, now = seen.chain[0], datetime.now(timezone.utc)
    matches, why = name_matches(leaf, endpoint.host)
    return replace(
        seen,
        name_matches=matches,
        name_problem=why,
        chain_verified=verified,
        chain_problem=problem,
        # OpenSSL goes from the root down, each signature before the days: the leaf's are last.
        only_dated=out_of_days and not leaf.not_before <= now <= leaf.not_after,
    )


def _trust(tls: ssl.SSLContext, client: Client) -> tuple[bool | None, str]:
    """Have *tls* verify against the client's root certificate, or return why it cannot."""
    if not client.sslrootcert:
        return None, ""
    try:
        if client.sslrootcert == "system":
            tls.load_default_certs(ssl.Purpose.SERVER_AUTH)
        else:
            tls.load_verify_locations(Path(client.sslrootcert))
        if client.sslcrl and Path(client.sslcrl).exists():  # a missing one is no matter to libpq
            tls.load_verify_locations(Path(client.sslcrl))
            tls.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
    except (OSError, ssl.SSLError) as error:
        return False, f"{client.sslrootcert}: {error.strerror or _words(error)}"
    tls.verify_mode = ssl.CERT_REQUIRED
    return None, ""


def _shake_hands(
    client: Client, endpoint: Endpoint, tls: ssl.SSLContext, timeout: float, ask_auth: bool
) -> TlsAnswer | ssl.SSLError:
    deadline = Deadline(timeout)
    try:
        with (
            wire.dial(endpoint, deadline) as sock,
            wire.tls_on(sock, client, endpoint, tls, deadline) as secured,
        ):
            seen = _seen(secured)
            if not ask_auth:
                return seen
            return replace(seen, auth=authprobe.over_tls(secured, client, deadline))
    except NoTls as error:
        return TlsAnswer(offered=False, error=str(error))
    except WireError as error:
        return TlsAnswer(error=str(error))
    except ssl.SSLError as error:
        return error


def _seen(sock: ssl.SSLSocket) -> TlsAnswer:
    cipher = sock.cipher()
    try:
        chain = tuple(x509.read_der(data) for data in _chain(sock))
    except ValueError as error:
        return TlsAnswer(True, sock.version() or "", cipher[0] if cipher else "", error=str(error))
    return TlsAnswer(True, sock.version() or "", cipher[0] if cipher else "", chain)


def _chain(sock: ssl.SSLSocket) -> list[bytes]:
    if hasattr(sock, "get_unverified_chain"):  # Python 3.13
        return list(sock.get_unverified_chain())
    leaf = sock.getpeercert(binary_form=True)
    return [leaf] if leaf else []


def _words(error: OSError) -> str:
    reason = getattr(error, "reason", None) or error.strerror or type(error).__name__
    return str(reason).replace("_", " ").lower()


def name_matches(leaf: CertificateDetails, host: str) -> tuple[bool | None, str]:
    """Tell whether a certificate is for *host* as verify-full has it, and if not, why.

    The subject's common name counts only where no alternative name of the host's kind is
    (fe-secure-openssl.c, pgtls_verify_peer_name_matches_certificate_guts). Addresses in
    alternative names count from libpq 15 on.
    """
    if not host or host.startswith(("/", "@")):
        return None, ""
    address = _address(host)
    if any(_is_name(pattern, host) for pattern in leaf.dns_names):
        return True, ""
    if address and any(address == _address(name) for name in leaf.ip_names):
        return True, ""
    of_its_kind = leaf.ip_names if address else leaf.dns_names
    if not of_its_kind and leaf.common_name and _is_name(leaf.common_name, host):
        return True, ""
    names = [*leaf.dns_names, *leaf.ip_names] or [leaf.common_name or "nobody"]
    return False, f"it is for {', '.join(names)}, not for {host}"


def _is_name(pattern: str, host: str) -> bool:
    """Compare as libpq does: without case, and ``*`` stands for one whole leftmost label."""
    pattern, host = pattern.lower(), host.lower()
    if pattern.startswith("*."):
        label, dot, rest = host.partition(".")
        return bool(label and dot) and rest == pattern[2:]
    return pattern == host


def _address(text: str) -> bytes | None:
    try:
        return ipaddress.ip_address(text).packed
    except ValueError:
        pass
    try:
        return socket.inet_aton(text)  # 127.1, which libpq takes for an address
    except OSError:
        return None
