"""One commit of several connections: two-phase where the server allows it.

A prepared transaction survives everything, a crash of the server included, until somebody
ends it (https://www.postgresql.org/docs/current/sql-prepare-transaction.html). Parts are
prepared in order, and the first is committed first, or rolled back last. So whoever finds
parts of a load that was killed at this very moment can tell its end: with the first part
among them nothing was committed and all are undone; without it they are committed.

Where ``max_prepared_transactions`` is 0 the connections commit one after the other.
"""

from __future__ import annotations

import re
import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import psycopg
from psycopg import errors
from psycopg.rows import tuple_row

from pgmonkey.errors import CommitUnknownError, LostError, PartlyError
from pgmonkey.transfer.commit import Connect, Deadline, ask, number, settle

_GID = re.compile(r"pgmonkey:(\d+):(\d+)/(\d+)")

_FREE = """
SELECT pg_catalog.current_setting('max_prepared_transactions')::int
  - (SELECT count(*) FROM pg_catalog.pg_prepared_xacts)
"""


class Pact:
    """The agreement of several connections to commit together.

    Attributes:
        two_phase: Whether the server takes part, so that nothing comes between.
        how: The same in words for people; complete after ``commit``.
    """

    def __init__(self, coordinator: psycopg.Connection[Any], parts: int) -> None:
        self._coordinator = coordinator
        self._key = secrets.randbelow(2**63)
        self._parts = parts
        self.two_phase = _value(coordinator, _FREE) >= parts
        if self.two_phase:
            # Held as long as this session lives: who finds prepared parts and gets the lock
            # knows that nobody else will end them.
            _value(coordinator, "SELECT pg_catalog.pg_advisory_lock(%s)", self._key)
        self.how = f"two-phase commit of {parts} connections"

    def begin(self, conn: psycopg.Connection[Any], part: int) -> None:
        """Begin the transaction of a connection; parts count from 1."""
        if self.two_phase:
            conn.tpc_begin(self._gid(part))

    def _gid(self, part: int) -> str:
        return f"pgmonkey:{self._key}:{part}/{self._parts}"

    def roll_back(self, conns: Iterable[psycopg.Connection[Any]]) -> None:
        """Undo every part, the first one last. What was not prepared ends with its connection."""
        for conn in reversed(list(conns)):
            if not conn.closed:
                with Deadline(conn) as deadline:
                    deadline.set()
                    try:
                        conn.tpc_rollback() if self.two_phase else conn.rollback()
                    except psycopg.Error:
                        conn.close()

    def commit(
        self,
        conns: Sequence[psycopg.Connection[Any]],
        connect: Connect,
        lines: Callable[[], Sequence[str]],
    ) -> None:
        """Make every part final.

        Args:
            lines: Tells what each part has loaded, for the report if only some are in.

        Raises:
            LostError: A connection was lost, and nothing is in.
            CommitUnknownError: A connection was lost, and the server cannot be asked.
            PartlyError: Some parts are in, and some are not, or not yet.
        """
        if self.two_phase:
            self._commit_prepared(conns, connect)
        else:
            self._commit_in_turn(conns, connect, lines)

    def _commit_prepared(self, conns: Sequence[psycopg.Connection[Any]], connect: Connect) -> None:
        pids = [conn.info.backend_pid for conn in conns]
        for part, conn in enumerate(conns, 1):
            try:
                conn.tpc_prepare()
            except psycopg.OperationalError as error:
                if not conn.closed:
                    raise
                lost = "the connection was lost before the commit; nothing was imported"
                raise LostError(f"{lost}{self._undo(conns[:part], pids, connect)}") from error
        for part, conn in enumerate(conns, 1):
            gid = self._gid(part)
            try:
                conn.tpc_commit()
            except psycopg.Error as error:
                # Prepared is prepared: any connection may finish it.
                if ask(connect, partial(_finished, gid=gid)):
                    continue
                by_hand = "; ".join(
                    f"COMMIT PREPARED '{self._gid(n)}'" for n in range(part, self._parts + 1)
                )
                raise CommitUnknownError(
                    "the connection was lost during the commit, and the server does not answer;"
                    " the next pgmonkey pgimport into this database finishes or undoes it, or by"
                    f" hand: {by_hand}"
                ) from error

    def _undo(
        self, conns: Sequence[psycopg.Connection[Any]], pids: Sequence[int], connect: Connect
    ) -> str:
        """Undo parts of which one was lost while it was prepared; return what is left to say.

        The first part goes last, and stays where a later one could not be asked about:
        ``recover`` then knows that all are to be undone.
        """
        for at in reversed(range(len(conns))):
            conn, gid = conns[at], self._gid(at + 1)
            self.roll_back([conn])
            if conn.closed and not ask(connect, partial(_undone, gid=gid, pid=pids[at])):
                for other in conns[:at]:
                    other.close()
                by_hand = "; ".join(
                    f"ROLLBACK PREPARED '{self._gid(n + 1)}'" for n in range(at + 1)
                )
                return (
                    "; the next pgmonkey pgimport into this database undoes what was prepared, or"
                    f" by hand, as far as they are there: {by_hand}"
                )
        return ""

    def _commit_in_turn(
        self,
        conns: Sequence[psycopg.Connection[Any]],
        connect: Connect,
        lines: Callable[[], Sequence[str]],
    ) -> None:
        numbers = [number(conn) for conn in conns]
        started = time.monotonic()
        for done, conn in enumerate(conns):
            try:
                conn.commit()
            except psycopg.Error as error:
                why: Exception = error
                if conn.closed:
                    try:
                        settle(numbers[done], connect, error)
                        continue
                    except (LostError, CommitUnknownError) as unsettled:
                        why = unsettled
                self.roll_back(conns[done + 1 :])
                if done == 0:
                    raise why from error
                unknown = isinstance(why, CommitUnknownError)
                sent = lines()
                raise PartlyError(
                    f"one of {len(conns)} connections could not commit after others had: {why};"
                    f" committed: {'; '.join(sent[:done])};"
                    f" {'unknown' if unknown else 'not'}: {sent[done]};"
                    f" rolled back: {'; '.join(sent[done + 1 :]) or 'nothing else'}"
                ) from error
        spent = (time.monotonic() - started) * 1000
        self.how = (
            f"{len(conns)} transactions committed within {spent:.0f} ms, since the server has"
            " max_prepared_transactions = 0"
        )

    def close(self) -> None:
        """Give back the lock that says somebody is still in charge."""
        if self.two_phase and not self._coordinator.closed:
            # Short: the session's end would release it as well.
            with Deadline(self._coordinator, 1.0) as deadline:
                deadline.set()
                _value(self._coordinator, "SELECT pg_catalog.pg_advisory_unlock(%s)", self._key)


