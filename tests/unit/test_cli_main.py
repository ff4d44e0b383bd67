"""What a command line means: which command, which exit code, which words on which stream."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from pgmonkey.cli import exits
from pgmonkey.cli.commands import COMMANDS, GROUPS
from pgmonkey.cli.main import main
from support.cli import run

# What a user waits for and gets nothing from, when all he wants is help.
HEAVY = {
    "psycopg", "psycopg_pool", "yaml", "tabulate", "asyncio", "importlib.metadata",
    "argparse", "dataclasses", "difflib", "inspect", "json", "logging", "tempfile", "textwrap",
}  # fmt: skip
HELP_WORDS = [
    ("--version",),
    ("--help",),
    ("help",),
    ("help", "exit-codes"),
    ("help", "PGM301"),
    *((*group.name.split(), "--help") for group in GROUPS),
    *((*command.name.split(), "--help") for command in COMMANDS),
]


@pytest.mark.parametrize("words", [w for w in HELP_WORDS if w[0] != "help"], ids=" ".join)
def test_help_and_version_import_nothing_heavy(words: tuple[str, ...]):
    program = (
        "import sys\nfrom pgmonkey.cli.main import main\n"
        f"code = main({list(words)!r})\nprint(*sys.modules, file=sys.stderr)\nsys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert HEAVY & set(done.stderr.split()) == set()
    assert done.stdout


@pytest.mark.parametrize("words", HELP_WORDS, ids=" ".join)
def test_help_and_version_are_a_result_and_nothing_else(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
):
    assert main(list(words)) == 0
    said = capsys.readouterr()
    assert said.out.endswith("\n")
    assert said.err == ""


@pytest.mark.parametrize("words", [[], ["pgconfig"]], ids=["nothing", "group"])
def test_no_command_gives_short_help_on_stderr_and_exit_2(
    words: list[str], capsys: pytest.CaptureFixture[str]
):
    assert main(words) == exits.USAGE
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("usage: pgmonkey")
    assert "commands:" in said.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["pgconfg"], "unknown command 'pgconfg'; did you mean 'pgconfig'?"),
        (["test"], "unknown command 'test'; did you mean 'pgconfig test'?"),
        (["pgconfig", "tset"], "unknown pgconfig command 'tset'; did you mean 'test'?"),
        (
            ["pgconfig", "test", "--conconfig", "x"],
            "unknown option '--conconfig'; did you mean '--connconfig'?",
        ),
        (["pgconfig", "test", "--filepth=x"], "did you mean '--filepath'?"),
        (["pgconfig", "test", "--conn", "x"], "unknown option '--conn'"),
        (["pgconfig", "schema", "extra"], "unexpected argument 'extra'"),
        (["pgconfig", "test", "my.yaml"], "unexpected argument 'my.yaml'; write -c my.yaml"),
        (["-q", "pgconfig"], "unknown option '-q' before the command"),
        (["--versoin"], "did you mean '--version'?"),
        (["pgconfig", "--connconfig"], "unknown option '--connconfig' before the command"),
        (["pgconfig", "test", "-c"], "-c/--config/--connconfig/--filepath: expected one argument"),
        (
            ["pgconfig", "test", "--connection-type", "asyncpool"],
            "'asyncpool' is not one of normal, pool, async, async_pool, all; did you mean 'async_pool'?",
        ),
        (["pgconfig", "test", "--timeout", "soon"], "'soon' is not a number of seconds above 0"),
        (["pgconfig", "test", "--timeout", "nan"], "'nan' is not a number of seconds above 0"),
        (["pgconfig", "test", "--min-server-version", "x"], "'x' is not a version such as 15"),
        (["completion", "tcsh"], "'tcsh' is not one of bash, zsh, fish"),
        (["help", "exitcodes"], "there is no help on 'exitcodes'; did you mean 'exit-codes'?"),
        (["pgconfig", "create"], "which file?"),
        (["pgconfig", "test", "--dsn", ""], "--dsn: the value is empty; is the variable set?"),
        (["pgconfig", "test", "-c", ""], "the value is empty; is the variable set?"),
        (["pgconfig", "validate", ""], "FILE: the value is empty"),
        (["pgconfig", "create", "-c", "-", "--from-env", "--from-dsn", "x"], "exclude each other"),
        (["pgconfig", "test", "-c", "x", "--dsn", "postgresql:///"], "give one"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_command_line_is_named_and_exits_2(words: list[str], told: str):
    result = run(*words)
    assert result.code == exits.USAGE
    assert result.stdout == ""
    assert result.stderr.startswith("error[PGM10")
    assert told in result.stderr


def test_option_value_that_was_typed_after_a_wrong_option_is_not_repeated():
    result = run("pgconfig", "test", "--password=canary-7f3a")
    assert result.code == exits.USAGE
    assert "canary-7f3a" not in result.stderr
    assert "'--password'" in result.stderr


@pytest.mark.parametrize("ask", [("--json",), ("--format", "json"), ("--format=json",)])
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("pgconfig", "test"), "PGM103"),
        (("pgconfig", "test", "--nonsense"), "PGM101"),
        (("pgconfig", "test", "-c", "/no/such/file.yaml"), "PGM201"),
        (("pgconfig", "show", "--timeout", "5"), "PGM101"),
        (("pgconfig", "validate"), "PGM103"),
    ],
)
def test_json_is_complete_also_when_the_command_fails(
    words: tuple[str, ...], code: str, ask: tuple[str, ...]
):
    result = run(*words, *ask)
    document = json.loads(result.stdout)
    assert document.keys() == {"schema", "ok", "exit_code", "server", "results", "error"}
    assert document["schema"] == f"pgmonkey.{words[0]}-{words[1]}/1"
    assert (document["ok"], document["exit_code"], result.code) == (False, 2, 2)
    assert document["error"].keys() == {"code", "message", "hint"}
    assert document["error"]["code"] == code
    assert f"error[{code}]" in result.stderr


def test_two_formats_at_once_are_a_contradiction_told_in_json():
    result = run("pgconfig", "test", "--json", "--format", "junit")
    assert json.loads(result.stdout)["error"]["message"] == "--json contradicts --format junit"


def test_nothing_to_connect_with_names_the_three_ways():
    result = run("pgconfig", "test")
    assert result.code == exits.USAGE
    for way in ("-c FILE", "PGMONKEY_CONFIG", "PGHOST", "--dsn postgresql://"):
        assert way in result.stderr


def test_working_directory_is_not_searched_for_a_configuration(tmp_path):
    for name in ("config.yaml", "pgmonkey.yaml", "pgmonkey_config.yaml"):
        (tmp_path / name).write_text("connection_settings: {host: localhost}\n")
    assert run("pgconfig", "show", cwd=tmp_path).code == exits.USAGE


def test_reader_that_goes_away_is_no_error():
    """``pgmonkey ... | head -1`` closes the pipe; what was found still decides the exit code."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "pgmonkey", "pgconfig", "schema"],
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_stream_that_was_closed_before_the_start_is_no_error(closed: str):
    """Schedulers start commands so; Python has None for such a stream."""
    for words, code in (("pgconfig schema", 0), ("pgconfig nonsense", 2), ("", 2)):
        line = f'"{sys.executable}" -m pgmonkey {words} {closed}'
        done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
        assert done.returncode == code
        assert "Traceback" not in done.stderr


