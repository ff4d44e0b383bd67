"""What somebody asks of an import: every option as a value, before anything was looked at.

The command line and ``import_csv`` both make a ``Request``; ``planning`` makes a plan of it.
What contradicts itself whatever the file and the table are is refused here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from pgmonkey.errors import RequestError
from pgmonkey.transfer.plan import MaxErrors, Mode, OnConflict, OnError
from pgmonkey.transfer.sniff import Given

Create: TypeAlias = Literal["auto", "never"]

_TABLE_FIRST: tuple[Mode, ...] = ("truncate", "replace")


@dataclass(frozen=True)
class Request:
    """An import as it is asked for.

    Attributes:
        table: As the user types it: ``[SCHEMA.]NAME``.
        given: What is said about the file; the rest is found out.
        columns: With a header, the only columns to load, named as in the file or in the
            table. Without one, the names of the fields. None for all.
        skip_columns: Columns to leave out, named likewise.
        renames: Name in the file to column of the table.
        types: Column (either name) to type, for a table to be created.
        infer: Whether the other types are inferred; otherwise they are text.
        mode, key, on_conflict, on_error, max_errors, rejects, commit_every: As in ``Plan``;
            *on_conflict* None means what *mode* says.
        create: Whether a missing table is created. None: what the settings file says, or
            "auto".
        lowercase: Whether the names of new columns become lower case; None likewise.
        jobs: Connections; None decides by the size of the file.
    """

    table: str
    given: Given = field(default_factory=Given)
    columns: tuple[str, ...] | None = None
    skip_columns: tuple[str, ...] = ()
    renames: Mapping[str, str] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)
    infer: bool = True
    mode: Mode = "append"
    key: tuple[str, ...] = ()
    on_conflict: OnConflict | None = None
    create: Create | None = None
    lowercase: bool | None = None
    on_error: OnError = "stop"
    max_errors: MaxErrors = field(default_factory=MaxErrors)
    rejects: Path | None = None
    jobs: int | None = None
    commit_every: int | None = None

    def __post_init__(self) -> None:
        if self.on_error == "stop" and (self.rejects or self.max_errors != MaxErrors()):
            raise RequestError(
                "--rejects and --max-errors mean something with --on-error skip only"
            )
        if self.mode == "upsert" and not self.key:
            raise RequestError("--mode upsert needs a key: --key COLUMN[,COLUMN]")
        if self.mode == "upsert" and self.on_conflict == "error":
            raise RequestError(
                "--mode upsert updates what exists; --on-conflict error is --mode append"
            )
        if self.conflict == "update" and not self.key:
            raise RequestError("--on-conflict update needs a key: --key COLUMN[,COLUMN]")
        if self.mode == "create" and self.create == "never":
            raise RequestError("--mode create and --create never contradict each other")
        if self.commit_every is not None and self.mode in _TABLE_FIRST:
            raise RequestError(
                f"--mode {self.mode} empties the table, which --commit-every would make final "
                "before the rows are in; import with one of the two"
            )
        if self.commit_every is not None and self.on_error == "skip":
            raise RequestError(
                "--commit-every and --on-error skip exclude each other: the rejects are complete "
                "only with the whole file; import with one of the two"
            )

    @property
    def conflict(self) -> OnConflict:
        """What happens to a row whose key exists."""
        return self.on_conflict or ("update" if self.mode == "upsert" else "error")

    @property
    def destroys(self) -> bool:
        """Whether the rows that the table holds now are given up."""
        return self.mode in _TABLE_FIRST


def names(words: Iterable[str]) -> tuple[str, ...]:
    """Return the names in *words*, each a list with commas; ``"a,b"`` in quotes is one name."""
    return tuple(_unquoted(part) for word in words for part in split(word))


def pairs(words: Iterable[str], what: str) -> dict[str, str]:
    """Return ``A=B`` words as a mapping. Only A may be quoted, to hold a comma or ``=``.

    Raises:
        RequestError: A word is not of that form, or names an A twice.
    """
    found: dict[str, str] = {}
    for word in [part for list_ in words for part in split(list_)]:
        parts = split(word, "=")
        left, right = parts[0], "=".join(parts[1:])
        name = _unquoted(left)
        if len(parts) < 2 or not right:
            raise RequestError(f"{what}: {word!r} is not of the form NAME=VALUE")
        if name in found:
            raise RequestError(f"{what}: {name!r} is named twice")
        found[name] = right
    return found


def split(text: str, at: str = ",") -> list[str]:
    """Split *text* at each *at* which is neither in quotes nor in parentheses."""
    piece = re.compile(rf'(?:"(?:[^"]|"")*"|\([^()]*\)|[^{re.escape(at)}])*')
    pieces, start = [], 0
    while start <= len(text):
        found = piece.match(text, start)
        assert found is not None  # it matches the empty text too
        pieces.append(found[0])
        start = found.end() + 1
    return pieces


def _unquoted(name: str) -> str:
    name = name.strip()
    if len(name) >= 2 and name[0] == name[-1] == '"':
        return name[1:-1].replace('""', '"')
    return name


def limit(given: int | str | None) -> MaxErrors:
    """Return how many rows may be rejected: 100, ``"100"`` or ``"0.5%"``; None is no limit.

    Raises:
        RequestError: It is neither a number nor a share.
    """
    if given is None:
        return MaxErrors()
    text = str(given).strip()
    found = re.fullmatch(r"([0-9]{1,18})|([0-9]{1,3}(?:\.[0-9]{1,9})?)\s*%", text)
    if found is None or float(found[2] or 0) > 100:
        raise RequestError(
            f"--max-errors: {text!r} is neither a number of rows nor a share such as 1%"
        )
    return MaxErrors(int(found[1])) if found[1] else MaxErrors(percent=float(found[2]))
