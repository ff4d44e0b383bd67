"""From the words of a command line to a command and its parameters.

The only module that knows argparse, and it is imported only when a command is to be run.
What argparse would print or exit on becomes a ``CommandError``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NoReturn

from pgmonkey.cli.commands import Command
from pgmonkey.cli.exits import USAGE
from pgmonkey.cli.failures import CommandError, Failure, nearest
from pgmonkey.cli.options import Option


def usage_error(message: str, *, code: str = "PGM101", command: str = "") -> CommandError:
    """Return the error for a command line that was typed wrongly."""
    return CommandError(
        Failure(
            code, message, hint=f"pgmonkey {command} --help".replace("  ", " "), exit_code=USAGE
        )
    )


def parse(command: Command, words: list[str]) -> dict[str, Any]:
    """Return the value of every option of *command*, by parameter name.

    Raises:
        CommandError: *words* are not a valid command line.
    """
    parser = _Parser(command)
    for option in command.options:
        parser.accept(option)
    if any(option.positional for option in command.options):
        namespace, unknown = parser.parse_known_intermixed_args(words)
    else:
        namespace, unknown = parser.parse_known_args(words)
    for word in unknown:
        if word.startswith("-") and word != "-":
            flag = word.partition("=")[0]
            known = [f for option in command.options for f in option.flags if f.startswith("-")]
            raise usage_error(
                f"unknown option {flag!r}{nearest(flag, known)}", command=command.name
            )
        takes_file = any("-c" in option.flags for option in command.options)
        hint = f"; write -c {word}" if takes_file and word.endswith((".yaml", ".yml")) else ""
        raise usage_error(f"unexpected argument {word!r}{hint}", command=command.name)
    values = vars(namespace)
    for option in command.options:
        if option.many and not option.beside:
            values[option.name] = tuple(values[option.name] or ())
    for option in command.options:
        if option.beside:
            _separate(command, option, values)
    if values.pop("json", False):
        if values["format"] not in ("json", command_default(command, "format")):
            raise usage_error(
                f"--json contradicts --format {values['format']}",
                code="PGM102",
                command=command.name,
            )
        values["format"] = "json"
    return values


def command_default(command: Command, name: str) -> object:
    """Return the default of the option called *name*."""
    return next(option.default for option in command.options if option.name == name)


def _separate(command: Command, option: Option, values: dict[str, Any]) -> None:
    """Leave in *values* the one format for standard output, and those that go to files.

    ``--format json --format sarif -O found.sarif`` is json on standard output and sarif in
    a file; with every format in a file, standard output has the default one.
    """
    default = command_default(command, option.beside)
    named = [*values[option.beside], *(["json"] if values.pop("json", False) else [])]
    files: list[tuple[object, object]] = []
    taken: set[int] = set()
    for index, path in values[option.name] or ():
        index = max(index, 0)  # -O before any --format means the first one
        taken.add(index)
        files.append((named[index] if named else default, path))
    left = list(dict.fromkeys(name for i, name in enumerate(named) if i not in taken))
    if len(left) > 1:
        raise usage_error(
            f"standard output takes one format, not {' and '.join(left)}; "
            f"write -O FILE after --format {left[-1]}",
            code="PGM102",
            command=command.name,
        )
    values[option.beside] = left[0] if left else default
    values[option.name] = tuple(files)


class _Beside(argparse.Action):
    """Keep each value with the position of the latest value of another option."""

    beside = ""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        pairs = getattr(namespace, self.dest) or []
        seen = getattr(namespace, self.beside) or []
        setattr(namespace, self.dest, [*pairs, (len(seen) - 1, values)])


class _Parser(argparse.ArgumentParser):
    """argparse without abbreviations, printing and exiting."""

    def __init__(self, command: Command) -> None:
        super().__init__(prog=f"pgmonkey {command.name}", allow_abbrev=False, add_help=False)
        self._command = command

    def accept(self, option: Option) -> None:
        """Add *option*."""
        if option.positional:
            self.add_argument(
                option.name,
                metavar=option.flags[0],
                nargs="*" if option.many else None,
                type=_converter(option),
            )
        elif option.counted:
            self.add_argument(*option.flags, dest=option.name, action="count", default=0)
        elif option.metavar is None:
            self.add_argument(*option.flags, dest=option.name, action="store_true")
        elif option.words:
            self.add_argument(
                *option.flags,
                dest=option.name,
                metavar=option.metavar,
                nargs="+",
                action="extend",
                type=_converter(option),
            )
        elif option.many:
            action = self.add_argument(
                *option.flags,
                dest=option.name,
                metavar=option.metavar,
                action=_Beside if option.beside else "append",
                type=_converter(option),
            )
            if isinstance(action, _Beside):
                action.beside = option.beside
        else:
            self.add_argument(
                *option.flags,
                dest=option.name,
                metavar=option.metavar,
                default=option.default,
                type=_converter(option),
            )

    def error(self, message: str) -> NoReturn:
        raise usage_error(
            message.removeprefix("argument "), code="PGM102", command=self._command.name
        )


def _converter(option: Option) -> Callable[[str], object]:
    """Return what turns an option's text into its value, with the nearest choice in errors."""

    def convert(text: str) -> object:
        if option.choices and text not in option.choices:
            raise argparse.ArgumentTypeError(
                f"{text!r} is not one of {', '.join(option.choices)}{nearest(text, option.choices)}"
            )
        try:
            return option.convert(text) if option.convert else text
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert
