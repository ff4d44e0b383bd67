"""Secrets: what is hidden, in which shapes, and that nothing of ours tells one."""

from __future__ import annotations

import copy
import io
import json
import logging
import pickle
import traceback
import warnings
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from pgmonkey import ConfigError, load_config, redact_config
from pgmonkey.common.utils.redaction import redact_config as documented_redact_config
from pgmonkey.config.explain import explain
from pgmonkey.config.load import findings, load_settings, load_text, settings_from_environment
from pgmonkey.config.redaction import REDACTED, Secret, is_sensitive, redact, scrub
from pgmonkey.config.settings import Settings


def test_documented_import_path_gives_the_same_function():
    assert documented_redact_config is redact_config


@pytest.mark.parametrize(
    "name",
    [
        *("password", "sslkey", "sslcert", "sslrootcert", "api_token", "client_secret"),
        *("credentials", "sslpassword", "passwd", "scram_client_key", "scram_server_key"),
        *("oauth_client_secret", "PASSWORD", "AWS_SECRET_ACCESS_KEY"),
    ],
)
def test_sensitive_key_is_redacted(name):
    assert is_sensitive(name)
    assert redact_config({name: "x"}) == {name: REDACTED}


@pytest.mark.parametrize("name", ["host", "user", "passfile", "sslmode", "sslcrl", "dbname"])
def test_other_key_is_left_alone(name):
    assert not is_sensitive(name)
    assert redact_config({name: "x"}) == {name: "x"}


def test_redacted_config_is_a_plain_copy_with_nothing_to_leak():
    config = {
        "connection_settings": {
            "password": "pw",
            "host": "db.example.com",
            "port": 5432,
            "sslkey": "",
            "sslcert": None,
            "options": Secret("hidden"),
        },
        "list": [{"token": 5}, ("a", {"passwd": "x"})],
        "password": {"from_env": "X"},
    }
    before = copy.deepcopy(config)
    assert redact_config(config) == {
        "connection_settings": {
            "password": REDACTED,
            "host": "db.example.com",
            "port": 5432,
            "sslkey": "",
            "sslcert": None,
            "options": REDACTED,
        },
        "list": [{"token": REDACTED}, ["a", {"passwd": REDACTED}]],
        "password": REDACTED,
    }
    assert config == before


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("postgresql://u:pw@h:5432/db", f"postgresql://u:{REDACTED}@h:5432/db"),
        ("postgres://u:p:w@d@h", f"postgres://u:{REDACTED}@h"),
        ("see postgresql://:pw@h and x", f"see postgresql://:{REDACTED}@h and x"),
        ("postgresql://u@h/db", "postgresql://u@h/db"),
        ("postgresql://h/db?user=u&password=pw&x=1", f"postgresql://h/db?user=u&password={REDACTED}&x=1"),
        ("host=h password=pw user=u", f"host=h password={REDACTED} user=u"),
        ("password = 'p w\\'s' host=h", f"password = {REDACTED} host=h"),
        ("sslpassword='pw", f"sslpassword={REDACTED}"),
        ("PASSWORD=pw", f"PASSWORD={REDACTED}"),
        ("no secret: in here", "no secret: in here"),
    ],
)  # fmt: skip
def test_password_in_a_uri_or_conninfo_is_redacted(text, redacted):
    assert redact(text) == redacted
    assert redact_config({"dsn": [text]}) == {"dsn": [redacted]}


SECRETS = ["p@ss w/rd+%", "pässwörd€", 'it\'s "quoted" \\ here', "line\nbreak", "a.*(b)[c]{d}^$|?"]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize(
    "shape",
    [
        str,
        quote,
        lambda s: quote(s, safe=""),
        quote_plus,
        lambda s: quote(s, safe="").lower() if s.islower() else quote(s),
        lambda s: "".join(f"%{byte:02x}" for byte in s.encode()),
        lambda s: "".join(f"%{byte:02X}" for byte in s.encode()),
        repr,
        json.dumps,
        lambda s: s.replace("\\", "\\\\").replace("'", "\\'"),
    ],
    ids=["plain", "path", "all", "plus", "lower", "hex", "HEX", "repr", "json", "conninfo"],
)
def test_secret_is_scrubbed_in_every_shape_it_may_take(secret, shape):
    shaped = shape(secret)
    if shape in (repr, json.dumps):
        shaped = shaped[1:-1]
    assert scrub(f"<{shaped}>", [secret]) == f"<{REDACTED}>"


