"""The first bytes of a conversation with a server: dial, ask for TLS, shake hands.

libpq does all this and keeps what it saw to itself; the probes want to see it. A deadline
goes with every step, the look-up of a name included, so that nothing waits for ever. No
certificate is judged here unless the caller's context does so.

PostgreSQL documentation: "Message Flow", "SSL Session Encryption".
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pgmonkey.server.client import Client, Endpoint

# Seconds until a server that does not end TLS is left without a word.
FAREWELL = 1.0

SSL_REQUEST = struct.pack("!ii", 8, 80877103)
_YES, _NO, _ERROR = b"S", b"N", b"E"
# Since 17 a server speaks TLS at once with whoever names this protocol.
_ALPN = "postgresql"


class WireError(Exception):
    """The server could not be reached or did not answer; the text says why."""


class NoTls(WireError):
    """The server takes no TLS."""


class Deadline:
    """A moment after which nothing is waited for."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._seconds = seconds

    @property
    def left(self) -> float:
        """Seconds left. Raises WireError when there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise self.passed
        return left

    @property
    def passed(self) -> WireError:
        return WireError(f"no answer within {self._seconds:g} s")


def dial(endpoint: Endpoint, deadline: Deadline) -> socket.socket:
    """Return a connected socket.

    Raises:
        WireError: Nothing answers there in time.
    """
    try:
        if endpoint.socket:
            return _dial_one(socket.AF_UNIX, _socket_path(endpoint), deadline)
        failure: OSError | None = None
        for family, address in _look_up(endpoint, deadline):
            try:
                return _dial_one(family, address, deadline)
            except OSError as error:
                failure = error
        raise failure or OSError(f"{endpoint.dial} has no address")
    except TimeoutError:
        raise deadline.passed from None
    except OSError as error:
        raise WireError(error.strerror or str(error)) from error


def _dial_one(family: int, address: object, deadline: Deadline) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(deadline.left)
        sock.connect(address)  # type: ignore[arg-type]  # a path or what getaddrinfo gave
    except BaseException:  # interrupts too: nobody else knows of this socket
        sock.close()
        raise
    return sock


def _socket_path(endpoint: Endpoint) -> str:
    folder = "\0" + endpoint.host[1:] if endpoint.host.startswith("@") else endpoint.host
    return f"{folder}/.s.PGSQL.{endpoint.port}"


def _look_up(endpoint: Endpoint, deadline: Deadline) -> list[tuple[int, object]]:
    """Return the addresses of a name; its look-up cannot be interrupted, only left behind."""
    found: list[tuple[int, object]] = []
    errors: list[OSError] = []

    def look_up() -> None:
        try:
            rows = socket.getaddrinfo(endpoint.dial, endpoint.port, type=socket.SOCK_STREAM)
            found.extend((row[0], row[4]) for row in rows)
        except OSError as error:
            errors.append(error)
        except UnicodeError:
            errors.append(OSError(f"{endpoint.dial!r} is not the name of a host"))

    thread = threading.Thread(target=look_up, name="pgmonkey-dns", daemon=True)
    thread.start()
    thread.join(deadline.left)
    if errors:
        raise errors[0]
    if not found:
        raise deadline.passed
    return found


def read_exactly(sock: socket.socket, size: int, deadline: Deadline) -> bytes:
    """Return the next *size* bytes.

    Raises:
        WireError: The server closed the connection before, or took too long.
        ssl.SSLError: The server broke TLS off.
    """
    data = b""
    while len(data) < size:
        sock.settimeout(deadline.left)
        try:
            more = sock.recv(size - len(data))
        except ssl.SSLError:
            raise
        except TimeoutError:
            raise deadline.passed from None
        except OSError as error:
            raise WireError(error.strerror or str(error)) from error
        if not more:
            raise WireError("the server closed the connection without an answer")
        data += more
    return data


def context(client: Client, key_password: str | None = None) -> ssl.SSLContext:
    """Return a TLS context that verifies nothing and shows the client's certificate.

    Raises:
        WireError: The certificate and its key cannot be used.
    """
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname = False
    tls.verify_mode = ssl.CERT_NONE
    # Python 3.13 is stricter than libpq, and would find fault with private authorities
    # which libpq accepts.
    tls.verify_flags &= ~ssl.VERIFY_X509_STRICT
    tls.set_alpn_protocols([_ALPN])
    certificate = client.certificate
    if certificate is not None and not certificate.missing:
        try:
            # Without a password here, OpenSSL would ask for one on the terminal.
            tls.load_cert_chain(
                Path(certificate.cert), Path(certificate.key), password=key_password or ""
            )
        except (OSError, ssl.SSLError) as error:
            why = error.strerror or error.__class__.__name__
            raise WireError(f"{certificate.cert}, {certificate.key}: {why}") from error
    return tls


@contextmanager
def tls_on(
    sock: socket.socket,
    client: Client,
    endpoint: Endpoint,
    tls: ssl.SSLContext,
    deadline: Deadline,
) -> Iterator[ssl.SSLSocket]:
    """Give *sock* with TLS on it, negotiated as the client would, and end it in order.

    A server writes to its log of a client that hangs up in the middle of TLS.

    Raises:
        NoTls: The server takes no TLS.
        WireError: It did not answer.
        ssl.SSLError: The handshake failed.
    """
    if client.sslnegotiation != "direct":
        sock.settimeout(deadline.left)
        sock.sendall(SSL_REQUEST)
        answer = read_exactly(sock, 1, deadline)
        if answer == _NO:
            raise NoTls("the server takes no TLS")
        if answer != _YES:
            what = "an error" if answer == _ERROR else repr(answer)
            raise WireError(f"the server answered {what} to the question for TLS")
    sock.settimeout(deadline.left)
    name = endpoint.host if client.sslsni and not is_address(endpoint.host) else None
    try:
        secured = tls.wrap_socket(sock, server_hostname=name or None)
    except ssl.SSLError:
        raise
    except TimeoutError:
        raise deadline.passed from None
    except OSError as error:
        raise WireError(error.strerror or "the server closed the connection") from error
    with secured:
        yield secured
        with suppress(OSError):
            secured.settimeout(FAREWELL)
            secured.unwrap()


def is_address(host: str) -> bool:
    """Tell whether *host* is a numeric address."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
