"""Help screens, made from the table of commands.

They are the same text on every Python and every terminal: argparse's own differ between
versions and wrap at COLUMNS, which no golden file could hold. 79 columns, ASCII only.
"""

from __future__ import annotations

from collections.abc import Iterable

from pgmonkey.cli.commands import COMMANDS, EXAMPLES, GROUPS, Command, Group, find, members
from pgmonkey.cli.exits import CATALOGUE, MEANING, OK, USAGE
from pgmonkey.cli.failures import CommandError, Failure, nearest
from pgmonkey.cli.options import Option
from pgmonkey.cli.output import Output

WIDTH = 79
_COLUMN = 26  # where explanations begin

ENVIRONMENT = (
    ("PGMONKEY_CONFIG", "the configuration file, where -c is not given"),
    ("PGMONKEY_RESOLVE_ENV", "1 is the same as --resolve-env on every command"),
    (
        "PGHOST, PGHOSTADDR, PGSERVICE, PGDATABASE, PGUSER",
        "any one of these is enough to run without a file; what a file leaves out comes from PG*",
    ),
    ("PGPASSWORD", "the password, where the file names none"),
    ("PGPASSWORD_FILE", "a file that holds the password, when there is no configuration file"),
    ("PGMONKEY_COPY_KEY", "the same as --copy-key; auto in the container image, else never"),
    ("NO_COLOR, FORCE_COLOR, TERM, CI", "decide about colour as usual; --color wins"),
)


def wrap(text: str, first: str, indent: int) -> list[str]:
    """Break *text* into lines of at most WIDTH columns after *first*, then *indent* spaces.

    Twenty lines less than textwrap costs to import, which every help screen would pay.
    """
    lines: list[str] = []
    line = first
    for word in text.split():
        if len(line) + len(word) > WIDTH and line.strip():
            lines.append(line.rstrip())
            line = " " * indent
        line += word + " "
    return [*lines, line.rstrip()]


def _pairs(pairs: Iterable[tuple[str, str]], column: int = _COLUMN) -> list[str]:
    """Lay out names and explanations in two columns."""
    lines: list[str] = []
    for name, text in pairs:
        first = f"  {name}  "
        if len(first) > column:
            lines.append(first.rstrip())
            first = ""
        lines += wrap(text, first.ljust(column), column)
    return lines


def _option(option: Option) -> tuple[str, str]:
    name = ", ".join(option.flags)
    if option.metavar:
        name += " " + ("|".join(option.choices) if option.choices else option.metavar)
    if option.many:
        name += " ..."
    return name, option.help + (f" [{option.variable}]" if option.variable else "")


def usage(command: Command) -> str:
    """Return the one line that shows how *command* is called."""
    arguments = (o.flags[0] + (" ..." if o.many else "") for o in command.options if o.positional)
    return " ".join(("usage: pgmonkey", command.name, "[options]", *arguments))


def _examples(examples: tuple[str, ...]) -> list[str]:
    return ["", "examples:", *(f"  {example}" for example in examples)]


def command_screen(command: Command) -> str:
    """Return the help screen of one command."""
    lines = [usage(command), "", *wrap(command.says + ".", "", 0), *_examples(command.examples)]
    for section in command.sections:
        lines += ["", f"{section.title}:", *_pairs(map(_option, section.options))]
    lines += ["", "exit codes:"]
    codes = sorted({OK, USAGE, *command.exits})
    lines += _pairs(((f"{c}", command.exits.get(c, MEANING[c])) for c in codes), 6)
    lines += ["", "All exit codes: pgmonkey help exit-codes", ""]
    return "\n".join(lines)


def group_screen(group: Group, *, short: bool = False) -> str:
    """Return the help screen of a group; *short* leaves the examples and exit codes out."""
    listed = ((c.name.removeprefix(group.name + " "), c.says) for c in members(group))
    lines = [f"usage: pgmonkey {group.name} COMMAND [options]", "", group.says + "."]
    if not short:
        lines += _examples(group.examples)
    lines += ["", "commands:", *_pairs(listed, 18)]
    lines += ["", *([] if short else _short_codes()), f"More: pgmonkey {group.name} COMMAND --help"]
    return "\n".join((*lines, ""))


def top_screen(*, short: bool = False) -> str:
    """Return the help screen of pgmonkey itself."""
    single = [(c.name, c.says) for c in COMMANDS if " " not in c.name]
    lines = [
        "usage: pgmonkey [--version] [--help] COMMAND [options]",
        "",
        "One YAML file for every PostgreSQL connection.",
    ]
    if not short:
        lines += _examples(EXAMPLES)
    lines += ["", "commands:", *_pairs([*((g.name, g.says) for g in GROUPS), *single], 18), ""]
    if not short:
        lines += ["options:", *_pairs((("-h, --help", "this text"), ("--version", "the version")))]
        lines += ["", "environment:", *_pairs(ENVIRONMENT[:2])]
        lines += ["  PGHOST, PGUSER, ...     see: pgmonkey help environment", "", *_short_codes()]
    return "\n".join((*lines, "More: pgmonkey COMMAND --help, pgmonkey help TOPIC", ""))


def _short_codes() -> list[str]:
    return ["exit codes:", *_pairs(((f"{c}", MEANING[c]) for c in (0, 1, 2, 3, 4)), 6), ""]


def exit_codes_screen() -> str:
    """Return the table of exit codes."""
    return "\n".join(("exit codes:", *_pairs(((str(c), t) for c, t in MEANING.items()), 8), ""))


def environment_screen() -> str:
    """Return what is read from the environment."""
    return "\n".join(("environment:", *_pairs(ENVIRONMENT), ""))


def code_screen(code: str) -> str:
    """Return the explanation of one error code."""
    entry = CATALOGUE[code]
    lines = [f"{code}: {entry.title}", "", *wrap(entry.why, "", 0)]
    return "\n".join((*lines, "", *wrap(entry.remedy, "try  ", 5), ""))


def explain(*, topic: tuple[str, ...], out: Output) -> int:
    """Explain *topic*; without one, show the first screen."""
    out.result(_screen(list(topic)))
    return OK


def _screen(words: list[str]) -> str:
    name = " ".join(words)
    if not words:
        return top_screen()
    if name.upper() in CATALOGUE:
        return code_screen(name.upper())
    pages = {"exit-codes": exit_codes_screen, "environment": environment_screen}
    if name in pages:
        return pages[name]()
    entry, rest = find(words)
    if entry is None or rest:
        known = [*pages, *(c.name for c in COMMANDS), *(g.name for g in GROUPS), *CATALOGUE]
        raise CommandError(
            Failure(
                "PGM101",
                f"there is no help on {name!r}{nearest(name, known)}",
                hint="pgmonkey help",
                exit_code=USAGE,
            )
        )
    return command_screen(entry) if isinstance(entry, Command) else group_screen(entry)
