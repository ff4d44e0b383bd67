"""One table of keys: what is made from it agrees, and so does what judges by it."""

from __future__ import annotations

import dataclasses
import json
import re

import jsonschema
import pytest
import yaml

from pgmonkey.config.keys import (
    CONNECTION,
    KEYS,
    OPEN_SECTIONS,
    OPTIONS,
    SECTIONS,
    Key,
    Libpq,
    keys_of,
    nearest,
    running_libpq,
)
from pgmonkey.config.load import load_settings, load_text
from pgmonkey.config.nodes import read_dict
from pgmonkey.config.schema import json_schema, reference
from pgmonkey.config.settings import ConnectionOptions, PoolSettings
from pgmonkey.config.template import template
from pgmonkey.config.validate import Validator
from pgmonkey.errors import ConfigError

SCHEMA = jsonschema.Draft202012Validator(json_schema())


def loads(config) -> bool:
    try:
        load_settings(config, strict=True)
    except ConfigError:
        return False
    return True


def test_no_key_stands_twice_in_the_table():
    assert len({key.path for key in KEYS}) == len(KEYS)


@pytest.mark.parametrize(
    ("section", "values"),
    [
        ("pool_settings", PoolSettings()),
        ("async_pool_settings", PoolSettings()),
        (OPTIONS, ConnectionOptions()),
    ],
)
def test_table_has_the_fields_and_defaults_of_the_settings(section, values):
    assert {name: key.default for name, key in keys_of(section).items()} == dataclasses.asdict(
        values
    )


def test_every_keyword_of_the_running_libpq_is_in_the_table_with_a_meaning():
    """When this fails, psycopg brings a new libpq: give its new keywords a row."""
    assert running_libpq().keywords <= keys_of(CONNECTION).keys()


@pytest.mark.parametrize("name", sorted(running_libpq().keywords))
def test_every_keyword_of_the_running_libpq_is_passed_on(name):
    key = keys_of(CONNECTION)[name]
    value = key.choices[0] if key.choices else "1"
    settings = load_settings({CONNECTION: {name: value}}, strict=True)
    assert settings.connect_arguments() == {name: value}


def judged_by(libpq: Libpq, name: str) -> list[str]:
    reading = Validator(libpq, None).read(read_dict({CONNECTION: {name: "x"}}, "<dict>"))
    return [str(problem) for problem in reading.in_order()]


def test_key_that_only_a_newer_libpq_knows_says_so():
    old = Libpq(15, running_libpq().keywords - {"require_auth"})
    assert judged_by(old, "require_auth") == [
        "<dict>: connection_settings.require_auth: needs libpq 16, and this is 15"
    ]


def test_key_that_this_build_of_libpq_lacks_says_so():
    without = Libpq(18, running_libpq().keywords - {"gsslib"})
    assert judged_by(without, "gsslib") == [
        "<dict>: connection_settings.gsslib: needs another build of libpq, and this is 18"
    ]


def test_keyword_that_is_newer_than_the_table_is_passed_on():
    assert judged_by(Libpq(30, running_libpq().keywords | {"brand_new"}), "brand_new") == []


@pytest.mark.parametrize(
    ("word", "guess"),
    [
        ("prot", "port"),
        ("HOST", "host"),
        ("database", "dbname"),
        ("username", "user"),
        ("passwd", "password"),
        ("sslrootcrt", "sslrootcert"),
        ("zzzzzz", None),
    ],
)
def test_nearest_key_is_offered(word, guess):
    assert nearest(word, keys_of(CONNECTION)) == (f"; did you mean '{guess}'?" if guess else "")


# -- the template -----------------------------------------------------------------------

# As documented for earlier versions: whoever reads a template finds these values.
DOCUMENTED = {
    "connection_type": "normal",
    "connection_settings": {
        "user": "postgres",
        "password": "password",
        "host": "localhost",
        "port": "5432",
        "dbname": "mydatabase",
        "sslmode": "prefer",
        "sslcert": "",
        "sslkey": "",
        "sslrootcert": "",
        "connect_timeout": "10",
        "application_name": "myapp",
        "keepalives": "1",
        "keepalives_idle": "60",
        "keepalives_interval": "15",
        "keepalives_count": "5",
    },
    "pool_settings": {
        "min_size": 5,
        "max_size": 20,
        "timeout": 30,
        "max_idle": 300,
        "max_lifetime": 3600,
        "check_on_checkout": False,
    },
    "async_settings": {
        "idle_in_transaction_session_timeout": "5000",
        "statement_timeout": "30000",
        "lock_timeout": "10000",
    },
    "async_pool_settings": {
        "min_size": 5,
        "max_size": 20,
        "timeout": 30,
        "max_idle": 300,
        "max_lifetime": 3600,
        "check_on_checkout": False,
    },
}


def test_template_has_the_documented_keys_and_values():
    assert yaml.safe_load(template()) == DOCUMENTED


def test_template_loads_under_strict_and_says_nothing_but_defaults():
    settings = load_text(template(), "template", strict=True)
    assert settings.pool_settings == settings.async_pool_settings == PoolSettings()
    assert settings.connect_arguments().keys() == DOCUMENTED["connection_settings"].keys() - {
        *("sslcert", "sslkey", "sslrootcert")
    }


