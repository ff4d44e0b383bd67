"""``pgmonkey pgconfig test``: log in for real with each type, and say what was reached.

The types are tried one after the other, so that their times are their own. Once one
failed, the rest are tried at the same time, together with the ladder that finds the
failing step: whatever is wrong takes the time of about two logins, never of five.
"""

from __future__ import annotations

import math
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from pgmonkey.cli.common import Source, connection_failure, load
from pgmonkey.cli.exits import ANSWER_IS_NO, NO_CONNECTION, OK
from pgmonkey.cli.failures import Failure, explain
from pgmonkey.cli.output import Output
from pgmonkey.cli.render import Report, Rung, TypeResult, render

if TYPE_CHECKING:
    from pgmonkey.cli.trial import Outcome
    from pgmonkey.config.settings import ConnectionType, Settings
    from pgmonkey.connections.ladder import Ladder

# Seconds, where neither --timeout nor connect_timeout says anything.
DEFAULT_TIMEOUT = 10.0

# psycopg makes one second into this.
SHORTEST_CONNECT_TIMEOUT = 2.0

# Seconds the ladder has at least after a failed login; half the limit is enough to meet the
# same silence again, when it was that.
LADDER_TIMEOUT = 2.0


def test(
    *,
    source: Source,
    connection_type: str | None,
    timeout: float | None,
    require_tls: bool,
    min_server_version: int | None,
    out: Output,
) -> int:
    """Try one connection type or ``all`` of them, and return the exit code.

    Args:
        connection_type: None takes the one which the configuration names.
        timeout: Seconds for each type; None takes connect_timeout.
        require_tls: A connection without TLS is an answer of no.
        min_server_version: As libpq counts, such as 150000; an older server is, too.
    """
    from pgmonkey.config.settings import CONNECTION_TYPES

    settings = load(source, out)
    seconds = timeout or connect_timeout(settings)
    wanted = connection_type or settings.connection_type
    kinds = tuple(kind for kind in CONNECTION_TYPES if wanted in (kind, "all"))
    said = limit_said(settings, timeout, seconds)
    outcomes, ladder = _try(kinds, within(settings, seconds), seconds, said, out)

    results: list[TypeResult] = []
    failures: list[Failure] = []
    explained: dict[str, Failure] = {}  # by the words of the error, which types share
    for outcome in outcomes:
        if outcome.error is not None:
            out.traceback(outcome.error)
        failure = (
            explained.get(str(outcome.error))
            or _failure(outcome, settings, ladder, failures)
            or unmet(outcome, require_tls, min_server_version)
        )
        steps = ladder if outcome.error is not None and not failures else None
        if failure is not None:
            failure = scrubbed(failure, out)
            if outcome.error is not None:
                explained.setdefault(str(outcome.error), failure)
            if failure not in failures:
                failures.append(failure)
        results.append(
            outcome.result._replace(ok=failure is None, error=failure, steps=rungs(steps, outcome))
        )
    return _answer(tuple(results), failures, out)


def _try(
    kinds: tuple[ConnectionType, ...],
    settings: Settings,
    seconds: float,
    said: str,
    out: Output,
) -> tuple[list[Outcome], Ladder | None]:
    """Try *kinds* in turn until one fails, then the rest together with the ladder."""
    from psycopg.errors import ConnectionTimeout

    from pgmonkey.cli.trial import NoAnswer, Trial
    from pgmonkey.connections.probe import probe
    from pgmonkey.errors import PGMonkeyError

    outcomes: list[Outcome] = []
    for i, kind in enumerate(kinds):
        out.progress(f"testing {kind} at {settings.target}")
        began = time.monotonic()
        outcome = Trial(settings, kind, seconds).outcome()
        outcomes.append(outcome)
        if outcome.error is None:
            continue
        out.progress(f"looking for the cause at {settings.target}")
        rest = [Trial(settings, other, seconds) for other in kinds[i + 1 :]]
        ladder = outcome.ladder
        if ladder is None and not isinstance(outcome.error, PGMonkeyError):
            if isinstance(outcome.error, NoAnswer | ConnectionTimeout):
                ladder = probe(settings, min(LADDER_TIMEOUT, seconds / 2), said)
            else:
                left = seconds - (time.monotonic() - began)
                ladder = probe(settings, max(LADDER_TIMEOUT, left))
        return [*outcomes, *(trial.outcome() for trial in rest)], ladder
    return outcomes, None


def _failure(
    outcome: Outcome, settings: Settings, ladder: Ladder | None, known: list[Failure]
) -> Failure | None:
    """Return why *outcome* failed; the first failure of a kind stands for the others."""
    from pgmonkey.cli.trial import PoolNotFilled
    from pgmonkey.errors import PGMonkeyError

    error = outcome.error
    if error is None:
        return None
    if isinstance(error, PGMonkeyError):
        return explain(error)
    if isinstance(error, PoolNotFilled):
        return not_filled(error, settings, outcome.ladder)
    if ladder is not None and not known:
        return connection_failure(settings, error, ladder)
    found = connection_failure(settings, error, None)
    return next((failure for failure in known if failure.code == found.code), found)


