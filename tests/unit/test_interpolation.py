"""References: the grammar, what each kind gives, and what is said of one that gives nothing."""

from __future__ import annotations

import copy
import os
import pickle
import select
import sys
from pathlib import Path

import pytest

from pgmonkey import EnvInterpolationError, load_config
from pgmonkey.config.grammar import MalformedError, Reference, parse
from pgmonkey.config.load import load_settings, load_text
from pgmonkey.config.redaction import REDACTED, Secret
from pgmonkey.config.rotation import SecretSource
from pgmonkey.errors import ConfigError


def value(text: str, key: str = "user", **how):
    """Return what *text* comes to at ``connection_settings.<key>``; None for not given."""
    config = {"connection_settings": {key: text}}
    found = load_settings(config, **{"resolve_env": True, **how}).connection.get(key)
    return found.reveal() if isinstance(found, Secret | SecretSource) else found


@pytest.fixture(autouse=True)
def _variables(monkeypatch):
    monkeypatch.setenv("SET", "value")
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.setenv("DOLLARS", "a$$b${SET}$c")
    monkeypatch.delenv("UNSET", raising=False)
    monkeypatch.delenv("PGMONKEY_RESOLVE_ENV", raising=False)


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("${SET}", "value"),
        ("a${SET}b${SET}", "avaluebvalue"),
        ("${EMPTY}", None),
        ("x${EMPTY}", "x"),
        ("${UNSET:-d}", "d"),
        ("${EMPTY:-d}", "d"),
        ("${SET:-d}", "value"),
        ("${UNSET-d}", "d"),
        ("x${EMPTY-d}", "x"),
        ("x${UNSET:-}", "x"),
        ("${SET:?m}", "value"),
        ("x${EMPTY?m}", "x"),
        ("${SET:+o}", "o"),
        ("x${EMPTY:+o}", "x"),
        ("${EMPTY+o}", "o"),
        ("x${UNSET+o}", "x"),
        ("${UNSET:-${SET}}", "value"),
        ("${UNSET:-a${UNSET:-b${SET}c}d}", "abvaluecd"),
        ("${SET:-${UNSET}}", "value"),  # an operand that is not needed is not resolved
        ("${UNSET:-a-b:c?d+e}", "a-b:c?d+e"),
        ("${UNSET:-$$}", "$"),
        ("$$", "$"),
        ("$${SET}", "${SET}"),
        ("$$${SET}", "$value"),
        ("pa$SET$", "pa$SET$"),  # a bare $V is text
        ("a}b{", "a}b{"),
        ("${DOLLARS}", "a$$b${SET}$c"),  # results are not scanned again
        ("${UNSET:-{a}}", "{a}"),  # the first } closes, as in a shell
    ],
)
def test_reference_gives_what_docker_compose_would_give(text, outcome):
    assert value(text) == outcome


@pytest.mark.parametrize(
    ("text", "column", "problem"),
    [
        ("${", 15, "'${' begins no reference; write $${ for the text"),
        ("x${}", 16, "'${' begins no reference; write $${ for the text"),
        ("${1A}", 15, "'${' begins no reference; write $${ for the text"),
        ("${SET", 15, "'${' is not closed; write $${ for the text"),
        ("${SET:-x", 15, "'${' is not closed; write $${ for the text"),
        ("${SET} ${UNSET:-${SET}", 22, "'${' is not closed; write $${ for the text"),
        ("${SET!}", 15, "after the name of a variable comes } or one of :- - :? ? :+ +"),
        ("${SET:x}", 15, "after the name of a variable comes } or one of :- - :? ? :+ +"),
        ("$${A}${B ", 20, "after the name of a variable comes } or one of :- - :? ? :+ +"),
    ],
)
def test_ill_formed_reference_is_refused_with_its_column(text, column, problem):
    with pytest.raises(EnvInterpolationError) as caught:
        load_text(f"connection_settings:\n  password: '{text}'\n", "c.yaml", resolve_env=True)
    assert str(caught.value) == f"c.yaml:2:{column - 1}: connection_settings.password: {problem}"


def test_nesting_has_a_limit():
    with pytest.raises(MalformedError, match="nested deeper than 10 levels"):
        parse("${A:-" * 12 + "}" * 12)


def test_parts_of_a_reference_are_values():
    assert parse("a$$${B:-${C}d}") == (
        "a",
        "$",
        Reference("B", ":-", (Reference("C", "", ()), "d")),
    )


REFUSED = {
    "${UNSET}": "${UNSET} is not set and has no default",
    "${UNSET:?set it in the pod}": "${UNSET} is not set; set it in the pod",
    "${EMPTY:?}": "${EMPTY} is empty",
    "${UNSET?see ${SET}}": "${UNSET} is not set; see ${SET}",
}


