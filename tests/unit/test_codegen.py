"""Generated programs: their text, whole; that they hold no secret; that they read as pgmonkey does.

After a change that is meant, write the golden files anew and read the difference:
PGMONKEY_GOLDEN=write pytest tests/unit/test_codegen.py
"""

from __future__ import annotations

import ast
import os
from pathlib import Path
from typing import Any

import pytest

from pgmonkey.codegen import generate
from pgmonkey.codegen.reader import add_reader
from pgmonkey.codegen.shape import Shape
from pgmonkey.codegen.source import Module
from pgmonkey.config.load import load_settings, settings_from_environment
from pgmonkey.config.settings import CONNECTION_TYPES

GOLDEN = Path(__file__).parents[1] / "golden" / "codegen"
WRITE = os.environ.get("PGMONKEY_GOLDEN") == "write"  # before the fixtures clear it away
CANARY = "c4n4ry-\"'\\${"

TYPICAL = """\
connection_type: 'normal'
connection_settings:
  user: 'postgres'
  password: 'c4n4ry'
  host: 'localhost'
  port: '5432'
  dbname: 'mydatabase'
  sslmode: 'verify-full'
  sslcert: ''
  sslkey: ''
  sslrootcert: '/certs/ca.crt'
  connect_timeout: '10'
pool_settings:
  min_size: 5
  max_size: 20
async_settings:
  statement_timeout: '30000'
  lock_timeout: '10000'
async_pool_settings:
  min_size: 5
  max_size: 20
"""

# Everything at once: the old form, references of every kind, words libpq does not take.
WIDE = """\
postgresql:
  connection_settings:
    user: ${APP_USER:-${USER_PREFIX:-app}_rw}
    password:
      from_file: password
    host: ${DB_HOST}
    dbname:
      from_env: DB_NAME
    application_name:
      from_command: [echo, shop]
    keepalives: true
    autocommit: yes
  pool_settings:
    min_size: 1
    check_on_checkout: true
    max_waiting: 100
    name: shop
  sync_settings:
    search_path: shop, public
  connection_options:
    isolation_level: repeatable read
    read_only: true
    pooler: transaction
"""


def same_as_golden(name: str, text: str) -> None:
    path = GOLDEN / name
    if WRITE:
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, text: str, name: str = "config.yaml") -> str:
    path = folder / name
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
    return name


@pytest.mark.parametrize("library", ["pgmonkey", "psycopg"])
@pytest.mark.parametrize("kind", CONNECTION_TYPES)
def test_program_for_the_documented_configuration_is_the_golden_one(folder, kind, library):
    path = write(folder, TYPICAL)
    text = generate(load_settings(path), config_path=path, connection_type=kind, library=library)
    same_as_golden(f"{library}_{kind}.py", text)


@pytest.mark.filterwarnings("ignore:.*form of version 2:DeprecationWarning")
@pytest.mark.parametrize("kind", ["pool", "async"])
def test_psycopg_program_does_what_an_unusual_file_asks_for(folder, monkeypatch, kind):
    path = write(folder, WIDE)
    write(folder, "c4n4ry\n", "password")
    monkeypatch.setenv("DB_HOST", "db")
    monkeypatch.setenv("DB_NAME", "shop")
    settings = load_settings(path, resolve_env=True)
    text = generate(
        settings, config_path=path, connection_type=kind, library="psycopg", resolve_env=True
    )
    assert "c4n4ry" not in text
    same_as_golden(f"psycopg_{kind}_wide.py", text)


@pytest.mark.parametrize("library", ["pgmonkey", "psycopg"])
def test_without_a_file_the_environment_is_asked_when_the_program_runs(
    folder, monkeypatch, library
):
    monkeypatch.setenv("PGHOST", "db.example.com")
    write(folder, "c4n4ry\n", "password")
    monkeypatch.setenv("PGPASSWORD_FILE", "password")
    settings = settings_from_environment("postgresql://app@/shop?sslmode=require")
    text = generate(settings, config_path=None, connection_type="async_pool", library=library)
    assert "c4n4ry" not in text
    assert "db.example.com" not in text
    same_as_golden(f"{library}_async_pool_environment.py", text)


