"""From words to parameters: every documented spelling, and what a value becomes."""

from __future__ import annotations

import pytest

from pgmonkey.cli.commands import Command, find
from pgmonkey.cli.failures import CommandError
from pgmonkey.cli.options import Option, Section, output, seconds, server_version
from pgmonkey.cli.parser import parse


def parsed(line: str) -> dict[str, object]:
    """Return the parameters of a documented command line."""
    words = line.split()
    assert words.pop(0) == "pgmonkey"
    command, rest = find(words)
    assert isinstance(command, Command)
    return parse(command, rest)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "pgmonkey pgconfig create --type pg --filepath /path/to/config.yaml",
            {"type": "pg", "config": "/path/to/config.yaml", "force": False},
        ),
        (
            "pgmonkey pgconfig test --connconfig config.yaml",
            {"config": "config.yaml", "connection_type": None, "resolve_env": False},
        ),
        *(
            (
                f"pgmonkey pgconfig test --connconfig config.yaml --connection-type {kind}",
                {"config": "config.yaml", "connection_type": kind},
            )
            for kind in ("normal", "pool", "async", "async_pool", "all")
        ),
        (
            "pgmonkey pgconfig test --connconfig config.yaml --resolve-env --connection-type pool",
            {"resolve_env": True, "connection_type": "pool"},
        ),
        (
            "pgmonkey pgconfig test --connconfig c.yaml --resolve-env --allow-sensitive-defaults",
            {"resolve_env": True, "allow_sensitive_defaults": True},
        ),
        (
            "pgmonkey pgconfig generate-code --filepath /path/to/config.yaml",
            {"config": "/path/to/config.yaml", "library": "pgmonkey", "connection_type": None},
        ),
        (
            "pgmonkey pgconfig generate-code --filepath c --connection-type pool --library psycopg",
            {"connection_type": "pool", "library": "psycopg"},
        ),
        (
            "pgmonkey pgconfig generate-code --connconfig config.yaml --resolve-env",
            {"config": "config.yaml", "resolve_env": True},
        ),
        ("pgmonkey pgconfig test -c - -W", {"config": "-", "ask_password": True}),
        ("pgmonkey pgconfig test -c=x.yaml", {"config": "x.yaml"}),
        ("pgmonkey pgconfig test -cx.yaml", {"config": "x.yaml"}),
        ("pgmonkey pgconfig validate a.yaml -v b.yaml", {"file": ("a.yaml", "b.yaml")}),
        ("pgmonkey pgconfig validate - --format sarif", {"file": ("-",), "format": "sarif"}),
        ("pgmonkey pgconfig show --config x --json", {"config": "x", "format": "json"}),
        ("pgmonkey pgconfig test -c x -vv -q", {"verbose": 2, "quiet": True}),
        ("pgmonkey completion bash", {"shell": "bash"}),
        ("pgmonkey help pgconfig test", {"topic": ("pgconfig", "test")}),
    ],
)
def test_documented_spelling_gives_these_parameters(line: str, expected: dict[str, object]):
    values = parsed(line)
    assert {name: values[name] for name in expected} == expected


@pytest.mark.parametrize("spelling", ["-c", "--config", "--connconfig", "--filepath"])
@pytest.mark.parametrize("command", ["create", "test", "validate", "show", "generate-code"])
def test_configuration_file_has_four_spellings_on_every_command(command: str, spelling: str):
    assert parsed(f"pgmonkey pgconfig {command} {spelling} x.yaml")["config"] == "x.yaml"


@pytest.mark.parametrize("word", ["--conn=x", "--resolve", "--json-lines", "--time=3"])
def test_option_is_never_abbreviated(word: str):
    with pytest.raises(CommandError, match="unknown option"):
        parsed(f"pgmonkey pgconfig test {word}")


@pytest.mark.parametrize(
    ("text", "version"), [("15", 150000), ("15.4", 150004), ("9", 90000), ("18.0", 180000)]
)
def test_version_is_counted_as_libpq_does(text: str, version: int):
    assert server_version(text) == version


@pytest.mark.parametrize("text", ["", "x", "-1", "15.4.1", "1e3", "\N{SUPERSCRIPT TWO}"])
def test_version_that_is_none_is_refused(text: str):
    with pytest.raises(ValueError, match="is not a version"):
        server_version(text)


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "1e9", "", "5s"])
def test_number_of_seconds_must_be_above_zero_and_finite(text: str):
    with pytest.raises(ValueError, match="is not a number of seconds above 0"):
        seconds(text)


def test_fraction_of_a_second_is_a_number_of_seconds():
    assert seconds("0.5") == 0.5


SEVERAL = Command(
    "report",
    "report:report",
    "Report",
    (),
    (
        Section("what", (Option(("--only",), "one of them", "ID", many=True),)),
        output("table", "json", "sarif", several=True),
    ),
    {},
)


@pytest.mark.parametrize(
    ("words", "format", "files"),
    [
        ("", "table", ()),
        ("--json", "json", ()),
        ("--format json", "json", ()),
        ("--format json -O a", "table", (("json", "a"),)),
        ("-O a --format json", "table", (("json", "a"),)),
        ("-O a", "table", (("table", "a"),)),
        ("--format json --format sarif -O a", "json", (("sarif", "a"),)),
        ("--json --format sarif --output a", "json", (("sarif", "a"),)),
        ("--format sarif -O a --format json -O b", "table", (("sarif", "a"), ("json", "b"))),
        ("--format sarif -O a -O b", "table", (("sarif", "a"), ("sarif", "b"))),
        ("--format table --format json -O b", "table", (("json", "b"),)),
    ],
)
def test_each_file_takes_the_format_named_before_it(words: str, format: str, files: object):
    values = parse(SEVERAL, words.split())
    assert (values["format"], values["output"]) == (format, files)


def test_two_formats_on_standard_output_are_refused():
    with pytest.raises(CommandError, match="write -O FILE after --format sarif"):
        parse(SEVERAL, ["--format", "json", "--format", "sarif"])


def test_option_that_may_be_repeated_gives_every_value():
    assert parse(SEVERAL, ["--only", "a", "--only", "b"])["only"] == ("a", "b")
    assert parse(SEVERAL, [])["only"] == ()


@pytest.mark.parametrize("name", ["pgimport", "pgexport"])
@pytest.mark.parametrize("jobs", ["0", "65", "two", "100000"])
def test_number_of_connections_is_refused_before_a_server_runs_out_of_them(name, jobs):
    command, _ = find([name])
    assert isinstance(command, Command)
    with pytest.raises(CommandError, match=f"--jobs/-j: '{jobs}' is not from 1 to 64"):
        parse(command, ["--table", "t", "-c", "c.yaml", "--jobs", jobs])
