"""Make the items of an iterator in a thread, one ahead of whoever uses them.

While the server works on a block, psycopg waits without the interpreter's lock, and the
next block is read, cut and looked at meanwhile.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

# Seconds to wait for the end of the thread: it may be reading from a pipe that says nothing.
PATIENCE = 1.0


@dataclass(frozen=True)
class _End:
    """What comes after the last item: nothing, or what the iterator raised."""

    error: BaseException | None = None


class _Maker(threading.Thread, Generic[T]):
    def __init__(self, items: Iterable[T]) -> None:
        super().__init__(name="pgmonkey-ahead", daemon=True)
        self.made: queue.SimpleQueue[T | _End] = queue.SimpleQueue()
        # Released for every item that is wanted, and when no more is.
        self.wanted = threading.Semaphore(0)
        self.over = False
        # Not join(): see ``parallel``.
        self.ended = threading.Event()
        self._items = iter(items)

    def run(self) -> None:
        try:
            while self.wanted.acquire() and not self.over:
                self.made.put(next(self._items))
        except StopIteration:
            self.made.put(_End())
        except BaseException as error:  # raised again by whoever takes the items
            self.made.put(_End(error))
        finally:
            self.ended.set()


def ahead(items: Iterable[T]) -> Generator[T, None, None]:
    """Yield *items*, each made while the one before it is in use.

    What the iterator raises is raised here. Close this generator when the rest is not
    wanted: the iterator is at rest then, unless it waits for a pipe.
    """
    maker = _Maker(items)
    maker.start()
    maker.wanted.release()
    try:
        while True:
            item = maker.made.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            maker.wanted.release()
            yield item
            del item  # or three of them would be kept
    finally:
        maker.over = True
        maker.wanted.release()
        maker.ended.wait(PATIENCE)
