"""From the server's line back to the user's: what was sent, in whatever pieces, is found again."""

from __future__ import annotations

import io
from itertools import accumulate
from pathlib import Path

import pytest

from pgmonkey.transfer.block import Block
from pgmonkey.transfer.dialect import Dialect
from pgmonkey.transfer.reader import Reader
from pgmonkey.transfer.source import Source, open_source
from pgmonkey.transfer.trail import RECENT, Trail

# Eighteen blocks.
RECORDS = [
    f'{i},"{"x" * 150}\n{"y" * 150}"\n' if i % 3 == 0 else f"{i},{'z' * 300}\n"
    for i in range(30_000)
]
TEXT = "id,note\n" + "".join(RECORDS)
# Where each record begins.
LINES = list(accumulate((record.count("\n") for record in RECORDS), initial=2))


def number(record: str | bytes) -> int:
    return int(record[: record.index(b"," if isinstance(record, bytes) else ",")])  # type: ignore[arg-type]  # the same kind of text on both sides


def sent(source: Source, every: int, counted: bool) -> tuple[Trail, list[Block]]:
    """Give each *every*-th block to a trail, as one of several workers gets them."""
    trail = Trail(source)
    blocks = list(Reader(source, Dialect(), counted=counted).blocks())[::every]
    for block in blocks:
        trail.add(block)
    return trail, blocks


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trail") / "t.csv"
    path.write_text(TEXT)
    return path


@pytest.mark.parametrize("every", [1, 2, 3])
@pytest.mark.parametrize("looked_at", [0, 12_345], ids=["", "peeked"])
def test_record_is_found_by_the_line_where_the_server_counts_it(path, every, looked_at):
    """What was looked at before comes as a read of its own, so that the blocks end elsewhere."""
    with open_source(path) as source:
        source.peek(looked_at)
        trail, blocks = sent(source, every, counted=False)
    assert len(blocks) >= 18 // every
    assert {block.first_line for block in blocks} == {0}  # nobody counted
    counted = 1  # the preamble
    for block in blocks:
        numbers = [number(record) for record, _ in block.records()]
        ends = list(accumulate((RECORDS[i].count("\n") for i in numbers), initial=counted))[1:]
        for at in (0, len(numbers) // 2, len(numbers) - 1):
            place = trail.find(ends[at])
            assert place is not None
            assert place.line == LINES[numbers[at]]
            assert place.record == RECORDS[numbers[at]].encode()
        counted = ends[-1]


def test_lines_sent_are_told_in_ranges(path):
    with open_source(path) as source:
        trail, _ = sent(source, 1, counted=False)
        assert trail.lines() == f"{path}:2-{LINES[-1] - 1}"
    with open_source(path) as source:
        trail, blocks = sent(source, 2, counted=False)
        ranges = trail.lines().split(", ")
        assert len(ranges) == len(blocks) > 1
        assert ranges[0] == f"{path}:2-{1 + blocks[0].lines}"


def test_of_a_pipe_the_lines_are_counted_and_the_last_records_kept():
    source = Source(io.BytesIO(TEXT.encode()), "<stdin>", None, None)
    trail, blocks = sent(source, 1, counted=True)
    assert len(blocks) > RECENT
    assert trail.lines() == f"<stdin>:2-{LINES[-1] - 1}"
    place = trail.find(LINES[-1] - 1)
    assert place is not None
    assert (place.line, place.record) == (LINES[-2], RECORDS[-1].encode())
    # Long gone; right, as long as no line end is inside quotes before it in its block.
    place = trail.find(3)
    assert place is not None
    assert (place.line, place.record) == (3, None)


def test_file_that_became_shorter_has_no_places_any_more(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(TEXT)
    with open_source(path) as source:
        trail, _ = sent(source, 1, counted=False)
    path.write_text("id,note\n")
    assert trail.find(100) is None
