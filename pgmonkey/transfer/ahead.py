"""Make the items of an iterator in a thread, one ahead of whoever uses them.

While the server works on a block, psycopg waits without the interpreter's lock, and the
next block is read, cut and looked at meanwhile; but not before: the lock is handed over
every 5 ms only, and for so long the server would have nothing to do.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")

# Seconds to wait for the end of the thread: it may be reading from a pipe that says nothing.
PATIENCE = 1.0


class _End(NamedTuple):
    """What comes after the last item: nothing, or what the iterator raised."""

    error: BaseException | None = None


class Ahead(Generic[T]):
    """The items of an iterator, each made from ``want`` on or else when its turn comes: a context.

    What the iterator raises is raised where its item would be. At the end of the context the
    iterator is at rest, unless it waits for a pipe.
    """

    def __init__(self, items: Iterable[T]) -> None:
        self._items = iter(items)
        self._made: queue.SimpleQueue[T | _End] = queue.SimpleQueue()
        self._wanted = threading.Semaphore(0)
        self._waiting = False  # for an item that is wanted already
        self._over = False
        # Not join(): see ``parallel``.
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._make, name="pgmonkey-ahead", daemon=True)

    def want(self) -> None:
        """Have the next item made."""
        if not self._waiting:
            self._waiting = True
            self._wanted.release()

    def __iter__(self) -> Iterator[T]:
        while True:
            self.want()
            item = self._made.get()
            self._waiting = False
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
            del item  # or three of them would be kept

    def _make(self) -> None:
        try:
            while self._wanted.acquire() and not self._over:
                self._made.put(next(self._items))
        except StopIteration:
            self._made.put(_End())
        except BaseException as error:  # raised again by whoever takes the items
            self._made.put(_End(error))
        finally:
            self._ended.set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over = True
        self._wanted.release()
        self._ended.wait(PATIENCE)
