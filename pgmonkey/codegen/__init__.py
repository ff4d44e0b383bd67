"""Complete Python programs from a configuration: four connection types, two libraries.

A program names its configuration file and reads it when it runs, so no value of the file,
and above all no secret, stands in its text. Without a file, what is not secret stands in
the program and libpq's environment gives the rest. The programs are meant to be kept and
edited, so each holds only the code that its configuration needs.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pgmonkey.config.settings import ConnectionType, Settings

Library = Literal["pgmonkey", "psycopg"]


def generate(
    settings: Settings,
    *,
    config_path: str | os.PathLike[str] | None,
    connection_type: ConnectionType,
    library: Library = "pgmonkey",
    resolve_env: bool = False,
    allow_sensitive_defaults: bool = False,
) -> str:
    """Return a program that logs in as *settings* say and prints one row.

    Args:
        settings: The loaded configuration.
        config_path: Its file, as the program shall name it; None when there is none.
        connection_type: The type that the program uses.
        library: ``psycopg`` gives a program that does without pgmonkey.
        resolve_env: The program resolves the references of the file whenever it runs.
        allow_sensitive_defaults: Whether ``${VAR:-default}`` may stand for a secret.

    Raises:
        ConfigError: The file cannot be read any more.
    """
    path = None if config_path is None else os.fspath(config_path)
    if library == "pgmonkey":
        from pgmonkey.codegen.with_pgmonkey import program

        return program(
            settings,
            path,
            connection_type,
            resolve_env=resolve_env,
            allow_sensitive_defaults=allow_sensitive_defaults,
        )
    from pgmonkey.codegen.shape import Shape
    from pgmonkey.codegen.with_psycopg import program as psycopg_program

    shape = Shape.of_file(path, resolve_env) if path is not None else None
    return psycopg_program(settings, path, connection_type, shape)
