"""``pgmonkey pgserverconfig --audit``: log in read-only, and say whether the server fits.

This is where the connection, the checks and the formats meet; what is found is decided in
``pgmonkey.server``. The audit's connection is psycopg's own, not the library's: none of
the configuration's session settings is sent, and no ``options``, which poolers refuse.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgmonkey.cli.clientkey import VARIABLE as COPY_KEY
from pgmonkey.cli.common import Source, connection_failure, load
from pgmonkey.cli.exits import ANSWER_IS_NO, OK
from pgmonkey.cli.failures import CommandError, Failure, nearest
from pgmonkey.cli.output import Output
from pgmonkey.cli.render.audit import AuditReport, render_audit
from pgmonkey.cli.render.model import Server
from pgmonkey.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    from pgmonkey.config.settings import Settings
    from pgmonkey.server.audit import Audit, Choice, Result
    from pgmonkey.server.checks.model import Facts
    from pgmonkey.server.gathering import Gathered, Wanted

# Seconds for the login where neither --timeout nor connect_timeout says anything.
LOGIN_TIMEOUT = 10
# Milliseconds after which data that nobody acknowledges ends the connection: more than the
# longest query may take, so that a frozen network cannot hold the audit for ever.
SILENCE = 20_000
# Seen in pg_stat_activity; not the configuration's own name, whose sessions are counted.
NAME = "pgmonkey audit"


@dataclass(frozen=True)
class Asked:
    """The options of the audit, as they were typed."""

    fail_on: str | None = None
    select: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    severity: tuple[str, ...] = ()
    audit_optional: bool = False
    no_probe: bool = False
    timeout: float | None = None
    waivers: str | None = None
    baseline: str | None = None
    write_baseline: str | None = None

    def first_given(self) -> str | None:
        """Return an option that was given, None when there is none."""
        given = {name: value for name, value in vars(self).items() if value}
        return next((f"--{name.replace('_', '-')}" for name in given), None)


def audit(
    source: Source,
    out: Output,
    wanted: Wanted,
    asked: Asked,
    files: tuple[tuple[str, str], ...],
) -> int:
    """Audit the server of the configuration, print the result, and return the exit code.

    Args:
        wanted: Who the client is, beyond its configuration.
        files: Formats that go to files, with their paths.
    """
    from pgmonkey.server.audit import examine
    from pgmonkey.server.client import resolve
    from pgmonkey.server.gathering import gather
    from pgmonkey.server.waivers import baseline_of

    choice = replace(chosen(asked), accept=accepting(asked, out))
    if source.copy_key is None and not os.environ.get(COPY_KEY):
        # A key that libpq refuses is a finding here, not the end of the command.
        source = source._replace(copy_key="")
    settings = load(source, out)
    client = resolve(settings)
    opens_key = settings.connection.get("sslpassword")
    if opens_key is not None and not isinstance(opens_key, str):
        wanted = replace(wanted, key_password=opens_key.reveal())
    out.progress(f"auditing {settings.target}")
    gathered = gather(settings, client, lambda: _connect(settings, asked.timeout), wanted)
    failure = _failure(settings, gathered, out)
    facts = gathered.facts
    if failure is not None:
        facts = replace(
            facts,
            refusal=_refusal(failure, gathered),
            login_state=_state(settings, gathered, asked.timeout),
        )
    found = scrubbed(examine(facts, choice), out)
    code = _exit_code(found, failure, asked)
    report = AuditReport(
        settings.name,
        code,
        found,
        facts.recommendation,
        _server(facts),
        failure,
        tuple(path for path in (asked.waivers, asked.baseline) if path is not None),
    )
    out.result(render_audit(report, out.format, width=out.width()))
    for format, path in files:
        text = render_audit(report, format)
        Path(path).expanduser().write_text(text, encoding="utf-8")
        out.note(f"wrote {path} ({format})")
    if asked.write_baseline is not None:
        text = baseline_of(found)
        Path(asked.write_baseline).expanduser().write_text(text, encoding="utf-8")
        out.note(f"wrote {asked.write_baseline}: the findings that are no news from now on")
    if failure is not None and asked.audit_optional:
        out.warning(failure.message)
    elif failure is not None:
        out.error(failure)
    return code


def explain(id: str, out: Output) -> int:
    """Print what one check is about."""
    from pgmonkey.server.checks import BY_ID

    known = BY_ID.get(id.upper())
    if known is None:
        raise CommandError(
            Failure("PGM102", f"--explain: there is no check {id!r}{nearest(id.upper(), BY_ID)}")
        )
    from pgmonkey.cli.render.catalogue import explained

    out.result(explained(known))
    return OK


def chosen(asked: Asked) -> Choice:
    """Return the user's choice of checks.

    Raises:
        CommandError: It names a check or a severity that there is not.
    """
    from pgmonkey.server.audit import Choice
    from pgmonkey.server.checks import BY_ID
    from pgmonkey.server.checks.model import SEVERITIES, Severity

    names: dict[str, tuple[str, ...]] = {}
    for option, given in (("--select", asked.select), ("--skip", asked.skip)):
        ids = tuple(part.strip().upper() for text in given for part in text.split(","))
        for name in ids:
            if not any(id.startswith(name) for id in BY_ID):
                message = f"{option}: no check begins with {name!r}{nearest(name, BY_ID)}"
                raise CommandError(Failure("PGM102", message))
        names[option] = ids
    levels: dict[str, Severity] = {}
    for text in asked.severity:
        id, _, level = text.upper().partition("=")
        if id not in BY_ID:
            message = f"--severity: there is no check {id!r}{nearest(id, BY_ID)}"
            raise CommandError(Failure("PGM102", message))
        for severity in SEVERITIES:
            if severity == level.lower():
                levels[id] = severity
        if id not in levels:
            message = f"--severity: {level.lower()!r} is not one of {', '.join(SEVERITIES)}"
            raise CommandError(Failure("PGM102", message))
    return Choice(names["--select"], names["--skip"], levels)


def accepting(asked: Asked, out: Output) -> Callable[[tuple[Result, ...]], tuple[Result, ...]]:
    """Return what marks the findings that the user's files accept.

    Raises:
        ConfigError: A file of waivers, or a baseline, cannot be understood.
    """
    from datetime import date

    from pgmonkey.server import waivers

    today = date.today()
    given: tuple[waivers.Waiver, ...] = ()
    known: frozenset[str] = frozenset()
    if asked.waivers is not None:
        given = waivers.parse_waivers(_text(asked.waivers), asked.waivers)
        for waiver in waivers.overdue(given, today):
            out.warning(f"{waiver.place}: the waiver of {waiver.id} ended on {waiver.expires}")
    if asked.baseline is not None:
        known = waivers.parse_baseline(_text(asked.baseline), asked.baseline)

    def accept(results: tuple[Result, ...]) -> tuple[Result, ...]:
        return waivers.known_before(waivers.waived(results, given, today), known)

    return accept


def _text(path: str) -> str:
    try:
        return Path(path).expanduser().read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=path) from error
    except UnicodeDecodeError as error:
        raise ConfigError("is not text in UTF-8", file=path) from error


def _connect(settings: Settings, timeout: float | None) -> psycopg.Connection[Any]:
    """Open the one connection of the audit, with nothing of the configuration's session."""
    import math

    import psycopg

    arguments: dict[str, Any] = settings.connect_arguments()
    for name in ("replication", "client_encoding"):
        arguments.pop(name, None)
    # Given as empty, PGOPTIONS does not count either.
    arguments |= {"options": "", "application_name": NAME}
    if timeout is not None:
        arguments["connect_timeout"] = str(max(1, math.ceil(timeout)))
    elif not str(arguments.get("connect_timeout", "0")).strip("0"):
        arguments["connect_timeout"] = str(LOGIN_TIMEOUT)
    arguments.setdefault("tcp_user_timeout", str(SILENCE))
    return psycopg.connect(**arguments, autocommit=True, prepare_threshold=None)


