"""The command line's front door: find the command, run it, turn failures into exit codes.

Each command is a function with plain parameters that returns an exit code; it is imported
once its name and options are known, so that ``--help`` and ``--version`` import next to
nothing. ``main`` is the only place that catches whatever comes.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
from typing import Any

from pgmonkey.cli.commands import COMMANDS, GROUPS, Command, Group, find, members
from pgmonkey.cli.exits import BUG, OK, USAGE
from pgmonkey.cli.failures import CommandError, explain, nearest
from pgmonkey.cli.interrupts import sigterm_raises
from pgmonkey.cli.options import LOADING
from pgmonkey.cli.output import Output, write

_HELP = ("-h", "--help")


def main(argv: list[str] | None = None) -> int:
    """Run one command line and return its exit code.

    Args:
        argv: The words after ``pgmonkey``; by default those of this process.
    """
    _fill_closed_streams()
    # Hardly anything here is garbage that only a collector finds, and at the usual threshold
    # it looks through the freshly imported modules again and again: 10 ms of a start. And once
    # more at the very end, which is 30 ms of a process that is about to go.
    gc.set_threshold(100_000)
    atexit.register(gc.freeze)
    words = list(sys.argv[1:] if argv is None else argv)
    run = _Run(words)
    try:
        with sigterm_raises(last=argv is None):
            return run.dispatch()
    except BaseException as error:  # the one place where failures become exit codes
        return run.failed(error)


class _Run:
    """One command line on its way: what is known of it when it fails."""

    def __init__(self, words: list[str]) -> None:
        self.words = words
        self.command: Command | None = None
        # Until the words are understood, what they seem to say about speaking has to do.
        self.out = Output(
            format="json" if _asks_for_json(words) else "table",
            verbosity=2 if "-vv" in words else 0,
        )

    def dispatch(self) -> int:
        """Answer help and version here; hand everything else to its command."""
        words = self.words
        if not words:
            return _print_short(helptext().top_screen(short=True))
        if words[0] in _HELP:
            return _print(helptext().top_screen())
        if words[0] in ("-V", "--version"):
            from pgmonkey._version import __version__

            return _print(f"pgmonkey {__version__}\n")
        entry, rest = find(words)
        if entry is None:
            raise _unknown(words[0], "command", [*(c.name for c in COMMANDS), *_group_names()])
        if isinstance(entry, Group):
            return _group(entry, rest)
        self.command = entry
        before_dashes = rest[: rest.index("--")] if "--" in rest else rest
        if any(word in _HELP for word in before_dashes):
            return _print(helptext().command_screen(entry))
        return self._call(entry, rest)

    def _call(self, command: Command, words: list[str]) -> int:
        from importlib import import_module

        from pgmonkey.cli.parser import parse

        values = parse(command, words)
        self.out = Output(
            format=values.pop("format", "table"),
            verbosity=-1 if values.pop("quiet") else values["verbose"],
            color=values.pop("color"),
            progress=values.pop("progress", "never"),
        )
        del values["verbose"], values["help"]
        if all(option in command.options for option in LOADING):
            values["source"] = _source(values)
        module, function = command.run.split(":")
        code = getattr(import_module(f"pgmonkey.cli.{module}"), function)(out=self.out, **values)
        assert isinstance(code, int)
        return code

    def failed(self, error: BaseException) -> int:
        """Tell the user about *error* in the form that was asked for; return the exit code."""
        try:
            failure = explain(error)
            self.out.traceback(error)
            self.out.error(failure)
            if self.out.format not in ("table", "text") and not self.out.answered:
                from pgmonkey.cli.render import Report, render

                name = self.command.name if self.command else "pgmonkey"
                said = failure._replace(
                    message=self.out.scrub(failure.message), hint=self.out.scrub(failure.hint)
                )
                report = Report(name, failure.exit_code, error=said)
                self.out.result(render(report, self.out.format))
            return failure.exit_code
        except OSError:  # nobody can be told: standard error itself is gone
            return BUG


def helptext() -> Any:
    """Return the module of help screens, imported only where one is shown."""
    from pgmonkey.cli import helptext

    return helptext


def _source(values: dict[str, Any]) -> Any:
    from pgmonkey.cli.common import Source

    return Source(**{name: values.pop(name) for name in Source._fields if name in values})


def _group(group: Group, rest: list[str]) -> int:
    if not rest:
        return _print_short(helptext().group_screen(group, short=True))
    if rest[0] in _HELP:
        return _print(helptext().group_screen(group))
    known = [c.name.removeprefix(f"{group.name} ") for c in members(group)]
    raise _unknown(rest[0], f"{group.name} command", known, group.name)


def _group_names() -> list[str]:
    return [group.name for group in GROUPS]


def _unknown(word: str, what: str, known: list[str], context: str = "") -> CommandError:
    from pgmonkey.cli.parser import usage_error

    if word.startswith("-"):
        where = " ".join(("pgmonkey", context, "COMMAND [options]")).replace("  ", " ")
        word = word.partition("=")[0]
        close = nearest(word, (*_HELP, "--version")) if not context else ""
        return usage_error(
            f"unknown option {word!r} before the command{close or f'; write {where}'}",
            command=context,
        )
    inside = [c.name for c in COMMANDS if c.name.split()[-1] == word]
    close = f"; did you mean {inside[0]!r}?" if inside else nearest(word, known)
    return usage_error(f"unknown {what} {word!r}{close}", command=context)


def _print(text: str) -> int:
    write(sys.stdout, text)
    return OK


def _print_short(text: str) -> int:
    write(sys.stderr, text)
    return USAGE


def _asks_for_json(words: list[str]) -> bool:
    after = words[words.index("--format") + 1 :] if "--format" in words else []
    return "--json" in words or "--format=json" in words or after[:1] == ["json"]


def _fill_closed_streams() -> None:
    """Open nothing where a standard stream was closed (``pgmonkey ... >&-``).

    The system gives the lowest free number to whatever is opened next: a connection to a
    server would be standard output, for this process and for those it starts.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
