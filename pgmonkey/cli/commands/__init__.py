"""The table of commands: every name, option, example and exit code of the command line.

One module a command. A new one is an entry here and a function that takes the options as
parameters and returns an exit code. ``run`` names the function in text, so that asking for help imports
none of them. Every example is run by the tests, in a folder with a ``config.yaml`` and
with ``DATABASE_URL`` and the libpq variables set.
"""

from __future__ import annotations

from pgmonkey.cli.commands import itself, pgconfig, pgexport, pgimport, pgserverconfig
from pgmonkey.cli.commands.entry import Command, Group

__all__ = ["COMMANDS", "EXAMPLES", "GROUPS", "Command", "Group", "find", "members"]

GROUPS = (
    Group(
        "pgconfig",
        "Write, check and try a configuration file",
        (
            "pgmonkey pgconfig create --type pg --filepath new.yaml",
            "pgmonkey pgconfig test --connconfig config.yaml",
            "pgmonkey pgconfig generate-code --filepath config.yaml",
        ),
    ),
)

COMMANDS = (
    *pgconfig.COMMANDS,
    pgserverconfig.COMMAND,
    pgimport.COMMAND,
    pgexport.COMMAND,
    *itself.COMMANDS,
)

EXAMPLES = (
    "pgmonkey pgconfig create --type pg --filepath new.yaml",
    "pgmonkey pgconfig test -c config.yaml --connection-type all",
    "pgmonkey pgconfig generate-code -c config.yaml > app.py",
)


def find(words: list[str]) -> tuple[Command | Group | None, list[str]]:
    """Return the command or group that *words* begin with, and the words after its name.

    A group is returned when no command of it follows. None means that the first word is
    neither.
    """
    for length in (2, 1):
        name = " ".join(words[:length])
        for entry in (*COMMANDS, *GROUPS):
            if entry.name == name and len(words) >= length:
                return entry, words[length:]
    return None, words


def members(group: Group) -> tuple[Command, ...]:
    """Return the commands of *group*, in the table's order."""
    return tuple(c for c in COMMANDS if c.name.startswith(group.name + " "))