@pytest.mark.parametrize("text", REFUSED)
def test_unset_variable_is_an_error_that_names_it_and_the_key(text):
    with pytest.raises(EnvInterpolationError) as caught:
        load_text(f"connection_settings:\n  password: {text}\n", "c.yaml", resolve_env=True)
    assert str(caught.value) == f"c.yaml:2:13: connection_settings.password: {REFUSED[text]}"
    assert caught.value.key == "connection_settings.password"


@pytest.mark.parametrize("operator", ["-", ":-", "+", ":+"])
@pytest.mark.parametrize("key", ["password", "sslkey", "sslcert", "sslrootcert", "sslpassword"])
def test_default_for_a_secret_is_refused_unless_allowed(key, operator):
    text = f"${{SET{operator}CANARY}}"
    with pytest.raises(EnvInterpolationError) as caught:
        value(text, key)
    assert str(caught.value) == (
        f"<dict>: connection_settings.{key}: ${{SET{operator}…}} gives a secret a default; "
        "leave it out, or allow it with allow_sensitive_defaults"
    )
    assert value(text, key, allow_sensitive_defaults=True) == (
        "value" if "-" in operator else "CANARY"
    )


def test_strict_allows_no_default_in_place_of_an_unset_variable():
    assert value("${EMPTY:-d}", strict=True) == "d"
    with pytest.raises(EnvInterpolationError) as caught:
        value("${UNSET:-d}", strict=True)
    assert str(caught.value) == (
        "<dict>: connection_settings.user: ${UNSET} is not set, "
        "and strict allows no default in its place"
    )


def test_keys_are_not_interpolated():
    with pytest.raises(ConfigError, match=r"^<dict>: pool_settings\.\$…: is not a key of this"):
        load_settings({"pool_settings": {"${SET}": 1}}, resolve_env=True)


def test_numbers_and_switches_may_be_references(monkeypatch):
    monkeypatch.setenv("SIZE", "7")
    monkeypatch.setenv("ON", "true")
    pool = {"max_size": "${SIZE}", "check_on_checkout": {"from_env": "ON"}}
    settings = load_settings({"pool_settings": pool}, resolve_env=True)
    assert settings.pool_settings.max_size == 7
    assert settings.pool_settings.check_on_checkout is True


def test_from_env_takes_the_variable_as_it_is():
    assert value({"from_env": "DOLLARS"}, "password") == "a$$b${SET}$c"
    with pytest.raises(EnvInterpolationError) as caught:
        value({"from_env": "UNSET"}, "password")
    assert str(caught.value) == "<dict>: connection_settings.password.from_env: UNSET is not set"


@pytest.mark.parametrize(
    ("reference", "problem"),
    [
        ({"from_env": ""}, "from_env: expects the name of a variable"),
        ({"from_env": "A=B"}, "from_env: this is not the name of a variable"),
        ({"from_file": None}, "from_file: expects a path"),
        ({"from_file": ["x"]}, "from_file: expects a path"),
        ({"from_command": "pass show db"}, "from_command: expects a list: [program, argument, ...]"),
        ({"from_command": []}, "from_command: expects a list: [program, argument, ...]"),
    ],
)  # fmt: skip
def test_reference_to_nothing_is_refused(reference, problem):
    with pytest.raises(EnvInterpolationError) as caught:
        value(reference, "password")
    assert str(caught.value) == f"<dict>: connection_settings.password.{problem}"


@pytest.mark.parametrize("mapping", [{"from_env": "SET", "x": 1}, {"x": 1}, {"from_env": {"a": 1}}])
def test_any_other_mapping_is_not_a_reference(mapping):
    with pytest.raises(ConfigError) as caught:
        value(mapping, "password")
    assert str(caught.value) == (
        "<dict>: connection_settings.password: expects one value, not a mapping"
    )


def test_section_cannot_be_a_reference():
    with pytest.raises(ConfigError, match="a whole section cannot be a reference"):
        load_settings({"connection_settings": {"from_env": "SET"}}, resolve_env=True)


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        (b"pw", "pw"),
        (b"pw\n", "pw"),
        (b"pw\r\n", "pw"),
        (b"pw\n\n", "pw\n"),
        (b" pw ", " pw "),
        (b"pw\r", "pw\r"),
        ("pässwörd\n".encode(), "pässwörd"),
        (b"x" * 65536, "x" * 65536),
    ],
)
def test_from_file_drops_exactly_one_trailing_newline(tmp_path, content, secret):
    path = tmp_path / "secret"
    path.write_bytes(content)
    assert value({"from_file": str(path)}, "password") == secret


