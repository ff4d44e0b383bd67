"""Passwords: how they travel, how they are stored, and what the client would accept."""

from __future__ import annotations

from pgmonkey.server.checks.admission import PASSWORD, SSLMODE, USER, answers, reads
from pgmonkey.server.checks.model import Check, Facts, Judgement, fail, not_applicable, ok, unknown
from pgmonkey.server.checks.words import (
    IN_PSQL,
    SCRAM,
    deciding,
    demanding_tls,
    identifier,
    in_config,
    parameter_finding,
    rule_finding,
    served_over_tls,
    stored_as,
)
from pgmonkey.server.evidence import Setting, Unread
from pgmonkey.server.hba import CLEARTEXT

ASKS_FOR_SCRAM = "the server asks for SCRAM (PGM-AUT-003)"
REQUIRE_AUTH = "connection_settings.require_auth"


def _by_password(facts: Facts) -> bool:
    """Return whether this client logs in with a password, as far as can be told."""
    rule = deciding(facts)
    if rule is not None:
        return rule.method in (SCRAM, "md5") or rule.method in CLEARTEXT
    return facts.client.password


def stored_as_scram(facts: Facts) -> Judgement:
    """Good: password_encryption scram-sha-256. Bad: md5."""
    if not _by_password(facts):
        return not_applicable("this client logs in without a password")
    setting = facts.setting("password_encryption")
    if not isinstance(setting, Setting):
        return unknown(setting or Unread("this server has no such setting"))
    if setting.value == SCRAM:
        return ok("password_encryption is scram-sha-256")
    found = f"password_encryption is {setting.value}"
    return parameter_finding(facts, found, "password_encryption", SCRAM)


def verifier(facts: Facts) -> Judgement:
    """Good: the role's password is stored for SCRAM. Bad: it is an md5 hash."""
    if not _by_password(facts):
        return not_applicable("this client logs in without a password")
    stored = stored_as(facts)
    if isinstance(stored, Unread):
        return unknown("how the password is stored is for superusers to see, and nothing tells it")
    if stored == SCRAM:
        return ok("the role's password is stored for SCRAM")
    if stored == "":
        return not_applicable("the role has no password")
    name = identifier(facts.client.user)
    return fail(
        f"the password of role {facts.client.user} is stored as {stored}",
        "SET password_encryption = 'scram-sha-256';",
        f"\\password {name}",
        where=f"{IN_PSQL}, before any line is changed to scram-sha-256",
    )


def exchange(facts: Facts) -> Judgement:
    """Good: SCRAM on the wire. Bad: the password itself, or an md5 hash."""
    asked = answers(facts)
    rule = deciding(facts)
    if facts.plain_login and rule is not None and rule.method in CLEARTEXT:
        return _without_tls(facts, "cleartext")
    if not asked:
        return unknown(facts.not_asked)
    for answer in asked:
        if answer.kind in ("cleartext", "md5") and not answer.encrypted and _may_choose_tls(facts):
            return _without_tls(facts, answer.kind)
        if answer.kind == "cleartext" and not facts.socket:
            how = "over TLS" if answer.encrypted else "without TLS"
            found = f"the server asks for the password in clear, {how}"
            return rule_finding(facts, found, "medium" if answer.encrypted else "critical")
    if any(answer.kind == "md5" for answer in asked):
        return rule_finding(facts, "the server asks for an md5 hash", "high")
    kinds = [answer.kind for answer in asked if answer.kind in ("sasl", "trust", "gss", "sspi")]
    if kinds:
        return ok(f"the server asks for {reads(kinds[0])}")
    return not_applicable("the server asks for no password")


def _may_choose_tls(facts: Facts) -> bool:
    """Return whether the attempt without TLS is libpq's choice; a hostssl line is no help there."""
    return not facts.socket and facts.client.sslmode in ("allow", "prefer")


def _without_tls(facts: Facts, kind: str) -> Judgement:
    clear, where = kind == "cleartext", demanding_tls(facts, verified=False)
    if served_over_tls(facts):
        where += "; or put a hostnossl line with reject for this client above the one that "
        where += "admits it without TLS"
    how = "password in clear" if clear else "md5 hash of the password"
    return fail(
        f"the server asks for the {how}, without TLS",
        "sslmode: require",
        where=where,
        severity="critical" if clear else "high",
        key=SSLMODE,
    )


def client_refuses(facts: Facts) -> Judgement:
    """Good: require_auth scram-sha-256, or verify-full. Bad: whatever the server asks for."""
    if facts.socket or not facts.client.password:
        return not_applicable("no password travels over the network")
    if facts.client.verifies == "full":
        return ok("the server is who it says (verify-full)")
    if facts.client.require_auth or facts.client.channel_binding == "require":
        return ok("the client refuses weaker methods")
    asked = {answer.kind for answer in answers(facts)}
    rule = deciding(facts)
    scram = "sasl" in asked or (rule is not None and rule.method == SCRAM)
    # Where the server asks for anything else, this would end every login.
    first = "" if scram and not asked & {"cleartext", "md5"} else f", once {ASKS_FOR_SCRAM}"
    return fail(
        "the client gives its password in whatever form a server asks for it",
        "require_auth: scram-sha-256",
        where=in_config(facts) + first,
    )


def iterations(facts: Facts) -> Judgement:
    """Good: 4096, the default. Bad: fewer, which makes guessing cheap."""
    setting = facts.setting("scram_iterations")
    if setting is None:
        return not_applicable("PostgreSQL has this setting from 16 on")
    if isinstance(setting, Unread):
        return unknown(setting)
    if int(setting.value) >= 4096:
        return ok(f"scram_iterations is {setting.value}")
    found = f"scram_iterations is {setting.value}"
    return parameter_finding(facts, found, "scram_iterations", "4096")


AUTHENTICATION = (
    Check(
        "PGM-AUT-001",
        "new passwords are stored for SCRAM",
        "medium",
        PASSWORD,
        "An md5 hash is as good as the password to whoever copies it.",
        "the setting password_encryption",
        "password_encryption = 'scram-sha-256', reload, then set the passwords anew.",
        stored_as_scram,
        setting="password_encryption",
    ),
    Check(
        "PGM-AUT-002",
        "the role's password is stored for SCRAM",
        "high",
        USER,
        "An md5 hash fails with a scram-sha-256 line, and is refused by versions to come.",
        "the kind of verifier in pg_authid (superuser); else what the server asks for",
        "Set the password anew with password_encryption = 'scram-sha-256'.",
        verifier,
    ),
    Check(
        "PGM-AUT-003",
        "the password does not travel",
        "critical",
        PASSWORD,
        "SCRAM proves that both sides know the password without sending it.",
        "the server's first answer to a login without password",
        "Use scram-sha-256 in pg_hba.conf; require_auth: scram-sha-256 in the configuration.",
        exchange,
    ),
    Check(
        "PGM-AUT-004",
        "the client refuses to hand its password over",
        "medium",
        REQUIRE_AUTH,
        "Who answers in place of the server may ask for the password in clear, and gets it.",
        "the configuration",
        "sslmode: verify-full, or require_auth: scram-sha-256 (libpq 16 and newer).",
        client_refuses,
    ),
    Check(
        "PGM-AUT-005",
        "SCRAM iterates at least as often as by default",
        "low",
        PASSWORD,
        "Each iteration makes guessing a stolen password slower.",
        "the setting scram_iterations (16 and newer)",
        "ALTER SYSTEM RESET scram_iterations, reload, then set the passwords anew.",
        iterations,
    ),
)
