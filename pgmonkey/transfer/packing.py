"""Compressing what is written: gzip, bz2, xz, zstd.

Each of the four formats allows streams to stand one behind the other in a file, and every
reader takes them for one; so parts compressed by several processes are simply joined.
Reading compressed files is in ``reader``.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import Any, Literal, Protocol, TypeAlias

from pgmonkey.errors import RequestError

Packing: TypeAlias = Literal["gzip", "bz2", "xz", "zstd"]

SUFFIXES: dict[str, Packing] = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd"}

# Of zlib, as `gzip -1`: COPY is waited for meanwhile, and 6 takes three times as long for
# files a tenth smaller.
GZIP_LEVEL = 1
# The memory of xz grows with its level: 17 MB here, 94 MB at its default of 6.
XZ_LEVEL = 2
# zstd's own default.
ZSTD_LEVEL = 3
# The value of `wbits` that makes zlib write the gzip format, without name and time.
_GZIP = 31


class Packer(Protocol):
    """What the compressors of every library have in common."""

    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


def packing_of(name: str) -> Packing | None:
    """Return how a file called *name* is to be compressed, by its suffix."""
    return next((kind for suffix, kind in SUFFIXES.items() if name.lower().endswith(suffix)), None)


def suffix_of(packing: Packing | None) -> str:
    """Return the suffix of files compressed so, or nothing."""
    return next((suffix for suffix, kind in SUFFIXES.items() if kind == packing), "")


def check_installed(packing: Packing | None) -> None:
    """Object to a compression for which this Python has no library.

    Raises:
        RequestError: It is zstd, before Python 3.14, without the package ``zstandard``.
    """
    if packing == "zstd" and sys.version_info < (3, 14) and find_spec("zstandard") is None:
        raise RequestError("zstd needs the package zstandard here; pip install zstandard")


def packer(packing: Packing) -> Packer:
    """Return a new compressor; ISA-L's replaces zlib where it is installed."""
    made: Any
    if packing == "gzip":
        try:
            from isal import isal_zlib  # type: ignore[import-not-found,unused-ignore]  # optional
        except ImportError:
            import zlib

            made = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, _GZIP)
        else:
            made = isal_zlib.compressobj(GZIP_LEVEL, isal_zlib.DEFLATED, _GZIP)
    elif packing == "bz2":
        import bz2

        made = bz2.BZ2Compressor()
    elif packing == "xz":
        import lzma

        made = lzma.LZMACompressor(preset=XZ_LEVEL)
    elif sys.version_info >= (3, 14):
        from compression import zstd

        made = zstd.ZstdCompressor(level=ZSTD_LEVEL)
    else:
        import zstandard  # type: ignore[import-not-found,unused-ignore]  # optional

        made = zstandard.ZstdCompressor(level=ZSTD_LEVEL).compressobj()
    packer: Packer = made
    return packer
