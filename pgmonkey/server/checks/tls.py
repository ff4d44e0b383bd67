"""TLS: whether there is any, how much of it is checked, and how long its certificates last.

The session tells what was negotiated, the configuration what is asked for; names and
lifetimes come from the certificates that the server shows. With verification off, libpq
takes every certificate, so that what is wrong with one is seen here first.
"""

from __future__ import annotations

import ipaddress
from datetime import timedelta
from typing import TYPE_CHECKING

from pgmonkey.server.checks.admission import HOST, SSLMODE
from pgmonkey.server.checks.hba import CERT, deciding
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
from pgmonkey.server.checks.words import in_config, parameter_finding, remote, set_key
from pgmonkey.server.evidence import READ_HBA, Setting, Tls, Unread

if TYPE_CHECKING:
    from pgmonkey.server.tlsprobe import TlsAnswer

ROOT, NEGOTIATION = "connection_settings.sslrootcert", "connection_settings.sslnegotiation"
BINDING = "connection_settings.channel_binding"

DEMANDED = ("require", "verify-ca", "verify-full")
GOOD_PROTOCOLS = ("TLSv1.2", "TLSv1.3")
# Oldest first; "" is whatever OpenSSL still does.
PROTOCOLS = ("", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
NO_PROBE = "the server's certificate was not looked at (--no-probe)"
NO_TCP = "a Unix socket has no TLS"
# An authenticated cipher, and keys that are gone after the session. All of 1.3's are.
AEAD = ("GCM", "CHACHA20", "CCM")
EPHEMERAL = ("ECDHE-", "DHE-")

SOON, LATER = timedelta(days=14), timedelta(days=45)


def _seen(facts: Facts) -> Tls | Unread:
    return facts.evidence.tls if facts.evidence else Unread(NO_LOGIN)


def _certificates(facts: Facts) -> TlsAnswer | Judgement:
    """Return what the server showed, or why there is nothing to judge."""
    if facts.socket:
        return not_applicable(NO_TCP)
    if facts.client.sslmode == "disable":
        return not_applicable("sslmode is disable")
    if facts.tls is None:
        return unknown(NO_PROBE)
    if facts.tls.offered is False:
        return not_applicable("the server offers no TLS")
    if facts.tls.leaf is None:
        return unknown(facts.tls.error or "the server showed no certificate")
    return facts.tls


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
        return fail("this session is not encrypted", "sslmode: verify-full", where=in_config(facts))
    if isinstance(tls, Unread):
        return unknown(tls)
    if tls.version is None:
        return fail(
            "TLS ends at a pooler or proxy; its connection to the server is not encrypted",
            "server_tls_sslmode = verify-full",
            where="in pgbouncer.ini, or the like of what stands in between",
        )
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
        where=in_config(facts),
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
            where=in_config(facts),
            severity="low",
        )
    return fail(
        f"sslmode is {facts.client.sslmode}: any certificate will do, an attacker's too",
        set_key(SSLMODE, "verify-full"),
        "sslrootcert: ca.crt",
        where=in_config(facts),
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


def names(facts: Facts) -> Judgement:
    """Good: the certificate names the host of the configuration. Bad: another name only."""
    answer = _certificates(facts)
    if isinstance(answer, Judgement):
        return answer
    if answer.name_matches is None:
        return unknown(answer.name_problem or "the names could not be compared")
    if answer.name_matches:
        return ok("the certificate is made for this host")
    assert answer.leaf is not None
    shown = (*answer.leaf.dns_names, *answer.leaf.ip_names)
    better = shown[0] if shown else answer.leaf.common_name
    return fail(
        answer.name_problem or "the certificate is made for another host",
        f"host: {better}" if better else "have the certificate issued for this host",
        where=f"{in_config(facts)}, or have the certificate issued with this host's name",
        severity="critical" if facts.client.verifies == "full" else "medium",
    )


def chain(facts: Facts) -> Judgement:
    """Good: sslrootcert signed the server's certificate. Bad: another authority did."""
    answer = _certificates(facts)
    if isinstance(answer, Judgement):
        return answer
    if not facts.client.sslrootcert:
        return not_applicable("the configuration has no sslrootcert")
    if answer.chain_verified is None:
        return unknown(answer.chain_problem or "the chain could not be checked")
    if answer.chain_verified:
        return ok("sslrootcert vouches for the certificate")
    issuer = answer.leaf.issuer if answer.leaf else ""
    return fail(
        f"sslrootcert does not vouch for the certificate: {answer.chain_problem}",
        f"sslrootcert: the certificate of {issuer}" if issuer else "sslrootcert: the right CA",
        where=in_config(facts),
        severity="critical" if facts.client.verifies != "none" else "info",
        key=ROOT,
    )


def lifetime(facts: Facts) -> Judgement:
    """Good: more than 45 days left. Bad: expired, or about to be."""
    answer = _certificates(facts)
    if isinstance(answer, Judgement):
        return answer
    assert answer.leaf is not None
    first = min((answer.leaf, *answer.chain), key=lambda c: c.not_after)
    left = first.not_after - facts.now
    if left > LATER:
        return ok(f"the certificate is valid until {first.not_after:%Y-%m-%d}")
    word = "expired on" if left <= timedelta(0) else "ends on"
    severity: Severity = "critical" if left <= timedelta(0) else "high" if left < SOON else "medium"
    return fail(
        f"the server's certificate {word} {first.not_after:%Y-%m-%d}",
        "SELECT pg_reload_conf();",
        where="in psql, after the files of ssl_cert_file and ssl_key_file were renewed",
        severity=severity,
    )


def own_certificate(facts: Facts) -> Judgement:
    """Good: readable, fitting its key, valid. Bad: a key that others may read."""
    certificate = facts.client.certificate
    if certificate is None:
        return not_applicable("the configuration has no sslcert")
    if certificate.missing:
        return unknown("the certificate is not on this machine")
    problem = certificate.problem or facts.key_problem
    if problem:
        line = "make sslcert and sslkey name a pair that fits, and the key its owner's alone:"
        chmod = f"chmod 600 {certificate.key}"
        return fail(problem, line, chmod, where="where the application runs")
    if certificate.not_after is None:
        return unknown("the certificate could not be read here")
    left = certificate.not_after - facts.now
    if left > LATER:
        return ok(f"valid until {certificate.not_after:%Y-%m-%d}")
    word = "expired on" if left <= timedelta(0) else "ends on"
    return fail(
        f"the client's certificate {word} {certificate.not_after:%Y-%m-%d}",
        "renew sslcert",
        where="where the application runs",
        severity="critical" if left <= timedelta(0) else "medium",
    )


def common_name(facts: Facts) -> Judgement:
    """Good: the certificate's CN is the role. Bad: another, and clientcert=verify-full."""
    certificate = facts.client.certificate
    if certificate is None or certificate.missing:
        return not_applicable("the configuration has no client certificate")
    rule = deciding(facts)
    if rule is None:
        return unknown("which certificate the line wants could not be read", READ_HBA)
    if rule.client_certificate != "verify-full":
        return not_applicable("the line does not compare it")
    if certificate.common_name is None:
        return unknown("the certificate could not be read here")
    if certificate.common_name == facts.client.user:
        return ok(f"CN is {certificate.common_name}")
    if rule.option("map"):
        return not_applicable("the line has a map; see PGM-HBA-011")
    return fail(
        f"the certificate's CN is {certificate.common_name}, the role {facts.client.user}; the "
        "server will speak of a wrong password",
        str(rule).replace("verify-full", "verify-ca"),
        where=f"in {rule.file}, in place of line {rule.line}, or issue a certificate with that CN",
    )


def client_authority(facts: Facts) -> Judgement:
    """Good: ssl_ca_file names the clients' CA. Bad: it is empty, and a line wants certificates."""
    rule = deciding(facts)
    certificate = facts.client.certificate
    wanted = (rule is not None and rule.client_certificate) or (
        certificate is not None and not certificate.missing
    )
    if facts.socket or not wanted:
        return not_applicable("no client certificate is used")
    setting = facts.setting("ssl_ca_file")
    if not isinstance(setting, Setting):
        return unknown(setting or Unread("this server has no such setting"))
    if setting.value:
        return ok(f"ssl_ca_file is {setting.value}")
    return parameter_finding(facts, "ssl_ca_file is empty", "ssl_ca_file", "ca.crt")


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
    if facts.socket or facts.client.sslmode == "disable":
        return not_applicable("there is no TLS")
    if facts.auth_tls is None:
        return unknown("the server was not asked (--no-probe)")
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


_PROBE = "a TLS handshake with the server, without login"

TLS = (
    Check(
        "PGM-TLS-001",
        "the server offers TLS",
        "critical",
        SSLMODE,
        "With sslmode require and above a server without TLS refuses every connection; below, "
        "everything goes in clear.",
        f"{_PROBE}; else the setting ssl",
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
        f"pg_stat_ssl, else {_PROBE}",
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
        f"pg_stat_ssl, else {_PROBE}",
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
        "PGM-TLS-009",
        "the certificate names the host of the configuration",
        "critical",
        HOST,
        "verify-full compares host with the certificate's alternative names and refuses "
        "anything else.",
        _PROBE,
        "Use a name that is in the certificate, or have it issued with this one.",
        names,
    ),
    Check(
        "PGM-TLS-010",
        "sslrootcert vouches for the server's certificate",
        "critical",
        ROOT,
        "verify-ca and verify-full refuse a certificate that no authority in sslrootcert signed.",
        _PROBE,
        "Point sslrootcert at the issuing authority; have the server send intermediates.",
        chain,
    ),
    Check(
        "PGM-TLS-011",
        "the server's certificate lasts",
        "critical",
        HOST,
        "The day after it ends, every verifying client is refused at once.",
        _PROBE,
        "Renew it and reload; a restart is not needed.",
        lifetime,
    ),
    Check(
        "PGM-TLS-012",
        "the client's certificate and key can be used",
        "critical",
        CERT,
        "libpq refuses a key that others may read, and the server an expired certificate.",
        "the files of sslcert and sslkey",
        "Renew the certificate; chmod 600 the key.",
        own_certificate,
    ),
    Check(
        "PGM-TLS-013",
        "the client certificate names the role",
        "high",
        CERT,
        "cert and clientcert=verify-full compare its common name with the role, and a "
        "difference is reported as a wrong password.",
        "the file of sslcert, and the matching line",
        "Issue a certificate for the role, map the name, or ask for verify-ca.",
        common_name,
    ),
    Check(
        "PGM-TLS-014",
        "the server has an authority for client certificates",
        "high",
        CERT,
        "Without ssl_ca_file the server asks no client for a certificate.",
        "the setting ssl_ca_file",
        "ssl_ca_file = 'ca.crt', then reload.",
        client_authority,
        setting="ssl_ca_file",
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
