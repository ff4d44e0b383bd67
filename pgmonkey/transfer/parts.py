"""Several processes that each read one part of a table, for ``--jobs``.

A process is forked for each part but the first, which the parent reads: handing rows out
costs Python about as much as making them costs the server, so threads gain nothing here
(measured: 1.03 x one stream, processes 0.65). A child opens a connection of its own, sees
the parent's snapshot and never touches what it inherited. Each holds one end of a pipe
whose other end only the parent has: when that one is gone, however it went, the child
cancels its COPY and ends.
"""

from __future__ import annotations

import json
import mmap
import os
import signal
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import psycopg

from pgmonkey.errors import TransferError

if TYPE_CHECKING:
    from pgmonkey.transfer.copyout import Others

# Reads its part and returns its rows; is given what to watch, and where to count.
Work: TypeAlias = "Callable[[Others, Callable[[int, int], None]], int]"

# Seconds a child has to end by itself; its COPY is cancelled in 5 at most.
PATIENCE = 10.0
_COUNTS = struct.Struct("=qq")


def why_not_fork() -> str | None:
    """Return why this process cannot be forked safely, None when it can.

    The child of a process with threads has the locks which they held, for ever; on macOS
    system libraries abort in a child that did not exec.
    """
    if sys.platform != "linux":
        return "several processes are used on Linux only"
    if len(list(Path("/proc/self/task").iterdir())) > 1:
        return "this process has other threads, and cannot be forked safely"
    return None


class _ParentGone(Exception):
    """The pipe from the parent has ended."""


class Crew:
    """The children of one export, from the first fork to the last exit.

    A context manager: leaving it ends every child that is still at work, and waits.
    """

    def __init__(self, size: int) -> None:
        self._started = 0
        self._counts = mmap.mmap(-1, size * _COUNTS.size)
        self._lifeline, self._alive = os.pipe()
        self._children: dict[int, int] = {}  # by the descriptor of its answer
        self._rows = 0
        self.others: Others = {}

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: Any) -> None:
        for fd in (self._alive, self._lifeline):
            os.close(fd)
        deadline = time.monotonic() + PATIENCE
        for answer, pid in self._children.items():
            self._reap(pid, deadline)
            os.close(answer)
        self._children.clear()
        self._counts.close()

    def start(self, work: Work) -> None:
        """Have a new process do *work*."""
        number = self._started
        self._started += 1
        answer, tell = os.pipe()
        # A signal between the fork and the child's first lines would raise in both.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            pid = os.fork()
            if pid == 0:
                self._child(work, number, tell, before)
            os.close(tell)
            self._children[answer] = pid
            self.others[answer] = lambda: self._answered(answer)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def counts(self) -> tuple[int, int]:
        """Return the rows and bytes that all children have read so far."""
        pairs = [
            _COUNTS.unpack_from(self._counts, number * _COUNTS.size)
            for number in range(len(self._counts) // _COUNTS.size)
        ]
        return sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)

    def wait(self) -> int:
        """Return the rows of all children when the last one has ended well.

        Raises:
            TransferError: One of them has not; the text says why.
        """
        import select

        while self.others:
            poll = select.poll()
            for fd in self.others:
                poll.register(fd, select.POLLIN)
            for fd, _ in poll.poll():
                self.others[fd]()
        return self._rows

    def _answered(self, answer: int) -> None:
        """Take what a child says at its end; nothing is what one says that was killed."""
        del self.others[answer]
        said = b""
        while piece := os.read(answer, 1 << 16):
            said += piece
        pid = self._children.pop(answer)
        os.close(answer)
        status = self._reap(pid, time.monotonic() + PATIENCE)
        if not said:
            how = f"signal {-status}" if status < 0 else f"exit code {status}"
            raise TransferError(f"one of the processes of --jobs ended by {how}")
        told: dict[str, Any] = json.loads(said)
        if "errno" in told:
            raise OSError(told["errno"], told["error"], told["file"])
        if "state" in told:
            raise _server_error(told["state"], told["error"])
        if "error" in told:
            raise TransferError(told["error"])
        self._rows += told["rows"]

    def _reap(self, pid: int, deadline: float) -> int:
        """Wait for the process *pid* and return its exit code, minus a signal's number."""
        while True:
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            time.sleep(0.005)

    def _child(self, work: Work, number: int, tell: int, mask: set[Any]) -> NoReturn:
        """Do *work* and end the process, whatever happens and without anybody's clean-up."""
        code = 1
        try:
            # Ctrl-C reaches the whole group; the parent decides, and lets go of the pipe.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            os.close(self._alive)
            for answer in self._children:
                os.close(answer)
            told: dict[str, Any]
            try:
                told = {"rows": work({self._lifeline: _parent_gone}, self._counter(number))}
                code = 0
            except OSError as error:
                told = {"errno": error.errno, "error": error.strerror, "file": error.filename}
            except _ParentGone:
                os._exit(code)
            except psycopg.Error as error:
                told = {"state": error.sqlstate, "error": str(error)}
            except Exception as error:  # told to the parent, which is who raises
                told = {"error": " ".join(str(error).split()) or type(error).__name__}
            os.write(tell, json.dumps(told).encode())
        finally:
            os._exit(code)

    def _counter(self, number: int) -> Callable[[int, int], None]:
        def count(rows: int, size: int) -> None:
            _COUNTS.pack_into(self._counts, number * _COUNTS.size, rows, size)

        return count


def _server_error(state: str | None, text: str) -> psycopg.Error:
    """Return the exception that a child met; without SQLSTATE, it lost its connection."""
    if state is None:
        return psycopg.OperationalError(text)
    try:
        return psycopg.errors.lookup(state)(text)
    except KeyError:
        return psycopg.DatabaseError(f"{text} (SQLSTATE {state})")


def _parent_gone() -> None:
    raise _ParentGone
