"""Bringing the facts together: one login, at most two probes, and the rules walked.

An audit takes three connections at most. libpq may need two for its login where it falls
back; then the second one answers what the probe without TLS would have asked, and that is
left out. A server that refuses the login is still asked what it would demand.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from pgmonkey.server import authprobe, tlsprobe
from pgmonkey.server.addresses import standing_for
from pgmonkey.server.admission import Admission, Step, admission, judge
from pgmonkey.server.checks.model import Facts
from pgmonkey.server.clientkey import why_unusable
from pgmonkey.server.collect import collect
from pgmonkey.server.credentials import Satisfaction
from pgmonkey.server.evidence import Evidence, Session, Setting, Unread
from pgmonkey.server.hba import REGEX_SINCE
from pgmonkey.server.matching import Attempt, Known
from pgmonkey.server.reader import regex
from pgmonkey.server.recommend import NEWEST, recommend

if TYPE_CHECKING:
    import psycopg

    from pgmonkey.config.settings import Settings
    from pgmonkey.server.addresses import IPNetwork
    from pgmonkey.server.authprobe import AuthAnswer
    from pgmonkey.server.client import Client, Endpoint
    from pgmonkey.server.fleet import Fleet
    from pgmonkey.server.matching import IPAddress
    from pgmonkey.server.recommend import HbaMethod
    from pgmonkey.server.tlsprobe import TlsAnswer

# Seconds for each probe; a server that answers a login answers this at once.
PROBE_TIMEOUT = 5.0


@dataclass(frozen=True)
class Wanted:
    """What the user said about the client and the audit.

    Attributes:
        probe: Whether the server may be asked, beyond the login, how it lets people in.
        key_password: Opens the key of the client's certificate.
    """

    addresses: tuple[IPNetwork, ...] = ()
    fleet: Fleet | None = None
    hba_method: HbaMethod = "scram-sha-256"
    probe: bool = True
    key_password: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Gathered:
    """The facts; *error* is why nobody could log in."""

    facts: Facts
    error: psycopg.Error | None = None

    @property
    def answered(self) -> bool:
        """Whether the server spoke at all, be it to refuse."""
        answers = (self.facts.auth_tls, self.facts.auth_plain)
        spoke = any(a is not None and a.kind not in ("unreachable", "no-tls") for a in answers)
        # That it takes no TLS is an answer, too.
        spoke = spoke or (self.facts.tls is not None and self.facts.tls.offered is not None)
        # Whatever the language, libpq writes a server's severity, a colon and two blanks.
        return self.error is None or spoke or bool(re.search(r"\w:  \S", str(self.error)))


def gather(
    settings: Settings,
    client: Client,
    connect: Callable[[], psycopg.Connection[Any]],
    wanted: Wanted,
) -> Gathered:
    """Log in once with *connect*, read everything, and walk the rules.

    Args:
        connect: Opens a connection in autocommit mode, without any session setting.
    """
    import psycopg

    try:
        conn = connect()
        with conn:
            evidence = collect(
                conn,
                str(settings.connection.get("application_name", "")),
                (*settings.sync_settings, *settings.async_settings),
            )
            endpoint = _endpoint(client, conn)
            addresses = _addresses(evidence, endpoint, wanted)
            known = _known(evidence, endpoint, regex(conn))
            _ask_for_patterns(client, evidence, known)
            walked = _walk(client, evidence, known, endpoint, addresses)
    except psycopg.Error as error:
        return _without_login(settings, client, wanted, error)
    session = evidence.session if isinstance(evidence.session, Session) else None
    ssl = evidence.setting("ssl")
    offers = isinstance(ssl, Setting) and ssl.value == "on"
    fell_back = client.sslmode in ("allow", "prefer") and not evidence.client.tls
    plain_login = fell_back and offers and not endpoint.socket
    rules_known = not isinstance(evidence.hba, Unread)
    ask_plain = (
        client.sslmode == "disable"
        or endpoint.socket
        or (client.sslmode in ("allow", "prefer") and not plain_login)
        or not rules_known
    )
    tls, auth_tls, auth_plain = _probe(client, endpoint, wanted, ask_plain and not plain_login)
    address = walked[1] if walked else (addresses[0] if addresses else None)
    observed = ipaddress.ip_network(session.client) if session and session.client else None
    key_problem, key_refused = why_unusable(client, wanted.key_password)
    facts = Facts(
        settings=settings,
        client=client,
        endpoint=endpoint,
        recommendation=recommend(
            client,
            version=session.major if session else NEWEST,
            addresses=wanted.addresses,
            observed=observed,
            fleet=wanted.fleet,
            hba_method=wanted.hba_method,
        ),
        now=session.now if session else datetime.now(timezone.utc),
        evidence=evidence,
        known=known,
        admission=walked[0] if walked else None,
        proxied=proxied(evidence),
        address=_shown(wanted.addresses, address),
        address_given=bool(wanted.addresses),
        key_problem=key_problem,
        key_refused=key_refused,
        tls=tls,
        auth_tls=auth_tls,
        auth_plain=auth_plain,
        plain_login=plain_login,
        probed=wanted.probe,
    )
    return Gathered(facts)


def _without_login(
    settings: Settings, client: Client, wanted: Wanted, error: psycopg.Error
) -> Gathered:
    """Return what can be told from outside: the client's own files, and two questions."""
    endpoint = client.endpoints[0]
    # Three connections at most: the login's own (two where libpq falls back), one question,
    # and one that may be needed to learn why the server refused.
    direct = client.sslnegotiation == "direct"
    spare = endpoint.socket or client.sslmode == "disable"
    tls, auth_tls, auth_plain = _probe(client, endpoint, wanted, spare)
    refuses_direct: bool | None = None
    if direct and tls is not None and not tls.chain:
        # A server before 17 hangs up at once; asked politely, it may well have TLS.
        polite = replace(client, sslnegotiation="postgres")
        tls, auth_tls, _ = _probe(polite, endpoint, wanted, False)
        refuses_direct = tls is not None and tls.offered
    key_problem, key_refused = why_unusable(client, wanted.key_password)
    facts = Facts(
        settings=settings,
        client=client,
        endpoint=endpoint,
        recommendation=recommend(
            client,
            addresses=wanted.addresses,
            fleet=wanted.fleet,
            hba_method=wanted.hba_method,
        ),
        now=datetime.now(timezone.utc),
        address=_shown(wanted.addresses, None),
        address_given=bool(wanted.addresses),
        key_problem=key_problem,
        key_refused=key_refused,
        tls=tls,
        auth_tls=auth_tls,
        auth_plain=auth_plain,
        refuses_direct=refuses_direct,
        probed=wanted.probe,
    )
    return Gathered(facts, error)


