"""What this client needs from a server, as values: settings, rules, and what to know of them.

A rule is advised only where it lets this very client in. What cannot be known from here
(the address it comes from, a certificate on another machine) is assumed in the way that
admits it, and a note says so. Nothing here prints; nothing talks to a server. The settings
themselves are in ``conf``, the columns of pg_hba.conf that hang on the address in ``addresses``.

PostgreSQL documentation: "Connections and Authentication", "The pg_hba.conf File".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pgmonkey.server import hba
from pgmonkey.server.addresses import IPNetwork, Origin, networks
from pgmonkey.server.client import Certificate, Client
from pgmonkey.server.conf import Advice, hardening, minimal
from pgmonkey.server.fleet import RESERVED, Fleet, accurate_need, demand, printed_minimum
from pgmonkey.server.hba import ALL, Rule, Token

NEWEST = 18
# The name of the user map that a printed rule may refer to.
MAP = "pgmonkey"

HbaMethod = Literal["scram-sha-256", "md5"]


@dataclass(frozen=True)
class Recommendation:
    """What one client needs.

    Attributes:
        settings: The least that serves it.
        hardening: What a careful administrator sets besides.
        rules: For any database and role of the client's network, in the manner of a
            first set-up.
        exact: For this database, role and network alone. Either one or the other stands
            in a file: the first would hide the second.
        ident: Lines for pg_ident.conf which the rules refer to.
        notes: What was assumed, and what a reader must know; sentences without full stop.
        origin: How the client's address came to be known.
        demand: Connections that the whole fleet may hold at once.
        accurate: max_connections at which all of them and an administrator have room.
    """

    client: Client
    settings: tuple[Advice, ...]
    hardening: tuple[Advice, ...]
    rules: tuple[Rule, ...]
    exact: tuple[Rule, ...]
    ident: tuple[str, ...]
    notes: tuple[str, ...]
    origin: Origin
    fleet: Fleet
    demand: int
    accurate: int


def recommend(
    client: Client,
    *,
    version: int = NEWEST,
    addresses: Sequence[IPNetwork] = (),
    observed: IPNetwork | None = None,
    fleet: Fleet | None = None,
    hba_method: HbaMethod = "scram-sha-256",
) -> Recommendation:
    """Return what *client* needs from a server of major *version*.

    Args:
        addresses: The client's networks, where they are known.
        observed: Its address as a server has seen it, which counts when *addresses* is empty.
        fleet: How many programs share the configuration; None is one.
        hba_method: What stands for a password; ``md5`` is for servers with old clients.
    """
    fleet = fleet or Fleet()
    notes: list[str] = []
    ident: list[str] = []
    shapes: list[tuple[str, str, tuple[tuple[str, str], ...], tuple[str, ...]]] = []
    origin: Origin = "socket"
    if any(endpoint.socket for endpoint in client.endpoints):
        method, options = _for_socket(client, hba_method, ident, notes, version)
        shapes.append((hba.LOCAL, method, options, ("",)))
    tcp = [endpoint for endpoint in client.endpoints if not endpoint.socket]
    if tcp:
        method, options = _for_tcp(client, hba_method, ident, notes, version)
        where, origin = networks(tcp, addresses, observed, notes)
        shapes.append((_type(client, notes), method, options, where))
    rules = [
        Rule(kind, _any_database(client), (ALL,), address, method, options)
        for kind, method, options, where in shapes
        for address in where
    ]
    database, user = _names(client, version, notes)
    exact = [replace(rule, databases=(database,), users=(user,)) for rule in rules]
    if any(rule.method in ("scram-sha-256", "md5") for rule in rules):
        notes.append(_about_passwords(client, hba_method))
    connections = demand(client, fleet)
    needed = accurate_need(connections)
    minimum = printed_minimum(client, fleet)
    notes.append(_about_connections(minimum, connections, needed, fleet))
    return Recommendation(
        client=client,
        settings=minimal(client, minimum),
        hardening=hardening(client, version),
        rules=tuple(rules),
        exact=tuple(exact),
        ident=tuple(ident),
        notes=tuple(dict.fromkeys(filter(None, notes))),
        origin=origin,
        fleet=fleet,
        demand=connections,
        accurate=needed,
    )


def _type(client: Client, notes: list[str]) -> str:
    """Return the TYPE for TCP: TLS, unless the client never asks for it."""
    if client.gssencmode == "require":
        return hba.HOSTGSSENC
    if client.sslmode == "disable":
        notes.append(
            "sslmode is disable: everything travels in clear, the result of every query included; "
            "host, not hostnossl, so that turning TLS on later needs no change here"
        )
        return hba.HOST
    if client.sslmode == "allow":
        notes.append(
            "sslmode allow begins each connection in clear, which this line refuses before "
            "the second attempt succeeds; sslmode require saves that"
        )
    if client.sslmode == "prefer":
        notes.append(
            "sslmode prefer would fall back to clear text; hostssl refuses that, and sslmode "
            "require or verify-full in the configuration keeps the client from trying"
        )
    return hba.HOSTSSL


def _for_tcp(
    client: Client, password: HbaMethod, ident: list[str], notes: list[str], version: int
) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Return METHOD and OPTIONS for TCP."""
    if client.gssencmode == "require":
        return "gss", (("include_realm", "1"),)
    if not client.password and (client.certificate is None or client.sslmode == "disable"):
        notes.append(
            "the configuration has no password and no client certificate (password file, "
            "PGPASSWORD?): the line asks for a password all the same, and never trusts"
        )
    certificate = client.certificate if client.sslmode != "disable" else None
    if certificate is None:
        return password, ()
    known = not certificate.problem
    same = certificate.common_name == client.user
    if client.password:
        # The client's own wish to verify in full is taken for the server's, as long as
        # the file's absence here says nothing against it.
        trusted = same or (certificate.missing and client.sslmode == "verify-full")
        level = "verify-full" if trusted else "verify-ca"
        if not known:
            notes.append(_unread(certificate, client, level))
        elif not same:
            notes.append(
                f"the certificate's CN is {certificate.common_name!r} and the role {client.user!r}: "
                "clientcert=verify-full would refuse it as a wrong password"
            )
        return password, (("clientcert", level),)
    if not known:
        notes.append(
            f"{certificate.cert}: {certificate.problem}; cert lets the client in if its CN is "
            f"{client.user!r}"
        )
    if same or not known:
        return "cert", ()
    ident.append(_map_line(certificate.common_name or "", client, version))
    return "cert", (("map", MAP),)


