"""Certificates, the server's and the client's: names, authorities, lifetimes.

With verification off, libpq takes every certificate, so that what is wrong with one is seen
here first. The server's are looked at in a handshake of our own, since libpq keeps them to
itself; whether there is TLS at all is in ``tls``.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from pgmonkey.server.checks.admission import HOST
from pgmonkey.server.checks.hba import CERT
from pgmonkey.server.checks.model import (
    Check,
    Facts,
    Judgement,
    Severity,
    fail,
    not_applicable,
    ok,
    unknown,
)
from pgmonkey.server.checks.tls import HANDSHAKE, NO_TCP
from pgmonkey.server.checks.words import deciding, in_config, parameter_finding
from pgmonkey.server.evidence import READ_HBA, Setting, Unread

if TYPE_CHECKING:
    from pgmonkey.server.tlsprobe import TlsAnswer


KEY = "connection_settings.sslkey"
ROOT = "connection_settings.sslrootcert"
NO_PROBE = "the server's certificate was not looked at (--no-probe)"
SOON, LATER = timedelta(days=14), timedelta(days=45)


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
    names = shown or ((answer.leaf.common_name,) if answer.leaf.common_name else ())
    better = next((name for name in names if not name.startswith("*")), None)
    host = facts.endpoint.host or facts.endpoint.dial
    kind = "IP" if ":" in host or host.replace(".", "").isdigit() else "DNS"
    other = (f"or, where that is this server too: host: {better}, {in_config(facts)}",)
    return fail(
        f"the server's certificate does not fit: {answer.name_problem}",
        f"reissue the certificate with subjectAltName = {kind}:{host}, and reload",
        *(other if better else ()),
        where="where the server's certificate is issued",
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
    if answer.only_dated:
        return ok("sslrootcert vouches for the certificate but for its days; see PGM-TLS-011")
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
    if answer.leaf.not_before > facts.now:
        return fail(
            f"the server's certificate is valid from {answer.leaf.not_before:%Y-%m-%d %H:%M} UTC on",
            "compare the clock with the one where the certificate was issued",
            where="on the server and where the application runs",
        )
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
    runs = "where the application runs"
    if certificate.missing:
        found = f"sslcert {certificate.cert} does not exist: libpq goes on without a certificate"
        line = f"put the certificate at {certificate.cert}, or have sslcert name where it is"
        return fail(found, line, where=runs)
    if certificate.problem:
        found = f"sslcert {certificate.cert}: {certificate.problem}"
        return fail(found, "have sslcert name a certificate in PEM that can be read", where=runs)
    if facts.key_problem:
        line = "have sslcert and sslkey name a certificate and the key that it was issued for"
        if facts.key_refused:
            line = f"chmod 600 {certificate.key}"
        elif "sslpassword" in facts.key_problem:
            line = "have sslpassword hold what opens the key"
        return fail(facts.key_problem, line, where=runs, key=KEY)
    if certificate.not_after is None:
        return unknown("the certificate could not be read here")
    left = certificate.not_after - facts.now
    if left > LATER:
        return ok(f"valid until {certificate.not_after:%Y-%m-%d}")
    word = "expired on" if left <= timedelta(0) else "ends on"
    return fail(
        f"the client's certificate {word} {certificate.not_after:%Y-%m-%d}",
        "renew sslcert",
        where=runs,
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


CERTIFICATES = (
    Check(
        "PGM-TLS-009",
        "the certificate names the host of the configuration",
        "critical",
        HOST,
        "verify-full compares host with the certificate's alternative names and refuses "
        "anything else.",
        HANDSHAKE,
        "Have it issued with this name, or use a name that is in it.",
        names,
    ),
    Check(
        "PGM-TLS-010",
        "sslrootcert vouches for the server's certificate",
        "critical",
        ROOT,
        "verify-ca and verify-full refuse a certificate that no authority in sslrootcert signed.",
        HANDSHAKE,
        "Point sslrootcert at the issuing authority; have the server send intermediates.",
        chain,
    ),
    Check(
        "PGM-TLS-011",
        "the server's certificate lasts",
        "critical",
        HOST,
        "The day after it ends, every verifying client is refused at once.",
        HANDSHAKE,
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
        "Name a certificate and the key it was issued for; chmod 600 the key.",
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
)