@pytest.mark.parametrize("library", ["pgmonkey", "psycopg"])
@pytest.mark.parametrize("kind", CONNECTION_TYPES)
def test_no_secret_stands_in_a_program(folder, kind, library):
    config = {
        "connection_settings": {"user": "app", "password": CANARY, "sslpassword": CANARY},
        "async_settings": {"statement_timeout": "1000"},
    }
    for path in (None, write(folder, TYPICAL)):
        settings = load_settings(config)
        text = generate(settings, config_path=path, connection_type=kind, library=library)
        assert "c4n4ry" not in text


@pytest.mark.parametrize(
    "path",
    [
        "it's.yaml",
        'say "hi".yaml',
        "both'\".yaml",
        "back\\slash\\.yaml",
        "new\nline.yaml",
        '""".yaml',
        "{braces} %s.yaml",
        "gr\u00fc\u00dfe \U0001f412.yaml",
        os.fsdecode(b"not-utf8-\xff.yaml"),
    ],
)
@pytest.mark.parametrize("library", ["pgmonkey", "psycopg"])
def test_any_file_name_survives_in_the_program(folder, path, library):
    write(folder, TYPICAL, path)
    settings = load_settings(path)
    text = generate(settings, config_path=path, connection_type="normal", library=library)
    (constant,) = [
        node.value
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "CONFIG"
    ]
    named = constant.args[0] if isinstance(constant, ast.Call) else constant
    assert ast.literal_eval(named) == path
    text.encode("utf-8")


REFERENCES = [
    "plain",
    "$BARE and $1",
    "${SET}",
    "a ${SET} b ${SET} c",
    "${SET:-default}",
    "${EMPTY:-default}",
    "${EMPTY-default}",
    "${EMPTY}",
    "${UNSET:-default}",
    "${UNSET-}",
    "${UNSET:-}",
    "${UNSET:-a:-b}",
    "${SET:+other}",
    "${UNSET:+other}",
    "${EMPTY:+other}",
    "${EMPTY+other}",
    "${SET:?must be set}",
    "${UNSET:-${SET}}",
    "${SET:-${UNSET}}",
    "${UNSET:-${UNSET:-${EMPTY:-deep}}}",
    "$${SET}",
    "$$$${SET:+x}",
    "${UNSET:-$$5}",
    "${DOLLARS}",
    "closing } brace",
]


@pytest.mark.parametrize("text", REFERENCES)
def test_program_resolves_a_reference_as_pgmonkey_does(folder, monkeypatch, text):
    for name, value in {"SET": "value", "EMPTY": "", "DOLLARS": "${SET} $$"}.items():
        monkeypatch.setenv(name, value)
    path = write(folder, f"connection_settings:\n  application_name: '{text}'\n")
    assert read_by_program(path) == dict(load_settings(path, resolve_env=True).connection)


@pytest.mark.parametrize(
    "text", ["${UNSET}", "${UNSET:?}", "${UNSET?say so}", "${UNSET:-${UNSET}}"]
)
def test_program_stops_at_an_unset_variable(folder, text):
    path = write(folder, f"connection_settings:\n  application_name: '{text}'\n")
    with pytest.raises((KeyError, SystemExit), match="UNSET"):
        read_by_program(path)


@pytest.mark.parametrize(
    "value", ["007", "0x10", "no", "12:30:45", "1_000", "'5'", "~", "", "null"]
)
def test_program_reads_a_value_as_it_is_written(folder, value):
    path = write(folder, f"connection_settings:\n  user: app\n  application_name: {value}\n")
    expected = load_settings(path).connection
    assert read_by_program(path, resolve_env=False) == dict(expected)


def read_by_program(path: str, *, resolve_env: bool = True) -> dict[str, Any]:
    """Run the part of a program that reads its file; return the connection settings."""
    module = Module("Read a file.")
    module.constants.append(f"CONFIG = Path({path!r})")
    add_reader(module, Shape.of_file(path, resolve_env))
    module.add("def main() -> None: ...")
    names: dict[str, Any] = {"__name__": "program"}
    exec(compile(module.text(is_async=False), "program", "exec"), names)
    found: dict[str, Any] = names["given"](names["read_config"](), "connection_settings")
    return found
