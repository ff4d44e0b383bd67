"""Help screens, whole: a change in one is a change in its golden file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pgmonkey.cli import exits
from pgmonkey.cli.commands import COMMANDS, GROUPS
from pgmonkey.cli.main import main
from support.cli import run

GOLDEN = Path(__file__).parent.parent / "golden" / "help"

# File name and words of every screen. To accept a change, write a screen anew:
#   python -m pgmonkey pgconfig test --help > tests/golden/help/pgconfig-test.txt
SCREENS = {
    "pgmonkey": ["--help"],
    "exit-codes": ["help", "exit-codes"],
    "environment": ["help", "environment"],
    "PGM301": ["help", "PGM301"],
    **{group.name: [group.name, "--help"] for group in GROUPS},
    **{c.name.replace(" ", "-"): [*c.name.split(), "--help"] for c in COMMANDS},
}


@pytest.mark.parametrize("name", SCREENS)
def test_screen_is_the_golden_one(name: str, capsys: pytest.CaptureFixture[str]):
    assert main(SCREENS[name]) == 0
    assert capsys.readouterr().out == (GOLDEN / f"{name}.txt").read_text(encoding="ascii")


def test_no_golden_screen_is_left_behind():
    assert {path.stem for path in GOLDEN.iterdir()} == SCREENS.keys()


@pytest.mark.parametrize("columns", ["20", "40", "200", "nonsense"])
def test_screen_is_the_same_whatever_the_terminal(columns: str):
    result = run("pgconfig", "test", "--help", env={"COLUMNS": columns, "FORCE_COLOR": "1"})
    assert result.stdout == (GOLDEN / "pgconfig-test.txt").read_text(encoding="ascii")


@pytest.mark.parametrize("name", [*SCREENS, *exits.CATALOGUE])
def test_screen_is_at_most_79_columns_of_ascii(name: str, capsys: pytest.CaptureFixture[str]):
    assert main(SCREENS.get(name, ["help", name])) == 0
    text = capsys.readouterr().out
    assert text.isascii()
    assert max(map(len, text.split("\n"))) <= 79
    assert not re.search(r"[ \t]$", text, re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_command_has_examples_of_itself_and_documents_every_option(command):
    assert 2 <= len(command.examples) <= 4
    assert all(f"pgmonkey {command.name}" in example for example in command.examples)
    assert all(option.help for option in command.options)
    flags = [flag for option in command.options for flag in option.flags]
    assert len(flags) == len(set(flags))


def test_option_means_the_same_on_every_command():
    """A flag of one command that another one has too takes a value there, or does not."""
    takes_value: dict[str, bool] = {}
    for command in COMMANDS:
        for option in command.options:
            for flag in option.flags:
                value = option.metavar is not None
                assert takes_value.setdefault(flag, value) is value, (command.name, flag)


def test_every_underscore_spelling_has_a_hyphen_twin():
    for command in COMMANDS:
        for option in command.options:
            for flag in option.flags:
                if flag.startswith("--") and "_" in flag:
                    assert flag.replace("_", "-") in option.flags


@pytest.mark.parametrize("word", ["--help", "-h"])
@pytest.mark.parametrize("before", [[], ["-c", "x.yaml"], ["--nonsense"]])
def test_help_is_given_wherever_it_is_asked_for(
    before: list[str], word: str, capsys: pytest.CaptureFixture[str]
):
    assert main(["pgconfig", "test", *before, word]) == 0
    assert capsys.readouterr().out.startswith("usage: pgmonkey pgconfig test")


def test_every_error_code_that_is_raised_is_explained():
    """Codes are promises: what a message shows, `pgmonkey help` must know."""
    package = Path(exits.__file__).parent.parent
    raised = {
        code
        for path in package.rglob("*.py")
        for code in re.findall(r"PGM\d{3}", path.read_text(encoding="utf-8"))
    }
    assert raised - exits.CATALOGUE.keys() == set()


def test_error_code_is_found_in_any_case(capsys: pytest.CaptureFixture[str]):
    assert main(["help", "pgm306"]) == 0
    assert capsys.readouterr().out.startswith("PGM306: no answer in time")