def test_longer_secret_is_scrubbed_before_one_that_is_part_of_it():
    assert scrub("secretary secret", ["secret", "secretary"]) == f"{REDACTED} {REDACTED}"


def test_secret_of_less_than_four_characters_is_scrubbed_only_where_it_stands_alone():
    """Replaced everywhere, 'a' would leave no message readable, and hide nothing."""
    text = "a bad cat said 'a' to u:a@host"
    assert scrub(text, ["a"]) == f"{REDACTED} bad cat said '{REDACTED}' to u:{REDACTED}@host"


def test_empty_secret_changes_nothing():
    assert scrub("text", [""]) == "text"


def test_secret_shows_itself_to_nobody():
    secret = Secret("CANARY")
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.emit(logging.makeLogRecord({"msg": "%s %r", "args": (secret, [secret])}))
    shown = [repr(secret), str(secret), f"{secret}", f"{secret:>30}", f"{secret!r}", "%s" % secret]  # noqa: UP031
    assert all("CANARY" not in text and REDACTED in text for text in [*shown, stream.getvalue()])
    assert secret.reveal() == "CANARY"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_secret_refuses_to_be_pickled(protocol):
    with pytest.raises(TypeError, match=r"^a secret cannot be pickled"):
        pickle.dumps({"password": Secret("CANARY")}, protocol)
    with pytest.raises(TypeError):
        json.dumps(Secret("CANARY"))


def test_secrets_compare_by_value_and_copy_as_themselves():
    secret = Secret("x")
    assert secret == Secret("x")
    assert secret != Secret("y")
    assert secret != "x"
    assert len({secret, Secret("x")}) == 1
    assert copy.deepcopy(secret) is secret


# -- the canary -------------------------------------------------------------------------

CANARY = "CANARY-7f3a"


@pytest.fixture
def channels(tmp_path, monkeypatch):
    """One configuration for each way a secret may come in."""
    monkeypatch.setenv("CANARY_VARIABLE", CANARY)
    secret = tmp_path / "secret"
    secret.write_text(CANARY + "\n")
    return {
        "literal": CANARY,
        "variable": "${CANARY_VARIABLE}",
        "default": f"${{NOT_SET:-{CANARY}}}",
        "inside": "x${CANARY_VARIABLE}y",
        "from_env": {"from_env": "CANARY_VARIABLE"},
        "from_file": {"from_file": str(secret)},
        "from_command": {"from_command": ["echo", CANARY]},
        "uri": f"postgresql://u:{CANARY}@h/db",
        "conninfo": f"host=h password={CANARY}",
        "ill-formed": f"${{{CANARY}!}}",
        "unclosed": f"{CANARY}${{",
        "list": [CANARY],
        "nested": {"value": CANARY},
        "nul": f"{CANARY}\0",
    }


# What else is wrong, so that errors come from every stage while the secret is at hand.
TROUBLE = {
    "nothing": {},
    "choice": {"sslmode": "perhaps"},
    "range": {"port": 99999},
    "unset": {"user": "${NOT_SET}"},
    "unknown": {"prot": 1},
    "type": {"user": ["x"]},
    "file": {"user": {"from_file": "/nowhere"}},
    "number": {5: 1},
}


def everything_said(function, *args, **how) -> str:
    """Return all that *function* tells anyone: its result, its error, its frames."""
    try:
        result = function(*args, **how)
    except (ConfigError, UnicodeError) as error:
        told = traceback.TracebackException.from_exception(error, capture_locals=True)
        # Of the frames only this one has the test's own arguments.
        frames = [frame for frame in told.format() if "in everything_said" not in frame]
        return "\n".join([*frames, str(error), repr(error), repr(vars(error))])
    if isinstance(result, Settings):
        rows = [repr(row) for row in explain(result)]
        shown = [result, dict(result.connection), result.target, result.fingerprint, result.marks]
        values = " ".join(result.connect_arguments().values())
        return "\n".join([*map(repr, shown), *rows, result.scrub(f"libpq says {values}")])
    if isinstance(result, dict):
        return repr(redact_config(result))
    return "\n".join(f"{error!r} {error} {vars(error)}" for error in result)


