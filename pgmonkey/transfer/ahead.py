"""Make the items of an iterator in a thread, one ahead of whoever uses them.

While the server works on a block, psycopg waits without the interpreter's lock, and the
next block is read, cut and looked at meanwhile.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

# Seconds until the thread looks whether anybody still wants what it makes.
LOOK = 0.1
# Seconds to wait for its end: it may be reading from a pipe that says nothing.
PATIENCE = 1.0


@dataclass(frozen=True)
class _End:
    """What comes after the last item: nothing, or what the iterator raised."""

    error: BaseException | None = None


class _Maker(threading.Thread, Generic[T]):
    def __init__(self, items: Iterable[T]) -> None:
        super().__init__(name="pgmonkey-ahead", daemon=True)
        self.made: queue.Queue[T | _End] = queue.Queue(maxsize=1)
        self.unwanted = threading.Event()
        # Not join(): see ``parallel``.
        self.ended = threading.Event()
        self._items = items

    def run(self) -> None:
        try:
            for item in self._items:
                if not self._put(item):
                    return
                del item  # or two of them would be kept
            self._put(_End())
        except BaseException as error:  # raised again by whoever takes the items
            self._put(_End(error))
        finally:
            self.ended.set()

    def _put(self, item: T | _End) -> bool:
        while not self.unwanted.is_set():
            with contextlib.suppress(queue.Full):
                self.made.put(item, timeout=LOOK)
                return True
        return False


def ahead(items: Iterable[T]) -> Generator[T, None, None]:
    """Yield *items*, each made while the one before it is in use.

    What the iterator raises is raised here. Close this generator when the rest is not
    wanted: the iterator is at rest then, unless it waits for a pipe.
    """
    maker = _Maker(items)
    maker.start()
    try:
        while True:
            item = maker.made.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
            del item
    finally:
        maker.unwanted.set()
        maker.ended.wait(PATIENCE)
