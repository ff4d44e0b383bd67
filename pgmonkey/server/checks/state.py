"""The server's own state: files that were not applied, and what stands in between."""

from __future__ import annotations

from pgmonkey.server.checks.admission import HOST
from pgmonkey.server.checks.capacity import POOL, enough
from pgmonkey.server.checks.model import NO_LOGIN, Check, Facts, Judgement, fail, ok, unknown
from pgmonkey.server.checks.words import IN_PSQL, RELOAD, parameter_finding
from pgmonkey.server.evidence import Unread


def nothing_pending(facts: Facts) -> Judgement:
    """Good: what the files say is in force. Bad: max_connections waits for a restart."""
    settings = facts.evidence.settings if facts.evidence else Unread(NO_LOGIN)
    if isinstance(settings, Unread):
        return unknown(settings)
    waiting = sorted(setting.name for setting in settings.values() if setting.pending)
    if not waiting:
        return ok("no setting waits for a restart")
    coming = _coming(facts)
    shown = [
        f"{name} ({settings[name].value} -> {coming[name]})" if name in coming else name
        for name in waiting
    ]
    found = f"waiting for a restart: {', '.join(shown)}"
    after = coming.get("max_connections", "")
    if after.isdigit() and int(after) < int(enough(facts)) and not facts.proxied:
        found += f"; {after} connections are too few for this client, do not restart with that"
        return parameter_finding(facts, found, "max_connections", enough(facts), "high")
    return fail(
        found,
        "pg_ctl restart",
        where="on the server, when sessions may end",
    )


def _coming(facts: Facts) -> dict[str, str]:
    """Return the values that a restart brings, where the role may see them."""
    waiting = facts.evidence.waiting if facts.evidence else ()
    return {} if isinstance(waiting, Unread) else {each.name: each.value for each in waiting}


def files_apply(facts: Facts) -> Judgement:
    """Good: every line applies. Bad: a misspelt setting, for which the whole file is skipped."""
    errors = facts.evidence.files if facts.evidence else Unread(NO_LOGIN)
    if isinstance(errors, Unread):
        return unknown(errors)
    # A change that waits for a restart is listed too, and is another check's business.
    settings = facts.evidence.settings if facts.evidence else Unread(NO_LOGIN)
    pending = (
        set()
        if isinstance(settings, Unread)
        else {setting.name for setting in settings.values() if setting.pending}
    )
    bad = [entry for entry in errors if entry.name not in pending]
    if not bad:
        return ok("every line of the files applies")
    first = bad[0]
    place = f"{(first.file or 'postgresql.conf').rpartition('/')[2]}:{first.line}"
    what = f"{place}: {first.name or 'a line'}: {first.error}"
    return fail(
        what + (f"; {len(bad) - 1} more" if len(bad) > 1 else ""),
        f"correct {place}",
        RELOAD,
        where=f"on the server, then {IN_PSQL}",
    )


def nothing_between(facts: Facts) -> Judgement:
    """Good: the server itself answers. Bad: PgBouncer does, and the rules are judged for it."""
    if facts.evidence is None:
        return unknown(NO_LOGIN)
    if not facts.proxied:
        return ok("the server itself answers")
    return fail(
        "a pooler or proxy answers: rules, addresses and the server's TLS are those of its "
        "connections, not of this client's",
        "audit the server directly too, with a configuration that names its own host and port",
        where="in a second run",
    )


STATE = (
    Check(
        "PGM-CFG-001",
        "no setting waits for a restart",
        "medium",
        POOL,
        "What the files say and what is in force differ until somebody restarts the server.",
        "pending_restart in pg_settings; the new values in pg_file_settings",
        "Restart when sessions may end.",
        nothing_pending,
    ),
    Check(
        "PGM-CFG-002",
        "the configuration files apply cleanly",
        "high",
        HOST,
        "One error, and a reload changes nothing; a restart fails.",
        "pg_file_settings (superuser, or SELECT on the view and EXECUTE on its function)",
        "Correct the line that is named, and reload.",
        files_apply,
    ),
    Check(
        "PGM-PRX-001",
        "nothing stands between client and server",
        "info",
        HOST,
        "Behind a pooler or proxy, pg_hba.conf and TLS of the server concern the pooler.",
        "the process number that libpq was given, against the server's own",
        "Audit the server directly too.",
        nothing_between,
    ),
)