@pytest.mark.parametrize("trouble", TROUBLE)
@pytest.mark.parametrize("key", ["password", "sslpassword", "oauth_client_secret"])
def test_canary_is_nowhere_in_what_a_configuration_makes_us_say(
    key, trouble, channels, tmp_path, caplog
):
    caplog.set_level(logging.DEBUG)
    said = []
    for channel, value in channels.items():
        section = {"host": "h", key: value, **TROUBLE[trouble]}
        config = {"connection_settings": section}
        text = json.dumps(config)  # which is YAML
        path = tmp_path / f"{channel}.yaml"
        path.write_text(text)
        for how in (
            {},
            {"resolve_env": True},
            {"resolve_env": True, "allow_sensitive_defaults": True},
        ):
            said.append(everything_said(load_settings, config, **how))
            said.append(everything_said(load_settings, path, **how))
            said.append(everything_said(load_config, path, **how))
            said.append(everything_said(load_text, text, "text", strict=True, **how))
            said.append(everything_said(findings, path, **how))
    assert CANARY not in "\n".join(said)
    assert CANARY not in caplog.text
    assert CANARY not in "".join(str(vars(record)) for record in caplog.records)


def test_path_of_a_key_is_shown_in_errors_of_libpq_only(tmp_path):
    """A path is no secret, and without it nobody could mend it; reports hide it, as documented."""
    settings = load_settings({"connection_settings": {"sslkey": "/keys/client.key"}})
    assert settings.connection["sslkey"] == "/keys/client.key"
    assert [row.value for row in explain(settings) if row.key.endswith("sslkey")] == [REDACTED]


@pytest.mark.parametrize(
    "line",
    [
        f"password:{CANARY}",
        f"password:{CANARY}: x",
        f"password={CANARY}",
        f"password: {CANARY}: x",
        f"password: '{CANARY}",
        f"password: *{CANARY}",
        f"password: &{CANARY}",
        f"password: !{CANARY} x",
        f"password: |\n{CANARY}",
        f"password: {CANARY}\n  password: {CANARY}",
        f"password: [{CANARY}, {{{CANARY}: 1}}]",
        f"port: postgresql://u:{CANARY}@h",
        f"sslmode: 'host=h password={CANARY}'",
        f"password: {{from_env: {CANARY}}}\n  password2: x",
        f"\tpassword: {CANARY}",
    ],
)
def test_canary_is_nowhere_in_what_a_broken_file_makes_us_say(line, tmp_path, caplog):
    text = f"connection_settings:\n  {line}\n"
    path = tmp_path / "c.yaml"
    path.write_text(text)
    said = [
        everything_said(function, source, **how)
        for function, source in ((load_settings, path), (load_config, path), (findings, path))
        for how in ({}, {"strict": True})
    ]
    assert CANARY not in "\n".join(said)
    assert CANARY not in caplog.text


@pytest.mark.parametrize(
    "dsn",
    [
        f"postgresql://u:{CANARY}@h/db",
        f"postgresql://u:{CANARY}@h:port/db",
        f"postgresql://u:{CANARY}%zz@h/db",
        f"postgresql://u:x@[{CANARY}/db",
        f"postgresql://h/db?passwd={CANARY}",
        f"postgresql://h/db?password={CANARY}&{CANARY}=1",
        f"postgresql://u:{CANARY}@h/db?sslmode=perhaps",
        f"host=h password={CANARY}",
        f"host=h password='{CANARY}",
        f"host=h passwd={CANARY}",
        f"host=h password {CANARY}",
        f"host=h password={CANARY} port=99999",
        CANARY,
    ],
)
def test_canary_in_a_dsn_is_nowhere_in_what_we_say(dsn):
    """libpq repeats a URI that it cannot read, password included."""
    assert CANARY not in everything_said(settings_from_environment, dsn)


def test_canary_in_a_password_file_of_the_environment_is_nowhere(tmp_path, monkeypatch):
    path = tmp_path / "pw"
    path.write_text(CANARY)
    monkeypatch.delenv("PGPASSWORD", raising=False)
    monkeypatch.setenv("PGPASSWORD_FILE", str(path))
    settings = settings_from_environment()
    assert settings.connect_arguments()["password"] == CANARY
    assert CANARY not in everything_said(settings_from_environment)


def test_canary_is_not_in_what_is_remembered_about_variables(monkeypatch, tmp_path):
    """The digest that tells whether a variable changed must not tell what it was."""
    from pgmonkey.config import memory

    monkeypatch.setenv("CANARY_VARIABLE", CANARY)
    load_settings({"connection_settings": {"password": "${CANARY_VARIABLE}"}}, resolve_env=True)
    assert CANARY not in repr(memory._entries)


def test_deprecation_warning_does_not_show_the_file(tmp_path):
    path = Path(tmp_path / "old.yaml")
    path.write_text(f"postgresql: {{connection_settings: {{password: {CANARY}}}}}\n")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load_settings(path)
    assert [CANARY in str(vars(warning)) for warning in caught] == [False]
