"""The settings file beside a CSV: what it may say, and what is said back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pgmonkey.errors import ConfigError
from pgmonkey.transfer.dialect import Dialect
from pgmonkey.transfer.settingsfile import Chosen, beside, over, read, template, write
from pgmonkey.transfer.sniff import Given


def chosen(tmp_path: Path, text: str) -> Chosen | None:
    path = tmp_path / "data.yaml"
    path.write_text(text, encoding="utf-8")
    return read(path)


@pytest.mark.parametrize(
    ("csv", "yaml"),
    [
        ("data.csv", "data.yaml"),
        ("data.csv.gz", "data.yaml"),
        ("data.tar.csv.ZST", "data.tar.yaml"),
        ("data", "data.yaml"),
        ("data.yaml", None),
    ],
)
def test_settings_have_the_stem_of_the_csv(tmp_path, csv, yaml):
    (tmp_path / csv).touch()
    assert beside(tmp_path / csv) == (tmp_path / yaml if yaml else None)


def test_what_is_no_regular_file_has_no_settings(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    assert beside(tmp_path / "pipe.csv") is None
    assert beside(tmp_path) is None
    assert beside(tmp_path / "missing.csv") is None


def test_every_key_is_read_and_a_tab_may_be_spelled(tmp_path):
    found = chosen(
        tmp_path,
        "encoding: latin-1\ndelimiter: '\\t'\nquotechar: \"'\"\nescapechar: \\\n"
        "has_headers: no\nskip_lines: 3\nnull: NA\nempty_as: text\nauto_create_table: False\n"
        "enforce_lowercase: off\ntypes: {zip: text}\ncolumns:\n  Id: id\n  'Full, Name': name\n"
        "  note: ~\n",
    )
    assert found is not None
    assert found.given == Given("iso8859-1", "\t", "'", "\\", False, 3, "NA", "text")
    assert (found.create, found.lowercase) == (False, False)
    assert found.types == {"zip": "text"}
    assert found.columns == {"Id": "id", "Full, Name": "name", "note": None}


def test_keys_of_the_older_tool_are_enough(tmp_path):
    found = chosen(
        tmp_path,
        'auto_create_table: True\nenforce_lowercase: True\ndelimiter: "\\t"\nquotechar: \'"\'\n'
        "encoding: utf-8\nhas_headers: True\n",
    )
    assert found is not None
    assert found.given == Given("utf-8", "\t", '"', None, True)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("delimiter: ab\n", ":1:12: delimiter: 'ab' is not one ASCII character; a tab is '\\t'"),
        ("encoding: utf-8\ndelimeter: ','\n", ":2:1: delimeter: is not a key of an import; did"),
        ("encoding: klingon\n", ":1:11: encoding: 'klingon' is not an encoding"),
        ("has_headers: maybe\n", ":1:14: has_headers: 'maybe' is neither true nor false"),
        ("skip_lines: -1\n", ":1:13: skip_lines: '-1' is not a number of lines"),
        ("empty_as: x\n", ":1:11: empty_as: 'x' is not one of auto, null, text"),
        ("columns: [a]\n", ":1:10: columns: expects a mapping, not a list"),
        ("columns:\n  a: {b: c}\n", ":2:6: columns.a: expects one value"),
        ("types:\n  a:\n", "types.a: expects a type"),
        ("delimiter: [a]\n", ":1:12: delimiter: expects one value, not a list"),
        ("delimiter: |\n", ":1:12: delimiter: is empty; leave the key out, or quote its value"),
        ("empty_as: null\n", ":1:11: empty_as: without quotes this is nothing; write 'null'"),
        ("delimiter: ';\n", ":"),
        ("encoding: utf-8\n\tdelimiter: ;\n", ":2:"),
    ],
)
def test_bad_value_is_named_with_line_and_column(tmp_path, text, problem):
    with pytest.raises(ConfigError) as caught:
        chosen(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path}/data.yaml:")
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "connection_settings:\n  host: x\n",
        "postgresql:\n  connection_settings: {}\n",
        "delimiter: ;\npool_settings: {}\n",
        "services:\n  db: {}\n",
    ],
)
def test_somebody_elses_file_is_not_read(tmp_path, text):
    assert chosen(tmp_path, text) is None


def test_empty_file_says_nothing(tmp_path):
    assert chosen(tmp_path, "") == Chosen(path=tmp_path / "data.yaml")


COLUMNS = {
    "Id": "id",
    "": None,
    "it's": "it's",
    "no": "no",
    "null": "null",
    "a: b # c": "x",
    "two\nlines": "y",
    'quo"te\\': "z",
    "\x7f\u2028": "w",
    "ünï\U0001f418": "é",
}


@pytest.mark.parametrize(
    "dialect",
    [
        Dialect(),
        Dialect("cp1252", ";", "'", "\\", False, 2, "N'A", "null"),
        Dialect("utf-16-le", "\t", null=""),
        Dialect(delimiter="|", bom=3),
    ],
)
def test_template_says_what_was_found_and_is_read_back(tmp_path, dialect):
    text = template("data.csv", dialect, COLUMNS)
    found = chosen(tmp_path, text)
    assert found is not None
    d, g = dialect, found.given
    assert (g.encoding, g.delimiter, g.quote) == (d.encoding, d.delimiter, d.quote)
    assert (g.escape or g.quote, g.header, g.skip_lines) == (d.escape, d.header, d.skip_lines)
    assert (g.null, g.empty_as) == (d.null, d.empty_as)
    assert found.columns == COLUMNS
    assert (found.create, found.lowercase, found.types) == (True, True, {})


def test_template_of_sixteen_hundred_columns_is_read_back(tmp_path):
    columns = {f"column {i:060}": f"column_{i:056}" for i in range(1600)}
    found = chosen(tmp_path, template("wide.csv", Dialect(), columns))
    assert found is not None
    assert found.columns == columns


def test_file_that_is_there_is_never_written_over(tmp_path):
    csv, place = tmp_path / "a.csv", tmp_path / "a.yaml"
    csv.touch(0o644)
    assert write(place, csv, "one\n")
    assert not write(place, csv, "two\n")
    assert place.read_text() == "one\n"
    assert place.stat().st_mode & 0o777 == csv.stat().st_mode & 0o777
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.yaml"]


def test_option_wins_over_the_settings_file():
    settings = Given("cp1252", ";", header=False, null="NA")
    options = Given(delimiter=",", header=True)
    assert over(options, settings) == Given("cp1252", ",", header=True, null="NA")