def test_template_with_its_comments_taken_away_loads_too():
    """What is commented out can be switched on line by line."""
    names = "|".join([*SECTIONS, *{key.name for key in KEYS}])
    body = template()[template().index("connection_type:") :]
    text = re.sub(rf"(?m)^( *)# (?= *(?:{names}):(?: |$))", r"\1", body)
    commented = [key for key in KEYS if key.template and not key.active]
    settings = load_text(text, "template", strict=True)
    assert {key.path for key in commented} <= settings.marks.keys()


def test_template_explains_every_key_it_has():
    for key in KEYS:
        if key.template and key.section:
            assert f"{key.name}: {key.template}  # {key.help}" in template()


# -- JSON Schema ------------------------------------------------------------------------


def test_json_schema_is_one_and_can_be_printed():
    jsonschema.Draft202012Validator.check_schema(json_schema())
    assert json.loads(json.dumps(json_schema())) == json_schema()


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.path)
def test_json_schema_describes_every_key(key):
    node = json_schema()["$defs"]["config"]["properties"]
    node = node[key.section]["properties"][key.name] if key.section else node[key.name]
    assert node["description"].startswith(key.help)
    assert node.get("default") == key.default


def good_values(key: Key):
    yield from (
        "",
        None,
        "${VARIABLE}",
        {"from_env": "V"},
        {"from_file": "f"},
        {"from_command": ["x"]},
    )
    yield from key.choices
    own = {
        "text": ["x", 5, 2.5, True],
        "setting": ["x", 5, 2.5, True],
        "switch": [True, False, 0, 1, "1", "0", "true", "no", "on"],
        "number": [1, 0.5, "2.5", "30"],
        "integer": [max(key.minimum, 1), str(max(key.minimum, 1))],
        "ports": [5432, "5432", "5432,5433", "5432,"],
        "threshold": [0, 5, "5", "off", False],
        "choice": [],
    }
    yield from own[key.kind]


def bad_values(key: Key):
    yield from (["x"], {"x": 1}, {"from_env": "V", "x": 1})
    own = {
        "text": [],
        "setting": [],
        "switch": ["perhaps", 2, 0.5],
        "number": ["x", -1, 0, "1s", 10**12],
        "integer": ["x", -1, 2.5, "2.5", 10**12],
        "ports": ["x", 0, 65536, "5432;5433"],
        "threshold": ["x", -1, 2.5],
        "choice": ["perhaps", 5],
    }
    yield from own[key.kind]


def at(key: Key, value):
    """Return a configuration with *value*, in which a pool's sizes do not contradict it."""
    if not key.section:
        return {key.name: value}
    room = {"min_size": 0} if key.name == "max_size" else {}
    return {key.section: {**room, key.name: value}}


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.path)
def test_json_schema_and_validator_agree_on_good_and_bad_values(key):
    known = key.section != CONNECTION or key.name in running_libpq().keywords
    for value in good_values(key):
        config = at(key, value)
        assert SCHEMA.is_valid(config), value
        is_reference = isinstance(value, dict) or (isinstance(value, str) and "${" in value)
        if known and not is_reference:
            assert loads(config), value
    for value in bad_values(key):
        config = at(key, value)
        assert not SCHEMA.is_valid(config), value
        assert not loads(config), value


@pytest.mark.parametrize(
    ("config", "good"),
    [
        (DOCUMENTED, True),
        ({}, True),
        ({"pool_settings": None}, True),
        ({"connection_settings": {"autocommit": True}}, True),
        ({"sync_settings": {"app.user": "x", "TimeZone": "UTC"}}, True),
        ({"sync_settings": {"no such name": "x"}}, False),
        ({"connection_settings": {"prot": 1}}, False),
        ({"pool_settings": {"minsize": 1}}, False),
        ({"connexion_settings": {}}, False),
        ({"pool_settings": [1]}, False),
        ([], False),
    ],
)
def test_json_schema_and_validator_agree_on_shapes(config, good):
    assert SCHEMA.is_valid(config) is good
    if isinstance(config, dict):
        assert loads(config) is good


def test_json_schema_knows_the_form_of_version_2():
    assert SCHEMA.is_valid({"postgresql": DOCUMENTED})
    assert not SCHEMA.is_valid({"postgresql": DOCUMENTED, "pool_settings": {}})
    assert not SCHEMA.is_valid({"postgresql": {"prot": 1}})


# -- the reference ----------------------------------------------------------------------


def test_reference_has_a_row_for_every_key_and_a_heading_for_every_section():
    text = reference()
    for key in KEYS:
        assert f"| `{key.name}` |" in text
        assert f"| {key.help} |" in text
    assert [line[4:] for line in text.splitlines() if line.startswith("### ")] == [
        "Top level",
        *SECTIONS,
    ]
    assert all(line.count("|") == 5 for line in text.splitlines() if line.startswith("|"))
    assert SECTIONS.keys() >= OPEN_SECTIONS
