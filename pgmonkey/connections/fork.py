"""What a forked child must do: nothing it does may reach its parent's sessions.

A child inherits its parent's sockets and libpq's idea of what goes on in them. If both
use one, each reads the other's answers (PostgreSQL documentation, "Database Connection
Control Functions": "forking a process with open libpq connections can lead to
unpredictable results"). So in the child every inherited socket is replaced by
``/dev/null``, every handle forgets what it had, and its first use connects anew.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forkable(Protocol):
    """Something that must know when it finds itself in a forked child."""

    def _forked(self) -> None: ...


_watched: weakref.WeakSet[Forkable] = weakref.WeakSet()


def watch(thing: Forkable) -> None:
    """Have *thing* told in every forked child, for as long as it lives."""
    _watched.add(thing)


def silence(descriptor: int) -> None:
    """Put ``/dev/null`` in the place of an inherited socket, in this process only."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, descriptor)
    os.close(null)


def _in_child() -> None:
    # Only the forking thread lives on, and others may have held any lock: what is told
    # here must take none, and makes itself new ones.
    for thing in list(_watched):
        thing._forked()


os.register_at_fork(after_in_child=_in_child)