def recover(conn: psycopg.Connection[Any]) -> list[str]:
    """End what a load that was killed between prepare and commit has left in this database.

    Returns:
        A sentence for each load that was ended.
    """
    if not _value(conn, "SELECT pg_catalog.current_setting('max_prepared_transactions')::int"):
        return []
    found: dict[int, dict[int, str]] = defaultdict(dict)
    for xid in conn.tpc_recover():
        named = _GID.fullmatch(str(xid))
        if named and (xid.owner, xid.database) == (conn.info.user, conn.info.dbname):
            found[int(named[1])][int(named[2])] = str(xid)
    said = []
    for key, parts in found.items():
        if not _value(conn, "SELECT pg_catalog.pg_try_advisory_lock(%s)", key):
            continue  # its load is alive, and at its end
        try:
            undone = 1 in parts
            for part in sorted(parts, reverse=undone):
                if undone:
                    conn.tpc_rollback(parts[part])
                else:
                    conn.tpc_commit(parts[part])
            end = "undone: nothing of it is in" if undone else "finished: all of it is in"
            said.append(f"an earlier import was killed during its commit; it is now {end}")
        finally:
            _value(conn, "SELECT pg_catalog.pg_advisory_unlock(%s)", key)
    return said


def _finished(conn: psycopg.Connection[Any], gid: str) -> bool:
    """Commit the prepared part if it is still there; where it is not, it was committed."""
    try:
        conn.tpc_commit(gid)
    except errors.UndefinedObject:
        conn.rollback()
    return True


def _undone(conn: psycopg.Connection[Any], gid: str, pid: int) -> bool | None:
    """Roll back the part that session *pid* may have prepared; None: it may be doing so yet."""
    ending = (
        "SELECT count(pg_catalog.pg_terminate_backend(pid)) FROM pg_catalog.pg_stat_activity"
        " WHERE pid = %s AND usename = CURRENT_USER AND datname = pg_catalog.current_database()"
    )
    if _value(conn, ending, pid):
        return None
    try:
        conn.tpc_rollback(gid)
    except errors.UndefinedObject:
        conn.rollback()
    return True


def _value(conn: psycopg.Connection[Any], query: str, *parameters: object) -> Any:
    """Return the one value of *query*, in a transaction of its own."""
    with conn.transaction(), conn.cursor(row_factory=tuple_row) as cursor:
        row = cursor.execute(query, parameters or None).fetchone()
    return row[0] if row else None
