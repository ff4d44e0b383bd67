"""From the words of ``pgimport`` to what the transfer room takes: a request, and files."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgmonkey.cli.common import STDIN
from pgmonkey.cli.exits import REFUSED
from pgmonkey.cli.failures import CommandError, Failure

if TYPE_CHECKING:
    from pgmonkey.transfer.request import Request
    from pgmonkey.transfer.settingsfile import Chosen


def request_of(
    chosen: Chosen,
    *,
    table: str | None,
    mode: Any,
    key: tuple[str, ...],
    on_conflict: Any,
    create: Any,
    types: tuple[str, ...],
    encoding: str | None,
    delimiter: str | None,
    quote: str | None,
    escape: str | None,
    header: str,
    skip_lines: int | None,
    null: str | None,
    empty_as: Any,
    map: tuple[str, ...],
    columns: tuple[str, ...],
    skip_columns: tuple[str, ...],
    on_error: Any,
    rejects: str | None,
    max_errors: str | None,
    jobs: int | None,
    commit_every: int | None,
) -> Request:
    """Return what the options ask for, and what the settings file says where they are silent.

    Raises:
        CommandError, RequestError: They contradict each other.
    """
    from pgmonkey.transfer.request import Request, limit, names, pairs, split
    from pgmonkey.transfer.settingsfile import over
    from pgmonkey.transfer.sniff import Given

    if table is None:
        raise CommandError(Failure("PGM102", "into which table? give --table [SCHEMA.]NAME"))
    parts = [part.strip() for word in types for part in split(word)]
    general = [part for part in parts if part in ("infer", "text")]
    if len(set(general)) > 1:
        raise CommandError(Failure("PGM102", "--types infer and --types text exclude each other"))
    given = Given(
        encoding,
        delimiter,
        quote,
        escape,
        {"yes": True, "no": False}.get(header),
        skip_lines,
        null,
        empty_as,
    )
    return Request(
        table=table,
        given=over(given, chosen.given),
        columns=names(columns) if columns else None,
        skip_columns=names(skip_columns),
        renames=pairs(map, "--map"),
        types=pairs((part for part in parts if part not in general), "--types"),
        infer="text" not in general,
        mode=mode,
        key=names(key),
        on_conflict=on_conflict,
        create=create,
        on_error=on_error,
        max_errors=limit(max_errors),
        rejects=Path(rejects).expanduser() if rejects else None,
        jobs=jobs,
        commit_every=commit_every,
    )


def files(words: Sequence[str]) -> list[str]:
    """Return the files that *words* name; a pattern is every file it matches, in order.

    Raises:
        CommandError: None is named, or nothing matches.
    """
    if not words:
        raise CommandError(
            Failure("PGM102", "import what? give --import_file FILE, or - for standard input")
        )
    found: list[str] = []
    for word in words:
        path = str(Path(word).expanduser())
        if word == STDIN or Path(path).exists() or not glob.has_magic(path):
            found.append(word if word == STDIN else path)
        elif matching := sorted(glob.glob(path, recursive=True)):  # noqa: PTH207  # Path.glob wants a folder
            found += matching
        else:
            raise CommandError(Failure("PGM403", f"no file matches {word!r}", exit_code=REFUSED))
    return found
