"""Options as values: what a command's surface is made of, and the ones many commands share.

The parser, the help screens and the shell completions are all made from these, so none
of them can know an option which the others do not. Nothing here imports argparse, since
``--help`` needs no parser.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

TYPES = ("normal", "pool", "async", "async_pool")
# Connections that share one work: a slip of the finger must not take all that a server has.
MOST_JOBS = 64


class Option(NamedTuple):
    """One option, or one argument when its only flag has no dash.

    Attributes:
        flags: Every spelling; the first one with two dashes gives the parameter's name.
        help: One or two sentences for the help screen, without a full stop.
        metavar: What the value is called; None makes it a switch.
        choices: The values accepted, where they can be listed.
        convert: Turns the text into the value, raising ValueError with what is accepted.
        default: The value when the option is not given.
        variable: The environment variable that stands in for it.
        counted: A switch that may be repeated; its value is how often it was given.
        many: It may be given any number of times; its value is a tuple.
        words: Each time it is given it takes every word up to the next option, as a shell
            makes them of ``*.csv``; goes with ``many``.
        beside: The option whose latest value this one belongs to: ``-O`` is the file of
            the ``--format`` before it. Its value has pairs of both.
    """

    flags: tuple[str, ...]
    help: str
    metavar: str | None = None
    choices: tuple[str, ...] = ()
    convert: Callable[[str], object] | None = None
    default: object = None
    variable: str = ""
    counted: bool = False
    many: bool = False
    words: bool = False
    beside: str = ""

    @property
    def name(self) -> str:
        """The parameter this option fills: ``--resolve-env`` fills ``resolve_env``."""
        long = next((flag for flag in self.flags if flag.startswith("--")), self.flags[0])
        return long.lstrip("-").replace("-", "_").lower()

    @property
    def positional(self) -> bool:
        return not self.flags[0].startswith("-")


class Section(NamedTuple):
    """Options that stand together in a help screen."""

    title: str
    options: tuple[Option, ...]


def seconds(text: str) -> float:
    """Return *text* as a number of seconds above zero."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise ValueError(f"{text!r} is not a number of seconds above 0")
    return value


def rows(text: str) -> int:
    """Return *text* as a number of rows above zero; ``10_000`` is one too."""
    plain = text.replace("_", "")
    if not (plain.isascii() and plain.isdigit() and 0 < int(plain[:19]) < 1 << 62):
        raise ValueError(f"{text!r} is not a whole number above 0")
    return int(plain)


def not_empty(text: str) -> str:
    """Return *text*, unless a variable on the command line turned out to be unset."""
    if not text:
        raise ValueError("the value is empty; is the variable set?")
    return text


def character(text: str) -> str:
    """Return the one character that *text* is; ``\\t`` and ``tab`` are a tab."""
    char = {"\\t": "\t", "tab": "\t"}.get(text.lower(), text)
    if len(char) != 1 or not char.isascii() or char in '\r\n"':
        raise ValueError(f"{text!r} is not one ASCII character; a tab is '\\t'")
    return char


def any_character(text: str) -> str:
    """Return the one character that *text* is, quotes included."""
    from pgmonkey.transfer.settingsfile import character

    return character(text)


def column_names(text: str) -> object:
    """Return the names in a list such as ``id,"Full Name"``, quotes kept."""
    from pgmonkey.transfer.selection import names

    return names(text)


def quoted_columns(text: str) -> object:
    """Return the same, or ``*`` for every column."""
    return ("*",) if text.strip() == "*" else column_names(text)


def server(text: str) -> str:
    """Return *text* if it names a way to have a server, or one by its URI."""
    if text in ("auto", "wheel", "local") or text.startswith(("postgresql://", "postgres://")):
        return text
    raise ValueError(f"{text!r} is not auto, wheel, local or a postgresql:// URI")


def server_version(text: str) -> int:
    """Return ``15`` or ``15.4`` as the server counts versions: 150000, 150004."""
    major, _, minor = text.partition(".")
    if not (major.isascii() and major.isdigit() and (minor or "0").isdigit()):
        raise ValueError(f"{text!r} is not a version such as 15 or 15.4")
    return int(major) * 10000 + int(minor or "0")


def count(text: str) -> int:
    """Return *text* as a whole number from 1 to a million."""
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 1_000_000):
        raise ValueError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def jobs(text: str) -> int:
    """Return *text* as a number of connections that share one work."""
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MOST_JOBS):
        raise ValueError(
            f"{text!r} is not from 1 to {MOST_JOBS}; more than the server has processors is no gain"
        )
    return int(text)


