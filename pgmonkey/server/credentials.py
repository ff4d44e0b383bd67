"""Whether a client can do what a rule asks of it once it matched.

A password is never known to be right here, only to be there. What a client refuses of its
own accord (``require_auth``, ``channel_binding``) counts like what it lacks.
"""

from __future__ import annotations

from dataclasses import dataclass

from pgmonkey.server import hba
from pgmonkey.server.client import Client
from pgmonkey.server.hba import Rule


@dataclass(frozen=True)
class Satisfaction:
    """An answer and its reason.

    Attributes:
        ok: Whether the client has what is asked; None when that cannot be told from here.
        reason: What it has, or what it lacks; no full stop.
    """

    ok: bool | None
    reason: str


def satisfies(client: Client, rule: Rule, *, encrypted: bool) -> Satisfaction:
    """Tell whether *client* has what *rule* asks, over a connection with TLS or without."""
    if rule.method == "reject":
        return Satisfaction(False, f"{rule.place} rejects")
    asked = rule.client_certificate
    if asked:
        answer = _certificate(client, rule, asked, encrypted)
        if answer.ok is not True:
            return answer
    refused = _refused_by_client(client, rule, encrypted)
    if refused:
        return Satisfaction(False, refused)
    if rule.method in hba.PASSWORD:
        if client.password:
            return Satisfaction(True, "a password is configured")
        return Satisfaction(False, f"{rule.method} asks for a password, and no source has one")
    if rule.method == "trust":
        return Satisfaction(True, "nothing is asked")
    if rule.method == "cert":
        return Satisfaction(True, "the certificate is configured")
    if rule.method == "peer":
        return _peer(client, rule)
    return Satisfaction(None, f"whether {rule.method} succeeds cannot be told from here")


def _certificate(client: Client, rule: Rule, asked: str, encrypted: bool) -> Satisfaction:
    certificate = client.certificate
    if not encrypted:
        return Satisfaction(False, "a client certificate is asked for, and there is no TLS")
    if certificate is None:
        return Satisfaction(False, "a client certificate is asked for, and none is configured")
    if certificate.problem:
        return Satisfaction(None, f"{certificate.cert}: {certificate.problem}")
    by_name = asked == "verify-full" and rule.option("clientname") in (None, "CN")
    if not by_name or certificate.common_name == client.user:
        return Satisfaction(True, "the certificate is configured")
    if rule.option("map"):
        return Satisfaction(None, f"the map {rule.option('map')!r} decides about the certificate")
    name = certificate.common_name
    return Satisfaction(False, f"the certificate's CN is {name!r}, not {client.user!r}")


def _refused_by_client(client: Client, rule: Rule, encrypted: bool) -> str:
    """Return why libpq would break off by itself, or "".

    An ``md5`` rule may end in SCRAM, by what the server has stored, so it passes for both.
    """
    exchanges = _EXCHANGES.get(rule.method, frozenset({rule.method}))
    wanted = client.require_auth.replace(" ", "")
    if wanted:
        words = set(wanted.replace("!", "").split(","))
        allowed = exchanges - words if "!" in wanted else exchanges & words
        if not allowed:
            return f"require_auth={client.require_auth} refuses {rule.method}"
    bound = encrypted and "scram-sha-256" in exchanges
    if client.channel_binding == "require" and not bound:
        return "channel_binding=require needs SCRAM over TLS"
    return ""


_EXCHANGES = {
    "trust": frozenset({"none"}),
    "cert": frozenset({"none"}),
    "peer": frozenset({"none"}),
    "ident": frozenset({"none"}),
    "md5": frozenset({"md5", "scram-sha-256"}),
    **dict.fromkeys(hba.CLEARTEXT, frozenset({"password"})),
}


def _peer(client: Client, rule: Rule) -> Satisfaction:
    if rule.option("map"):
        return Satisfaction(None, f"the map {rule.option('map')!r} decides")
    if client.os_user == client.user:
        return Satisfaction(True, f"this process runs as {client.os_user!r}")
    return Satisfaction(
        False, f"peer: this process runs as {client.os_user!r}, not {client.user!r}"
    )
