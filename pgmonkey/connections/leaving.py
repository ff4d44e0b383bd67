"""The ``__exit__`` of a sync handle, which is called or dropped, and does its work either way.

A signal is handled between any two steps of a program, also just as ``__exit__`` is
entered, before its first line; Python does not call it a second time. The block would
stay open for ever: a slot of the pool is lost, and blocks of a single connection would
take themselves for inner ones and never commit. But the ``with`` statement fetches
``__exit__`` before it calls ``__enter__``, keeps it, and drops it in the end. So what it
fetches here is an object of the block's own, whose end is the end of the block.

An async block needs none of this: a task is cancelled where it awaits, and nowhere else.
"""

from __future__ import annotations

import weakref
from threading import get_ident
from typing import Any, Protocol, overload


class Leavable(Protocol):
    """A handle that is left through this module."""

    _leaves: dict[int, weakref.ref[Leave]]

    def _leave(self, kind: type[BaseException] | None) -> None: ...

    def _bring_up(self, conn: Any) -> None: ...

    def _forsake(self, thread: int, conn: Any, place: Any) -> None: ...


class Leave:
    """What one ``with`` statement calls to leave its block.

    Attributes:
        conn: The connection of that block, from ``__enter__`` until it is left.
        place: The title to it, where it is a pool's: it may be somebody else's by the end.
    """

    __slots__ = ("__weakref__", "_handle", "_thread", "conn", "place")

    def __init__(self, handle: Leavable) -> None:
        self._handle, self._thread = handle, get_ident()
        self.conn: Any = None
        self.place: Any = None

    def __call__(self, kind: type[BaseException] | None, error: Any, trace: Any) -> None:
        self._handle._bring_up(self.conn)
        self._handle._leave(kind)
        if get_ident() == self._thread:  # elsewhere, it was not this block that was left
            self.conn = None

    def __del__(self) -> None:
        # An interrupt may have come before __init__ had set anything.
        if getattr(self, "conn", None) is not None:
            self._handle._forsake(self._thread, self.conn, self.place)


class Lendable(Protocol):
    """A handle which lends connections to blocks that it does not keep."""

    def _borrow(self, held: int) -> Any: ...

    def _give_back(self, conn: Any, failed: bool) -> None: ...

    def _forsake(self, thread: object, conn: Any, place: Any) -> None: ...


class Block:
    """A block that is its own ``Leave``: the ``with`` statement keeps it, and drops it in the end."""

    __slots__ = ("_conn", "_handle", "_place")

    def __init__(self, handle: Lendable) -> None:
        self._handle = handle
        self._conn: Any = None
        self._place: Any = None

    def __enter__(self) -> Any:
        conn = self._handle._borrow(0)
        self._conn, self._place = conn, conn.memory.place
        return conn

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: Any) -> None:
        self._handle._give_back(self._conn, kind is not None)
        self._conn = None

    def __del__(self) -> None:
        if getattr(self, "_conn", None) is not None:
            self._handle._forsake(None, self._conn, self._place)


class Leaving:
    """Makes a ``Leave`` for whoever asks a handle for its ``__exit__``."""

    @overload
    def __get__(self, handle: None, owner: Any) -> Leaving: ...
    @overload
    def __get__(self, handle: Leavable, owner: Any) -> Leave: ...

    def __get__(self, handle: Leavable | None, owner: Any) -> Leaving | Leave:
        if handle is None:
            return self
        leave = Leave(handle)
        handle._leaves[get_ident()] = weakref.ref(leave)
        return leave

    def __call__(self, handle: Leavable, kind: Any, error: Any, trace: Any) -> None:
        # contextlib.ExitStack fetches it from the class, and calls it with the handle.
        handle._leave(kind)


def fetched(handle: Leavable) -> Leave | None:
    """Return the ``Leave`` which a ``with`` statement has fetched just now, if one has."""
    reference = handle._leaves.pop(get_ident(), None)
    return None if reference is None else reference()
