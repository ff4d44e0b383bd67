"""What is said where: streams decide for themselves, and none of them makes a command fail."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import struct
import sys
import termios

import pytest

from pgmonkey.cli.failures import Failure
from pgmonkey.cli.output import Output, colour_wanted, progress_wanted, write
from pgmonkey.config.redaction import Secret
from pgmonkey.config.settings import Settings
from support.cli import run

PLAIN = {"NO_COLOR": None, "FORCE_COLOR": None, "TERM": "xterm", "CI": None}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("choice", "environment", "terminal", "wanted"),
    [
        ("auto", {}, True, True),
        ("auto", {}, False, False),
        ("auto", {"NO_COLOR": "1"}, True, False),
        ("auto", {"NO_COLOR": ""}, True, True),
        ("auto", {"TERM": "dumb"}, True, False),
        ("auto", {"CI": "true"}, True, False),
        ("auto", {"CI": "false"}, True, True),
        ("auto", {"FORCE_COLOR": "1"}, False, True),
        ("auto", {"FORCE_COLOR": "1", "CI": "true"}, False, True),
        ("auto", {"FORCE_COLOR": "1", "NO_COLOR": "1"}, True, False),
        ("never", {"FORCE_COLOR": "1"}, True, False),
        ("always", {"NO_COLOR": "1", "TERM": "dumb"}, False, True),
    ],
)
def test_colour_is_decided_by_option_then_environment_then_terminal(
    choice: str, environment: dict[str, str], terminal: bool, wanted: bool, monkeypatch
):
    for name, value in (PLAIN | environment).items():
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert colour_wanted(Terminal() if terminal else io.StringIO(), choice) is wanted


@pytest.mark.parametrize(
    ("environment", "terminal", "wanted"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"FORCE_COLOR": "1"}, False, False),
        ({"NO_COLOR": "1"}, True, True),
        ({"CI": "1"}, True, False),
        ({"TERM": "dumb"}, True, False),
    ],
)
def test_live_progress_needs_a_live_terminal(
    environment: dict[str, str], terminal: bool, wanted: bool, monkeypatch
):
    for name, value in (PLAIN | environment).items():
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert progress_wanted(Terminal() if terminal else io.StringIO(), "auto") is wanted


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8"])
def test_stream_that_cannot_carry_a_character_gets_ascii(encoding: str):
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, newline="")
    write(stream, "wait\N{HORIZONTAL ELLIPSIS} \N{SNOWMAN} \udcff\n")
    written = raw.getvalue().decode(encoding)
    expected = {
        "ascii": "wait... \\u2603 \\udcff\n",
        "latin-1": "wait... \\u2603 \\udcff\n",
        "cp1252": "wait... \\u2603 \\udcff\n",
        "utf-8": "wait... \N{SNOWMAN} \\udcff\n",
    }
    assert written == expected[encoding]


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_command_survives_a_stream_of_another_encoding(encoding: str, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("connection_settings: {host: 'schn\N{SNOWMAN}ee'}\n", encoding="utf-8")
    config.chmod(0o600)
    result = run("pgconfig", "show", "-c", config, env={"PYTHONIOENCODING": encoding})
    assert (result.code, result.stderr) == (0, "")
    assert "schn\\u2603ee" in result.stdout


@pytest.mark.parametrize(
    ("verbosity", "said"),
    [
        (-1, ["error[PGM301]: refused", "  try      again"]),
        (0, ["note", "warning: careful", "error[PGM301]: refused", "  try      again"]),
        (1, ["note", "detail", "warning: careful", "error[PGM301]: refused", "  try      again"]),
    ],
)
def test_quiet_silences_notes_and_never_errors(
    verbosity: int, said: list[str], capsys: pytest.CaptureFixture[str]
):
    out = Output(verbosity=verbosity)
    out.note("note")
    out.detail("detail")
    out.warning("careful")
    out.error(Failure("PGM301", "refused", hint="again"))
    assert capsys.readouterr().err.splitlines() == said


def test_error_says_how_far_it_came_and_what_to_try(capsys: pytest.CaptureFixture[str]):
    failure = Failure("PGM301", "refused", "dns 3 ms > login FAILED", "check PGPASSWORD")
    Output().error(failure)
    assert capsys.readouterr().err == (
        "error[PGM301]: refused\n  reached  dns 3 ms > login FAILED\n  try      check PGPASSWORD\n"
    )


def test_secrets_of_protected_settings_are_said_nowhere(capsys: pytest.CaptureFixture[str]):
    out = Output(verbosity=2)
    out.protect(Settings("x.yaml", connection={"password": Secret("canary 7f3a")}))
    for say in (out.note, out.detail, out.warning):
        say("canary 7f3a and canary%207f3a")
    out.error(Failure("PGM301", "canary 7f3a", "canary 7f3a", "canary 7f3a"))
    said = capsys.readouterr().err
    assert "canary" not in said
    assert said.count("***REDACTED***") == 9


def test_uri_is_redacted_before_any_settings_are_known(capsys: pytest.CaptureFixture[str]):
    Output().note("cannot read postgresql://app:canary@db/sales")
    assert "canary" not in capsys.readouterr().err


def test_progress_is_gone_when_the_next_thing_is_said(monkeypatch: pytest.MonkeyPatch):
    for name in PLAIN:
        monkeypatch.delenv(name, raising=False)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    out = Output(progress="auto", color="never")
    out.progress("testing pool")
    out.note("done")
    assert terminal.getvalue() == "testing pool\r            \rdone\n"


def test_width_is_that_of_a_terminal_and_without_limit_elsewhere(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert Output().width() is None
    monkeypatch.setenv("COLUMNS", "40")
    assert Output().width() == 40
    monkeypatch.delenv("COLUMNS")
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        os.set_blocking(ours, False)
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 61, 0, 0))
        assert Output().width() == 61
    os.close(ours)


def test_control_characters_of_names_and_values_reach_no_terminal(capsys, monkeypatch):
    """A header or a value of a stranger's file is quoted in errors."""
    monkeypatch.setenv("NO_COLOR", "1")
    out = Output()
    out.error(Failure("PGM411", "a\x1b[31m.csv:2: \x9b2J\ttab", hint="name\x07"))
    out.warning("row\rof others")
    out.note("CREATE TABLE t (\n  \x7f")
    assert capsys.readouterr().err == (
        "error[PGM411]: a\\x1b[31m.csv:2: \\x9b2J\ttab\n  try      name\\x07\n"
        "warning: row\\x0dof others\nCREATE TABLE t (\n  \\x7f\n"
    )
