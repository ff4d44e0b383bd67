"""Values that stand in a file or come from a command, and secrets that are read again.

A password which is rotated, by Kubernetes or by a cloud's token service, is good for the
connections made today only. So it is kept as the way to get it, and read for every new
physical connection.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import stat
import subprocess
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from pgmonkey.config.redaction import REDACTED, sealed
from pgmonkey.config.settings import Mark
from pgmonkey.errors import EnvInterpolationError

MAX_BYTES = 64 * 1024
COMMAND_SECONDS = 10.0

# How many former values of one source are remembered, only to be scrubbed from messages.
REMEMBERED = 16


class SecretSource:
    """A secret by reference; looks like a ``Secret``, but each ``reveal`` reads anew."""

    __slots__ = ("_identity", "_known", "_read")

    def __init__(self, read: Callable[[], str], identity: str) -> None:
        self._read = read
        self._identity = identity
        self._known: deque[str] = deque(maxlen=REMEMBERED)

    @sealed
    def reveal(self) -> str:
        """Read the secret now, which may block for as long as its command takes.

        Raises:
            EnvInterpolationError: It could not be read.
        """
        value = self._read()
        if value not in self._known:
            self._known.append(value)
        return value

    def identity(self) -> str:
        """Return what stands for this secret in a fingerprint: where it comes from."""
        return self._identity

    def known_values(self) -> tuple[str, ...]:
        """Return the clear texts that must appear nowhere: what was read lately."""
        return tuple(self._known)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretSource) and other._identity == self._identity

    def __hash__(self) -> int:
        return hash((SecretSource, self._identity))

    def __repr__(self) -> str:
        return REDACTED

    def __deepcopy__(self, memo: object) -> SecretSource:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret cannot be pickled; pass the configuration instead")


def from_file(path: Path, mark: Mark, key: str, *, strict: bool) -> SecretSource:
    """Return the text of *path*, at most 64 KiB of UTF-8, without one trailing newline.

    With *strict* a file that everybody on this machine may read is an error.
    """

    def read() -> str:
        try:
            with path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                data = file.read(MAX_BYTES + 1)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not a path"
            raise mark.error(
                f"cannot read {str(path)!r}: {reason}", key, EnvInterpolationError
            ) from error
        if strict and os.name == "posix" and mode & stat.S_IROTH:
            problem = f"{str(path)!r} is readable by everybody; take that away with chmod o-r"
            raise mark.error(problem, key, EnvInterpolationError)
        return _text(data, repr(str(path)), mark, key)

    return SecretSource(read, f"file:{path}")


def from_command(args: list[str], folder: Path | None, mark: Mark, key: str) -> SecretSource:
    """Return what a command prints within 10 seconds, treated like a file's text.

    It is started without a shell, in the configuration's *folder*. What it says on
    standard error is dropped: it may be about the secret.
    """

    def read() -> str:
        program = repr(args[0])
        try:
            process = subprocess.Popen(
                args,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # so that its children can be ended with it
            )
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not a command"
            raise mark.error(
                f"cannot start {program}: {reason}", key, EnvInterpolationError
            ) from None
        try:
            data = _output(process)
        finally:
            _end(process)
        if data is None:
            problem = f"{program} took longer than {COMMAND_SECONDS:g} seconds"
            raise mark.error(problem, key, EnvInterpolationError)
        if len(data) <= MAX_BYTES and process.returncode != 0:
            problem = f"{program} ended with status {process.returncode}; run it by hand to see why"
            raise mark.error(problem, key, EnvInterpolationError)
        return _text(data, f"the output of {program}", mark, key)

    return SecretSource(read, f"command:{folder}:{json.dumps(args)}")


def _output(process: subprocess.Popen[bytes]) -> bytes | None:
    """Return what *process* prints, cut where it is too much; None when time ran out."""
    deadline = time.monotonic() + COMMAND_SECONDS
    data = b""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while len(data) <= MAX_BYTES:
            if not selector.select(deadline - time.monotonic()):
                return None
            piece = os.read(process.stdout.fileno(), MAX_BYTES)
            if not piece:
                break
            data += piece
        else:
            return data
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return None
    return data


def _end(process: subprocess.Popen[bytes]) -> None:
    """Leave no descriptor behind and, unless *process* came to its end, no child of it."""
    assert process.stdout is not None
    process.stdout.close()
    if process.returncode is None:  # not polled: until it is, nobody else has its number
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _text(data: bytes, what: str, mark: Mark, key: str) -> str:
    if len(data) > MAX_BYTES:
        raise mark.error(
            f"{what} is larger than {MAX_BYTES // 1024} KiB", key, EnvInterpolationError
        )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise mark.error(f"{what} is not UTF-8", key, EnvInterpolationError) from None
    text = text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text
    if "\0" in text:
        raise mark.error(f"{what} holds a NUL character", key, EnvInterpolationError)
    if not text:
        raise mark.error(f"{what} is empty", key, EnvInterpolationError)
    return text
