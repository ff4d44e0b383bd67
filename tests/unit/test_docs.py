"""The documentation says what the program does: reference, links and commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pgmonkey.config.schema import reference

ROOT = Path(__file__).parent.parent.parent


def test_reference_in_the_documentation_is_the_one_made_from_the_table_of_keys():
    """Renew it with: {python} -c "from pgmonkey.config.schema import reference; print(reference())"."""
    text = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    assert text.partition("\n\n")[2].strip() == reference().strip()


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_within_the_repository_lead_somewhere(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (ROOT / target).exists(), target


def test_public_names_are_exactly_these():
    import pgmonkey

    assert sorted(pgmonkey.__all__) == [
        "CommitUnknownError",
        "ConfigError",
        "EnvInterpolationError",
        "HandleBusyError",
        "HandleError",
        "PGConnectionManager",
        "PGMonkeyError",
        "SessionSettingError",
        "TransactionLostError",
        "__version__",
        "load_config",
        "redact_config",
    ]
    for name in pgmonkey.__all__:
        assert getattr(pgmonkey, name) is not None


def test_variables_of_the_help_are_in_the_readme_too():
    from pgmonkey.cli.helptext import ENVIRONMENT

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for names, _ in ENVIRONMENT:
        for name in names.split(", "):
            assert f"`{name}`" in readme, name


def test_exit_codes_of_the_readme_are_those_of_the_program():
    from pgmonkey.cli.exits import MEANING

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^[|] ([\d, ]+) [|] ", readme, re.MULTILINE)
    assert {int(code) for codes in listed for code in codes.split(",")} == set(MEANING)


# How a line of the README's shell blocks begins, and who runs those lines.
RUN_BY = {
    "./scripts/demo": "tests/image/test_fresh_machine.py",
    "./scripts/test": ".ci/run",
    "docker build -t pgmonkey .": "tests/image/conftest.py",
    "docker compose ": "tests/image/test_compose.py",
    "docker run ": "tests/image/test_readme.py",
    "pgmonkey ": "tests/integration/test_readme.py",
    "pip install .": "scripts/demo",
    "scripts/bulk_": "tests/integration/test_bulk_scripts.py",
}


def test_every_shell_line_of_the_readme_is_of_a_kind_that_something_runs():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    fenced = re.findall(r"^```(\w*)\n(.*?)^```", readme, re.DOTALL | re.MULTILINE)
    assert {language for language, _ in fenced} == {"", "sh", "python", "yaml"}
    lines = [line for language, text in fenced if language == "sh" for line in text.splitlines()]
    assert [line for line in lines if not line.startswith(tuple(RUN_BY))] == []
    for start, path in RUN_BY.items():
        assert any(line.startswith(start) for line in lines), start
        assert (ROOT / path).exists(), path
