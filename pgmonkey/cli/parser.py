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
        if option.positional and option.many:
            values[option.name] = tuple(values[option.name])
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
