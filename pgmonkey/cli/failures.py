"""From an exception to what the user is told: code, message, next step, exit code.

Deciding is all that happens here; ``main`` is the one place that catches, and ``output``
the one that prints. psycopg's classes are looked up only when psycopg was imported, since
an exception of a module that was never loaded cannot have been raised.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import NamedTuple

from pgmonkey.cli.exits import (
    ANSWER_IS_NO,
    BUG,
    INTERRUPTED,
    NO_CONNECTION,
    REFUSED,
    TERMINATED,
    USAGE,
)
from pgmonkey.cli.interrupts import Terminated
from pgmonkey.errors import ConfigError, PGMonkeyError, RejectLimitError, RequestError

REPORT_TO = "report it with the output of the same command and -vv"


class Failure(NamedTuple):
    """Why a command did not do what was asked.

    Attributes:
        code: The entry of ``exits.CATALOGUE``.
        message: What happened, lower case, without a full stop.
        reached: How far the connection came: ``dns 3 ms > tcp 11 ms > login FAILED``.
        hint: The next thing to try.
        exit_code: How the process ends.
    """

    code: str
    message: str
    reached: str = ""
    hint: str = ""
    exit_code: int = USAGE


class CommandError(Exception):
    """A command ends here, and *failure* says why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the known name closest to *name*, or nothing."""
    from difflib import get_close_matches  # 10 ms, for this path only

    found = get_close_matches(name, list(known), n=1)
    return f"; did you mean {found[0]!r}?" if found else ""


def explain(error: BaseException) -> Failure:
    """Return what the user is told about *error*. The text may still contain secrets."""
    if isinstance(error, CommandError):
        return error.failure
    if isinstance(error, KeyboardInterrupt):
        terminated = isinstance(error, Terminated)
        text = "terminated" if terminated else "interrupted"
        code = TERMINATED if terminated else INTERRUPTED
        # Who was interrupted may have a word about what is done.
        return Failure("PGM902", "; ".join((text, *map(str, error.args))), exit_code=code)
    if isinstance(error, ConfigError):
        return Failure(error.code, str(error))
    if isinstance(error, RequestError):
        return Failure(error.code, str(error), exit_code=USAGE)
    if isinstance(error, RejectLimitError):
        return Failure(error.code, str(error), exit_code=ANSWER_IS_NO)
    if isinstance(error, PGMonkeyError):
        return Failure(error.code, str(error), exit_code=REFUSED)
    driver = sys.modules.get("psycopg")
    if driver is not None and isinstance(error, driver.OperationalError) and not error.sqlstate:
        # libpq's own failures have no SQLSTATE: the connection, never a statement.
        return Failure(
            "PGM300",
            _one_line(error),
            hint="pgmonkey pgconfig test shows how far a connection gets",
            exit_code=NO_CONNECTION,
        )
    if driver is not None and isinstance(error, driver.Error):
        state = f" (SQLSTATE {error.sqlstate})" if error.sqlstate else ""
        # Below the message libpq draws the place in the statement, which one line cannot show.
        text = " ".join(str(error).partition("\nLINE ")[0].split())
        return Failure("PGM401", f"{text}{state}", exit_code=REFUSED)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return Failure("PGM403", f"{where}{error.strerror or error}", exit_code=REFUSED)
    text = f"{type(error).__name__}: {_one_line(error)}"
    return Failure("PGM901", f"unexpected {text}", hint=REPORT_TO, exit_code=BUG)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
