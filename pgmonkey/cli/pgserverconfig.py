"""``pgmonkey pgserverconfig``: what a server needs to serve exactly this configuration.

Nothing is connected to here; with ``--audit``, ``pgserveraudit`` does that. What is advised
is decided in ``pgmonkey.server.recommend``; how it looks is in ``render.recommendation``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgmonkey.cli.common import Source, load
from pgmonkey.cli.exits import OK
from pgmonkey.cli.failures import CommandError, Failure
from pgmonkey.cli.output import Output

if TYPE_CHECKING:
    from fractions import Fraction

    from pgmonkey.cli import pgserveraudit
    from pgmonkey.server.recommend import HbaMethod, Recommendation

# Formats that list findings, of which there are none without a server.
AUDIT_ONLY = ("sarif", "junit", "github", "gitlab")


def serverconfig(
    *,
    source: Source,
    client_address: tuple[Any, ...],
    processes: int,
    replicas: int,
    surge: Fraction | int,
    extra: int,
    hba_method: HbaMethod,
    least_privilege: bool,
    harden: bool,
    server_version: int | None,
    emit: str | None,
    audit: bool,
    fail_on: str | None,
    select: tuple[str, ...],
    skip: tuple[str, ...],
    severity: tuple[str, ...],
    audit_optional: bool,
    no_probe: bool,
    timeout: float | None,
    waivers: str | None,
    baseline: str | None,
    write_baseline: str | None,
    explain: str | None,
    output: tuple[tuple[str, str], ...],
    out: Output,
) -> int:
    """Print what this client needs of a server, or audit a live one.

    Args:
        client_address: Networks the client comes from.
        surge: Share of the replicas that a roll-out adds.
        server_version: As libpq counts, such as 150000; None is the newest.
        emit: Print this file's text alone.
        audit: Log in and compare; the options after it are about that.
        output: Formats that go to files, with their paths.
    """
    from pgmonkey.cli import pgserveraudit
    from pgmonkey.cli.render import recommendation as rendered

    if explain is not None:
        return pgserveraudit.explain(explain, out)
    asked = pgserveraudit.Asked(
        fail_on,
        select,
        skip,
        severity,
        audit_optional,
        no_probe,
        timeout,
        waivers,
        baseline,
        write_baseline,
    )
    formats = (out.format, *(format for format, _ in output))
    _contradictions(audit, asked, emit, formats)
    if audit:
        from fractions import Fraction

        from pgmonkey.server.fleet import Fleet
        from pgmonkey.server.gathering import Wanted

        fleet = Fleet(processes, replicas, Fraction(surge), extra)
        wanted = Wanted(client_address, fleet, hba_method, probe=not no_probe)
        return pgserveraudit.audit(source, out, wanted, asked, output)
    source = source._replace(copy_key="")  # nothing is connected to
    if emit and out.format != "text":
        raise CommandError(
            Failure("PGM102", f"--emit and --format {out.format} exclude each other")
        )
    found = recommended(
        source,
        out,
        client_address=client_address,
        processes=processes,
        replicas=replicas,
        surge=surge,
        extra=extra,
        hba_method=hba_method,
        server_version=server_version,
    )
    if emit:
        out.result(rendered.emitted(found, emit, exact=least_privilege, harden=harden))
        for note in found.notes:
            out.note(note)
        return OK
    out.result(rendered.shown(found, out.format, exact=least_privilege, harden=harden))
    for format, path in output:
        text = rendered.shown(found, format, exact=least_privilege, harden=harden)
        Path(path).expanduser().write_text(text, encoding="utf-8")
    return OK


def _contradictions(
    audit: bool, asked: pgserveraudit.Asked, emit: str | None, formats: tuple[str, ...]
) -> None:
    """Refuse options that mean nothing together."""
    audits = next((format for format in formats if format in AUDIT_ONLY), None)
    problem = None
    if audit and emit:
        problem = "--emit and --audit exclude each other"
    elif not audit and asked.first_given():
        problem = f"{asked.first_given()} is about an audit; add --audit"
    elif not audit and audits:
        problem = f"--format {audits} is for an audit; add --audit"
    if problem:
        raise CommandError(Failure("PGM102", problem))


def recommended(
    source: Source,
    out: Output,
    *,
    client_address: tuple[Any, ...],
    processes: int,
    replicas: int,
    surge: Fraction | int,
    extra: int,
    hba_method: HbaMethod,
    server_version: int | None,
) -> Recommendation:
    """Return what the configuration of *source* needs."""
    from fractions import Fraction

    from pgmonkey.server.client import resolve
    from pgmonkey.server.fleet import Fleet
    from pgmonkey.server.recommend import NEWEST, recommend

    client = resolve(load(source, out, to_connect=False))
    return recommend(
        client,
        version=server_version // 10000 if server_version else NEWEST,
        addresses=client_address,
        fleet=Fleet(processes, replicas, Fraction(surge), extra),
        hba_method=hba_method,
    )
