"""What a command says, and where: the result on standard output, the rest on standard error.

Each stream decides for itself about colour and live progress, and no stream makes a
command fail: characters it cannot carry are replaced, a reader that went away ends the
writing and nothing else.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from pgmonkey.cli.failures import Failure

if TYPE_CHECKING:
    from pgmonkey.config.settings import Settings

_COLOURS = {"error": "\x1b[1;31m", "warning": "\x1b[33m"}
_END = "\x1b[0m"

# What our own texts and psycopg's contain beyond ASCII, for streams that have no more.
_ASCII = str.maketrans(
    {
        "\N{HORIZONTAL ELLIPSIS}": "...",
        "\N{EN DASH}": "-",
        "\N{EM DASH}": "-",
        "\N{LEFT SINGLE QUOTATION MARK}": "'",
        "\N{RIGHT SINGLE QUOTATION MARK}": "'",
        "\N{LEFT DOUBLE QUOTATION MARK}": '"',
        "\N{RIGHT DOUBLE QUOTATION MARK}": '"',
        "\N{RIGHTWARDS ARROW}": "->",
    }
)
# Names and values of others are part of what is said, and are no commands to a terminal.
_CONTROLS = {
    code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"
}


def colour_wanted(stream: TextIO | None, choice: str) -> bool:
    """Decide about colour on *stream*: the option, then the environment, then the terminal."""
    if choice != "auto":
        return choice == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return _alive(stream)


def progress_wanted(stream: TextIO | None, choice: str) -> bool:
    """Decide about live progress on *stream*. FORCE_COLOR has no say: logs are not alive."""
    return choice == "always" or (choice == "auto" and _alive(stream))


def _alive(stream: TextIO | None) -> bool:
    if stream is None:  # closed by whoever started us: pgmonkey ... >&-
        return False
    dumb = os.environ.get("TERM") == "dumb" or os.environ.get("CI", "") not in ("", "false", "0")
    return stream.isatty() and not dumb


class Output:
    """Where a command speaks.

    Attributes:
        format: How the result is printed: ``table``, ``json`` and so on.
        verbosity: 0, 1 or 2; -1 is quiet.
        answered: Whether a result was written.
        live: Whether progress is shown.
    """

    def __init__(
        self,
        *,
        format: str = "table",
        verbosity: int = 0,
        color: str = "auto",
        progress: str = "never",
    ) -> None:
        self.format = format
        self.verbosity = verbosity
        self.answered = False
        self._color = color
        self.live = verbosity >= 0 and progress_wanted(sys.stderr, progress)
        self._status = ""
        self._scrubbers: list[Callable[[str], str]] = []

    def protect(self, settings: Settings) -> None:
        """Keep the secrets of *settings* out of everything said from now on."""
        self._scrubbers.append(settings.scrub)

    def rename(self, path: str, name: str) -> None:
        """Call the file *path*, which the user has never heard of, *name* from now on."""
        self._scrubbers.append(lambda text: text.replace(path, name))

    def scrub(self, text: str) -> str:
        """Return *text* without any secret met so far, or that looks like one."""
        from pgmonkey.config.redaction import redact

        text = redact(text)
        for scrubber in self._scrubbers:
            text = scrubber(text)
        return text

    def paint(self, text: str, kind: str, stream: TextIO | None = None) -> str:
        """Return *text* in the colour of *kind* where *stream* (standard output) shows any."""
        if not colour_wanted(stream or sys.stdout, self._color):
            return text
        return f"{_COLOURS[kind]}{text}{_END}"

    def width(self) -> int | None:
        """Return the columns of standard output: COLUMNS, a terminal's, or None for no limit."""
        given = os.environ.get("COLUMNS", "")
        if given.isascii() and given.isdigit() and int(given) > 0:
            return int(given)
        if sys.stdout is None or not sys.stdout.isatty():
            return None
        return os.get_terminal_size(sys.stdout.fileno()).columns or None

    def result(self, text: str) -> None:
        """Write *text* to standard output as it is: the result, and nothing else."""
        self._clear()
        self.answered = True
        write(sys.stdout, text if text.endswith("\n") or not text else text + "\n")

    def note(self, text: str) -> None:
        """Say something the user may skip."""
        if self.verbosity >= 0:
            self._say(text)

    def detail(self, text: str) -> None:
        """Say something for those who asked for more with -v."""
        if self.verbosity >= 1:
            self._say(text)

    def warning(self, text: str) -> None:
        """Say something that works and should be changed."""
        if self.verbosity >= 0:
            self._say(text, self.paint("warning", "warning", sys.stderr) + ": ")

    def error(self, failure: Failure) -> None:
        """Say why a command failed, how far it came and what to try."""
        if failure.code == "PGM902":  # the user knows why
            self._say(failure.message)
            return
        label = self.paint(f"error[{failure.code}]", "error", sys.stderr)
        self._say(failure.message, f"{label}: ")
        if failure.reached:
            self._say(f"  reached  {failure.reached}")
        if failure.hint:
            self._say(f"  try      {failure.hint}")

    def traceback(self, error: BaseException) -> None:
        """Show where *error* came from to those who asked with -vv, and to nobody else."""
        if self.verbosity < 2:
            return
        import traceback

        lines = traceback.format_exception(type(error), error, error.__traceback__)
        self._say("".join(lines).rstrip())

    def progress(self, text: str) -> None:
        """Show *text* on a terminal until the next thing is said."""
        if self.live:
            self._clear()
            self._status = self.scrub(text).translate(_CONTROLS)
            write(sys.stderr, self._status)

    def _clear(self) -> None:
        if self._status:
            write(sys.stderr, "\r" + " " * len(self._status) + "\r")
            self._status = ""

    def _say(self, text: str, label: str = "") -> None:
        self._clear()
        write(sys.stderr, label + self.scrub(text).translate(_CONTROLS) + "\n")


def write(stream: TextIO | None, text: str) -> None:
    """Write *text* and flush; what *stream* cannot carry becomes ASCII.

    A reader that went away (``| head``) is no failure of ours; a full disk is one. Either
    way the stream is pointed at nothing then, so that the interpreter's exit, which
    flushes once more, neither complains nor changes the exit code.
    """
    if stream is None:
        return
    encoding = stream.encoding or "ascii"
    try:
        text.encode(encoding)
    except UnicodeError:
        text = text.translate(_ASCII).encode(encoding, "backslashreplace").decode(encoding)
    try:
        stream.write(text)
        stream.flush()
    except OSError as error:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())
        os.close(nothing)
        if not isinstance(error, BrokenPipeError):
            raise
