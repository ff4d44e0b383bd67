"""Load every good row and put every bad one aside, as inserting them one by one would.

A block goes to the server in one COPY under a savepoint. If that fails, the row which the
server names is tried alone, after the rows before it and before those after it; so the line
in an error only says where to look first, and rows are judged in the order of the file.
Each bad row costs about half a block that way. From the second one in a block on, rows are
staged: three times the work of a clean COPY, and hardly more for many bad rows. Where
values of a column failed before, ``screen`` sets doubtful rows apart, and where a check did,
COPY itself passes over the rows that break one; then only those are staged.

Deferred constraints are looked at immediately, row by row. The transaction is the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import psycopg

from pgmonkey.errors import RejectLimitError
from pgmonkey.transfer import staging, verdict
from pgmonkey.transfer.ahead import Ahead
from pgmonkey.transfer.attempts import Attempts, RowError
from pgmonkey.transfer.block import Block
from pgmonkey.transfer.encodings import server_encoding
from pgmonkey.transfer.plan import Plan
from pgmonkey.transfer.rejects import Reject
from pgmonkey.transfer.rows import Rows, assembled, decodes, pieces
from pgmonkey.transfer.screen import Parted, Suspicion

# Bytes of one COPY where bad rows were met; otherwise it is the whole block. What a bad row
# costs grows with it; what a COPY costs by itself, half a millisecond, counts for less.
PIECE = 256 * 1024
# Bad rows in one piece from which on the rest of it, and the next one, is staged.
MANY = 2
# Rows staged at a time, so that the rest of a file is not staged at once; see rows._closed.
WINDOW = 16 * 1024
# Rows of one block that may be doubtful for nothing.
FEW = 64
# SQLSTATE of a row that a check refuses.
CHECK = "23514"


class Outcome(NamedTuple):
    """How many rows are in the table, and how many were rejected."""

    rows: int
    rejected: int


def load_skipping(
    conn: psycopg.Connection[Any],
    plan: Plan,
    blocks: Iterable[Block],
    *,
    write: Callable[[Reject], None],
    on_block: Callable[[int], None] | None = None,
) -> Outcome:
    """Load *blocks* in the transaction that is open on *conn*, and *write* what is rejected.

    Args:
        blocks: One file after the other.
        on_block: Called after each with the number of rows met so far.

    Raises:
        RejectLimitError: More rows are bad than ``plan.max_errors`` allows.
        psycopg.Error: What no row is to blame for. The caller rolls back after either.
    """
    load = _Load(conn, plan, write)
    with Ahead(load.prepared(blocks)) as prepared:
        load.tries.on_sent = prepared.want
        for all_rows in prepared:
            load.take(all_rows)
            if on_block is not None:
                on_block(load.rows + load.rejected)
    load.finish()
    return Outcome(load.rows, load.rejected)


class _Load:
    def __init__(
        self, conn: psycopg.Connection[Any], plan: Plan, write: Callable[[Reject], None]
    ) -> None:
        self._plan = plan
        self._write = write
        self._last: Reject | None = None
        # Whether no row of the last block was bad.
        self._calm = True
        # Whether rows were bad in the last block which no screen knows: a check, a key.
        self._hard = False
        self._others = 0
        self.rows = 0
        self.rejected = 0
        # What COPY cannot do by itself is staged whatever the rows are like.
        self._must = staging.wanted(plan)
        self.staging = self._must
        self._names = {f.column: f.name for f in plan.fields}
        self.tries = Attempts(conn, plan, must=self._must)
        # Whether rows are to be held against the table's checks as they are read; None: that
        # does not help.
        self._ruled: bool | None = False if self.tries.ruled else None
        self._suspicion = Suspicion(plan)
        self._utf8 = server_encoding(plan.dialect) == "UTF8"

    def prepared(self, blocks: Iterable[Block]) -> Iterator[list[Rows]]:
        """Yield each block as it will be taken, as far as one can tell; in another thread."""
        for block in assembled(blocks):
            apart = self.tries.apart and not self._hard
            parted = self._parted(block) if apart or self.staging else None
            if apart and self._ruled:
                rows = Rows(block, parted, apart=True, ruled=True)
                _ = rows.doubts, rows.line(0)  # cut and count now, while the server is busy
                yield [rows]
            elif parted is not None and apart:
                rows = Rows(block, parted, apart=True)
                every = range(len(rows.doubtful))
                rows.doubtful.sorted[every] = self.tries.sorted(rows.doubtful, every, exact=True)
                yield [rows]
            elif not self.staging:
                size = len(block.data) if self._calm else PIECE
                yield [Rows(piece) for piece in pieces(block, size)]
            else:
                rows = Rows(block, parted)
                for part in _windows(0, len(rows)):
                    rows.sorted[part] = self.tries.sorted(rows, part)
                yield [rows]

    def _parted(self, block: Block) -> Parted | None:
        """Return which rows of *block* are doubtful, where that is known."""
        parted = self._suspicion.parted(block)
        return None if parted and self._utf8 and not decodes(block.data) else parted

    def take(self, block: list[Rows]) -> None:
        """Load one block, in one piece or several."""
        before, others = self.rejected, self._others
        for rows in block:
            if not rows.apart:
                self._take(rows)
            elif not self._take_apart(rows):
                for piece in pieces(rows.block, PIECE):
                    self._take(Rows(piece))
        self._calm = self.rejected == before
        self._hard = self._others - others >= MANY

    def _take_apart(self, rows: Rows) -> bool:
        """Load the rows that are sure to go in, then try the others; or do nothing."""
        rest = rows if rows.ruled else rows.doubtful
        others: Sequence[int] = range(len(rest))
        try:
            if rows.ruled:
                inserted, others = self.tries.copy_by_rules(rows)
            else:
                assert rows.parted is not None
                inserted = self.tries.copy(rows.parted.certain(), rows.eol)
            more, refused = self.tries.judge(rest, others) if others else (0, [])
        except RowError as error:
            done = False
            if rows.ruled and error.error.sqlstate == CHECK:
                self._ruled = None
        else:
            # Of two rows that meet in a key, the one that came first in the file has to be in.
            done = not any(state in ("23505", "23P01") for _, state, *_ in refused)
            if rows.ruled and not self.tries.accounted(rows, inserted, others, refused):
                done, self._ruled = False, None
        self.tries.end(keep=done, staged=bool(others))
        if not done:
            return False
        self.rows += inserted + more
        for refusal in refused:
            self._reject(rest, *refusal)
        if not rows.ruled and len(others) > FEW + 4 * len(refused):
            self._suspicion.drop()
        return True

    def _take(self, rows: Rows) -> None:
        block = rows.block
        error = None if self.staging else self._attempt(block.wire, block.eol)
        if error is None and not self.staging:
            return
        at = self.tries.place(error, rows, range(len(rows))) if error is not None else None
        if error is not None and at is None and len(smaller := list(pieces(block, PIECE))) > 1:
            for piece in smaller:
                self._take(Rows(piece))
            return
        before, staged, stageable = self.rejected, self.staging, self.tries.stageable
        # What is left to do, the next last.
        todo = _windows(0, len(rows))
        if error is not None and len(rows) > 1:
            todo = _cut(range(len(rows)), at)
        while todo:
            if stageable and not staged and self.rejected - before >= MANY:
                staged, todo = True, _windows(todo[-1].start, len(rows))
            part = todo.pop()
            error = self._stage(rows, part) if staged else self._attempt(rows.wire(part), block.eol)
            if error is None:
                continue
            if staged and self.tries.looks_closer(error, rows, part):
                todo.append(part)
            elif staged and not self._must:  # something in this block cannot be staged
                staged = stageable = False
                todo.append(part)
            elif len(part) == 1:
                self._reject(rows, part[0], *_said(error, self._plan))
            else:
                todo += _cut(part, self.tries.place(error, rows, part))
        many = (self.rejected - before) * PIECE >= MANY * len(block.data)
        self.staging = self._must or (stageable and many)

    def finish(self) -> None:
        """Clear away what the load needed.

        Raises:
            RejectLimitError: More rows were bad than the share that is allowed.
        """
        self.tries.finish()
        self._check_limit(at_end=True)

    def _attempt(self, data: bytes, eol: bytes) -> psycopg.Error | None:
        """Send rows in one COPY, and return what made them all fail."""
        try:
            self.rows += self.tries.copy([data], eol)
        except RowError as error:
            self.tries.end(keep=False)
            return error.error
        self.tries.end(keep=True)
        return None

    def _stage(self, rows: Rows, part: range) -> psycopg.Error | None:
        """Stage rows and have the server insert them, or return why they cannot be staged."""
        try:
            inserted, refused = self.tries.judge(rows, part)
        except RowError as error:
            self.tries.end(keep=False, staged=True)
            return error.error
        self.tries.end(keep=True, staged=True)
        self.rows += inserted
        for refusal in refused:
            self._reject(rows, *refusal)
        return None

    def _reject(self, rows: Rows, index: int, sqlstate: str, reason: str, column: str) -> None:
        self._last = Reject(
            rows.file,
            rows.line(index),
            self._names.get(column, column),
            sqlstate,
            verdict.shortened(reason),
            rows.text(index),
        )
        self.rejected += 1
        known = self._suspicion.add(sqlstate, column)
        if sqlstate == CHECK and self._ruled is not None:
            self._ruled = known = True
        self._others += not known
        self._check_limit()
        self._write(self._last)

    def _check_limit(self, *, at_end: bool = False) -> None:
        limit, last = self._plan.max_errors, self._last
        if last and limit.exceeded(self.rejected, self.rows + self.rejected, at_end=at_end):
            raise RejectLimitError(
                f"{self.rejected} row{' is' if self.rejected == 1 else 's are'} bad, and --max-errors allows {limit}; nothing was"
                f" imported. The last one: {last.reason}",
                file=last.file,
                line=last.line,
            )


def _windows(start: int, stop: int) -> list[range]:
    """Return what to stage at a time from *start* on, the first last."""
    return [range(i, min(i + WINDOW, stop)) for i in range(start, stop, WINDOW)][::-1]


def _cut(part: range, at: int | None) -> list[range]:
    """Return what to try after *part* failed, the first last: around its row at *at*, or halves."""
    if at is None:
        pieces = [part[: len(part) // 2], part[len(part) // 2 :]]
    else:
        pieces = [part[:at], part[at : at + 1], part[at + 1 :]]
    return [piece for piece in reversed(pieces) if piece]


def _said(error: psycopg.Error, plan: Plan) -> tuple[str, str, str]:
    """Return SQLSTATE, reason and column of the refusal of one row."""
    column = error.diag.column_name or verdict.column_in(
        error.diag.context, plan.table.name, plan.columns
    )
    return error.sqlstate or "", verdict.reason_of(error), column
