"""Whatever stands in a configuration, it loads or a ConfigError says where it is wrong.

Spec R16: 10 000 broken configurations. No mutation brings in ``from_command``: a random
command line is not a thing to run.
"""

from __future__ import annotations

import copy
import pickle
import random
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pgmonkey.config.load import findings, load_settings, load_text
from pgmonkey.config.settings import Settings
from pgmonkey.config.template import template
from pgmonkey.errors import ConfigError

REFERENCES = """\
connection_type: pool
connection_settings:
  user: '${MUTANT_USER:-joe}'
  password: {from_env: MUTANT_PASSWORD}
  host: "${MUTANT_HOST:?say where},b.example.com"
  port: 05432
  dbname: >-
    ${MUTANT_DB-${MUTANT_USER:-x}}
  sslrootcert:
    from_file: ca.path
pool_settings: &pool
  min_size: 2
  max_size: 10
  timeout: 2.5
async_pool_settings:
  <<: *pool
  max_size: 11
sync_settings: {statement_timeout: 5s, search_path: 'app, public', jit: off}
connection_options: {isolation_level: repeatable read, prepare_threshold: null}
"""
VERSION_2 = "postgresql:\n" + "".join(
    f"  {line}\n" for line in template().splitlines() if not line.startswith("#")
)
CORPUS = [template(), REFERENCES, VERSION_2]

