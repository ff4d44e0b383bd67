"""Where the settings of a command come from, and what is done about a failed connection.

The order is: a file named on the command line, ``--dsn``, PGMONKEY_CONFIG, and libpq's
own variables. The working directory is never searched, so that no command runs against
a server which nobody named.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TextIO

from pgmonkey.cli.exits import NO_CONNECTION, REFUSED, USAGE
from pgmonkey.cli.failures import CommandError, Failure
from pgmonkey.cli.output import Output

if TYPE_CHECKING:
    from pgmonkey.config.settings import Settings
    from pgmonkey.connections.ladder import Ladder

STDIN = "-"

# Any one of them says that somebody meant a server; PGPASSWORD or PGSSLMODE alone do not.
ENOUGH = ("PGHOST", "PGHOSTADDR", "PGSERVICE", "PGDATABASE", "PGUSER")


class Source(NamedTuple):
    """What the command line says about the configuration."""

    config: str | None = None
    dsn: str | None = None
    resolve_env: bool = False
    allow_sensitive_defaults: bool = False
    strict: bool = False
    ask_password: bool = False
    copy_key: str | None = ""  # empty on a command that does not connect

    @property
    def path(self) -> str | None:
        """The file, ``-`` for standard input, or None for a configuration without one."""
        if self.config is None and self.dsn is None:
            return os.environ.get("PGMONKEY_CONFIG") or None
        return self.config


def load(source: Source, out: Output, *, to_connect: bool = True) -> Settings:
    """Return the settings that *source* names, their secrets kept out of *out*.

    Without *to_connect*, references which are not to be resolved are fine, and stay.

    Raises:
        CommandError: Nothing names a configuration, or two things do; or libpq would refuse
            the client's key.
        ConfigError: The configuration is wrong.
    """
    from pgmonkey.cli.logs import attach
    from pgmonkey.config.conninfo import keywords
    from pgmonkey.config.load import load_settings, load_text, settings_from_environment

    attach(out)
    if source.config is not None and source.dsn is not None:
        raise CommandError(Failure("PGM102", "-c and --dsn each name a configuration; give one"))
    path = source.path
    how = {
        "resolve_env": source.resolve_env,
        "allow_sensitive_defaults": source.allow_sensitive_defaults,
        "strict": source.strict,
        "keep_references": not to_connect,
    }
    if path == STDIN:
        settings = load_text(read_stdin(out), "<stdin>", **how)
    elif path is not None:
        settings = load_settings(str(Path(path).expanduser()), name=path, **how)
    elif source.dsn is not None or any(os.environ.get(name) for name in ENOUGH):
        settings = settings_from_environment(source.dsn)
        if source.dsn and "password" in keywords(source.dsn, file="--dsn"):
            out.warning(
                "everybody on this machine can read a password in --dsn; "
                "PGPASSWORD, PGPASSWORD_FILE and -W keep it private"
            )
    else:
        raise CommandError(nothing_given())
    if source.ask_password:
        settings = ask_password(settings)
    out.protect(settings)
    if source.copy_key != "":
        from pgmonkey.cli import clientkey

        settings = clientkey.ready(settings, source.copy_key, out)
    return settings


def nothing_given() -> Failure:
    """Return the failure of a command that was told no configuration in any way."""
    return Failure(
        "PGM103",
        "no configuration was given",
        hint="one of: -c FILE (or PGMONKEY_CONFIG=FILE); PGHOST, PGUSER and their like in the "
        "environment; --dsn postgresql://user@host/database",
        exit_code=USAGE,
    )


def read_stdin(out: Output) -> bytes:
    """Return the configuration that stands on standard input."""
    out.detail("reading the configuration from standard input")
    return standard_input().buffer.read()


def standard_input() -> TextIO:
    """Return standard input.

    Raises:
        CommandError: It was closed by whoever started us.
    """
    if sys.stdin is None:
        problem = "standard input is closed; nothing can be read from it"
        raise CommandError(Failure("PGM403", problem, exit_code=REFUSED))
    return sys.stdin


def ask_password(settings: Settings) -> Settings:
    """Return *settings* with a password typed on the terminal.

    Raises:
        CommandError: There is no terminal, or it was closed.
    """
    import getpass
    import warnings

    from pgmonkey.config.redaction import Secret

    try:
        with warnings.catch_warnings():
            # getpass falls back to reading standard input, echoed, with a warning.
            warnings.simplefilter("error", getpass.GetPassWarning)
            whom = f" for {settings.target}" if settings.connection else ""
            password = getpass.getpass(f"Password{whom}: ")
    except (EOFError, getpass.GetPassWarning):
        raise CommandError(
            Failure(
                "PGM104",
                "there is no terminal to ask for a password on",
                hint="set PGPASSWORD or PGPASSWORD_FILE, or use a password file",
            )
        ) from None
    return replace(settings, connection={**settings.connection, "password": Secret(password)})


def connection_failure(
    settings: Settings, error: BaseException, ladder: Ladder | None = None
) -> Failure:
    """Return why *error* happened, as far as its text, or *ladder* climbed after it, can tell."""
    from pgmonkey.connections.diagnosis import classify

    # A ladder that reached the top tells nothing about what failed a moment before.
    if ladder is not None and ladder.error is not None:
        found, reached = ladder.error, ladder.text()
    else:
        found, reached = classify(str(error), None, settings), ""
    # A refusal of libpq itself needs no server: that is a wrong configuration.
    code = USAGE if found.code == "PGM201" else NO_CONNECTION
    return Failure(found.code, found.message, reached, found.hint, code)
