"""A secret that comes in by any channel goes out by none, whatever the command and -vv."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from support.cli import run

# With characters that URIs, YAML, JSON and repr each write in their own way.
CANARY = "cana'ry-7f3a/@ \N{SNOWMAN}"
SHAPES = (CANARY, "7f3a", quote(CANARY, safe=""), repr(CANARY)[1:-1], json.dumps(CANARY)[1:-1])


@pytest.fixture
def port() -> Iterator[int]:
    """A port where every login ends as soon as it begins."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def secret_as(channel: str, folder: Path) -> tuple[object, dict[str, str]]:
    """Return a value for ``password`` and the environment that makes it the secret."""
    file = folder / "secret"
    file.write_text(CANARY + "\n", encoding="utf-8")
    file.chmod(0o600)
    show = f"import sys; sys.stdout.buffer.write(open({str(file)!r}, 'rb').read())"
    return {
        "literal": (CANARY, {}),
        "variable": ("${CANARY}", {"CANARY": CANARY}),
        "inside": ("x${CANARY}y", {"CANARY": CANARY}),
        "from_env": ({"from_env": "CANARY"}, {"CANARY": CANARY}),
        "from_file": ({"from_file": str(file)}, {}),
        "from_command": ({"from_command": [sys.executable, "-c", show]}, {}),
        "PGPASSWORD": ("", {"PGPASSWORD": CANARY}),
    }[channel]


@pytest.mark.parametrize(
    "channel",
    ["literal", "variable", "inside", "from_env", "from_file", "from_command", "PGPASSWORD"],
)
def test_password_of_a_file_is_said_nowhere(channel: str, tmp_path: Path, port: int):
    value, env = secret_as(channel, tmp_path)
    settings = {"host": "127.0.0.1", "port": port, "user": "app", "password": value}
    text = json.dumps({"connection_settings": settings})
    path = tmp_path / "config.yaml"
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
    failing = run(
        *("pgconfig", "test", "-c", path, "--connection-type", "all", "--resolve-env", "-vv"),
        env=env,
    )
    assert failing.code == 3, failing.stderr
    assert "Traceback" in failing.stderr
    said = [
        failing,
        run("pgconfig", "show", "-c", "-", "--resolve-env", "-vv", env=env, stdin=text),
        run("pgconfig", "validate", path, "--resolve-env", "--json", "-vv", env=env),
        run("pgconfig", "generate-code", "-c", path, "--resolve-env", "-vv", env=env),
        run("pgconfig", "generate-code", "-c", "-", "--resolve-env", env=env, stdin=text),
        run("pgconfig", "generate-code", "-c", path, "--library", "psycopg", env=env),
    ]
    for result in said:
        for shape in SHAPES:
            assert shape not in result.stdout + result.stderr
        assert "error[PGM9" not in result.stderr


def test_password_of_the_environment_or_of_a_uri_is_said_nowhere(tmp_path: Path, port: int):
    secret = tmp_path / "secret"
    secret.write_text(CANARY, encoding="utf-8")
    uri = f"postgresql://app:{quote(CANARY, safe='')}@127.0.0.1:{port}/sales"
    here = {"PGHOST": "127.0.0.1", "PGPORT": str(port)}
    said = [
        run("pgconfig", "test", "-vv", "--json", env=here | {"PGPASSWORD": CANARY}),
        run("pgconfig", "test", "-vv", env=here | {"PGPASSWORD_FILE": str(secret)}),
        run("pgconfig", "test", "-vv", "--dsn", uri),
        run("pgconfig", "test", "-vv", "--dsn", uri.replace("127.0.0.1", "[127.0.0.1")),
        run("pgconfig", "show", "-vv", "--dsn", uri),
        run("pgconfig", "generate-code", "--dsn", uri),
        run("pgconfig", "generate-code", "--dsn", uri, "--library", "psycopg"),
        run("pgconfig", "create", "-c", "-", "--from-dsn", uri),
        run("pgconfig", "create", "-c", "-", "--from-env", env=here | {"PGPASSWORD": CANARY}),
    ]
    assert [result.code for result in said] == [3, 3, 3, 2, 0, 0, 0, 0, 0]
    for result in said:
        for shape in SHAPES:
            assert shape not in result.stdout + result.stderr