def not_filled(error: Exception, settings: Settings, ladder: Ladder | None) -> Failure:
    """Return the failure of a pool that stayed short of its ``min_size``."""
    cause = ladder.error if ladder else None
    why = f": {cause.message}" if cause else f" at {settings.target.rpartition('@')[2]}"
    hint = cause.hint if cause else "raise --timeout, or make min_size smaller"
    steps = f"{ladder.text()} > " if ladder and not cause else ""
    return Failure("PGM314", f"{error}{why}", f"{steps}pool FAILED", hint, NO_CONNECTION)


def unmet(outcome: Outcome, require_tls: bool, min_server_version: int | None) -> Failure | None:
    """Return which requirement a connection that works does not meet, if any."""
    server, version = outcome.result.server, outcome.version
    if server is None or version is None:
        return None
    if require_tls and server.tls is None:
        return Failure(
            "PGM315",
            f"the connection to {server.host}:{server.port} has no TLS",
            hint="set sslmode to require or above; verify-full also checks the server's name",
            exit_code=ANSWER_IS_NO,
        )
    if min_server_version is not None and version < min_server_version:
        major, minor = divmod(min_server_version, 10000)
        wanted = f"{major}.{minor}" if minor else str(major)
        return Failure(
            "PGM315",
            f"the server is PostgreSQL {server.version}, older than {wanted}",
            hint="upgrade the server, or ask for less with --min-server-version",
            exit_code=ANSWER_IS_NO,
        )
    return None


def connect_timeout(settings: Settings) -> float:
    """Return the seconds one login may take, from the configuration or libpq's variable."""
    hosts = str(settings.connection.get("host", "")).count(",") + 1
    seconds = _given_timeout(settings)
    # libpq takes zero for "for ever", which no test should run.
    return max(SHORTEST_CONNECT_TIMEOUT, seconds) * hosts if seconds > 0 else DEFAULT_TIMEOUT


def limit_said(settings: Settings, timeout: float | None, seconds: float) -> str:
    """Return the limit of *seconds* with the name of what set it, if anything did."""
    if timeout:
        return f"{seconds:g} s (--timeout)"
    if _given_timeout(settings) <= 0:
        return f"{seconds:g} s"
    given = "connect_timeout" in settings.connection
    return f"{seconds:g} s ({'connect_timeout' if given else 'PGCONNECT_TIMEOUT'})"


def _given_timeout(settings: Settings) -> float:
    """Return the seconds of connect_timeout or its variable, 0 where there are none."""
    given = settings.connection.get("connect_timeout", os.environ.get("PGCONNECT_TIMEOUT", ""))
    try:
        return float(str(given))
    except ValueError:
        return 0.0


def within(settings: Settings, seconds: float) -> Settings:
    """Return *settings* whose logins and pools give up after *seconds*."""
    # The timeout is per host, and libpq wants whole seconds.
    hosts = str(settings.connection.get("host", "")).count(",") + 1
    return replace(
        settings,
        connection={
            **settings.connection,
            "connect_timeout": str(max(1, math.ceil(seconds / hosts))),
        },
        pool_settings=replace(settings.pool_settings, timeout=seconds),
        async_pool_settings=replace(settings.async_pool_settings, timeout=seconds),
    )


def rungs(ladder: Ladder | None, outcome: Outcome) -> tuple[Rung, ...]:
    """Return the steps that were climbed, and the pool as the last one where it broke."""
    if ladder is None:
        return ()
    steps = tuple(Rung(step.name, step.ok, step.ms, step.detail) for step in ladder.steps)
    return (*steps, Rung("pool", False, None)) if outcome.ladder is not None else steps


def scrubbed(failure: Failure, out: Output) -> Failure:
    """Return *failure* without secrets, for formats that are not scrubbed as text."""
    return failure._replace(message=out.scrub(failure.message), hint=out.scrub(failure.hint))


def _answer(results: tuple[TypeResult, ...], failures: list[Failure], out: Output) -> int:
    """Print everything, and return the exit code: the gravest one."""
    code = max((failure.exit_code for failure in failures), default=OK)
    server = next((result.server for result in results if result.server), None)
    error = failures[0] if failures else None
    report = Report("pgconfig test", code, results, server, error)
    out.result(render(report, out.format, width=out.width()))
    for failure in failures:
        out.error(failure)
    passed = sum(result.ok for result in results)
    if len(results) > 1:
        out.note(f"{passed} of {len(results)} connection types passed")
    return code
