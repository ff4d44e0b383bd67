"""Which rule of pg_hba.conf is for which login, as the server would have it.

A rule is looked at as a whole and before anybody is asked for anything: type of
connection, address, database, user. What it asks for afterwards (a password, a
certificate) plays no part. What only the server knows (its DNS, its interfaces, its
regular expressions) is passed in, or the answer is None.

PostgreSQL documentation: "The pg_hba.conf File"; ``check_hba`` in hba.c.
"""

from __future__ import annotations

import functools
import ipaddress
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pgmonkey.server import hba
from pgmonkey.server.hba import Rule, Token

IPAddress: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"
IPInterface: TypeAlias = "ipaddress.IPv4Interface | ipaddress.IPv6Interface"
Encryption = Literal["none", "tls", "gss"]


def _cannot_tell(pattern: str, text: str) -> bool | None:
    return None


@dataclass(frozen=True)
class Known:
    """What is known of the server beside its rules.

    Attributes:
        version: Major version.
        member_of: Every role that the client's role is a member of, directly or not,
            whether it inherits or not, itself included; empty when there is no such role.
            A superuser is a member of nothing by that alone.
        regex: Whether a text matches a pattern (without its slash), as PostgreSQL would
            have it; None where that cannot be told.
        server_address: The address the server was reached at, as the server sees it.
        interfaces: All the server's addresses with their networks, None where not known.
        tls: Whether it takes TLS; None where not known, which counts as yes.
    """

    version: int
    member_of: frozenset[str] = frozenset()
    regex: Callable[[str, str], bool | None] = _cannot_tell
    server_address: IPAddress | None = None
    interfaces: tuple[IPInterface, ...] | None = None
    tls: bool | None = None


@dataclass(frozen=True)
class Attempt:
    """One login that libpq tries, as the rules see it.

    Attributes:
        address: The client's, None on a Unix-domain socket.
        replication: "physical" is matched by the word ``replication`` and nothing else;
            "database" like any other login.
    """

    user: str
    database: str
    address: IPAddress | None
    encryption: Encryption = "none"
    replication: Literal["", "physical", "database"] = ""


def matches(rule: Rule, attempt: Attempt, known: Known) -> bool | None:
    """Tell whether *rule* is for *attempt*; None when only the server can tell.

    In the server's order: socket, encryption, address, database, user (hba.c, check_hba).
    """
    if rule.disabled or not _encryption(rule.type, attempt):
        return False
    answers = (
        _address(rule, attempt, known),
        _any(_database(token, attempt, known) for token in rule.databases),
        _any(_user(token, attempt, known) for token in rule.users),
    )
    if False in answers:
        return False
    return None if None in answers else True


def _encryption(kind: str, attempt: Attempt) -> bool:
    """Tell whether a rule of type *kind* is for a connection encrypted like this one."""
    if attempt.address is None or kind == hba.LOCAL:
        return attempt.address is None and kind == hba.LOCAL
    tls, gss = attempt.encryption == "tls", attempt.encryption == "gss"
    return {
        hba.HOST: True,
        hba.HOSTSSL: tls,
        hba.HOSTNOSSL: not tls,  # a connection that GSS encrypts has no TLS
        hba.HOSTGSSENC: gss,
        hba.HOSTNOGSSENC: not gss,
    }[kind]


def _any(answers: Iterable[bool | None]) -> bool | None:
    """Return True if any is, else None if any cannot be told, else False."""
    found: bool | None = False
    for answer in answers:
        if answer:
            return True
        if answer is None:
            found = None
    return found


def _database(token: Token, attempt: Attempt, known: Known) -> bool | None:
    word = "" if token.quoted else token.text
    if attempt.replication == "physical":
        return word == "replication"
    if word == "all":
        return True
    if word == "sameuser":
        return attempt.database == attempt.user
    if word in ("samerole", "samegroup"):
        return attempt.database in known.member_of
    if word == "replication":
        return False
    return _name(token.text, attempt.database, known)


def _user(token: Token, attempt: Attempt, known: Known) -> bool | None:
    if not token.quoted:
        if token.text.startswith("+"):
            return token.text[1:] in known.member_of
        if token.text == "all":
            return True
    return _name(token.text, attempt.user, known)


def _name(pattern: str, name: str, known: Known) -> bool | None:
    if pattern.startswith("/") and known.version >= hba.REGEX_SINCE:
        return known.regex(pattern[1:], name)
    return pattern == name


def _address(rule: Rule, attempt: Attempt, known: Known) -> bool | None:
    client = attempt.address
    if client is None or rule.address == "all":
        return True
    if rule.address in ("samehost", "samenet"):
        return _same(rule.address, client, known)
    base, _, length = rule.address.partition("/")
    address = _numeric(base)
    if address is None:
        return None  # a host name, which the server looks up
    if address.version != client.version:
        return False
    bits = address.max_prefixlen
    given = _numeric(rule.netmask) if rule.netmask else None
    prefix = int(length) if length else bits
    # A mask need not be a prefix: 255.0.255.0 is one as good as any.
    mask = int(given) if given is not None else (1 << bits) - (1 << (bits - prefix))
    return int(address) & mask == int(client) & mask


def _same(word: str, client: IPAddress, known: Known) -> bool | None:
    if known.interfaces is not None:
        if word == "samehost":
            return any(client == interface.ip for interface in known.interfaces)
        return any(client in interface.network for interface in known.interfaces)
    if client == known.server_address or str(client) in ("127.0.0.1", "::1"):
        return True
    # The loopback interface has the whole of 127.0.0.0/8 for its network.
    return True if word == "samenet" and client.is_loopback else None


@functools.lru_cache(maxsize=4096)
def _numeric(text: str) -> IPAddress | None:
    """Return an address as the server reads one (getaddrinfo, AI_NUMERICHOST); None for names."""
    try:
        found = socket.getaddrinfo(text, None, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return None
    return ipaddress.ip_address(str(found[0][4][0]).partition("%")[0])
