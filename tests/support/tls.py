"""What becomes of a login over TLS or without, as tables with the reason for each line.

libpq makes one or two attempts, depending on ``sslmode``. Each first agrees with the
server on encryption and verifies its certificate, then logs in under the rules of
pg_hba.conf. The sentences are those of the PostgreSQL documentation ("SSL Support",
"The pg_hba.conf File", "Certificate Authentication"), in short; where it is silent, the
line says what was observed. Nothing here connects: ``expected`` is the table's answer for
one cell, and ``test_tls_matrix`` asks a server.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import product

SSLMODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
SERVERS = ("off", "valid", "expired")
CAS = ("right", "wrong", "missing")
HOSTS = ("right", "wrong")
LOGINS = (
    "password",
    "certificate and password",
    "certificate",
    "another's certificate",
    "no certificate",
    "hostnossl only",
    "hostssl only",
)


@dataclass(frozen=True)
class Cell:
    """One login.

    Attributes:
        server: "off" has no TLS; "valid" and "expired" tell about its certificate.
        sslmode: What the client asks for.
        ca: Which root certificate it has; "missing" means it has none.
        host: Whether the name it asked for is in the server's certificate.
        login: How it proves who it is, and which rule it meets.
    """

    server: str
    sslmode: str
    ca: str
    host: str
    login: str


@dataclass(frozen=True)
class Rule:
    """A line of a table: it is about cells whose every field is among its values.

    Attributes:
        refusal: Part of the error; None lets the client through.
        why: The reason.
    """

    refusal: str | None
    why: str
    server: tuple[str, ...] = SERVERS
    sslmode: tuple[str, ...] = SSLMODES
    ca: tuple[str, ...] = CAS
    host: tuple[str, ...] = HOSTS
    login: tuple[str, ...] = LOGINS

    def matches(self, cell: Cell) -> bool:
        return all(getattr(cell, f.name) in getattr(self, f.name) for f in fields(cell))


PLAIN, TLS = "plain", "TLS"

# Which attempts libpq makes, in order.
ATTEMPTS = {
    "disable": (PLAIN,),  # only try a non-SSL connection
    "allow": (PLAIN, TLS),  # first try a non-SSL connection; if that fails, try an SSL connection
    "prefer": (TLS, PLAIN),  # first try an SSL connection; if that fails, try a non-SSL connection
    "require": (TLS,),  # only try an SSL connection
    "verify-ca": (TLS,),  # only SSL, from a server with a certificate of a trusted authority
    "verify-full": (TLS,),  # and that is made for the name the client asked for
}

NO_TLS = "server does not support SSL, but SSL was required"

# What an encrypted attempt meets before the login. The first line that matches decides.
HANDSHAKE = (
    Rule(NO_TLS, "a server with ssl = off declines", server=("off",)),
    Rule(
        "root certificate file",
        "verification needs a root certificate",
        sslmode=("verify-ca", "verify-full"),
        ca=("missing",),
    ),
    Rule(
        "certificate verify failed",
        "a root certificate that is there is used in every mode: for require this is documented "
        "(the same as verify-ca), for allow and prefer it was observed",
        ca=("wrong",),
    ),
    Rule(
        "certificate verify failed",
        "verifying a chain includes its dates, in every mode that has a root certificate",
        server=("expired",),
        ca=("right",),
    ),
    Rule(
        "does not match host name",
        "only verify-full compares names",
        sslmode=("verify-full",),
        host=("wrong",),
    ),
    Rule(None, "without a root certificate nothing is verified; with the right one all is well"),
)

# What the rules of pg_hba.conf answer, per kind of connection. The first line that matches decides.
LOGIN = {
    PLAIN: (
        Rule(
            "no pg_hba.conf entry",
            "hostssl lines match encrypted connections only, and no other line is left",
            login=(
                "certificate and password",
                "certificate",
                "another's certificate",
                "no certificate",
                "hostssl only",
            ),
        ),
        Rule(None, "host and hostnossl lines match, and the password is right"),
    ),
    TLS: (
        Rule(
            "no pg_hba.conf entry",
            "hostnossl lines match unencrypted connections only, and no other line is left",
            login=("hostnossl only",),
        ),
        Rule(
            "certificate authentication failed",
            "cert compares the certificate's common name with the role",
            login=("another's certificate",),
        ),
        Rule(
            "requires a valid client certificate",
            "cert implies clientcert=verify-full, and the client sent none",
            login=("no certificate",),
        ),
        Rule(None, "host and hostssl lines match, and what they ask for is given"),
    ),
}


@dataclass(frozen=True)
class Outcome:
    """What is expected of one cell.

    Attributes:
        connected: "TLS", "plain" or None.
        refusals: Parts of the error of each attempt that failed, in order.
        why: The reasons of every line that decided, in order.
    """

    connected: str | None
    refusals: tuple[str, ...]
    why: tuple[str, ...]


def expected(cell: Cell) -> Outcome:
    """Follow libpq through the tables."""
    refusals: list[str] = []
    why: list[str] = []
    attempts = ATTEMPTS[cell.sslmode]
    for channel in attempts:
        refusal = None
        for table in (HANDSHAKE, LOGIN[TLS]) if channel == TLS else (LOGIN[PLAIN],):
            rule = next(rule for rule in table if rule.matches(cell))
            why.append(f"{channel}: {rule.why}")
            refusal = rule.refusal
            if refusal:
                break
        if refusal is None:
            return Outcome(channel, tuple(refusals), tuple(why))
        # A server that declines is no failure to prefer: it goes on over the same connection.
        if refusal != NO_TLS or channel == attempts[-1]:
            refusals.append(refusal)
    return Outcome(None, tuple(refusals), tuple(why))


def cells(server: str) -> Iterator[Cell]:
    """Return every cell of a server in that state."""
    for values in product(SSLMODES, CAS, HOSTS, LOGINS):
        yield Cell(server, *values)
