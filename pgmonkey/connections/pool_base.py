"""What both pools decide alike, without I/O: who gets which connection, and when to try again.

psycopg_pool brings the workers, the scheduler and the sizes. What is different here, and why:

* A connection whose server went away while it was idle is not handed out, and when one is
  found so, the other idle ones are looked at too: servers seldom lose one client only.
* One interrupt must not cost a slot. A connection names the ``Place`` it belongs to before it
  leaves the one where it was, so that at every moment a worker, which no signal reaches, can
  find out where it is.
* While somebody waits, connecting is tried again twice a second for as long as it takes;
  psycopg_pool doubles the pause without limit and gives up.
* When the server turns out not to be the primary any more, all connections of its time go.

The overridden methods are private to psycopg_pool, hence the pinned minor version.
``pool`` and ``pool_aio`` do the I/O.
"""

from __future__ import annotations

import contextlib
import logging
import random
import sys
from collections import deque
from dataclasses import fields
from time import monotonic
from typing import Any

from psycopg_pool import PoolTimeout, TooManyRequests
from psycopg_pool.base import BasePool

from pgmonkey.config.settings import PoolSettings
from pgmonkey.connections import base, leaks
from pgmonkey.connections.pool_place import Place
from pgmonkey.connections.pool_stats import Cause, Counters, PoolStats

logger = logging.getLogger("pgmonkey.connections")

# An empty query costs a server well under a millisecond and a network its round trip; who
# takes a whole second for it is stalled.
CHECK_SECONDS = 1.0

# The pause after the first failed attempt to connect doubles up to these. A server needs a
# good part of a second to restart, so half a second is little beside it, and two attempts a
# second are nothing to a server, however many programs wait; without anybody waiting,
# there is no hurry.
FIRST_PAUSE = 0.05
LONGEST_PAUSE = 0.5
LONGEST_PAUSE_UNWATCHED = 5.0
JITTER = 0.1  # lest all programs come back at once

# Settings that psycopg_pool does not know.
OURS = ("check_on_checkout", "leak_after")


