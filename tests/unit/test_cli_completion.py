"""Shell completion, tried in the shells themselves."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from pgmonkey.cli import completion
from pgmonkey.cli.commands import COMMANDS

SHELLS = [shell for shell in ("bash", "zsh", "fish") if shutil.which(shell)]

# Calls the completion function as bash does when Tab is pressed after these words.
TAB = """
set -u
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_pgmonkey
printf '%s\\n' "${COMPREPLY[@]+"${COMPREPLY[@]}"}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "pgmonkey.bash"
    path.write_text(completion.bash(), encoding="ascii")
    return path


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        (["pgmonkey", ""], list(dict.fromkeys(c.name.split()[0] for c in COMMANDS))),
        (["pgmonkey", "pgc"], ["pgconfig"]),
        (["pgmonkey", "--v"], ["--version"]),
        (["pgmonkey", "pgconfig", "ge"], ["generate-code"]),
        (["pgmonkey", "pgconfig", "test", "--conn"], ["--connection-type", "--connconfig"]),
        (["pgmonkey", "pgconfig", "test", "--format", "j"], ["json", "junit"]),
        (["pgmonkey", "pgconfig", "test", "--format", "=", "j"], ["json", "junit"]),
        (["pgmonkey", "pgconfig", "test", "--format", "="], ["table", "json", "junit"]),
        (
            ["pgmonkey", "pgconfig", "test", "-c", "x.yaml", "--connection-type", "a"],
            ["async", "async_pool", "all"],
        ),
        (["pgmonkey", "pgconfig", "generate-code", "--library", ""], ["pgmonkey", "psycopg"]),
        (["pgmonkey", "completion", ""], ["bash", "zsh", "fish"]),
        (["pgmonkey", "help", "e"], ["exit-codes", "environment"]),
        # Nothing of ours: bash falls back to file names.
        (["pgmonkey", "pgconfig", "test", "-c", ""], [""]),
        (["pgmonkey", "pgconfig", "validate", "x"], [""]),
    ],
    ids=" ".join,
)
def test_bash_offers(line: list[str], offered: list[str], script: Path):
    done = subprocess.run(
        ["bash", "--norc", "-c", TAB, "tab", str(script), *line],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == offered
    assert done.stderr == ""


def test_bash_completes_files_where_it_has_nothing_to_offer(script: Path):
    done = subprocess.run(
        ["bash", "--norc", "-c", f"source {script}; complete -p pgmonkey"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "complete -o default -F _pgmonkey pgmonkey\n"


@pytest.mark.parametrize("shell", SHELLS)
def test_script_has_no_syntax_error(shell: str, tmp_path: Path):
    path = tmp_path / "script"
    path.write_text(getattr(completion, shell)(), encoding="ascii")
    done = subprocess.run([shell, "-n", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_script_knows_every_option_and_choice(shell: str):
    script = getattr(completion, shell)()
    for command in COMMANDS:
        for option in command.options:
            for flag in option.flags:
                if flag.startswith("-"):
                    spelled = flag if shell != "fish" else f" -{'l' * (flag[1] == '-') or 's'} "
                    assert spelled in script
                    assert flag.lstrip("-") in script
            assert all(choice in script for choice in option.choices)
