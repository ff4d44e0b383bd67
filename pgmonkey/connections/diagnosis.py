"""Why a connection failed: from libpq's words to a stable code and the next thing to try.

A failed login leaves no result behind, so libpq gives text and nothing else; its texts
and the server's may be translated. A SQLSTATE decides where one is known (``probe``
reads it off the wire), then the English texts, and last the stage that was reached.
Nothing here does I/O; ``probe`` finds out how far an attempt came.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgmonkey.connections.refusal import refusal, refused

if TYPE_CHECKING:
    from pgmonkey.config.settings import Settings


@dataclass(frozen=True)
class Diagnosis:
    """One failure: a stable code, what happened, and what now. Never holds a secret."""

    code: str
    message: str
    hint: str
    sqlstate: str = ""


@dataclass(frozen=True)
class _Sign:
    """How to tell one kind of failure: by the server's code, or by a regular expression."""

    code: str
    text: str
    sqlstates: tuple[str, ...] = ()


# The texts are those of libpq 13 to 18, OpenSSL 1.1 to 3, PostgreSQL 13 to 18, PgBouncer and
# psycopg. The first match wins, so a text which another one contains stands further down.
_SIGNS = (
    _Sign("PGM300", "invalid connection option"),
    _Sign(
        "PGM320",
        "too many (clients|connections)|remaining connection slots|no more connections allowed",
        ("53300",),
    ),
    _Sign(
        "PGM321",
        "the database system is (starting up|shutting down|not (yet )?accepting|in recovery)",
        ("57P03",),
    ),
    _Sign(
        "PGM302",
        'database ".*" (does not exist|is not currently accepting)|no such database',
        ("3D000",),
    ),
    _Sign("PGM300", "invalid response to (SSL|GSSAPI) negotiation"),
    _Sign("PGM307", "server does not support SSL|does not support encryption"),
    _Sign("PGM308", "certificate verify failed|root certificate|sslrootcert"),
    _Sign(
        "PGM309",
        "private key|client certificate|certificate authentication failed|certificate present|"
        "could not (read|load) certificate|alert (unknown ca|(bad )?certificate|decrypt error)|"
        "clientcert|sslcertmode",
    ),
    _Sign("PGM308", "server certificate|does not match host name|server's host ?name|revocation"),
    _Sign("PGM303", "pg_hba[.]conf"),
    _Sign(
        "PGM301",
        "authentication failed|no password supplied|empty password|password (is )?missing|"
        'role ".*" (does not exist|is not permitted)|SASL|SCRAM|channel binding|wrong password|'
        "authentication method|no such user",
        ("28P01", "28000"),
    ),
    _Sign(
        "PGM305",
        "could not translate host name|failed to resolve host|[Nn]ame or service not known|"
        "nodename nor servname|name resolution|No address associated",
    ),
    _Sign("PGM306", "timeout expired|timed out|no answer within"),
    _Sign(
        "PGM304",
        "Connection refused|No route to host|unreachable|No such file or directory|"
        "could not connect|Connection reset",
    ),
)

# What a stage means when the words are in a language we do not know.
_BY_STAGE = {"dns": "PGM305", "tcp": "PGM304", "socket": "PGM304", "tls": "PGM308"}

# libpq may try one host twice (TLS and plain, under prefer and allow) and a config may
# name several: the attempt which came furthest says most. A missing pg_hba rule for the
# plain attempt says less than what went wrong under TLS.
_TELLING = (
    ("PGM301", "PGM302", "PGM320", "PGM321"),
    ("PGM307", "PGM308", "PGM309"),
    ("PGM303",),
    ("PGM201", "PGM300"),
    ("PGM304", "PGM306"),
    ("PGM305",),
)

_PREFIX = re.compile(r"connection to server (?:at|on socket) .*? failed: ")
_SEVERITY = re.compile(r"^\w+:  ")  # two blanks: that is how libpq joins severity and text
_ERRNO = re.compile(r"\[Errno -?\d+\] ")
_HBA_CLIENT = re.compile(r'host "(?P<host>[0-9a-fA-F.:]+)(?:%[^"]*)?", user "')


def attempts_in(message: str) -> list[str]:
    """Split a text of libpq or psycopg into one reason per attempt, each on one line."""
    parts = _PREFIX.split(message)
    reasons = parts[1:] or parts
    return [reason.strip().partition("\n")[0].strip() for reason in reasons]


