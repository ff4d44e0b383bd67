"""What the server's refusal of rows means: whose fault, which row, which column, in one line.

COPY tells the line of the row it was at in the error's CONTEXT, in the language of the
server, and only while it reads: foreign keys, deferrable constraints and triggers that fire
after the last row have none. So a line is a hint to look there first, never a proof.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psycopg

# Classes and codes of SQLSTATE that say nothing about a row; the load stops at them.
# https://www.postgresql.org/docs/current/errcodes-appendix.html: connection, transaction
# state, serialization and deadlock, resources, a lock not granted, operator and shutdown,
# system, configuration, foreign servers, corruption and bugs. Class 54 stays with the row:
# an index entry too large, a JSON nested too deep. So does 42: policies, triggers.
NOT_OF_THE_ROW = ("08", "25", "40", "53", "55P03", "57", "58", "F0", "HV", "XX")

# Their detail tells which value there was already; others repeat the row.
TELLING_DETAIL = ("23503", "23505", "23P01")


def blames_a_row(sqlstate: str | None) -> bool:
    """Return whether an error of that SQLSTATE is some row's fault."""
    return sqlstate is not None and not sqlstate.startswith(NOT_OF_THE_ROW)


def line_in(context: str | None, table: str) -> int | None:
    """Return the line that COPY into *table* was at, or None where CONTEXT has none.

    It counts from 1 within the data of that COPY. The words around the number are
    translated; ``COPY``, the table's name and the order are not.
    """
    found = _position(context, table)
    return int(found[1]) if found else None


def column_in(context: str | None, table: str, columns: Iterable[str]) -> str:
    """Return which of *columns* CONTEXT names, or ``''``."""
    found = _position(context, table)
    if not found or context is None:
        return ""
    rest = re.sub(r"^\W*\S+\s+", "", context[found.end() :])
    named = [name for name in columns if rest.startswith((name + ":", name + "\uff1a"))]
    return max(named, key=len, default="")


def _position(context: str | None, table: str) -> re.Match[str] | None:
    # Functions that were called come before it, data is quoted after it.
    pattern = rf"^COPY {re.escape(table)}(?!\w)[^\d\n]{{1,20}}(\d+)"
    return re.search(pattern, context or "", re.MULTILINE)


def reason(sqlstate: str, message: str, detail: str | None) -> str:
    """Return one line for people: the server's message, with the detail where it adds to it."""
    if detail and sqlstate in TELLING_DETAIL:
        message = f"{message}: {detail}"
    return " ".join(message.split()).rstrip(".")


def shortened(text: str) -> str:
    """Return *text* without its middle where it has more than 300 characters.

    The server quotes a bad value in full, and that may be a hundred megabytes.
    """
    return text if len(text) <= 300 else f"{text[:200]}...{text[-90:]}"


def reason_of(error: psycopg.Error) -> str:
    """Return the same of an exception."""
    diag = error.diag
    return reason(error.sqlstate or "", diag.message_primary or str(error), diag.message_detail)
