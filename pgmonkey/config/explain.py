"""What a configuration comes to: every value in force, and who said so.

For ``pgconfig show``. libpq fills in what the configuration leaves out, from its PG*
variables and its own defaults; a service file or ``.pgpass`` is read only as it connects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from pgmonkey.config.interpolation import environment
from pgmonkey.config.keys import ASYNC, ASYNC_POOL, CONNECTION, OPTIONS, POOL, SYNC
from pgmonkey.config.redaction import REDACTED, is_sensitive, redact
from pgmonkey.config.settings import Settings


@dataclass(frozen=True)
class Effective:
    """One value in force.

    Attributes:
        key: Dotted path.
        value: Its text; ``***REDACTED***`` for a sensitive key.
        origin: The reference that gave it, and where it stands: ``${PGHOST}, prod.yaml:5:9``;
            or ``variable PGHOST``, ``libpq`` or ``default``.
    """

    key: str
    value: str
    origin: str


def explain(settings: Settings) -> list[Effective]:
    """Return the values in force, section by section; what nobody set is left out."""
    sections: dict[str, Mapping[str, object]] = {
        CONNECTION: settings.connection,
        POOL: asdict(settings.pool_settings),
        SYNC: settings.sync_settings,
        ASYNC: settings.async_settings,
        ASYNC_POOL: asdict(settings.async_pool_settings),
        OPTIONS: asdict(settings.options),
    }
    values: dict[str, object] = {"connection_type": settings.connection_type}
    for section, keys in sections.items():
        values |= {f"{section}.{name}": value for name, value in keys.items()}
    rows = []
    for path, value in values.items():
        mark, reference = settings.marks.get(path), settings.origins.get(path)
        origin = ", ".join(str(part) for part in (reference, mark) if part) or "default"
        rows.append(_row(path, value, origin))
    from_libpq = [
        _row(f"{CONNECTION}.{name}", value, origin)
        for name, (value, origin) in _libpq().items()
        if name not in settings.connection
    ]
    after = 1 + len(settings.connection)  # beside their section
    return [row for row in rows[:after] + from_libpq + rows[after:] if row.value]


def _row(path: str, value: object, origin: str) -> Effective:
    if value is None:
        text = ""
    elif is_sensitive(path.rpartition(".")[2]) or not isinstance(value, str | int | float):
        text = REDACTED
    elif isinstance(value, bool):
        text = str(value).lower()
    else:
        text = f"{value:g}" if isinstance(value, float) else redact(str(value))
    return Effective(path, text, origin)


def _libpq() -> dict[str, tuple[str, str]]:
    """Return what libpq takes for the keywords that are not given, and from where."""
    from psycopg import pq

    found = {}
    for option in pq.Conninfo.get_defaults():
        if option.val:
            variable = option.envvar.decode() if option.envvar else ""
            origin = f"variable {variable}" if variable and environment(variable) else "libpq"
            found[option.keyword.decode()] = (option.val.decode(errors="replace"), origin)
    return found