def _unread(certificate: Certificate, client: Client, level: str) -> str:
    reason = f"{certificate.cert}: {certificate.problem}"
    if level == "verify-full":
        return (
            f"{reason}; clientcert=verify-full lets the client in if the certificate's CN is "
            f"{client.user!r}, and clientcert=verify-ca whatever it is"
        )
    return f"{reason}; if the certificate's CN is {client.user!r}, raise it to verify-full"


def _for_socket(
    client: Client, password: HbaMethod, ident: list[str], notes: list[str], version: int
) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Return METHOD and OPTIONS for a Unix-domain socket."""
    notes.append("on a Unix-domain socket sslmode means nothing, and there is no TLS")
    if client.os_user == client.user:
        notes.append(f"peer: the program must run as the system user {client.user!r}")
        return "peer", ()
    if client.password or not client.os_user:
        return password, ()
    notes.append(f"peer: the program must run as the system user {client.os_user!r}, as now")
    ident.append(_map_line(client.os_user, client, version))
    return "peer", (("map", MAP),)


def _map_line(system: str, client: Client, version: int) -> str:
    """Return the line of pg_ident.conf that maps *system* to the role."""
    # A slash in front begins a pattern there on every version, and keywords are none.
    name = hba.name_token(system, frozenset(), hba.REGEX_SINCE)
    role = hba.user_token(client.user, version) or ALL
    return f"{MAP} {name} {role}"


def _any_database(client: Client) -> tuple[Token, ...]:
    # `all` is never for physical replication.
    return (Token("replication"),) if client.replication == "physical" else (ALL,)


def _names(client: Client, version: int, notes: list[str]) -> tuple[Token, Token]:
    database = hba.database_token(client.dbname, version)
    user = hba.user_token(client.user, version)
    for name, token in ((client.dbname, database), (client.user, user)):
        if token is None:
            notes.append(f"no line can hold the name {name!r} before version 16; all stands for it")
        elif token.text != name:
            notes.append(
                f"the name {name!r} is written as a pattern, which needs PostgreSQL 16 or newer; "
                f"for an older server give --server-version"
            )
    if client.replication == "physical":
        database = Token("replication")
    return database or ALL, user or ALL


def _about_passwords(client: Client, method: HbaMethod) -> str:
    if method == "md5":
        return "md5 is obsolete and warned of from PostgreSQL 18 on; scram-sha-256 replaces it"
    return (
        f"a password of {client.user!r} that is still stored as md5 fails under scram-sha-256: "
        "set password_encryption and the password anew before the line is changed"
    )


def _about_connections(minimum: int, connections: int, needed: int, fleet: Fleet) -> str:
    if not fleet.single:
        return (
            f"{fleet} hold up to {connections} connections; {needed} leaves room for one more login"
        )
    if minimum >= needed:
        return ""
    return (
        f"max_connections = {minimum} leaves {max(0, minimum - RESERVED)} for ordinary roles, since "
        f"{RESERVED} are reserved for superusers; {needed} serves this configuration in full"
    )