def count_or_none(text: str) -> int:
    """Return *text* as a whole number from 0 to a million."""
    return 0 if text == "0" else count(text)


def share(text: str) -> object:
    """Return ``1/3``, ``0.5`` or ``50%`` as a fraction from 0 to 100."""
    from fractions import Fraction

    number, percent = text.removesuffix("%"), 100 if text.endswith("%") else 1
    try:
        value = Fraction(number) / percent
    except (ValueError, ZeroDivisionError):
        value = Fraction(-1)
    if not 0 <= value <= 100:
        raise ValueError(f"{text!r} is not a share such as 1/3, 0.5 or 50%")
    return value


def network(text: str) -> object:
    """Return ``10.0.0.0/8`` or a single address as a network; bits outside of the mask go."""
    import ipaddress

    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{text!r} is not an address or a network such as 10.0.0.0/8") from None


CONFIG_FLAGS = ("-c", "--config", "--connconfig", "--filepath")
CONFIG = Option(
    CONFIG_FLAGS,
    "the configuration file; - is standard input",
    "PATH",
    convert=not_empty,
    variable="PGMONKEY_CONFIG",
)
DSN = Option(("--dsn",), "a postgresql:// URI instead of a file", "URI", convert=not_empty)
RESOLVE_ENV = Option(
    ("--resolve-env",),
    "resolve ${VARIABLE}, from_env, from_file and from_command",
    variable="PGMONKEY_RESOLVE_ENV=1",
)
ALLOW_SENSITIVE_DEFAULTS = Option(
    ("--allow-sensitive-defaults",), "accept ${VARIABLE:-default} for a password and its like"
)
STRICT = Option(("--strict",), "treat warnings about the configuration as errors")
ASK_PASSWORD = Option(("-W", "--ask-password"), "ask for the password on the terminal")
WHEN_TO_COPY = ("auto", "always", "never")
COPY_KEY = Option(
    ("--copy-key",),
    "connect with a private copy of the client's key; auto only where libpq would refuse the file",
    "WHEN",
    choices=WHEN_TO_COPY,
    variable="PGMONKEY_COPY_KEY",
)
CONNECTION_TYPE = Option(
    ("--connection-type",), "default: the type which the file names", "TYPE", choices=TYPES
)

# Where the settings of a connection come from; ``common.Source`` holds their values.
LOADING = (CONFIG, DSN, RESOLVE_ENV, ALLOW_SENSITIVE_DEFAULTS, STRICT)
CONFIGURATION = Section("configuration", LOADING)
CONFIGURATION_TO_CONNECT = Section("configuration", (*LOADING, ASK_PASSWORD, COPY_KEY))

# How a run speaks; ``output.Output`` holds their values.
QUIET = Option(("-q", "--quiet"), "no notes and no warnings, errors only")
VERBOSE = Option(("-v", "--verbose"), "say more; -vv adds tracebacks", counted=True)
_WHEN = ("auto", "always", "never")
COLOR = Option(
    ("--color",),
    "colour; auto means on a terminal",
    "WHEN",
    choices=_WHEN,
    default="auto",
    variable="NO_COLOR",
)
PROGRESS = Option(
    ("--progress",),
    "live progress on standard error; auto means on a terminal",
    "WHEN",
    choices=_WHEN,
    default="auto",
)
JSON = Option(("--json",), "the same as --format json")
OUTPUT_FILE = Option(
    ("-O", "--output"),
    "write the format named before to this file, not to standard output",
    "FILE",
    convert=not_empty,
    many=True,
    beside="format",
)
HELP = Option(("-h", "--help"), "this text")
SPEAKING = (VERBOSE, QUIET, COLOR, HELP)


def output(*formats: str, live: bool = False, several: bool = False) -> Section:
    """Return the output options of a command which can answer in *formats*.

    With *several*, it can answer in many of them at once, into files.
    """
    chosen: tuple[Option, ...] = ()
    if formats:
        what = Option(
            ("--format",),
            f"how to print the result; default: {formats[0]}",
            "FORMAT",
            choices=formats,
            default=formats[0],
            many=several,
        )
        chosen = (what, JSON) if "json" in formats else (what,)
        chosen = (what, OUTPUT_FILE, *chosen[1:]) if several else chosen
    return Section("output", (*chosen, *((PROGRESS,) if live else ()), *SPEAKING))
