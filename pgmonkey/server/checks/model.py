"""What a check is, what it is given, and what it answers.

A check is data and one pure function: everything it needs was read before it is called,
so it can be tested with values. It answers with judgements; their status words are those
of the audit's table. ``Facts`` is what it is given.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from pgmonkey.server.evidence import Evidence, Session, Setting, Unread

if TYPE_CHECKING:
    from pgmonkey.config.settings import Settings
    from pgmonkey.server.admission import Admission
    from pgmonkey.server.authprobe import AuthAnswer
    from pgmonkey.server.client import Client, Endpoint
    from pgmonkey.server.matching import Known
    from pgmonkey.server.recommend import Recommendation
    from pgmonkey.server.tlsprobe import TlsAnswer

Severity = Literal["critical", "high", "medium", "low", "info"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)  # the gravest first

Status = Literal["OK", "MISMATCH", "REVIEW", "UNKNOWN", "N/A", "WAIVED"]
STATUSES: tuple[Status, ...] = get_args(Status)

# A finding of these severities is a MISMATCH, one of the others a REVIEW.
FAILING: tuple[Severity, ...] = ("critical", "high")


@dataclass(frozen=True)
class Remedy:
    """What to paste, and where.

    Attributes:
        lines: Statements, lines of a file, or a sentence where nothing can be pasted.
        where: ``in psql as a superuser``, ``in pg_hba.conf, above line 14``.
    """

    lines: tuple[str, ...]
    where: str = ""


@dataclass(frozen=True)
class Judgement:
    """What a check says about one subject.

    Attributes:
        outcome: ``fail`` becomes MISMATCH or REVIEW by its severity.
        found: What is so here, one clause, lower case.
        severity: Where it differs from the check's own.
        subject: What the finding is about, when a check can have several: a role, a rule.
            Never a line number or a value that drifts, since it is in the fingerprint.
        key: The key of the configuration that asks for this, where it is not the check's.
        grant: What to grant so that an unknown is decided.
    """

    outcome: Literal["ok", "fail", "unknown", "n/a"]
    found: str
    remedy: Remedy | None = None
    severity: Severity | None = None
    subject: str = ""
    key: str = ""
    grant: str = ""


Answer: TypeAlias = "Judgement | tuple[Judgement, ...]"


@dataclass(frozen=True)
class Check:
    """One entry of the catalogue.

    Attributes:
        id: Stable for ever; never reused.
        title: What holds where the check passes.
        severity: Of a finding, unless the judgement says otherwise.
        key: The key of the configuration that this is about.
        why: Why it matters.
        reads: What is looked at, and what right that takes.
        remedy: What usually helps, for ``--explain``; a finding has its own.
        setting: The row of the settings table that this check judges.
    """

    id: str
    title: str
    severity: Severity
    key: str
    why: str
    reads: str
    remedy: str
    judge: Callable[[Facts], Answer]
    setting: str = ""

    def fingerprint(self, subject: str) -> str:
        """Return what identifies a finding from one run to the next."""
        return hashlib.sha256(f"{self.id}\n{subject}".encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Facts:
    """Everything a check may look at.

    Attributes:
        now: The clock that certificates and roles are judged by.
        endpoint: The host that answered, or the first one of the configuration.
        evidence: None where nobody could log in.
        admission: None where the rules could not be read.
        proxied: Whether something between client and server answers in its own name.
        address: What the rules were judged for, as text: given, observed or unknown.
        address_given: Whether the user named the address of the application.
        key_problem: Why libpq would not use the client's key.
        key_refused: Whether that is for the key's owner or mode.
        tls: None where it was not tried; the same for the two probes.
        plain_login: Whether this session has no TLS although the server has it to offer.
        refuses_direct: Whether TLS is offered on request only, where that was tried.
        refusal: What is said in place of a verdict where nobody could log in.
        login_state: The SQLSTATE of a login that the server refused after its rules were met.
        probed: Whether the server might be asked anything beside the login.
    """

    settings: Settings
    client: Client
    endpoint: Endpoint
    recommendation: Recommendation
    now: datetime
    evidence: Evidence | None = None
    known: Known | None = None
    admission: Admission | None = None
    proxied: bool = False
    address: str = ""
    address_given: bool = False
    key_problem: str = ""
    key_refused: bool = False
    tls: TlsAnswer | None = None
    auth_tls: AuthAnswer | None = None
    auth_plain: AuthAnswer | None = None
    plain_login: bool = False
    refuses_direct: bool | None = None
    refusal: str = ""
    probed: bool = True
    login_state: str = ""

    @property
    def socket(self) -> bool:
        return self.endpoint.socket

    @property
    def platform(self) -> str:
        return self.evidence.platform if self.evidence else ""

    @property
    def session(self) -> Session | None:
        session = self.evidence.session if self.evidence else None
        return session if isinstance(session, Session) else None

    @property
    def major(self) -> int:
        """The server's major version; 0 where it is not known."""
        return self.session.major if self.session else 0

    @property
    def own_session(self) -> bool:
        """Whether this session came in the way in which the client itself would.

        Not from another address, not behind a pooler; and an audit never comes as the
        physical replication that some clients are.
        """
        elsewhere = self.address_given or self.proxied or self.client.replication == "physical"
        return self.evidence is not None and not elsewhere

    @property
    def refused_by_file(self) -> bool:
        """Whether this session was let in, and would not be by the file as it stands now."""
        return self.own_session and self.admission is not None and self.admission.admitted is None

    @property
    def not_asked(self) -> str:
        """Why there is no answer of the server to the audit's own question."""
        if not self.probed:
            return "the server was not asked (--no-probe)"
        if self.tls is not None and self.tls.offered is None:
            return "the server did not answer the audit's question"
        if self.tls is not None and not self.tls.offered:
            return "the server takes no TLS"
        return "the server was not asked: the login had used up the audit's connections"

    def setting(self, name: str) -> Setting | Unread | None:
        """Return a setting of the server, None where this version has none of the name."""
        if self.evidence is None:
            return Unread(NO_LOGIN)
        return self.evidence.setting(name)


NO_LOGIN = "nobody could log in"


def ok(found: str, *, subject: str = "") -> Judgement:
    """Return that the check passes."""
    return Judgement("ok", found, subject=subject)


def fail(
    found: str,
    *lines: str,
    where: str = "",
    severity: Severity | None = None,
    subject: str = "",
    key: str = "",
) -> Judgement:
    """Return a finding; *lines* are the remedy to paste, at *where*."""
    remedy = Remedy(lines, where) if lines else None
    return Judgement("fail", found, remedy, severity, subject, key)


def unknown(reason: str | Unread, grant: str = "", *, subject: str = "") -> Judgement:
    """Return that the evidence is missing, and which grant would give it."""
    if isinstance(reason, Unread):
        return Judgement("unknown", reason.why, subject=subject, grant=reason.grant)
    return Judgement("unknown", reason, subject=subject, grant=grant)


def not_applicable(reason: str) -> Judgement:
    """Return that this configuration or server asks for nothing here."""
    return Judgement("n/a", reason)