def test_from_file_starts_at_the_folder_of_the_configuration(tmp_path, monkeypatch):
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "pw").write_text("there\n")
    config = tmp_path / "c.yaml"
    config.write_text("connection_settings: {password: {from_file: secrets/pw}}\n")
    monkeypatch.chdir("/")
    password = load_settings(config, resolve_env=True).connection["password"]
    assert not isinstance(password, str)
    assert password.reveal() == "there"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "cannot read '{path}': No such file or directory"),
        (b"", "'{path}' is empty"),
        (b"\n", "'{path}' is empty"),
        (b"a\0b", "'{path}' holds a NUL character"),
        (b"\xff", "'{path}' is not UTF-8"),
        (b"x" * 65537, "'{path}' is larger than 64 KiB"),
    ],
)
def test_file_that_holds_no_secret_fails_at_once(tmp_path, content, problem):
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(EnvInterpolationError) as caught:
        value({"from_file": str(path)}, "password")
    expected = problem.format(path=path)
    assert str(caught.value) == f"<dict>: connection_settings.password.from_file: {expected}"


def test_strict_refuses_a_secret_file_that_everybody_may_read(tmp_path):
    path = tmp_path / "secret"
    path.write_text("pw")
    path.chmod(0o640)
    assert value({"from_file": str(path)}, "password", strict=True) == "pw"
    path.chmod(0o644)
    with pytest.raises(EnvInterpolationError) as caught:
        value({"from_file": str(path)}, "password", strict=True)
    assert str(caught.value) == (
        f"<dict>: connection_settings.password.from_file: '{path}' is readable by everybody; "
        "take that away with chmod o-r"
    )


def command(code: str) -> dict[str, list[str]]:
    return {"from_command": [sys.executable, "-c", code]}


def test_from_command_takes_what_the_command_prints():
    assert value(command("print('to' + 'ken')"), "password") == "token"


def test_from_command_has_no_shell():
    args = [sys.executable, "-c", "import sys; print(sys.argv[1])", "$(id); `id` *"]
    assert value({"from_command": args}, "password") == "$(id); `id` *"


def test_from_command_is_never_run_without_interpolation(tmp_path):
    mark = tmp_path / "ran"
    config = tmp_path / "c.yaml"
    config.write_text(f"connection_settings: {{password: {{from_command: [touch, '{mark}']}}}}\n")
    assert load_config(config)["connection_settings"]["password"] == {
        "from_command": ["touch", str(mark)]
    }
    with pytest.raises(ConfigError, match="resolve_env is off"):
        load_settings(config)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("print('CANARY'); raise SystemExit(3)", "ended with status 3; run it by hand to see why"),
        ("import os; os.kill(os.getpid(), 9)", "ended with status -9; run it by hand to see why"),
        ("", "is empty"),
        ("print('CANARY\\0')", "holds a NUL character"),
        ("import sys; sys.stdout.buffer.write(b'\\xff')", "is not UTF-8"),
        ("while True: print('CANARY' * 1000)", "is larger than 64 KiB"),
    ],
)
def test_command_that_gives_no_secret_fails_at_once(code, problem):
    with pytest.raises(EnvInterpolationError) as caught:
        value(command(code), "password")
    assert str(caught.value).endswith(problem)
    assert "CANARY" not in str(caught.value)


def test_command_that_does_not_exist_is_named():
    with pytest.raises(EnvInterpolationError) as caught:
        value({"from_command": ["no-such-program"]}, "password")
    assert str(caught.value) == (
        "<dict>: connection_settings.password.from_command: "
        "cannot start 'no-such-program': No such file or directory"
    )


@pytest.mark.parametrize(
    "code",
    [
        "time.sleep(60)",
        # The command itself is done, but what it started keeps its output open.
        "subprocess.Popen(['sleep', '60'], close_fds=False)",
    ],
)
def test_command_that_takes_too_long_is_ended_with_its_children(code, monkeypatch, tmp_path):
    monkeypatch.setattr("pgmonkey.config.rotation.COMMAND_SECONDS", 1.0)
    alive = tmp_path / "alive"
    os.mkfifo(alive)
    reader = os.open(alive, os.O_RDONLY | os.O_NONBLOCK)
    hold = f"fd = os.open({str(alive)!r}, os.O_WRONLY); os.set_inheritable(fd, True)"
    with pytest.raises(EnvInterpolationError, match="took longer than 1 seconds"):
        value(command(f"import os, subprocess, time; {hold}; {code}"), "password")
    poll = select.poll()
    poll.register(reader, select.POLLHUP)
    assert poll.poll(10_000), "a process still holds the other end"
    os.close(reader)


