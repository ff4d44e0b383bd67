"""Opening the one connection that a command works with, and saying why there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgmonkey.cli.common import connection_failure
from pgmonkey.cli.failures import CommandError
from pgmonkey.cli.render import Server

if TYPE_CHECKING:
    import psycopg

    from pgmonkey.config.settings import Settings


def connect(settings: Settings, timeout: float | None = None) -> psycopg.Connection[Any]:
    """Open a connection as ``normal`` has it; the caller closes it.

    Args:
        timeout: Seconds for the login; None takes connect_timeout.

    Raises:
        CommandError: There is none; the message has the failing step and its remedy.
        SessionSettingError: The server refused a session setting.
    """
    import psycopg

    from pgmonkey.connections.driver import open_connection

    if timeout:
        from pgmonkey.cli.pgconfig_test import within

        settings = within(settings, timeout)
    try:
        return open_connection(settings, "normal")
    except psycopg.Error as error:
        from pgmonkey.cli.pgconfig_test import LADDER_TIMEOUT, connect_timeout, limit_said
        from pgmonkey.connections.probe import probe

        seconds = timeout or connect_timeout(settings)
        ladder = probe(
            settings, max(LADDER_TIMEOUT, seconds / 2), limit_said(settings, timeout, seconds)
        )
        raise CommandError(connection_failure(settings, error, ladder)) from error


def server_of(conn: psycopg.Connection[Any]) -> Server:
    """Return what a report says of the server behind *conn*."""
    info = conn.info
    return Server(
        host=info.host,
        port=info.port,
        database=info.dbname,
        user=info.user,
        version=(info.parameter_status("server_version") or "").split()[0],
        tls="TLS" if conn.pgconn.ssl_in_use else None,
    )
