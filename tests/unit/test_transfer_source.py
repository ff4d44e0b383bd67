"""Files, pipes and standard input as streams of decompressed bytes."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from pgmonkey.errors import CsvError
from pgmonkey.transfer.source import open_source

TEXT = b"".join(b"%d,line %d\n" % (i, i) for i in range(50_000))


def _zstd(data: bytes) -> bytes:
    if sys.version_info >= (3, 14):
        from compression import zstd

        return zstd.compress(data)
    zstandard = pytest.importorskip("zstandard")
    return bytes(zstandard.compress(data))


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": _zstd,
}


def read(path: Path) -> bytes:
    with open_source(path) as source:
        return b"".join(source)


@pytest.mark.parametrize("kind", COMPRESSORS)
def test_compressed_file_is_known_by_its_first_bytes_not_by_its_name(
    kind: str, tmp_path: Path
) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes(COMPRESSORS[kind](TEXT))
    with open_source(path) as source:
        assert source.compression == kind
        assert b"".join(source) == TEXT
        assert source.bytes_read == source.size == path.stat().st_size


@pytest.mark.parametrize("kind", COMPRESSORS)
def test_compressed_files_one_after_the_other_are_read_to_the_last(
    kind: str, tmp_path: Path
) -> None:
    """`cat a.gz b.gz` is a valid gzip file, and log rotation makes such."""
    path = tmp_path / "data"
    path.write_bytes(COMPRESSORS[kind](TEXT) + COMPRESSORS[kind](b"more\n"))
    assert read(path) == TEXT + b"more\n"


@pytest.mark.parametrize("kind", COMPRESSORS)
def test_compressed_file_that_was_cut_short_is_an_error_and_not_a_shorter_file(
    kind: str, tmp_path: Path
) -> None:
    path = tmp_path / "data.csv"
    whole = COMPRESSORS[kind](TEXT)
    for length in (len(whole) // 2, len(whole) - 2):
        path.write_bytes(whole[:length])
        with pytest.raises(CsvError, match=f"data.csv: the {kind} data is damaged or incomplete"):
            read(path)


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "xz"])
def test_damage_in_the_middle_of_a_compressed_file_is_an_error(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    damaged = bytearray(COMPRESSORS[kind](TEXT))
    for i in range(len(damaged) // 2, len(damaged) // 2 + 50):
        damaged[i] ^= 0x55
    path.write_bytes(damaged)
    with pytest.raises(CsvError, match="damaged or incomplete"):
        read(path)


def test_column_that_is_called_like_a_magic_number_is_text(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes(b"BZh9,other\n1,2\n")
    assert read(path) == b"BZh9,other\n1,2\n"


def test_peeking_takes_nothing_away(tmp_path: Path) -> None:
    path = tmp_path / "data.gz"
    path.write_bytes(gzip.compress(TEXT))
    with open_source(path) as source:
        assert source.peek(10) == TEXT[:10]
        assert source.peek(200_000) == TEXT[:200_000]
        assert b"".join(source) == TEXT
        assert source.peek(1) == b""


def test_pipe_has_no_size_and_may_be_compressed(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=lambda: path.write_bytes(gzip.compress(TEXT)))
    writer.start()
    with open_source(path) as source:
        assert (source.size, source.rereadable) == (None, False)
        assert b"".join(source) == TEXT
    writer.join()


@pytest.mark.parametrize("content", [b"", b"\x1f", b"a"])
def test_file_of_a_byte_or_none_is_read(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes(content)
    assert read(path) == content


def test_directory_and_missing_file_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError) as refused:
        open_source(tmp_path)
    assert refused.value.filename == str(tmp_path) or refused.value.filename == tmp_path
    with pytest.raises(FileNotFoundError):
        open_source(tmp_path / "missing")