class PoolBase(BasePool):
    """The decisions of a pool, each under its lock.

    Attributes:
        last_error: Why the latest attempt to connect failed; None once one succeeded.
    """

    # The lock of a pool that threads share; an event loop needs none between two awaits.
    _guard: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()

    def __init__(self, settings: PoolSettings, wants_primary: bool) -> None:
        self._check_idle = settings.check_on_checkout
        self._leak_after = settings.leak_after or 0.0
        self._wants_primary = wants_primary
        self._generation = 0
        self._waiting: deque[Any] = deque()
        self._lent: dict[Place, None] = {}
        self._counters = Counters()
        self._owed = 0  # connections that could not be made yet
        self._pause = 0.0
        self._retry_at: float | None = None
        self._failing_since: float | None = None
        self.last_error: Exception | None = None
        names = [field.name for field in fields(settings) if field.name not in OURS]
        arguments: dict[str, Any] = {name: getattr(settings, name) for name in names}
        arguments["open"] = False
        super().__init__(**arguments)

    def stats(self) -> PoolStats:
        """Return what is true now, and what was counted since the pool was opened."""
        with self._guard:
            return self._counters.snapshot(
                size=self._nconns,
                idle=len(self._pool),
                in_use=len(self._lent),
                waiting=len(self._waiting),
                min_size=self._min_size,
                max_size=self._max_size,
            )

    # Lending.

    def _take(self, place: Place, first: bool) -> None:
        """Give *place* an idle connection, or a place in the queue."""
        with self._guard:
            self._check_open_getconn()
            self._counters.requests += first
            if self._pool:
                # Each step leaves a trace before the one after it makes it matter.
                conn = place.conn = self._pool[0]
                conn.memory.place = place
                self._pool.popleft()
                self._nconns_min = min(self._nconns_min, len(self._pool))
                return
            if self.max_waiting and len(self._waiting) >= self.max_waiting:
                raise TooManyRequests(
                    f"{len(self._waiting)} wait for a connection of the pool already,"
                    " which is as many as max_waiting allows"
                )
            self._counters.queued += first
            self._waiting.append(place)
            if self._nconns < self._max_size and not self._growing:
                self._errand("_grow")
            self._hasten()

    def _wait_is_over(self, place: Place, began: float, seconds: float) -> None:
        """Count the wait at *place*, and raise where it was in vain."""
        now = monotonic()
        with self._guard:
            self._counters.waited(now - began)
            if place.conn is not None:
                return
            place.left = True
            if place.error is None:
                self._counters.timeouts += 1
                waiting = len(self._waiting)  # the one who gives up counts too
                size, idle = self._nconns, len(self._pool)
                place.error = PoolTimeout(
                    base.pool_timeout_message(
                        size, self._max_size, size - idle, waiting, seconds, self.last_error
                    )
                )
        raise place.error

    def _unfit(self, conn: Any) -> Cause | None:
        """Decide whether an idle connection can be lent; ask nothing of its server."""
        if conn.memory.generation < self._generation:
            return Cause.DEMOTED
        return None if base.alive(conn.pgconn, conn.memory) else Cause.DEAD

    def _lend(self, place: Place) -> None:
        with self._guard:
            place.lent_at = monotonic()
            self._lent[place] = None
            place.conn._pool = self
        if self._leak_after:
            place.borrowed_in = leaks.calls(sys._getframe(2))

    # Taking back.

    def _verdict(self, conn: Any) -> Cause | None:
        """Decide whether a connection that comes back is kept, and what it tells of others."""
        if self._wants_primary and base.demoted(conn, conn.memory):
            with self._guard:
                # Whatever is of the same time goes; what was made since then is another's.
                if conn.memory.generation == self._generation:
                    self._generation += 1
            self._errand("_sweep")
            return Cause.DEMOTED
        if not base.idle(conn):
            self._errand("_sweep")
            return Cause.BROKEN
        if conn.memory.generation < self._generation:
            return Cause.DEMOTED
        return Cause.EXPIRED if conn._expire_at <= monotonic() else None

    def _put(self, conn: Any) -> bool:
        """Give *conn* to who waits longest, else keep it idle; False once the pool is closed."""
        with self._guard:
            if self._closed:
                return False
            self._count_use(conn.memory.place)
            conn._pool = None
            while self._waiting:
                place = self._waiting[0]
                if place.open:
                    conn.memory.place = place
                    place.give(conn)
                    self._waiting.popleft()
                    return True
                self._waiting.popleft()
            conn.memory.place = None
            self._pool.append(conn)
            return True

    def _count_use(self, place: Place | None) -> None:
        if place is not None and place in self._lent:
            self._counters.use_seconds += monotonic() - place.lent_at
            self._lent.pop(place)

    def forsake(self, place: Place | None) -> None:
        """Put away, in a worker, what *place* has, for a block that ended without being left."""
        if place is not None:
            self._leave(place)

    def _leave(self, place: Place) -> None:
        """Have nobody hand *place* anything any more, and what it was handed put away."""
        with self._guard:
            place.left = True
            if place in self._waiting:
                self._waiting.remove(place)
        if place.conn is not None:
            self._errand("_reclaim", place)

    def _forsaken(self, place: Place) -> Any:
        """Return the connection that *place* should have put away, None if it did or had none."""
        with self._guard:
            self._count_use(place)
            conn = place.conn
            if conn is None or conn in self._pool or conn.memory.discarded:
                return None
            heir = conn.memory.place
            if heir is None:  # left for the pool, and never got there
                return None if conn.closed else conn
            if heir is place:
                return conn
            if heir.open or heir.conn is conn:  # who has it already may still be asleep
                heir.give(conn)
            return None if heir.conn is conn else conn

    def _strike_off(self, conn: Any, cause: Cause) -> bool:
        """Count *conn* as given up; return whether it is to be replaced, which is so once."""
        with self._guard:
            if conn.memory.discarded or self._closed:
                return False
            conn.memory.discarded = True
            self._count_use(conn.memory.place)
            self._counters.discards[cause] += 1
            return True

    def _unfit_idle(self) -> list[tuple[Any, Cause]]:
        """Take the idle connections that cannot be lent out of the pool."""
        with self._guard:
            judged = [(conn, self._unfit(conn)) for conn in self._pool]
            self._pool.clear()
            self._pool.extend(conn for conn, cause in judged if cause is None)
        return [(conn, cause) for conn, cause in judged if cause is not None]

    # Connecting.

    def _starts_growing(self) -> bool:
        """Note that the pool grows by one, if somebody waits and it may."""
        with self._guard:
            if self._growing or self._nconns >= self._max_size or not self._waiting:
                return False
            self._nconns += 1
            self._growing = True
            return True

    def _grows_on(self) -> bool:
        """Note that growth goes on as long as somebody waits, or that it ends."""
        with self._guard:
            self._growing = False
            if self._nconns < self._min_size:
                self._nconns += 1
                self._growing = True
                return True
        return self._starts_growing()

    def _connected(self, conn: Any, generation: int, seconds: float) -> None:
        """Count a connection that was made, and have those made that are owed."""
        conn.memory.generation = generation
        conn._pool = self
        self._set_connection_expiry_date(conn)
        with self._guard:
            self._counters.connects += 1
            self._counters.connect_seconds += seconds
            owed, self._owed = self._owed, 0
            self._pause, self._retry_at, self._failing_since = 0.0, None, None
            self.last_error = None
        for _ in range(owed):
            self._errand("_add_connection", None)

    def _not_connected(self, error: Exception) -> None:
        with self._guard:
            self._counters.connects += 1
            self._counters.connect_errors += 1
            self.last_error = error

    def _owe(self, growing: bool) -> None:
        """Note that a connection could not be made, and when that is tried again, if at all."""
        with self._guard:
            now = monotonic()
            self._owed += 1
            self._growing = self._growing and not growing
            if self._failing_since is None:
                self._failing_since = now
            if self._retry_at is not None:
                return
            if not self._waiting and now - self._failing_since >= self.reconnect_timeout:
                self._nconns -= self._owed
                self._owed, self._failing_since = 0, None
                logger.warning(
                    "pool %s: no connection for %g s, so none is tried until somebody asks: %s",
                    self.name,
                    self.reconnect_timeout,
                    self.last_error,
                )
                return
            longest = LONGEST_PAUSE if self._waiting else LONGEST_PAUSE_UNWATCHED
            self._pause = min(max(FIRST_PAUSE, 2 * self._pause), longest)
            pause = self._pause * random.uniform(1 - JITTER, 1 + JITTER)
            self._retry_at = now + pause
            self._errand("_retry", self._retry_at, after=pause)

    def _hasten(self) -> None:
        """Do not let one who came just now wait for a pause that began when nobody did."""
        if self._retry_at is not None and self._retry_at - monotonic() > LONGEST_PAUSE:
            now = monotonic()
            self._errand("_retry", now)
            self._retry_at = now

    def _retry_begins(self, due: float) -> bool:
        """Take over one connection that is owed; False where another retry has taken its place."""
        with self._guard:
            if due != self._retry_at or not self._owed:
                return False
            self._retry_at = None
            self._owed -= 1
            return True

    # Looking for leaks.

    def _report_leaks(self) -> None:
        """Log who holds a connection for longer than ``leak_after``, once each."""
        now = monotonic()
        with self._guard:
            late = [p for p in self._lent if not p.told and now - p.lent_at >= self._leak_after]
            for place in late:
                place.told = True
            self._counters.leaks += len(late)
        for place in late:
            leaks.report(self.name, now - place.lent_at, place.borrowed_in)

    def _errand(self, work: str, *arguments: Any, after: float = 0.0) -> None:
        """Have a worker call the method *work*, in *after* seconds."""
        raise NotImplementedError