def most_telling(message: str, failed_step: str | None, sqlstates: tuple[str, ...] = ()) -> int:
    """Return the index of the attempt in *message* that explains the failure best."""
    reasons = attempts_in(message)
    codes = [
        _code(reason, failed_step, sqlstates[i] if len(sqlstates) == len(reasons) else None)
        for i, reason in enumerate(reasons)
    ]
    return min(range(len(codes)), key=lambda i: _rank(codes[i]))


def classify(
    message: str,
    failed_step: str | None,
    settings: Settings,
    *,
    where: str | None = None,
    sqlstates: tuple[str, ...] = (),
) -> Diagnosis:
    """Say what a failed connection means and what to try.

    Args:
        message: The text of libpq or of a psycopg exception; may tell of several attempts.
        failed_step: ``dns``, ``tcp``, ``tls``, ``login`` or ``query``; None when unknown.
        settings: The configuration that was used.
        where: ``host:port/dbname`` as libpq resolved it; by default what *settings* say.
        sqlstates: The server's codes, one for each attempt in *message*, if known.
    """
    reasons = attempts_in(message)
    best = most_telling(message, failed_step, sqlstates)
    reason = reasons[best]
    state = sqlstates[best] if len(sqlstates) == len(reasons) else ""
    code = _code(reason, failed_step, state or None)
    if code == "PGM201":
        found = refusal(reason.removeprefix("connection failed: "), settings)
        return Diagnosis(code, settings.scrub(found.message), settings.scrub(found.hint))
    place = where or settings.target.rpartition("@")[2]
    if code in ("PGM304", "PGM305", "PGM306", "PGM307", "PGM308"):
        place = place.rpartition("/")[0] or place  # the database was not reached yet
    words = _ERRNO.sub("", _SEVERITY.sub("", reason.removeprefix("connection failed: ")))
    words = words.removeprefix("fe_sendauth: ").rstrip(".!")
    if place.startswith("/") and words.startswith("No such file"):
        words = "no server has a socket"
    if words.partition(" ")[0].istitle():  # a sentence; "SSL error" and names stay as they are
        words = words[0].lower() + words[1:]
    text = words if code == "PGM305" else f"{words} at {place}"
    hint = _hint(code, reason, settings)
    return Diagnosis(code, settings.scrub(text), settings.scrub(hint), state)


def _code(reason: str, failed_step: str | None, sqlstate: str | None) -> str:
    if refused(reason) and not _SEVERITY.match(reason):  # libpq's own words, not the server's
        return "PGM201"
    by_text = next((sign.code for sign in _SIGNS if re.search(sign.text, reason)), None)
    if by_text in ("PGM303", "PGM309"):  # 28000 stands for these too, so the words say more
        return by_text
    by_state = next((sign.code for sign in _SIGNS if sqlstate in sign.sqlstates), None)
    return by_state or by_text or _BY_STAGE.get(failed_step or "", "PGM300")


def _rank(code: str) -> int:
    return next(i for i, codes in enumerate(_TELLING) if code in codes)


def _hint(code: str, reason: str, settings: Settings) -> str:
    """Return the remedy, naming the place in the user's file where the value stands."""
    if code == "PGM301":
        return _login_hint(reason, settings)
    if code == "PGM303":
        return _hba_hint(reason, settings)
    if code == "PGM308":
        return _certificate_hint(reason, settings)
    if code == "PGM309":
        return _client_certificate_hint(reason, settings)
    if code == "PGM300":
        return _other_hint(reason, settings)
    return {
        "PGM302": f"check {_given(settings, 'dbname', 'PGDATABASE')}, or create the database",
        "PGM304": "is the server running, and does it listen there? check "
        f"{_given(settings, 'host', 'PGHOST')} and {_given(settings, 'port', 'PGPORT')}",
        "PGM305": f"check the spelling of {_given(settings, 'host', 'PGHOST')} and the name "
        "server of this machine",
        "PGM306": "a firewall that drops packets, a wrong address or a server that hangs; check "
        f"{_given(settings, 'host', 'PGHOST')} and {_given(settings, 'port', 'PGPORT')}, or "
        "allow more time with connect_timeout or --timeout",
        "PGM307": "set ssl = on in the server's postgresql.conf, with ssl_cert_file and "
        f"ssl_key_file; {_given(settings, 'sslmode', 'PGSSLMODE')} prefer would connect in clear",
        "PGM320": "lower min_size and max_size of the pools, close idle sessions, or raise the server's "
        "max_connections or the role's CONNECTION LIMIT",
        "PGM321": "wait until the server is up; its log says what it is doing",
    }[code]


