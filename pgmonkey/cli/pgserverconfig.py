"""``pgmonkey pgserverconfig``: what a server needs to serve exactly this configuration.

Nothing is connected to. What is advised is decided in ``pgmonkey.server.recommend``; how
it looks is in ``render.recommendation``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgmonkey.cli.common import Source, load
from pgmonkey.cli.exits import OK
from pgmonkey.cli.failures import CommandError, Failure
from pgmonkey.cli.output import Output

if TYPE_CHECKING:
    from fractions import Fraction

    from pgmonkey.server.recommend import HbaMethod, Recommendation


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
    out: Output,
) -> int:
    """Print the lines for postgresql.conf and pg_hba.conf that this client needs.

    Args:
        client_address: Networks the client comes from.
        surge: Share of the replicas that a roll-out adds.
        server_version: As libpq counts, such as 150000; None is the newest.
        emit: Print this file's text alone.
    """
    from pgmonkey.cli.render import recommendation as rendered

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
    return OK


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