TOKENS = [
    *(
        "{",
        "}",
        "[",
        "]",
        ":",
        ": ",
        "- ",
        "? ",
        "&a ",
        "*a",
        "<<: ",
        "!x ",
        "!!int ",
        "|\n",
        ">\n",
    ),
    *("'", '"', "#", "%", "@", "\t", "\n", "\r", "\0", "\x85", "\ufeff", "---\n", "...\n", "~"),
    *("${", "$${", "${X", "${X:-", "}", "$", "null", "true", "5", "-1", "1e400", "0x10", "1_000"),
    *("from_env: ", "from_file: /", "postgresql:\n", "é", "\U0001f40d", "x" * 300, "9" * 5000),
]
ODD_BYTES = [b"\xff", b"\xfe\xff", b"\xc3", b"\xed\xa0\x80", b"\x00", b"\xef\xbb\xbf"]
ODD_KEYS = ["prot", "", "\0", "\ud800", "a.b", 5, None, "password:x", "<<", "from_env"]
ODD_VALUES = [
    *(None, "", 0, -1, 5, 2.5, float("nan"), float("inf"), 10**400, 10**5000, True, False, 1j),
    *([], {}, ["x"], {"x": 1}, {1: 2}, ("a", "b"), {"a"}, b"x", object(), Path("/x"), "x" * 3000),
    *("\0", "\ud800", "${", "${X}", "${X:-y}", "$$", {"from_env": "HOME"}, {"from_env": []}),
    *({"from_file": "/nowhere"}, {"from_file": None}, {"from_env": {"from_env": "X"}}, "yes", "5 "),
]  # fmt: skip


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch, tmp_path):
    """What REFERENCES refers to."""
    monkeypatch.setenv("MUTANT_PASSWORD", "pw")
    monkeypatch.setenv("MUTANT_HOST", "a.example.com")
    monkeypatch.chdir(tmp_path)
    Path("ca.path").write_text("/certs/ca.crt\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def problem(load, *args, **how) -> ConfigError | None:
    """Return what is wrong, and fail on anything but Settings and a ConfigError."""
    try:
        assert isinstance(load(*args, **how), Settings)
    except ConfigError as error:
        return error
    return None


def judge(data: bytes, **how: bool) -> bool:
    """Return whether *data* loads; if it does not, the error must have a place in it."""
    error = problem(load_text, data, "mutant.yaml", **how)
    if error is None:
        return True
    assert error.file == "mutant.yaml"
    assert error.line is not None
    assert error.column is not None
    assert error.column >= 1
    assert 1 <= error.line <= len(data.decode("utf-8", "replace").splitlines()) + 1
    return False


def mutated(text: str, rng: random.Random) -> bytes:
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        at, other = rng.randrange(len(text) + 1), rng.randrange(len(text) + 1)
        size = rng.choice((1, 1, 2, 5, 20, 200))
        lines = text.splitlines(keepends=True)
        text = rng.choice(
            [
                text[:at] + text[at + size :],
                text[:at] + rng.choice(TOKENS) + text[at:],
                text[:at] + rng.choice(TOKENS) + text[at + size :],
                text[:at] + text[other : other + size] + text[at:],
                text[:at] + chr(rng.randrange(128)) + text[at + 1 :],
                "".join(lines[at % 7 :: 2] + lines[other % 5 :: 3]),
            ]
        )
    data = text.encode()
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice(ODD_BYTES) + data[at:] if rng.random() < 0.1 else data


@pytest.mark.parametrize("text", CORPUS)
def test_undamaged_configuration_loads(text):
    assert problem(load_text, text, "whole.yaml", resolve_env=True) is None


@pytest.mark.parametrize("part", range(6))
def test_thousand_files_with_random_damage_load_or_say_where(part):
    rng = random.Random(part)
    loaded = 0
    for _ in range(1000):
        resolve_env, strict = rng.random() < 0.5, rng.random() < 0.5
        loaded += judge(mutated(rng.choice(CORPUS), rng), resolve_env=resolve_env, strict=strict)
    # Otherwise the damage is so gross that nothing behind the parser was tried.
    assert 100 < loaded < 900


def places(config: object, path: tuple[object, ...] = ()) -> Iterator[tuple[object, ...]]:
    """Yield the path of every key at any depth."""
    for key, value in config.items() if isinstance(config, dict) else ():
        yield (*path, key)
        yield from places(value, (*path, key))


def damage(config: dict, rng: random.Random) -> None:
    """Change one key of *config* for the worse."""
    *path, last = rng.choice([*places(config), ("connection_settings",)])
    inner = config
    for key in path:
        inner = inner[key]
    change = rng.randrange(4)
    if change == 0:
        inner.pop(last, None)
    elif change == 1:
        inner[rng.choice(ODD_KEYS)] = inner.pop(last, None)
    else:
        inner[last] = rng.choice(ODD_VALUES)


@pytest.mark.parametrize("part", range(3))
def test_thousand_dicts_with_values_of_wrong_types_load_or_say_which_key(part):
    rng = random.Random(part)
    whole = [yaml.safe_load(text) for text in CORPUS]
    loaded = 0
    for _ in range(1000):
        config = copy.deepcopy(rng.choice(whole))
        for _ in range(rng.choice((1, 1, 2, 5))):
            damage(config, rng)
        before = pickle.dumps(config)
        error = problem(load_settings, config, resolve_env=rng.random() < 0.5)
        loaded += error is None
        assert error is None or (error.file, error.line) == ("<dict>", None)
        assert all(isinstance(finding, ConfigError) for finding in findings(config))
        assert pickle.dumps(config) == before
    assert 50 < loaded < 950


def test_dict_that_contains_itself_is_refused():
    config: dict = {"connection_settings": {}}
    config["connection_settings"]["password"] = config
    error = problem(load_settings, config)
    assert error is not None
    assert "nested deeper than 20 levels" in str(error)


noise = st.one_of(
    st.binary(max_size=200), st.text(max_size=200).map(lambda text: text.encode(errors="replace"))
)


@settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(noise)
def test_thousand_files_of_noise_load_or_say_where(data):
    judge(data)


BOMBS = {
    "deep flow": "[" * 100_000,
    "deep mappings": "{a: " * 50_000,
    "deep blocks": "".join(f"{' ' * n}a:\n" for n in range(600)),
    "deep sequences": "- " * 100_000,
    "aliases": "a: &a [x, x, x, x, x, x, x, x, x]\n"
    + "".join(
        f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n"
        for a, b in zip("abcdefghijklm", "bcdefghijklmn", strict=True)
    )
    + "connection_settings: {password: {from_env: *n}, host: *n, prot: *n}\n",
    "merges": "a: &a {"
    + ", ".join(f"k{n}: 1" for n in range(900))
    + "}\nb: {<<: ["
    + ", ".join(["*a"] * 20_000)
    + "]}\n",
    "itself": "connection_settings: &a {password: *a}\n",
    "many keys": "connection_settings:\n" + "".join(f"  k{n}: 1\n" for n in range(15_000)),
    "long key": "x" * 200_000 + ": 1\n",
    "long value": "connection_settings: {port: " + "9" * 200_000 + "}\n",
    "references": "connection_settings: {user: '" + "${A:-" * 20_000 + "}" * 20_000 + "'}\n",
    "dollars": "connection_settings: {user: '" + "$" * 200_001 + "{A}'}\n",
    "uri": "connection_settings: {port: 'a://" + "a:" * 80_000 + "'}\n",
    "words": "connection_settings: {port: '" + "a-" * 100_000 + "'}\n",
    "too large": "#" * 300_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_file_made_to_exhaust_the_reader_is_judged_like_any_other(name):
    judge(BOMBS[name].encode(), resolve_env=True, strict=True)
    judge(BOMBS[name].encode())