def proxied(evidence: Evidence) -> bool:
    """Return whether a pooler or proxy answered in the server's place.

    The process number in the handshake is the pooler's invention, the other the server's.
    """
    session = evidence.session
    return isinstance(session, Session) and evidence.client.backend_pid != session.pid


def _endpoint(client: Client, conn: psycopg.Connection[Any]) -> Endpoint:
    """Return which of the client's hosts answered."""
    info = conn.info
    for endpoint in client.endpoints:
        if info.port == endpoint.port and info.host in (endpoint.host, endpoint.hostaddr):
            return endpoint
    return client.endpoints[0]


def _addresses(evidence: Evidence, endpoint: Endpoint, wanted: Wanted) -> tuple[IPAddress, ...]:
    """Return the addresses to walk the rules for; none where that is not known."""
    if endpoint.socket:
        return ()
    if wanted.addresses:
        rules = () if isinstance(evidence.hba, Unread) else evidence.hba.rules
        return tuple(a for network in wanted.addresses for a in standing_for(network, rules))
    session = evidence.session
    if isinstance(session, Session) and session.client:
        return (ipaddress.ip_address(session.client),)
    return ()


def _known(
    evidence: Evidence, endpoint: Endpoint, match: Callable[[str, str], bool | None]
) -> Known | None:
    session, members, ssl = evidence.session, evidence.memberships, evidence.setting("ssl")
    if not isinstance(session, Session) or isinstance(members, Unread):
        return None
    cache: dict[tuple[str, str], bool | None] = {}

    def remembered(pattern: str, text: str) -> bool | None:
        if (pattern, text) not in cache:
            cache[pattern, text] = match(pattern, text)
        return cache[pattern, text]

    return Known(
        version=session.major,
        member_of=members,
        regex=remembered,
        server_address=ipaddress.ip_address(session.address) if session.address else None,
        tls=ssl.value == "on" if isinstance(ssl, Setting) else None,
    )


