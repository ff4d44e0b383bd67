"""What the table of commands is made of."""

from __future__ import annotations

from typing import NamedTuple

from pgmonkey.cli.options import Option, Section


class Command(NamedTuple):
    """One command.

    Attributes:
        name: The words a user types after ``pgmonkey``.
        run: ``module:function`` in this package.
        says: One sentence that begins with a verb, without a full stop.
        examples: Two to four command lines.
        sections: The options and arguments, in the order of the help screen.
        exits: What this command's exit codes mean, where it is more than the table says.
    """

    name: str
    run: str
    says: str
    examples: tuple[str, ...]
    sections: tuple[Section, ...]
    exits: dict[int, str]

    @property
    def options(self) -> tuple[Option, ...]:
        return tuple(option for section in self.sections for option in section.options)


class Group(NamedTuple):
    """A word that stands before the names of several commands."""

    name: str
    says: str
    examples: tuple[str, ...]
