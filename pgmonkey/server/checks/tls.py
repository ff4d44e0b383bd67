"""TLS: whether there is any, what was negotiated, and how much of it is checked.

The session tells what was negotiated, the configuration what is asked for. The
certificates themselves are in ``certificates``.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from pgmonkey.server.checks.admission import SSLMODE
from pgmonkey.server.checks.model import (
    NO_LOGIN,
    Check,
    Facts,
    Judgement,
    Severity,
    fail,
    not_applicable,
    ok,
    unknown,
)
from pgmonkey.server.checks.words import (
    IN_POOLER,
    SERVER_OVER_TLS,
    demanding_tls,
    in_config,
    parameter_finding,
    remote,
    set_key,
    takes_tls,
)
from pgmonkey.server.evidence import Setting, Tls, Unread

if TYPE_CHECKING:
    pass

NEGOTIATION = "connection_settings.sslnegotiation"
BINDING = "connection_settings.channel_binding"

DEMANDED = ("require", "verify-ca", "verify-full")
GOOD_PROTOCOLS = ("TLSv1.2", "TLSv1.3")
# Oldest first; "" is whatever OpenSSL still does.
PROTOCOLS = ("", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
NO_TCP = "a Unix socket has no TLS"
# An authenticated cipher, and keys that are gone after the session. All of 1.3's are.
AEAD = ("GCM", "CHACHA20", "CCM")
EPHEMERAL = ("ECDHE-", "DHE-")


def _seen(facts: Facts) -> Tls | Unread:
    return facts.evidence.tls if facts.evidence else Unread(NO_LOGIN)


def offered(facts: Facts) -> Judgement:
    """Good: ssl is on. Bad: ssl is off, and sslmode is require."""
    if facts.socket:
        return not_applicable(NO_TCP)
    if facts.client.sslmode == "disable":
        return not_applicable("sslmode is disable")
    severity: Severity = "critical" if facts.client.sslmode in DEMANDED else "medium"
    answer = facts.tls.offered if facts.tls is not None else None
    if answer is None and facts.evidence is not None:
        answer = True if facts.evidence.client.tls else None
    if answer is None:
        setting = facts.setting("ssl")
        if not isinstance(setting, Setting):
            return unknown(setting if isinstance(setting, Unread) else NO_LOGIN)
        answer = setting.value == "on"
    if answer:
        return ok("the server offers TLS")
    return parameter_finding(facts, "the server offers no TLS", "ssl", "on", severity)


def encrypted(facts: Facts) -> Judgement:
    """Good: TLS from client to server. Bad: sslmode prefer met a server without."""
    if facts.socket or not remote(facts):
        return not_applicable("client and server are on one machine")
    if facts.evidence is None:
        return unknown(NO_LOGIN)
    tls = facts.evidence.tls
    if not facts.evidence.client.tls:
        where = demanding_tls(facts)
        return fail("this session is not encrypted", "sslmode: verify-full", where=where)
    if isinstance(tls, Unread):
        return unknown(tls)
    if tls.version is None:
        found = "TLS ends at a pooler or proxy; its connection to the server is not encrypted"
        return fail(found, SERVER_OVER_TLS, where=IN_POOLER)
    return ok(f"{tls.version}, {tls.cipher}")


def no_silent_downgrade(facts: Facts) -> Judgement:
    """Good: sslmode require or above. Bad: sslmode prefer, or none, to another machine."""
    mode = facts.client.sslmode
    if facts.socket or not remote(facts):
        return not_applicable("client and server are on one machine")
    if mode not in ("allow", "prefer", "disable"):
        return ok(f"sslmode is {mode}")
    served = facts.plain_login or (
        facts.admission is not None and facts.admission.plaintext is not None
    )
    given = SSLMODE in facts.settings.marks
    what = f"sslmode is {mode}" + ("" if given else ", libpq's default")
    text = "goes without TLS" if mode == "disable" else "goes on without TLS where it gets none"
    return fail(
        f"{what}, and {text}",
        set_key(SSLMODE, "verify-full"),
        where=demanding_tls(facts),
        severity="high" if served and mode != "disable" else "medium",
    )


def identity_verified(facts: Facts) -> Judgement:
    """Good: verify-full. Bad: require, which takes whatever certificate it is shown."""
    if facts.socket:
        return not_applicable(NO_TCP)
    if facts.client.sslmode not in DEMANDED:
        return not_applicable("see PGM-TLS-003")
    if facts.client.verifies == "full":
        return ok("sslmode is verify-full")
    if facts.client.verifies == "ca":
        return fail(
            "the certificate's name is not compared with the host's",
            set_key(SSLMODE, "verify-full"),
            where=demanding_tls(facts),
            severity="low",
        )
    return fail(
        f"sslmode is {facts.client.sslmode}: any certificate will do, an attacker's too",
        set_key(SSLMODE, "verify-full"),
        where=demanding_tls(facts),
        severity="high" if _public(facts.endpoint.dial) else "medium",
    )


def _public(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return False


def protocol(facts: Facts) -> Judgement:
    """Good: TLSv1.2 or TLSv1.3. Bad: TLSv1.1."""
    version = _negotiated(facts)[0]
    if not version:
        return (
            not_applicable("there is no TLS")
            if facts.evidence or facts.socket
            else unknown(NO_LOGIN)
        )
    if version in GOOD_PROTOCOLS:
        return ok(version)
    return parameter_finding(
        facts, f"{version} was negotiated", "ssl_min_protocol_version", "TLSv1.2"
    )


def _negotiated(facts: Facts) -> tuple[str, str]:
    """Return protocol and cipher of this session, or of the probe."""
    seen = _seen(facts)
    if isinstance(seen, Tls) and seen.version:
        return seen.version, seen.cipher or ""
    if facts.tls is not None and facts.tls.offered and not facts.socket:
        return facts.tls.version, facts.tls.cipher
    return "", ""


def minimum(facts: Facts) -> Judgement:
    """Good: ssl_min_protocol_version TLSv1.2, the default from 13. Bad: TLSv1."""
    if facts.socket:
        return not_applicable(NO_TCP)
    setting = facts.setting("ssl_min_protocol_version")
    if setting is None:
        return not_applicable("this server has no such setting")
    if isinstance(setting, Unread):
        return unknown(setting)
    if PROTOCOLS.index(setting.value) >= PROTOCOLS.index("TLSv1.2"):
        return ok(f"ssl_min_protocol_version is {setting.value}")
    found = f"ssl_min_protocol_version is {setting.value or 'not set'}"
    return parameter_finding(facts, found, "ssl_min_protocol_version", "TLSv1.2")


def suite(facts: Facts) -> Judgement:
    """Good: TLS_AES_256_GCM_SHA384. Bad: AES256-SHA, which has no forward secrecy."""
    version, cipher = _negotiated(facts)
    if not cipher:
        return (
            not_applicable("there is no TLS")
            if facts.evidence or facts.socket
            else unknown(NO_LOGIN)
        )
    authenticated = any(word in cipher for word in AEAD)
    if authenticated and (version == "TLSv1.3" or cipher.startswith(EPHEMERAL)):
        return ok(cipher)
    return parameter_finding(facts, f"{cipher} was negotiated", "ssl_ciphers", STRONG)


STRONG = "HIGH:!aNULL:!3DES:!MEDIUM"


def ciphers(facts: Facts) -> Judgement:
    """Good: HIGH without 3DES. Bad: the default, which lists MEDIUM and 3DES."""
    ssl = facts.setting("ssl")
    if isinstance(ssl, Setting) and ssl.value != "on":
        return not_applicable("ssl is off")
    setting = facts.setting("ssl_ciphers")
    if not isinstance(setting, Setting):
        return unknown(setting or Unread("this server has no such setting"))
    weak = [
        w for w in setting.value.split(":") if w.lstrip("+") in ("MEDIUM", "3DES", "LOW", "ALL")
    ]
    if not weak:
        return ok(f"ssl_ciphers is {setting.value}")
    found = f"ssl_ciphers allows {', '.join(w.lstrip('+') for w in weak)}"
    return parameter_finding(facts, found, "ssl_ciphers", STRONG)


def direct(facts: Facts) -> Judgement:
    """Good: sslnegotiation=direct and PostgreSQL 17. Bad: the same and 16."""
    if facts.socket or facts.client.sslnegotiation != "direct":
        return not_applicable("sslnegotiation is not direct")
    if facts.major >= 17 and not facts.proxied:
        return ok(f"PostgreSQL {facts.major} understands it")
    if facts.evidence is not None:
        return ok("the login succeeded")
    if facts.refuses_direct is None:
        return unknown(NO_LOGIN)
    if not facts.refuses_direct:
        return ok("the server understands it")
    return fail(
        "the server offers TLS on request, and drops a connection that begins with it",
        "sslnegotiation: postgres",
        where=in_config(facts),
    )


def binding(facts: Facts) -> Judgement:
    """Good: SCRAM-SHA-256-PLUS is offered. Bad: only SCRAM-SHA-256, and channel_binding=require."""
    if facts.socket or facts.client.sslmode == "disable" or takes_tls(facts) is False:
        return not_applicable("there is no TLS")
    if facts.auth_tls is None:
        return unknown(facts.not_asked)
    if facts.auth_tls.kind != "sasl":
        return not_applicable("the server does not ask for SCRAM over TLS")
    if any(name.endswith("-PLUS") for name in facts.auth_tls.mechanisms):
        return ok(", ".join(facts.auth_tls.mechanisms))
    return fail(
        "the server offers no channel binding: TLS ends before it",
        "channel_binding: prefer",
        where=in_config(facts),
        severity="high" if facts.client.channel_binding == "require" else "low",
    )


def idle_sslmode(facts: Facts) -> Judgement:
    """Good: no sslmode beside a socket. Bad: verify-full, which does nothing there."""
    if not facts.socket:
        return not_applicable("the host is reached over TCP")
    if SSLMODE not in facts.settings.marks or facts.client.sslmode not in DEMANDED:
        return ok("no TLS is asked for on a socket")
    return fail(
        f"sslmode {facts.client.sslmode} has no effect on a Unix socket",
        "sslmode: disable",
        where=in_config(facts),
    )


HANDSHAKE = "a TLS handshake with the server, without login"

TLS = (
    Check(
        "PGM-TLS-001",
        "the server offers TLS",
        "critical",
        SSLMODE,
        "With sslmode require and above a server without TLS refuses every connection; below, "
        "everything goes in clear.",
        f"{HANDSHAKE}; else the setting ssl",
        "ssl = on with ssl_cert_file and ssl_key_file, then reload.",
        offered,
        setting="ssl",
    ),
    Check(
        "PGM-TLS-002",
        "this session is encrypted, up to the server",
        "high",
        SSLMODE,
        "Queries, rows and, with some methods, the password can be read on the way.",
        "libpq, and the session's own row of pg_stat_ssl",
        "sslmode require or above; TLS from pooler to server.",
        encrypted,
    ),
    Check(
        "PGM-TLS-003",
        "sslmode allows no silent downgrade",
        "medium",
        SSLMODE,
        "prefer and allow go on without TLS when somebody in between says that there is none.",
        "the configuration",
        "sslmode: verify-full, with sslrootcert.",
        no_silent_downgrade,
    ),
    Check(
        "PGM-TLS-004",
        "the server's identity is verified",
        "medium",
        SSLMODE,
        "require encrypts, and asks nobody for a name: whoever answers first is the server.",
        "the configuration",
        "sslmode: verify-full, with sslrootcert (or `system` for a public authority).",
        identity_verified,
    ),
    Check(
        "PGM-TLS-005",
        "TLS 1.2 or newer was negotiated",
        "high",
        SSLMODE,
        "TLS 1.0 and 1.1 were retired (RFC 8996).",
        f"pg_stat_ssl, else {HANDSHAKE}",
        "ssl_min_protocol_version = 'TLSv1.2', then reload.",
        protocol,
    ),
    Check(
        "PGM-TLS-006",
        "the server takes nothing older than TLS 1.2",
        "high",
        SSLMODE,
        "What the server takes, somebody in between can make both sides use.",
        "the setting ssl_min_protocol_version (pg_read_all_settings)",
        "ssl_min_protocol_version = 'TLSv1.2', then reload.",
        minimum,
    ),
    Check(
        "PGM-TLS-007",
        "the cipher is authenticated and its keys are forgotten",
        "medium",
        SSLMODE,
        "Without forward secrecy, the server's key opens every recording made before.",
        f"pg_stat_ssl, else {HANDSHAKE}",
        f"ssl_ciphers = '{STRONG}', then reload.",
        suite,
    ),
    Check(
        "PGM-TLS-008",
        "the list of ciphers has no weak ones",
        "low",
        SSLMODE,
        "PostgreSQL's default up to 18 lists MEDIUM and 3DES.",
        "the setting ssl_ciphers (pg_read_all_settings)",
        f"ssl_ciphers = '{STRONG}', then reload.",
        ciphers,
    ),
    Check(
        "PGM-TLS-015",
        "the server understands direct TLS",
        "high",
        NEGOTIATION,
        "sslnegotiation=direct needs PostgreSQL 17; older servers drop the connection.",
        "the server's version",
        "sslnegotiation: postgres, or upgrade the server.",
        direct,
    ),
    Check(
        "PGM-TLS-016",
        "channel binding is available",
        "low",
        BINDING,
        "It proves that nobody stands between the two ends of TLS.",
        "the methods that the server offers over TLS",
        "channel_binding: require, where the server offers it.",
        binding,
    ),
    Check(
        "PGM-TLS-017",
        "sslmode is not set where it does nothing",
        "info",
        SSLMODE,
        "On a Unix socket libpq ignores sslmode, verify-full too.",
        "the configuration",
        "Nothing to do; the socket's folder decides who gets in.",
        idle_sslmode,
    ),
)