def _ask_for_patterns(client: Client, evidence: Evidence, known: Known | None) -> None:
    """Have the server match every pattern of its rules while it is there.

    The checks judge these names against the rules later, without a connection.
    """
    if known is None or known.version < REGEX_SINCE or isinstance(evidence.hba, Unread):
        return
    superusers = evidence.superusers
    users = {client.user, *(() if isinstance(superusers, Unread) else superusers)}
    for rule in evidence.hba.rules:
        for tokens, names in ((rule.users, users), (rule.databases, {client.dbname})):
            for token in tokens:
                if token.text.startswith("/"):
                    for name in names:
                        known.regex(token.text[1:], name)


def _walk(
    client: Client,
    evidence: Evidence,
    known: Known | None,
    endpoint: Endpoint,
    addresses: Sequence[IPAddress],
) -> tuple[Admission, IPAddress | None] | None:
    """Return how the rules treat this client, from the address that fares worst."""
    if known is None or isinstance(evidence.hba, Unread):
        return None
    rules = evidence.hba.rules
    if proxied(evidence):
        return _walk_for_pooler(client, evidence, known)
    if endpoint.socket:
        return admission(client, rules, known, endpoint=endpoint, address=None), None
    found = [
        (admission(client, rules, known, endpoint=endpoint, address=address), address)
        for address in addresses
    ]
    refused = [each for each in found if each[0].admitted is None]
    return next(iter([*refused, *found]), None)


def _walk_for_pooler(
    client: Client, evidence: Evidence, known: Known
) -> tuple[Admission, IPAddress | None] | None:
    """Return the rule by which the pooler's own connection was let in."""
    session, tls, rules = evidence.session, evidence.tls, evidence.hba
    assert isinstance(session, Session)
    if isinstance(rules, Unread) or isinstance(tls, Unread):
        return None
    address = ipaddress.ip_address(session.client) if session.client else None
    encryption = "tls" if tls.version else "none"
    attempt = Attempt(session.user, session.database, address, encryption)  # type: ignore[arg-type]  # one of two words
    step = Step(judge(rules.rules, attempt, known), Satisfaction(True, "the pooler has logged in"))
    return Admission((step,), step, True, None), address


def _probe(
    client: Client, endpoint: Endpoint, wanted: Wanted, plain: bool
) -> tuple[TlsAnswer | None, AuthAnswer | None, AuthAnswer | None]:
    """Ask the server over TLS, and without if *plain*; one connection each."""
    if not wanted.probe:
        return None, None, None
    tls: TlsAnswer | None = None
    auth_tls: AuthAnswer | None = None
    if not endpoint.socket and client.sslmode != "disable":
        tls = tlsprobe.probe(
            client, endpoint, timeout=PROBE_TIMEOUT, key_password=wanted.key_password, ask_auth=True
        )
        auth_tls = tls.auth
    auth_plain = None
    # Where the first question met no server at all, a second one would only wait again.
    silent = tls is not None and tls.offered is None
    # Told that there is no TLS, libpq goes on over the same connection: one is left.
    plain = plain or (client.sslmode == "prefer" and tls is not None and tls.offered is False)
    if (plain or client.sslmode == "disable") and not silent:
        auth_plain = authprobe.probe(client, endpoint, encrypted=False, timeout=PROBE_TIMEOUT)
    return tls, auth_tls, auth_plain


def _shown(given: Sequence[IPNetwork], address: IPAddress | None) -> str:
    if not given:
        return str(address) if address is not None else ""
    network = next((n for n in given if address is None or address in n), given[0])
    if address is None or address == standing_for(network, ())[0]:
        return str(network)
    return f"{address} in {network}"
