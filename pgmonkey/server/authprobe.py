"""Ask a server how it would let a client in, without a password and without any right.

A server's first answer to a login names what it wants: it has looked up its rules by
then. Nothing is sent after that, so no password travels and no session begins. A refusal
costs one line of the server's log, as any refused login does.

PostgreSQL documentation: "Message Formats" (AuthenticationOk and its kin, ErrorResponse).
"""

from __future__ import annotations

import socket
import ssl
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from pgmonkey.server import wire
from pgmonkey.server.client import Client, Endpoint
from pgmonkey.server.wire import Deadline, WireError

Kind = Literal[
    "trust", "cleartext", "md5", "sasl", "gss", "sspi", "other", "error", "no-tls", "unreachable"
]
Detail = Literal[
    "", "implicit-reject", "reject", "refused", "certificate", "slots", "starting", "no-database"
]

_PROTOCOL = 196608  # 3.0
_TERMINATE = struct.pack("!ci", b"X", 4)
_AUTHENTICATION, _ERROR = b"R", b"E"
_SASL = 10
_KINDS: dict[int, Kind] = {
    0: "trust",
    3: "cleartext",
    5: "md5",
    7: "gss",
    9: "sspi",
    _SASL: "sasl",
}
# Seconds. The verdict on a client's certificate is one round trip behind the handshake.
VERDICT = 0.25
# No first answer of a server is longer than a few hundred bytes.
_LONGEST = 65536

_BY_STATE: dict[str, Detail] = {"53300": "slots", "57P03": "starting", "3D000": "no-database"}
_REFUSED = "28000"


@dataclass(frozen=True)
class AuthAnswer:
    """What a server answers to a login.

    Attributes:
        encrypted: Whether the question was asked over TLS.
        kind: What it wants. "trust" is also the answer where a certificate or the system
            user has satisfied it already; "sasl" is SCRAM, or what *mechanisms* says.
        mechanisms: The names of SASL mechanisms, such as ``SCRAM-SHA-256-PLUS``.
        sqlstate: Of an error; "" where the server sent none.
        message: In the server's words or, where it was not reached, in ours.
        detail: What an error is about. "refused" is one of both rejections, in a
            language that does not tell which.
    """

    encrypted: bool
    kind: Kind
    mechanisms: tuple[str, ...] = ()
    sqlstate: str = ""
    message: str = ""
    detail: Detail = ""


def probe(
    client: Client,
    endpoint: Endpoint,
    *,
    encrypted: bool,
    timeout: float = 5.0,
    key_password: str | None = None,
) -> AuthAnswer:
    """Begin a login as *client*, and return what the server answers first.

    Args:
        encrypted: Ask over TLS; on a socket there is none.
        timeout: Seconds for everything together.
        key_password: Opens the key of the client's certificate.
    """
    deadline = Deadline(timeout)
    try:
        with wire.dial(endpoint, deadline) as sock:
            if not (encrypted and not endpoint.socket):
                return _ask(sock, client, False, deadline)
            tls = wire.context(client, key_password)
            with wire.tls_on(sock, client, endpoint, tls, deadline) as secured:
                return over_tls(secured, client, deadline)
    except wire.NoTls as error:
        return AuthAnswer(encrypted, "no-tls", message=str(error))
    except WireError as error:
        return AuthAnswer(encrypted, "unreachable", message=str(error))
    except ssl.SSLError as error:
        return _not_let_in(error)


def over_tls(sock: ssl.SSLSocket, client: Client, deadline: Deadline) -> AuthAnswer:
    """Begin a login over *sock*, on which TLS is established; the same as ``probe`` otherwise."""
    try:
        if client.certificate is not None and sock.version() == "TLSv1.3":
            _await_verdict(sock, deadline)
        return _ask(sock, client, True, deadline)
    except WireError as error:
        return AuthAnswer(True, "unreachable", message=str(error))
    except ssl.SSLError as error:
        return _not_let_in(error)


def _await_verdict(sock: ssl.SSLSocket, deadline: Deadline) -> None:
    """Give the server time to refuse the certificate before anything else is sent.

    A server that hangs up with something unread resets the connection, and its reason may
    be lost with it.
    """
    sock.settimeout(min(VERDICT, deadline.left))
    with suppress(TimeoutError, ConnectionError):
        sock.recv(1)  # a server says nothing of its own accord; this raises its refusal


def _not_let_in(error: ssl.SSLError) -> AuthAnswer:
    # Under TLS 1.3 the server's verdict on a certificate comes with its first bytes.
    reason = (error.reason or error.strerror or "").replace("_", " ").lower()
    about: Detail = "certificate" if "certificate" in reason or "unknown ca" in reason else ""
    return AuthAnswer(True, "error", message=f"TLS: {reason}", detail=about)


def startup_message(client: Client) -> bytes:
    """Return the first message of a login."""
    values = {"user": client.user, "database": client.dbname, "application_name": "pgmonkey"}
    if client.replication:
        values["replication"] = "database" if client.replication == "database" else "true"
    words = b"".join(
        name.encode() + b"\0" + value.encode("utf-8", "surrogateescape") + b"\0"
        for name, value in values.items()
    )
    return struct.pack("!ii", 9 + len(words), _PROTOCOL) + words + b"\0"


def _ask(sock: socket.socket, client: Client, encrypted: bool, deadline: Deadline) -> AuthAnswer:
    sock.settimeout(deadline.left)
    try:
        sock.sendall(startup_message(client))
    except ssl.SSLError:
        raise
    except OSError as error:
        raise WireError(error.strerror or str(error)) from error
    while True:
        tag, size = struct.unpack("!ci", wire.read_exactly(sock, 5, deadline))
        if not 4 <= size <= _LONGEST:
            raise WireError("the answer is not one of PostgreSQL's")
        body = wire.read_exactly(sock, size - 4, deadline)
        if tag == _AUTHENTICATION:
            answer = _wanted(body, encrypted)
            if answer.kind == "trust":
                # A session begins: it is ended in order. In the middle of a login a
                # closed socket is the quieter way, of which no log speaks.
                with suppress(OSError):
                    sock.sendall(_TERMINATE)
            return answer
        if tag == _ERROR:
            return _refusal(body, encrypted)


def _wanted(body: bytes, encrypted: bool) -> AuthAnswer:
    if len(body) < 4:
        raise WireError("the answer is not one of PostgreSQL's")
    (code,) = struct.unpack_from("!i", body)
    names = body[4:].split(b"\0") if code == _SASL else []
    mechanisms = tuple(name.decode("ascii", "replace") for name in names if name)
    return AuthAnswer(encrypted, _KINDS.get(code, "other"), mechanisms)


def _refusal(body: bytes, encrypted: bool) -> AuthAnswer:
    fields = {
        part[:1].decode("ascii", "replace"): part[1:].decode("utf-8", "replace")
        for part in body.split(b"\0")
        if part
    }
    state, message = fields.get("C", ""), fields.get("M", "")
    return AuthAnswer(
        encrypted, "error", sqlstate=state, message=message, detail=_about(state, message)
    )


def _about(state: str, message: str) -> Detail:
    if state != _REFUSED:
        return _BY_STATE.get(state, "")
    # Only English tells the cases apart. In any language a rule's refusal names the file.
    if message.startswith("no pg_hba.conf entry"):
        return "implicit-reject"
    if message.startswith("pg_hba.conf rejects"):
        return "reject"
    if "pg_hba.conf" in message:
        return "refused"
    return "certificate" if message == "connection requires a valid client certificate" else ""
