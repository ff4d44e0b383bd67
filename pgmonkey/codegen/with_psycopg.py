"""Programs that do without pgmonkey: psycopg, psycopg_pool and the same configuration.

They keep what the configuration says about connections, session settings and the pool.
What pgmonkey adds to that, from the cache to healing and the end of the process, is
theirs to do.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from pgmonkey.codegen.reader import add_reader
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
    from pgmonkey.codegen.shape import Shape
    from pgmonkey.config.settings import ConnectionType, Settings

# Always in the program, to be seen and changed; the rest where it is not the default.
_SHOWN = ("min_size", "max_size", "timeout", "max_idle", "max_lifetime")


def program(settings: Settings, path: str | None, kind: ConnectionType, shape: Shape | None) -> str:
    """Return a program that opens a connection or a pool of type *kind* by itself.

    Args:
        path: The configuration file, if there is one.
        shape: How that file is written.
    """
    module = Module(opening("psycopg", kind, from_file=shape is not None))
    if shape is not None:
        module.constants.append(f"CONFIG = Path({literal(path)})")
        add_reader(module, shape)
    arguments = _add_arguments(module, settings, kind, shape)
    prepares = _add_prepare(module, settings, kind, shape)
    local = settings.options.pooler == "transaction"
    if prepares or not kind.endswith("pool"):
        module.imports.add("import psycopg")

    is_async = kind.startswith("async")
    wait, with_ = ("await ", "async with") if is_async else ("", "with")
    lines = [f"{'async ' if is_async else ''}def main() -> None:"]
    if shape is not None and (prepares or kind.endswith("pool") or "config" in arguments):
        lines.append("    config = read_config()")
    if kind.endswith("pool"):
        configure = prepares and not local
        lines += _pool(module, settings, kind, shape, arguments, configure)
        lines.append("    # Entering the pool opens it, leaving it closes its connections.")
        lines.append(f"    {with_} pool, pool.connection() as conn, conn.cursor() as cur:")
    else:
        cls = "AsyncConnection" if is_async else "Connection"
        stars = f"**{arguments}" if arguments else ""
        lines.append(f"    conn = {wait}psycopg.{cls}.connect({stars})")
        lines.append(f"    {with_} conn, conn.cursor() as cur:")
    if prepares and (local or not kind.endswith("pool")):
        lines.append(f"        {wait}prepare(conn{', config' if shape is not None else ''})")
    lines.append(f"        {wait}cur.execute({QUERY})")
    lines.append(f"        print({wait}cur.fetchone())")
    module.add("\n".join(lines))
    return module.text(is_async=is_async)


def _add_arguments(
    module: Module, settings: Settings, kind: ConnectionType, shape: Shape | None
) -> str:
    """Return the expression for psycopg's connection arguments; "" when there are none.

    A function goes into the program where an expression would not do. A rotating password
    makes it the function itself, for a pool calls it for every new connection.
    """
    options = _driver_options(settings.options)
    if shape is None:
        entries = connection_literals(settings) | options
        if not has_password_file(settings):
            if not entries:
                return ""
            module.constants.append(f"CONNECTION = {dictionary(entries)}")
            return "CONNECTION"
        entries["password"] = 'password.removesuffix("\\n")'
        body = f'    password = Path(os.environ["{PASSWORD_FILE}"]).read_text(encoding="utf-8")\n'
        body += f"    return {dictionary(entries, '    ')}"
        module.imports.update({"import os", "from pathlib import Path", "from typing import Any"})
    else:
        ignored = [k for k in shape.written if k not in settings.connection]
        # Switches and numbers may be written in words which libpq does not take.
        reworded = {
            key: literal(value)
            for key, value in settings.connection.items()
            if isinstance(value, str) and shape.written.get(key, value) != value
        }
        if not (ignored or reworded or options or settings.rotates):
            return 'given(config, "connection_settings")'
        body = '    arguments: dict[str, Any] = given(read_config(), "connection_settings")\n'
        body += "".join(f"    arguments.pop({literal(key)}, None)\n" for key in ignored)
        changes = {**reworded, **options}
        body += "".join(f"    arguments[{literal(k)}] = {v}\n" for k, v in changes.items())
        body += "    return arguments"
    why = "; the password may have been rotated" if settings.rotates else ""
    module.add(f'''
def connection_arguments() -> dict[str, Any]:
    """Return what connect() is given{why}."""
{body}
''')
    pooled = kind.endswith("pool") and settings.rotates
    return "connection_arguments" if pooled else "connection_arguments()"


def _driver_options(options: ConnectionOptions) -> dict[str, str]:
    """Return what connect() itself takes of ``connection_options``, if not the default."""
    found = {}
    if options.autocommit:
        found["autocommit"] = "True"
    threshold = None if options.pooler == "transaction" else options.prepare_threshold
    if threshold != ConnectionOptions.prepare_threshold:
        found["prepare_threshold"] = repr(threshold)
    return found


def _add_prepare(
    module: Module, settings: Settings, kind: ConnectionType, shape: Shape | None
) -> bool:
    """Add the function that gives a connection its session settings, if there are any."""
    is_async = kind.startswith("async")
    options = settings.options
    session = settings.session(kind)
    local = options.pooler == "transaction"
    wait = "await " if is_async else ""
    lines = []
    for name, value in (
        (
            "isolation_level",
            options.isolation_level
            and "psycopg.IsolationLevel." + options.isolation_level.upper().replace(" ", "_"),
        ),
        ("read_only", None if options.read_only is None else repr(options.read_only)),
    ):
        if value and is_async:
            lines.append(f"    await conn.set_{name}({value})")
        elif value:
            lines.append(f"    conn.{name} = {value}")
    if session:
        section = "async_settings" if is_async else "sync_settings"
        source = f'given(config, "{section}")' if shape is not None else "SESSION"
        if shape is None:
            entries = {name: literal(value) for name, value in session.items()}
            module.constants.append(f"SESSION = {dictionary(entries)}")
        scope = "true" if local else "false"
        lines.append(f"    for name, value in {source}.items():")
        lines.append(
            f'        {wait}conn.execute("SELECT set_config(%s, %s, {scope})", (name, value))'
        )
        if not local:
            lines.append(f"    {wait}conn.commit()")
    if not lines:
        return False
    cls = "AsyncConnection" if is_async else "Connection"
    config = ", config: dict[str, Any]" if shape is not None else ""
    what = "the transaction that begins" if local else "a new connection"
    head = f"{'async ' if is_async else ''}def prepare(conn: psycopg.{cls}{config}) -> None:"
    module.add("\n".join([head, f'    """Apply the session settings to {what}."""', *lines]))
    return True


def _pool(
    module: Module,
    settings: Settings,
    kind: ConnectionType,
    shape: Shape | None,
    arguments: str,
    configure: bool,
) -> list[str]:
    """Return the lines of ``main`` that make the pool."""
    cls = "AsyncConnectionPool" if kind == "async_pool" else "ConnectionPool"
    module.imports.add(f"from psycopg_pool import {cls}")
    sizes = settings.pool(kind)
    default = asdict(PoolSettings())
    section = "async_pool_settings" if kind == "async_pool" else "pool_settings"
    lines = []
    if shape is not None:
        lines.append(f'    sizes = given(config, "{section}")')
    lines.append(f"    pool = {cls}(")
    if arguments:
        lines.append(f"        kwargs={arguments},")
    for name, value in asdict(sizes).items():
        if name == "check_on_checkout" or (name not in _SHOWN and value == default[name]):
            continue
        if shape is None:
            lines.append(f"        {name}={literal(value)},")
        elif isinstance(value, str):
            lines.append(f'        {name}=sizes["{name}"],')
        else:
            kept = literal(default[name])
            lines.append(f'        {name}={type(value).__name__}(sizes.get("{name}", {kept})),')
    if sizes.check_on_checkout:
        lines.append(f"        check={cls}.check_connection,")
    if configure and shape is not None:
        module.imports.add("from functools import partial")
        lines.append("        configure=partial(prepare, config=config),")
    elif configure:
        lines.append("        configure=prepare,")
    return [*lines, "        open=False,", "    )"]
