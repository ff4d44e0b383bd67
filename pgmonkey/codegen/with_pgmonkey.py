"""Programs that use pgmonkey itself: a few lines, since the manager does the rest."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pgmonkey.codegen.source import (
    PASSWORD_FILE,
    QUERY,
    Module,
    connection_literals,
    dictionary,
    has_password_file,
    literal,
    opening,
)
from pgmonkey.config.settings import ConnectionOptions, PoolSettings

if TYPE_CHECKING:
    from pgmonkey.config.settings import ConnectionType, Settings


def program(
    settings: Settings,
    path: str | None,
    kind: ConnectionType,
    *,
    resolve_env: bool,
    allow_sensitive_defaults: bool,
) -> str:
    """Return a program that gets a connection of type *kind* from a manager."""
    module = Module(opening("pgmonkey", kind, from_file=path is not None))
    module.imports.add("from pgmonkey import PGConnectionManager")
    method = "get_database_connection"
    if path is not None:
        module.constants.append(f"CONFIG = {literal(path)}")
    else:
        method += "_from_dict"
        config = _as_dict(settings, kind)
        annotation = ": dict[str, str]" if config == "{}" else ""
        module.constants.append(f"CONFIG{annotation} = {config}")
        if has_password_file(settings):
            resolve_env = True
            module.imports.add("import os")

    arguments = ["CONFIG", f'"{kind}"']
    if resolve_env:
        arguments.append("resolve_env=True")
    if resolve_env and allow_sensitive_defaults:
        arguments.append("allow_sensitive_defaults=True")
    name = "pool" if kind.endswith("pool") else "connection"
    wait = "await " if kind.startswith("async") else ""
    call, given = f"{name} = {wait}manager.{method}", ", ".join(arguments)
    if len(call) + len(given) > 82:  # longer than the formatter lets a line be
        given = f"\n        {given}\n    "
    assignment = f"    {call}({given})"
    if wait:
        module.add(f"""
async def main() -> None:
    manager = PGConnectionManager()
{assignment}
    async with {name} as conn, conn.cursor() as cur:
        await cur.execute({QUERY})
        print(await cur.fetchone())
    # A service does this once, at its end.
    await manager.clear_cache_async()
""")
    else:
        module.add(f"""
def main() -> None:
    manager = PGConnectionManager()
{assignment}
    with {name} as conn, conn.cursor() as cur:
        cur.execute({QUERY})
        print(cur.fetchone())
""")
    return module.text(is_async=bool(wait))


def _as_dict(settings: Settings, kind: ConnectionType) -> str:
    """Return the configuration without its secrets, as the source of a dict."""
    connection = connection_literals(settings)
    if has_password_file(settings):
        connection["password"] = f'{{"from_file": os.environ["{PASSWORD_FILE}"]}}'
    section = "async_pool_settings" if kind == "async_pool" else "pool_settings"
    sections = {
        "connection_settings": connection,
        section: _changed(settings.pool(kind), PoolSettings()) if kind.endswith("pool") else {},
        "async_settings" if kind.startswith("async") else "sync_settings": {
            name: literal(value) for name, value in settings.session(kind).items()
        },
        "connection_options": _changed(settings.options, ConnectionOptions()),
    }
    return dictionary({key: dictionary(v, "    ") for key, v in sections.items() if v})


def _changed(values: Any, default: Any) -> dict[str, str]:
    """Return the fields of a dataclass that differ from *default*, as source texts."""
    before = asdict(default)
    return {k: literal(v) for k, v in asdict(values).items() if v != before[k]}