def test_full_device_is_a_refused_operation_and_no_traceback():
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-m", "pgmonkey", "pgconfig", "schema"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == exits.REFUSED
    assert done.stderr.startswith("error[PGM403]: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [
        (signal.SIGINT, exits.INTERRUPTED, "interrupted"),
        (signal.SIGTERM, exits.TERMINATED, "terminated"),
    ],
)
def test_signal_ends_the_command_with_one_line(number: signal.Signals, code: int, word: str):
    """The command waits for its configuration on standard input when the signal comes."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pgmonkey", "pgconfig", "validate", "--json", "-", "-v"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdin is not None
    assert process.stderr is not None
    line = process.stderr.readline()
    assert line == "reading the configuration from standard input\n"
    process.send_signal(number)
    # A pipe that stays open, so that the read could not end by itself.
    out, err = process.stdout.read(), process.stderr.read()  # type: ignore[union-attr]
    process.stdin.close()
    assert process.wait(60) == code
    process.stdout.close()  # type: ignore[union-attr]
    process.stderr.close()
    assert err == f"{word}\n"
    assert json.loads(out)["exit_code"] == code


def test_bug_of_ours_is_one_line_that_says_how_to_report(monkeypatch, capsys):
    import pgmonkey.cli.helptext as helptext

    def broken(**_: object) -> int:
        raise LookupError("three blind mice")

    monkeypatch.setattr(helptext, "explain", broken)
    assert main(["help", "exit-codes"]) == exits.BUG
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        "error[PGM901]: unexpected LookupError: three blind mice\n"
        "  try      report it with the output of the same command and -vv\n"
    )


def test_traceback_is_shown_with_vv_and_only_then(monkeypatch, capsys):
    import pgmonkey.cli.helptext as helptext

    def broken(**_: object) -> int:
        raise LookupError("at postgresql://me:canary-7f3a@db/x")

    monkeypatch.setattr(helptext, "explain", broken)
    for words, shown in ([], False), (["-v"], False), (["-vv"], True), (["-v", "-v"], True):
        assert main(["help", *words]) == exits.BUG
        said = capsys.readouterr().err
        assert ("Traceback (most recent call last)" in said) is shown
        assert "canary-7f3a" not in said
