"""The client's key before a command connects: explained when libpq would refuse it, or copied.

A login that offers a certificate needs a key which libpq accepts by owner and mode; in
containers it often is not one. What is wrong with a file is decided in
``config.keyfile``; here it is found out whether this login needs the file at all.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pgmonkey.cli.exits import NO_CONNECTION
from pgmonkey.cli.failures import CommandError, Failure
from pgmonkey.cli.options import WHEN_TO_COPY
from pgmonkey.cli.output import Output
from pgmonkey.config.keyfile import look_at, objection, private_copy, this_process
from pgmonkey.config.keys import CONNECTION

if TYPE_CHECKING:
    from pgmonkey.config.settings import Settings

VARIABLE = "PGMONKEY_COPY_KEY"

# Under these a handshake that fails ends the login; allow and prefer go on in clear.
_TLS_OR_NOTHING = ("require", "verify-ca", "verify-full")

# Where libpq looks when nothing is said (documentation of libpq, "Client Certificates").
_DEFAULT_FOLDER = "~/.postgresql"


def ready(settings: Settings, copy: str | None, out: Output) -> Settings:
    """Return *settings* with a key that libpq takes, as far as there is one.

    Args:
        copy: ``auto`` copies a key only when that helps, ``always`` whenever there is one,
            ``never`` not at all; None means what PGMONKEY_COPY_KEY says, else never.

    Raises:
        CommandError: libpq would refuse the key, and without it there is no connection.
    """
    how = copy or os.environ.get(VARIABLE) or "never"
    if how not in WHEN_TO_COPY:
        raise CommandError(
            Failure("PGM102", f"{VARIABLE}: {how!r} is not one of {', '.join(WHEN_TO_COPY)}")
        )
    given = _given(settings)
    if not hasattr(os, "geteuid") or not offers_certificate(given):
        return settings
    key = look_at(given["sslkey"])
    if key is None:
        return settings  # libpq says that it is missing, and says it well
    wrong = objection(key, this_process())
    if key.readable and key.regular and (how == "always" or (how == "auto" and wrong)):
        try:
            path = private_copy(key.path)
        except OSError as error:
            message = f"the client's key could not be copied: {error.strerror or error}"
            hint = "--copy-key never uses it where it is"
            raise CommandError(
                Failure("PGM309", message, hint=hint, exit_code=NO_CONNECTION)
            ) from error
        out.detail(f"the client's key {key.path} is used from a private copy")
        out.rename(path, key.path)
        return replace(settings, connection={**settings.connection, "sslkey": path})
    if wrong is None:
        return settings
    message = f"{_place(settings)}: {key.path!r} {wrong.reason}"
    hint = wrong.remedy + ("; or add --copy-key auto" if wrong.copyable else "")
    if given["sslmode"] not in _TLS_OR_NOTHING:
        out.warning(f"{message}; TLS with it will fail")
        return settings
    raise CommandError(Failure("PGM309", message, hint=hint, exit_code=NO_CONNECTION))


def offers_certificate(given: dict[str, str]) -> bool:
    """Return whether a login with these libpq keywords reads a certificate and its key."""
    if given["sslmode"] == "disable" or given.get("sslcertmode") == "disable":
        return False
    if not given.get("hostaddr"):
        hosts = given.get("host", "").split(",")
        if all(host == "" or host.startswith(("/", "@")) for host in hosts):
            return False  # sockets have no TLS
    sslkey = given["sslkey"]
    if ":" in sslkey and not Path(sslkey).is_absolute():
        return False  # engine:name, a key in hardware
    return look_at(given["sslcert"]) is not None


def _given(settings: Settings) -> dict[str, str]:
    """Return the keywords that matter here, from *settings*, the environment and libpq."""
    from psycopg.pq import Conninfo

    given = {
        option.keyword.decode(): option.val.decode(errors="surrogateescape")
        for option in Conninfo.get_defaults()
        if option.val
    }
    given |= {key: value for key, value in settings.connection.items() if isinstance(value, str)}
    for name, file in (("sslcert", "postgresql.crt"), ("sslkey", "postgresql.key")):
        given.setdefault(name, os.path.expanduser(f"{_DEFAULT_FOLDER}/{file}"))  # noqa: PTH111  # never raises
    return given


def _place(settings: Settings) -> str:
    path = f"{CONNECTION}.sslkey"
    if "sslkey" in settings.connection:
        return f"{settings.mark(path)}: {path}"
    return "PGSSLKEY" if os.environ.get("PGSSLKEY") else _DEFAULT_FOLDER