def _failure(settings: Settings, gathered: Gathered, out: Output) -> Failure | None:
    if gathered.error is None:
        return None
    out.traceback(gathered.error)
    failure = connection_failure(settings, gathered.error)
    return failure._replace(message=out.scrub(failure.message), hint=out.scrub(failure.hint))


def _refusal(failure: Failure, gathered: Gathered) -> str:
    """Return what stands in place of a verdict where nobody could log in."""
    word = "REFUSED" if gathered.answered else "NOT REACHED"
    return f"{word}: {failure.message}"


def _state(settings: Settings, gathered: Gathered, timeout: float | None) -> str:
    """Return the SQLSTATE of a login that was refused once its rule was met, "" for others.

    libpq tells it in its trace alone, so this takes one login more, which is left only where
    libpq had no second one of its own. A wrong password is not sent twice, since servers may
    count that.
    """
    from pgmonkey.connections.probe import probe
    from pgmonkey.server.checks.admission import SERVES

    facts, said = gathered.facts, str(gathered.error)
    met = any(a is not None and a.kind in SERVES for a in (facts.auth_tls, facts.auth_plain))
    falls_back = not facts.endpoint.socket and facts.client.sslmode in ("allow", "prefer")
    if not met or falls_back or "password" in said:
        return ""
    ladder = probe(settings, timeout or LOGIN_TIMEOUT)
    return ladder.error.sqlstate if ladder.error is not None else ""


def _exit_code(found: Audit, failure: Failure | None, asked: Asked) -> int:
    if failure is not None:
        return OK if asked.audit_optional else failure.exit_code
    return ANSWER_IS_NO if found.fails(asked.fail_on or "mismatch") else OK


def _server(facts: Facts) -> Server | None:
    session = facts.session
    if session is None or facts.evidence is None:
        return None
    from pgmonkey.server.evidence import Tls

    tls = facts.evidence.tls
    secure = facts.evidence.client.tls
    seen = tls if isinstance(tls, Tls) and not facts.proxied else Tls()
    probe = facts.tls
    return Server(
        host=facts.endpoint.host or facts.endpoint.hostaddr,
        port=facts.endpoint.port,
        database=session.database,
        user=session.user,
        version=f"{session.major}.{session.version % 10000}",
        tls=(seen.version or (probe.version if probe else "") or "TLS") if secure else None,
        cipher=(seen.cipher or (probe.cipher if probe else None)) if secure else None,
    )


def scrubbed(found: Audit, out: Output) -> Audit:
    """Return *found* without secrets, for formats that are not scrubbed as text."""

    def clean(result: Result) -> Result:
        remedy = result.remedy
        if remedy is not None:
            remedy = replace(remedy, lines=tuple(map(out.scrub, remedy.lines)))
        return replace(result, found=out.scrub(result.found), remedy=remedy)

    return replace(found, results=tuple(map(clean, found.results)))