def _given(settings: Settings, key: str, variable: str) -> str:
    """Name a connection key with its place, or the variable which libpq read instead."""
    path = f"connection_settings.{key}"
    if key not in settings.connection and path not in settings.marks:
        return variable
    mark = settings.mark(path)
    place = f" ({mark.file}:{mark.line})" if mark.line is not None else ""
    # An empty value counts as not given, and then libpq looks at the variable.
    other = "" if key in settings.connection else f" or {variable}"
    return f"{path}{place}{other}"


def _login_hint(reason: str, settings: Settings) -> str:
    if re.search(r"role .* does not exist|no such user", reason):
        return f"check {_given(settings, 'user', 'PGUSER')}, or create the role with LOGIN"
    if "is not permitted" in reason:
        return "let the role log in: ALTER ROLE … LOGIN"
    if re.search(r"no password supplied|password (is )?missing", reason):
        first = "give a password: connection_settings.password, PGPASSWORD or a passfile"
    elif re.search(r"channel binding|authentication method", reason):
        return "server and configuration do not agree on how to log in; check channel_binding and require_auth"
    else:
        first = (
            f"check {_given(settings, 'password', 'PGPASSWORD')} and "
            f"{_given(settings, 'user', 'PGUSER')}"
        )
    if settings.name.startswith("<"):
        return first
    return f"{first}, or run: pgmonkey pgconfig test -c {shlex.quote(settings.name)} -W"


def _hba_hint(reason: str, settings: Settings) -> str:
    """Name the command that prints the line: names such as ``all`` or ``+x`` need its quotes."""
    if "no encryption" in reason and settings.connection.get("sslmode") in ("disable", "allow"):
        return (
            "the server may admit this user over TLS only: set "
            f"{_given(settings, 'sslmode', 'PGSSLMODE')} to require or higher"
        )
    config = "" if settings.name.startswith("<") else f" -c {shlex.quote(settings.name)}"
    command = f"pgmonkey pgserverconfig{config} --emit pg_hba.conf --least-privilege"
    client = _HBA_CLIENT.search(reason)
    if client is not None:
        command += f" --client-address {client['host']}/{128 if ':' in client['host'] else 32}"
    where = ", above the line that rejects" if "rejects" in reason else ""
    return (
        f"put the line that this prints into the server's pg_hba.conf{where}, and reload: {command}"
    )


def _certificate_hint(reason: str, settings: Settings) -> str:
    if re.search("does not match host name|server's host ?name", reason):
        return (
            f"connect by a name which the certificate holds: change "
            f"{_given(settings, 'host', 'PGHOST')}, or have a certificate issued for this one; "
            "hostaddr gives the address where the name does not resolve"
        )
    if "does not exist" in reason or "could not read" in reason:
        return (
            f"point {_given(settings, 'sslrootcert', 'PGSSLROOTCERT')} to the certificate of "
            "the CA which signed the server's, or use sslrootcert: system for a public CA"
        )
    return (
        f"{_given(settings, 'sslrootcert', 'PGSSLROOTCERT')} must hold the CA which signed the "
        "server's certificate, and that certificate must not be expired"
    )


def _client_certificate_hint(reason: str, settings: Settings) -> str:
    if "group or world access" in reason:
        return f"chmod 0600 the file of {_given(settings, 'sslkey', 'PGSSLKEY')}"
    if re.search("certificate authentication failed", reason):
        return (
            f"the common name in {_given(settings, 'sslcert', 'PGSSLCERT')} must be the role, "
            "or a map in pg_ident.conf must join them"
        )
    if re.search("client certificate|certificate required", reason):
        return "the server wants a client certificate: give sslcert and sslkey"
    if "private key" in reason or "certificate present" in reason:
        return (
            f"check that {_given(settings, 'sslkey', 'PGSSLKEY')} exists, is readable, belongs "
            "to sslcert, and that sslpassword opens it"
        )
    return (
        f"the server does not accept {_given(settings, 'sslcert', 'PGSSLCERT')}: its ssl_ca_file "
        "must hold the CA which signed it, and it must not be expired or revoked"
    )


def _other_hint(reason: str, settings: Settings) -> str:
    if re.search("session is (not )?read-only|hot standby", reason):
        return f"{_given(settings, 'target_session_attrs', 'PGTARGETSESSIONATTRS')} asks for another kind of server"
    if "invalid connection option" in reason:
        return "run: pgmonkey pgconfig validate"
    if re.search("closed the connection|invalid response to", reason):
        return (
            "is it PostgreSQL that listens there? a proxy or the server ended the session; the "
            "server's log says more"
        )
    return "the server's log may say more"