def test_rotated_password_is_read_for_every_connection(tmp_path):
    path = tmp_path / "secret"
    path.write_text("first")
    config = {"connection_settings": {"user": "u", "password": {"from_file": str(path)}}}
    settings = load_settings(config, resolve_env=True)
    fingerprint = settings.fingerprint
    assert settings.rotates
    assert settings.connect_arguments() == {"user": "u", "password": "first"}
    path.write_text("second")
    assert settings.connect_arguments() == {"user": "u", "password": "second"}
    assert settings.fingerprint == fingerprint
    assert load_settings(config, resolve_env=True) is settings
    assert settings.scrub("first second third") == f"{REDACTED} {REDACTED} third"


def test_rotated_password_that_is_gone_is_an_error_of_the_connection(tmp_path):
    path = tmp_path / "secret"
    path.write_text("first")
    config = {"connection_settings": {"password": {"from_file": str(path)}}}
    settings = load_settings(config, resolve_env=True)
    path.unlink()
    with pytest.raises(EnvInterpolationError) as caught:
        settings.connect_arguments()
    assert str(caught.value) == (
        "<dict>: connection_settings.password.from_file: "
        f"cannot read '{path}': No such file or directory"
    )


def test_only_secrets_rotate_and_other_values_are_read_once(tmp_path):
    path = tmp_path / "user"
    path.write_text("joe\n")
    config = {"connection_settings": {"user": {"from_file": str(path)}}}
    settings = load_settings(config, resolve_env=True)
    assert settings.connection == {"user": "joe"}
    assert not settings.rotates


def test_secret_source_remembers_a_bounded_number_of_values_and_cannot_be_copied_out():
    values = iter(str(n) for n in range(1000))
    source = SecretSource(lambda: next(values), "file:/x")
    for _ in range(100):
        source.reveal()
    assert source.known_values() == tuple(str(n) for n in range(84, 100))
    assert repr(source) == str(source) == f"{source}" == REDACTED
    assert copy.deepcopy(source) is source
    with pytest.raises(TypeError, match="a secret cannot be pickled"):
        pickle.dumps(source)


def test_variable_with_a_secret_name_is_a_secret_wherever_it_stands(monkeypatch):
    monkeypatch.setenv("API_TOKEN", "CANARY")
    config = {"connection_settings": {"options": "-c app.key=${API_TOKEN}"}}
    settings = load_settings(config, resolve_env=True)
    assert settings.connect_arguments() == {"options": "-c app.key=CANARY"}
    assert "CANARY" not in repr(dict(settings.connection))
    for key, problem in (("port", "CANARY"), ("connect_timeout", "99999999999")):
        monkeypatch.setenv("API_TOKEN", problem)
        with pytest.raises(ConfigError) as caught:
            value("${API_TOKEN}", key)
        assert str(caught.value) == (
            f"<dict>: connection_settings.{key}: what the reference gives does not fit"
        )


@pytest.mark.parametrize(("switch", "on"), [("1", True), ("true", True), ("0", False), ("", False)])
def test_interpolation_may_be_switched_on_from_outside(switch, on, monkeypatch):
    monkeypatch.setenv("PGMONKEY_RESOLVE_ENV", switch)
    if on:
        assert value("${SET}", resolve_env=False) == "value"
    else:
        with pytest.raises(ConfigError, match="resolve_env is off"):
            value("${SET}", resolve_env=False)


def test_switch_that_is_neither_on_nor_off_is_refused(monkeypatch):
    monkeypatch.setenv("PGMONKEY_RESOLVE_ENV", "perhaps")
    with pytest.raises(ConfigError) as caught:
        value("x", resolve_env=False)
    assert str(caught.value) == (
        "<environment>: PGMONKEY_RESOLVE_ENV: 'perhaps' is neither 1 nor 0"
    )


@pytest.mark.parametrize("text", ["${SET}", "a${UNSET:-b}", {"from_env": "SET"}])
def test_reference_about_to_be_used_unresolved_is_refused(text):
    with pytest.raises(ConfigError) as caught:
        value(text, "password", resolve_env=False)
    assert str(caught.value) == (
        "<dict>: connection_settings.password: is a reference, and resolve_env is off; "
        "turn it on with resolve_env=True or --resolve-env"
    )


@pytest.mark.parametrize("text", ["$SET", "a${b", "$$", "${}", "$${"])
def test_text_that_is_no_reference_is_literal_without_interpolation(text):
    assert value(text, "password", resolve_env=False) == text


def test_home_folder_is_expanded_in_a_path(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    Path(tmp_path / "pw").write_text("home")
    assert value({"from_file": "~/pw"}, "password") == "home"
