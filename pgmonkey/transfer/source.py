"""Where the bytes come from: a file, a pipe or standard input, decompressed on the way.

A compressed file says so in its first bytes, whatever it is called, so names are never
asked. Nothing here knows what a record is; ``reader`` cuts.
"""

from __future__ import annotations

import io
import os
import re
import stat
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, cast

from pgmonkey.errors import CsvError, TransferError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

# Bytes asked of the system at a time. Larger ones gain nothing measurable; a pipe gives
# 64 KiB whatever is asked.
CHUNK = 1 << 20
STDIN = "-"
STDIN_NAME = "<stdin>"


class _Counted(io.RawIOBase):
    """A raw stream that counts what it gave, which is what a progress bar can measure.

    It can be told to give its first bytes again, since finding the compression of a pipe
    means reading them.
    """

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self._again = b""
        self.count = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes | None:
        if self._again or size < 0:
            return super().read(size)
        got = self._raw.read(size)  # RawIOBase.read() would copy it once more
        self.count += len(got or b"")
        return got

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        if self._again:
            part, self._again = self._again[: len(view)], self._again[len(view) :]
            view[: len(part)] = part
            return len(part)
        got = cast(Any, self._raw).readinto(view) or 0
        self.count += got
        return int(got)

    def first(self, size: int) -> bytes:
        """Return up to *size* bytes, which the next read gives once more."""
        got = b""
        while len(got) < size and (part := self.read(size - len(got))):
            got += part
        self._again = got + self._again
        return got


class Source:
    """One stream of decompressed bytes, used as a context manager.

    Attributes:
        name: For messages: the path as it was given, or ``<stdin>``.
        path: None for standard input.
        size: Bytes of the file as it is on disk; None for a pipe or standard input.
        compression: ``gzip``, ``bzip2``, ``xz``, ``zstd`` or an empty string.
    """

    def __init__(self, raw: IO[bytes], name: str, path: Path | None, size: int | None) -> None:
        self.name = name
        self.path = path
        self.size = size
        self.compression = ""
        self._raw = raw
        self._counted = _Counted(raw)
        self._stream: IO[bytes] = cast("IO[bytes]", self._counted)
        self._ahead = b""
        start = self._counted.first(_LONGEST_MAGIC)
        for compression, magic, opener in _MAGIC:
            if magic.match(start):
                self.compression = compression
                self._stream = opener(self._counted, name)

    @property
    def bytes_read(self) -> int:
        """Bytes taken from the file so far, before decompression."""
        return self._counted.count

    @property
    def rereadable(self) -> bool:
        """Whether the same bytes can be had once more by opening the path again."""
        return self.path is not None and self.size is not None

    def read(self, size: int = CHUNK) -> bytes:
        """Return up to *size* bytes, at least one, or nothing at the end.

        Raises:
            CsvError: The compressed data is damaged or ends too early.
            OSError: The system could not read.
        """
        if self._ahead:
            part, self._ahead = self._ahead[:size], self._ahead[size:]
            return part
        if not self.compression:
            return self._stream.read(size) or b""
        try:
            return self._stream.read(size)
        except _damages() as error:
            raise CsvError(
                f"the {self.compression} data is damaged or incomplete: {error}", file=self.name
            ) from error

    def peek(self, size: int) -> bytes:
        """Return the next *size* bytes, fewer only at the end; ``read`` gives them again."""
        parts = [self._ahead]
        have = len(self._ahead)
        self._ahead = b""
        while have < size and (part := self.read(min(size - have, CHUNK))):
            parts.append(part)
            have += len(part)
        self._ahead = b"".join(parts)
        return self._ahead[:size]

    def __iter__(self) -> Iterator[bytes]:
        while part := self.read():
            yield part

    def close(self) -> None:
        """Close the file. Standard input stays open: it is not ours."""
        if self.path is not None:
            self._raw.close()

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def open_source(path: str | Path) -> Source:
    """Open a file, or standard input for ``-``; decompress it if it is compressed.

    Raises:
        OSError: Missing, a directory, not readable; with the file's name.
        TransferError: The compression needs a package that is not installed, or standard
            input was closed by whoever started us.
    """
    if str(path) == STDIN:
        if sys.stdin is None:
            raise TransferError("is closed; nothing can be read from it", file=STDIN_NAME)
        # The raw file below Python's buffer: a megabyte at a time, and no second copy.
        stdin = getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)
        return Source(stdin, STDIN_NAME, None, None)
    path = Path(path)
    raw = path.open("rb", buffering=0)
    try:
        status = os.fstat(raw.fileno())
        size = status.st_size if stat.S_ISREG(status.st_mode) else None
        return Source(cast("IO[bytes]", raw), str(path), path, size)
    except BaseException:  # interrupts too: nobody else knows of this file
        raw.close()
        raise


def _gzip(raw: io.RawIOBase, name: str) -> IO[bytes]:
    try:
        from isal import igzip  # extra `fast`: two to three times as fast as zlib
    except ImportError:
        import gzip

        return cast("IO[bytes]", gzip.GzipFile(fileobj=cast(Any, raw), mode="rb"))
    return cast("IO[bytes]", cast(Any, igzip).IGzipFile(fileobj=raw, mode="rb"))


def _bzip2(raw: io.RawIOBase, name: str) -> IO[bytes]:
    import bz2

    return cast("IO[bytes]", bz2.BZ2File(cast(Any, raw)))


def _xz(raw: io.RawIOBase, name: str) -> IO[bytes]:
    import lzma

    return cast("IO[bytes]", lzma.LZMAFile(cast(Any, raw)))


def _zstd(raw: io.RawIOBase, name: str) -> IO[bytes]:
    if sys.version_info >= (3, 14):
        from compression import zstd

        return cast("IO[bytes]", zstd.ZstdFile(raw))
    try:
        import zstandard
    except ImportError:
        raise TransferError(
            "it is compressed with zstd, which needs Python 3.14 or the package zstandard;"
            " pip install zstandard, or pipe it: zstd -dc FILE | pgmonkey pgimport --import_file -",
            file=name,
        ) from None
    return cast("IO[bytes]", _Zstd(raw, zstandard.ZstdDecompressor()))


class _Zstd:
    """Frames of zstd, one after the other.

    zstandard has a reader of its own, which takes a file that was cut short for a
    complete one.
    """

    # Bytes of input at a time: what they unpack to is held in memory at once.
    STEP = 16 * 1024

    def __init__(self, raw: io.RawIOBase, decompressor: Any) -> None:
        self._raw = raw
        self._decompressor = decompressor
        self._frame: Any = None
        self._packed = b""
        self._out = b""

    def read(self, size: int) -> bytes:
        while not self._out:
            packed = self._packed or self._raw.read(self.STEP) or b""
            self._packed = b""
            if not packed:
                if self._frame is not None:
                    raise EOFError("it ends before its end-of-frame mark")
                return b""
            if self._frame is None:
                self._frame = self._decompressor.decompressobj()
            self._out = self._frame.decompress(packed)
            if self._frame.eof:
                self._packed = self._frame.unused_data
                self._frame = None
        part, self._out = self._out[:size], self._out[size:]
        return part


# How each format begins: RFC 1952; bzip2's own description, where an empty file has its
# end mark at once; the .xz file format; RFC 8878.
_MAGIC: tuple[tuple[str, re.Pattern[bytes], Callable[[io.RawIOBase, str], IO[bytes]]], ...] = (
    ("gzip", re.compile(rb"\x1f\x8b\x08"), _gzip),
    ("bzip2", re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)"), _bzip2),
    ("xz", re.compile(rb"\xfd7zXZ\x00"), _xz),
    ("zstd", re.compile(rb"\x28\xb5\x2f\xfd"), _zstd),
)
_LONGEST_MAGIC = 10


def _damages() -> tuple[type[Exception], ...]:
    """Return what the decompressors raise for damaged data; OSError is bz2's and gzip's."""
    import lzma

    kinds: list[type[Exception]] = [EOFError, zlib.error, lzma.LZMAError, OSError]
    for name, attribute in (
        ("zstandard", "ZstdError"),
        ("compression.zstd", "ZstdError"),
        ("isal.igzip_lib", "IsalError"),
    ):
        if module := sys.modules.get(name):
            kinds.append(getattr(module, attribute))
    return tuple(kinds)
