"""Files, dicts, text and libpq's variables become Settings; every error says where."""

from __future__ import annotations

import logging
import os
import threading
import time
import types
import warnings
from pathlib import Path

import pytest

from pgmonkey import ConfigError, load_config
from pgmonkey.config import memory
from pgmonkey.config.explain import explain
from pgmonkey.config.load import findings, load_settings, load_text, settings_from_environment
from pgmonkey.config.redaction import REDACTED, Secret
from pgmonkey.config.settings import PoolSettings


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch):
    for name in [*os.environ]:
        if name.startswith(("PG", "PGMONKEY_")):
            monkeypatch.delenv(name)


@pytest.fixture
def config(tmp_path):
    """Write a configuration that was there for a while, and only its owner may read."""

    def write(text: str, name: str = "c.yaml") -> Path:
        path = Path(tmp_path / name)
        path.write_text(text)
        path.chmod(0o600)
        settle(path)
        return path

    return write


def settle(path: Path) -> None:
    """Make *path* older than the clock of file systems is coarse."""
    then = time.time_ns() - 10_000_000_000
    os.utime(path, ns=(then, then))


# -- shapes and values ------------------------------------------------------------------

FLAT = """\
connection_type: pool
connection_settings:
  host: localhost
  port: 05432
  user: no
  password: 007
  dbname: 12:30:45
  connect_timeout: 10
  keepalives: true
  sslcert: ''
  sslkey:
  autocommit: yes
pool_settings:
  min_size: '2'
  max_size: 4
  timeout: 2.5
  check_on_checkout: 1
  name: 5
sync_settings:
  statement_timeout: 30000
  jit: false
  TimeZone: UTC
  work_mem: ''
  lock_timeout:
connection_options:
  isolation_level: Repeatable-Read
  read_only: 'on'
  prepare_threshold: null
  pooler: transaction
"""
OLD = "postgresql:\n" + "".join(f"  {line}\n" for line in FLAT.splitlines())


def test_file_becomes_settings(config):
    settings = load_settings(config(FLAT))
    assert settings.connection_type == "pool"
    assert settings.connection == {
        "host": "localhost",
        "port": "05432",
        "user": "no",
        "password": Secret("007"),
        "dbname": "12:30:45",
        "connect_timeout": "10",
        "keepalives": "1",
    }
    assert settings.pool_settings == PoolSettings(
        min_size=2, max_size=4, timeout=2.5, check_on_checkout=True, name="5"
    )
    assert settings.async_pool_settings == PoolSettings()
    assert settings.sync_settings == {"statement_timeout": "30000", "jit": "off", "TimeZone": "UTC"}
    options = settings.options
    assert (options.autocommit, options.isolation_level) == (True, "repeatable read")
    assert (options.read_only, options.prepare_threshold) == (True, None)
    assert options.pooler == "transaction"


def test_form_of_version_2_gives_the_same_settings_and_one_deprecation_warning(config):
    path = config(OLD)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        old = load_settings(path)
        load_settings(path)
    message = "postgresql: this is the form of version 2; move what is in it one level up"
    assert [(w.category, str(w.message), w.filename) for w in caught] == [
        (DeprecationWarning, f"{path}:1:1: {message}", __file__)
    ]
    new = load_settings(config(FLAT, "new.yaml"), name=str(path))
    assert old == new
    assert old.marks["connection_settings.host"].line == 4


def test_load_config_returns_the_users_own_values_in_the_flat_form(config):
    expected = {
        "connection_type": "pool",
        "connection_settings": {
            "host": "localhost",
            "port": "05432",
            "user": "no",
            "password": "007",
            "dbname": "12:30:45",
            "connect_timeout": 10,
            "keepalives": True,
            "sslcert": "",
            "sslkey": None,
            "autocommit": True,
        },
        "pool_settings": {
            "min_size": "2",
            "max_size": 4,
            "timeout": 2.5,
            "check_on_checkout": 1,
            "name": "5",
        },
        "sync_settings": {
            "statement_timeout": 30000,
            "jit": False,
            "TimeZone": "UTC",
            "work_mem": "",
            "lock_timeout": None,
        },
        "connection_options": {
            "isolation_level": "Repeatable-Read",
            "read_only": "on",
            "prepare_threshold": None,
            "pooler": "transaction",
        },
    }
    assert load_config(config(FLAT)) == expected
    with pytest.warns(DeprecationWarning, match="version 2"):
        assert load_config(config(OLD, "old.yaml")) == expected
    from_dict = load_settings(expected)
    assert from_dict.fingerprint == load_settings(config(FLAT)).fingerprint


def test_load_config_leaves_references_alone_unless_they_are_to_be_resolved(config, monkeypatch):
    monkeypatch.setenv("SIZE", "3")
    path = config(
        "connection_settings:\n  host: ${H:-h}\n  password: {from_env: SIZE}\n"
        "pool_settings:\n  max_size: ${SIZE}\n  min_size: 1\n"
    )
    assert load_config(path) == {
        "connection_settings": {"host": "${H:-h}", "password": {"from_env": "SIZE"}},
        "pool_settings": {"max_size": "${SIZE}", "min_size": 1},
    }
    assert load_config(path, resolve_env=True) == {
        "connection_settings": {"host": "h", "password": "3"},
        "pool_settings": {"max_size": "3", "min_size": 1},
    }


def test_sections_without_keys_are_empty(config):
    path = config("pool_settings:\nconnection_settings: {}\n")
    assert load_config(path) == {"pool_settings": {}, "connection_settings": {}}
    assert load_settings(path).pool_settings == PoolSettings()


def test_several_hosts_are_passed_on(config):
    section = {
        "host": "a,b",
        "hostaddr": "127.0.0.1,::1",
        "port": "5432,5433",
        "target_session_attrs": "read-write",
        "load_balance_hosts": "random",
    }
    assert load_settings({"connection_settings": section}).connect_arguments() == section


@pytest.mark.parametrize("on", ["1", 1, True, "true", "YES", "on", " on "])
@pytest.mark.parametrize("off", ["0", 0, False, "false", "No", "off"])
def test_switch_may_be_written_in_any_way(on, off):
    settings = load_settings(
        {
            "connection_settings": {"keepalives": on, "sslsni": off},
            "pool_settings": {"check_on_checkout": on},
            "connection_options": {"autocommit": off},
        }
    )
    assert settings.connection == {"keepalives": "1", "sslsni": "0"}
    assert settings.pool_settings.check_on_checkout is True
    assert settings.options.autocommit is False


@pytest.mark.parametrize("value", ["true", "off", "no"])
def test_server_setting_in_quotes_keeps_its_text(value):
    assert load_settings({"sync_settings": {"x.y": value}}).sync_settings == {"x.y": value}


@pytest.mark.parametrize(
    ("given", "used"), [(0, 0), ("7", 7), ("off", None), (False, None), ("", 5)]
)
def test_prepare_threshold_may_be_switched_off(given, used):
    settings = load_settings({"connection_options": {"prepare_threshold": given}})
    assert settings.options.prepare_threshold == used


def test_dict_may_hold_paths_secrets_and_other_mappings():
    section = types.MappingProxyType({"sslrootcert": Path("/ca.crt"), "password": Secret("pw")})
    settings = load_settings({"connection_settings": section})
    assert settings.connect_arguments() == {"sslrootcert": "/ca.crt", "password": "pw"}


# -- what is said of a wrong configuration ----------------------------------------------

WRONG = {
    "connection_settings:\n  sslmode: verify_full\n":
        "2:12: connection_settings.sslmode: 'verify_full' is not a mode; did you mean 'verify-full'?",
    "connection_settings:\n  gssencmode: x\n":
        "2:15: connection_settings.gssencmode: 'x' is not a mode; choose one of disable, prefer, require",
    "connection_type: pooled\n":
        "1:18: connection_type: 'pooled' is not a connection type; did you mean 'pool'?",
    "connection_settings:\n  port: 99999\n":
        "2:9: connection_settings.port: 99999 is more than 65535",
    "connection_settings:\n  port: 5432;5433\n":
        "2:9: connection_settings.port: '5432;5433' is not a whole number",
    "connection_settings:\n  connect_timeout: 10s\n":
        "2:20: connection_settings.connect_timeout: '10s' is not a whole number of seconds",
    "connection_settings:\n  connect_timeout: 0x10\n":
        "2:20: connection_settings.connect_timeout: '0x10' is not a whole number of seconds",
    "connection_settings:\n  keepalives: maybe\n":
        "2:15: connection_settings.keepalives: 'maybe' is neither true nor false",
    "connection_settings:\n  password: [x]\n":
        "2:13: connection_settings.password: expects one value, not a list",
    "connection_settings: postgresql://u:pw@h/db\n":
        "1:22: connection_settings: expects a mapping of keys, not text",
    "connection_options:\n  isolation_level: snapshot\n":
        "2:20: connection_options.isolation_level: 'snapshot' is not a choice; "
        "choose one of read uncommitted, read committed, repeatable read, serializable",
    "connection_options:\n  autocommit: true\nconnection_settings:\n  autocommit: false\n":
        "4:15: connection_settings.autocommit: contradicts connection_options.autocommit",
    "pool_settings:\n  min_size: 30\n  max_size: 20\n":
        "2:13: pool_settings.min_size: 30 is larger than max_size (20)",
    "pool_settings:\n  min_size: 30\n":
        "2:13: pool_settings.min_size: 30 is larger than max_size (20, the default)",
    "async_pool_settings:\n  max_size: 3\n":
        "2:13: async_pool_settings.max_size: 3 is smaller than min_size (5, the default); set min_size too",
    "pool_settings:\n  max_size: 0\n": "2:13: pool_settings.max_size: 0 is less than 1",
    "pool_settings:\n  min_size: -1\n": "2:13: pool_settings.min_size: -1 is less than 0",
    "pool_settings:\n  timeout: 0\n": "2:12: pool_settings.timeout: 0 is not more than 0",
    "pool_settings:\n  timeout: .inf\n": "2:12: pool_settings.timeout: '.inf' is not a number of seconds",
    "pool_settings:\n  min_sise: 1\n":
        "2:3: pool_settings.min_sise: is not a key of this section; did you mean 'min_size'?",
    'async_settings:\n  "jit\\n": 1\n':
        "2:3: async_settings.jit…: is not the name of a server setting",
    "async_settings:\n  statement timeout: 1\n":
        "2:3: async_settings.statement timeout: is not the name of a server setting",
    "conection_settings: {}\n":
        "1:1: conection_settings: is not a section; did you mean 'connection_settings'?",
    "host: localhost\n": "1:1: host: is not a section; it belongs in connection_settings",
    "postgresql: {}\npool_settings: {}\n":
        "2:1: pool_settings: stands beside 'postgresql'; put it inside",
    "postgresql: [x]\n": "1:13: postgresql: expects a mapping, not a list",
    "postgresql:\n  connection_settings:\n    port: x\n":
        "3:11: connection_settings.port: 'x' is not a whole number",
    f"connection_settings:\n  sslmode: {'x' * 100}\n":
        f"2:12: connection_settings.sslmode: '{'x' * 59}…' is not a mode; "
        "choose one of disable, allow, prefer, require, verify-ca, verify-full",
}  # fmt: skip


@pytest.mark.parametrize("text", WRONG)
def test_error_says_where_which_key_what_is_wrong_and_what_now(text, config):
    path = config(text)
    for function in (load_settings, load_config):
        with pytest.raises(ConfigError) as caught:
            function(path)
        assert str(caught.value) == f"{path}:{WRONG[text]}"
    assert str(findings(path)[-1]) == f"{path}:{WRONG[text]}"


def test_error_has_its_parts_as_attributes(config):
    path = config("pool_settings:\n  max_size: x\n")
    with pytest.raises(ConfigError) as caught:
        load_settings(path)
    error = caught.value
    assert (error.file, error.line, error.column) == (str(path), 2, 13)
    assert error.key == "pool_settings.max_size"
    assert error.problem == "'x' is not a whole number"
    assert isinstance(error, ValueError)


def test_of_several_errors_the_first_in_the_file_is_raised(config):
    path = config("pool_settings: {min_size: 9, max_size: 3}\nconnection_settings: {port: x}\n")
    with pytest.raises(ConfigError, match=r":1:27: pool_settings\.min_size"):
        load_settings(path)


def test_size_that_is_a_reference_is_not_compared(config):
    path = config("pool_settings: {min_size: '${SIZE}', max_size: 3}\n")
    assert [finding.severity for finding in findings(path)] == ["warning"]


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda p: None, "does not exist; `pgmonkey pgconfig create` writes a template"),
        (lambda p: p.mkdir(), "is a directory, not a file"),
        (lambda p: p.symlink_to(p), "cannot be read: Too many levels of symbolic links"),
    ],
    ids=["missing", "directory", "loop"],
)
def test_file_that_cannot_be_read_is_a_config_error_that_names_it(make, problem, tmp_path):
    path = tmp_path / "c.yaml"
    make(path)
    for function in (load_settings, load_config):
        with pytest.raises(ConfigError) as caught:
            function(path)
        assert str(caught.value) == f"{path}: {problem}"
        assert isinstance(caught.value.__cause__, OSError)
    assert [str(finding) for finding in findings(path)] == [f"{path}: {problem}"]


def test_name_that_no_file_can_have_is_a_config_error():
    with pytest.raises(ConfigError, match="is not the name of a file"):
        load_settings("a\0b")


def test_text_has_the_name_it_is_given():
    with pytest.raises(ConfigError, match=r"^<stdin>:1:1: is empty"):
        load_text("", "<stdin>")
    assert load_text("connection_type: async\n", "<stdin>").name == "<stdin>"


def test_other_name_stands_for_the_file(config):
    path = config("connection_settings: {port: x}\n")
    with pytest.raises(ConfigError, match=r"^~/c\.yaml:1:29: "):
        load_settings(path, name="~/c.yaml")


# -- warnings ---------------------------------------------------------------------------


def test_unknown_connection_key_is_a_warning_and_is_ignored(config, caplog):
    path = config("connection_settings:\n  host: h\n  sslmod: require\n")
    assert load_settings(path).connect_arguments() == {"host": "h"}
    message = "is not a key that libpq knows, and is ignored; did you mean 'sslmode'?"
    assert caplog.record_tuples == [
        (
            "pgmonkey.config",
            logging.WARNING,
            f"{path}:3:3: connection_settings.sslmod: {message}",
        )
    ]
    assert load_config(path)["connection_settings"] == {"host": "h", "sslmod": "require"}


def test_unknown_connection_key_is_an_error_under_strict(config):
    path = config("connection_settings:\n  sslmod: require\n")
    with pytest.raises(ConfigError) as caught:
        load_settings(path, strict=True)
    assert str(caught.value) == (
        f"{path}:2:3: connection_settings.sslmod: is not a key that libpq knows; "
        "did you mean 'sslmode'?"
    )


def test_password_in_a_file_that_everybody_may_read_is_warned_of_once(config, caplog):
    path = config("connection_settings:\n  password: pw\n")
    load_settings(path)
    assert caplog.messages == []
    path.chmod(0o644)
    load_settings(path)
    load_config(path)
    message = "stands in a file that everybody may read; take that away with chmod o-r"
    assert caplog.messages == [f"{path}:2:13: connection_settings.password: {message}"]
    assert [finding.severity for finding in findings(path)] == ["warning"]


@pytest.mark.parametrize("password", ["''", "${PW}", "{from_env: PW}"])
def test_file_without_a_literal_password_may_be_read_by_everybody(
    password, config, caplog, monkeypatch
):
    monkeypatch.setenv("PW", "pw")
    path = config(f"connection_settings:\n  password: {password}\n")
    path.chmod(0o644)
    load_settings(path, resolve_env=True)
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("statement_timeout", "it belongs in sync_settings or async_settings"),
        ("search_path", "it belongs in sync_settings or async_settings"),
        ("max_size", "it belongs in pool_settings or async_pool_settings"),
        ("isolation_level", "it belongs in connection_options"),
        ("timeout", "did you mean 'connect_timeout'?"),
    ],
)
def test_key_of_another_section_is_sent_there(key, hint):
    (found,) = findings({"connection_settings": {key: "5"}})
    assert found.problem == f"is not a key that libpq knows, and is ignored; {hint}"


def test_misspelt_reference_is_offered_the_right_word():
    (found,) = findings({"connection_settings": {"password": {"from_fil": "x"}}})
    assert found.problem == "expects one value, not a mapping; did you mean 'from_file'?"


def test_references_that_are_not_resolved_and_missing_tls_files_are_warned_of(
    config, tmp_path, monkeypatch
):
    monkeypatch.setenv("MYHOST", "db")
    (tmp_path / "ca.crt").touch()
    path = config(
        "connection_settings:\n"
        "  host: ${MYHOST:-x}\n"
        f"  sslrootcert: {tmp_path}/ca.crt\n"
        f"  sslcert: {tmp_path}/no.crt\n"
        "  sslkey: ''\n"
        "  user: {from_env: MYHOST}\n"
        "  dbname: $${MYHOST}\n"
    )
    missing = (4, "warning", "names a file that does not exist here")
    reference = "is a reference; commands need --resolve-env"
    assert [(f.line, f.severity, f.problem) for f in findings(path)] == [
        (2, "warning", reference),
        missing,
        (6, "warning", reference),
    ]
    assert [(f.line, f.severity, f.problem) for f in findings(path, resolve_env=True)] == [missing]
    assert findings({"connection_settings": {"sslrootcert": "system"}}) == []


def test_findings_are_all_that_is_wrong_in_the_order_of_lines(config):
    path = config(
        "postgresql:\n"
        "  connection_settings:\n"
        "    prot: 1\n"
        "    port: x\n"
        "  pool_settings: {min_size: 9, max_size: 3, timeout: 0}\n"
        "  sections: {}\n"
    )
    assert [(f.line, f.severity, f.key) for f in findings(path)] == [
        (1, "warning", "postgresql"),
        (3, "warning", "connection_settings.prot"),
        (4, "error", "connection_settings.port"),
        (5, "error", "pool_settings.min_size"),
        (5, "error", "pool_settings.timeout"),
        (6, "error", "sections"),
    ]


# -- what is remembered -----------------------------------------------------------------


def test_unchanged_file_gives_the_same_settings(config):
    path = config(FLAT)
    assert load_settings(path) is load_settings(path)
    assert load_settings(str(path)) is load_settings(path)
    assert load_settings(path, strict=True) is not load_settings(path)


def test_changed_file_gives_new_settings(config):
    path = config("connection_settings: {port: 1}\n")
    first = load_settings(path)
    path.write_text("connection_settings: {port: 2}\n")
    assert load_settings(path).connection == {"port": "2"}
    settle(path)
    assert load_settings(path) is not first
    path.unlink()
    with pytest.raises(ConfigError, match="does not exist"):
        load_settings(path)


def test_file_changed_right_after_it_was_read_is_noticed(tmp_path):
    """Its size is the same, and so may be its time: file systems count in milliseconds."""
    path = tmp_path / "c.yaml"
    for port in range(1000, 1100):
        path.write_text(f"connection_settings: {{port: {port}}}\n")
        assert load_settings(path).connection == {"port": str(port)}


def test_equal_dict_gives_the_same_settings_and_a_changed_one_does_not():
    config = {"connection_settings": {"host": "h", "port": 1}}
    first = load_settings(config)
    assert load_settings({"connection_settings": {"host": "h", "port": 1}}) is first
    config["connection_settings"]["port"] = 2
    assert load_settings(config).connection["port"] == "2"


def test_changed_variable_gives_new_settings(config, monkeypatch):
    path = config("connection_settings: {host: '${HOST_OF_TEST:-d}'}\n")
    source = {"connection_settings": {"host": "${HOST_OF_TEST:-d}"}}
    for value in ("a", "b", None, ""):
        if value is None:
            monkeypatch.delenv("HOST_OF_TEST")
        else:
            monkeypatch.setenv("HOST_OF_TEST", value)
        for each in (path, source):
            settings = load_settings(each, resolve_env=True)
            assert settings.connection["host"] == (value or "d")
            assert load_settings(each, resolve_env=True) is settings


def test_changed_file_of_a_reference_gives_new_settings(config, tmp_path):
    user = tmp_path / "user"
    user.write_text("a")
    settle(user)
    path = config("connection_settings: {user: {from_file: user}}\n")
    first = load_settings(path, resolve_env=True)
    assert load_settings(path, resolve_env=True) is first
    user.write_text("b")
    assert load_settings(path, resolve_env=True).connection == {"user": "b"}
    user.unlink()
    with pytest.raises(ConfigError, match="cannot read"):
        load_settings(path, resolve_env=True)


def test_number_of_configurations_remembered_is_bounded():
    for port in range(1, 1000):
        load_settings({"connection_settings": {"port": port}})
    assert len(memory._entries) <= memory.REMEMBERED


def test_threads_may_load_at_the_same_time(config):
    paths = [config(f"connection_settings: {{port: {n + 1}}}\n", f"{n}.yaml") for n in range(8)]
    wrong = []

    def load(start: int) -> None:
        for step in range(400):
            n = (start + step) % 8
            source = paths[n] if step % 2 else {"connection_settings": {"port": n + 1}}
            if load_settings(source).connection != {"port": str(n + 1)}:
                wrong.append(n)

    threads = [threading.Thread(target=load, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("host: 'a,b,c', port: '1,2'", "1:44: connection_settings.port: has 2 for 3 hosts; give one for all, or one for each"),
        ("hostaddr: '1.1.1.1,2.2.2.2', port: '1,2,3'", "1:58: connection_settings.port: has 3 for 2 hosts; give one for all, or one for each"),
        ("host: 'a,b', hostaddr: '1.1.1.1'", "1:46: connection_settings.hostaddr: has 1 for the 2 of host; give one for each"),
    ],
)  # fmt: skip
def test_hosts_addresses_and_ports_are_counted_as_libpq_counts_them(given, problem):
    with pytest.raises(ConfigError) as caught:
        load_text(f"connection_settings: {{{given}}}", "c.yaml")
    assert str(caught.value) == f"c.yaml:{problem}"


@pytest.mark.parametrize(
    "given",
    [
        "host: 'a,b', port: 5432",
        "host: 'a,b', port: '1,2'",
        "host: 'a,b', hostaddr: '1.1.1.1,', port: ''",
        "port: '1,2'",  # the hosts may come from PGHOST or a service
    ],
)
def test_counts_that_libpq_takes_are_fine(given):
    assert load_text(f"connection_settings: {{{given}}}", "c.yaml").connection


# -- without a file ---------------------------------------------------------------------


def test_environment_alone_leaves_everything_to_libpq():
    settings = settings_from_environment()
    assert settings.name == "<environment>"
    assert settings.connection == {}
    assert settings.connection_type == "normal"


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://u:p%40w@h:5433/db?sslmode=require&application_name=$%7BX%7D",
        "host=h port=5433 user=u password=p@w dbname=db sslmode=require application_name=${X}",
    ],
)
def test_dsn_is_taken_apart_and_not_interpolated(dsn):
    settings = settings_from_environment(dsn)
    assert settings.connect_arguments() == {
        "host": "h",
        "port": "5433",
        "user": "u",
        "password": "p@w",
        "dbname": "db",
        "sslmode": "require",
        "application_name": "${X}",
    }
    assert settings.connection["password"] == Secret("p@w")
    assert {str(row.origin) for row in explain(settings) if row.key.endswith(".host")} == {"--dsn"}


@pytest.mark.parametrize(
    ("dsn", "message"),
    [
        ("postgresql://u:pw@h/db?nope=1", "is neither a URI nor a list of key=value: invalid URI query parameter"),
        ("nonsense", 'is neither a URI nor a list of key=value: missing "="'),
        ("host=h sslmode=perhaps", "connection_settings.sslmode: 'perhaps' is not a mode; choose one of disable, allow, prefer, require, verify-ca, verify-full"),
    ],
)  # fmt: skip
def test_dsn_that_cannot_be_read_is_a_config_error(dsn, message):
    with pytest.raises(ConfigError) as caught:
        settings_from_environment(dsn)
    assert str(caught.value) == f"--dsn: {message}"


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://app:Zebra77@pass@localhost:5432/sales",
        "postgresql://app:pass@Zebra77@localhost",
        "postgres://app:pass@Zebra77/x@localhost/sales",
        "postgresql://app:54/Zebra77@localhost:5432/sales",
    ],
)
def test_password_that_libpq_would_split_at_an_at_sign_is_not_shown(dsn):
    with pytest.raises(ConfigError, match=r"^--dsn: .*an @ in a password is written %40") as caught:
        settings_from_environment(dsn)
    assert "Zebra77" not in str(caught.value)
    assert "pass@" not in str(caught.value)


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://app@h?application_name=a@b",
        "postgresql://h/db?application_name=a@b",
        "postgresql://app:what?@h/db",
        "postgresql://app:a%40b@h1,h2/db",
        "host=h password=a@b@c",
    ],
)
def test_at_signs_that_libpq_reads_as_they_are_meant_are_fine(dsn):
    assert str(settings_from_environment(dsn).connection["host"])[0] == "h"


def test_password_file_of_the_environment_rotates(tmp_path, monkeypatch):
    path = tmp_path / "pw"
    path.write_text("first\n")
    monkeypatch.setenv("PGPASSWORD_FILE", str(path))
    settings = settings_from_environment("postgresql://u@h/db")
    assert settings.rotates
    assert settings.connect_arguments()["password"] == "first"
    path.write_text("second\n")
    assert settings.connect_arguments()["password"] == "second"
    assert settings_from_environment("postgresql://u:own@h/db").connection["password"] == Secret(
        "own"
    )


def test_password_and_password_file_contradict(tmp_path, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", "x")
    monkeypatch.setenv("PGPASSWORD_FILE", str(tmp_path / "pw"))
    with pytest.raises(ConfigError) as caught:
        settings_from_environment()
    assert str(caught.value) == (
        "<environment>: PGPASSWORD_FILE: PGPASSWORD is set too; unset one of them"
    )


# -- what is in force -------------------------------------------------------------------


def test_explanation_names_the_origin_of_every_value(config, monkeypatch, tmp_path):
    monkeypatch.setenv("APP_USER", "joe")
    monkeypatch.setenv("PGDATABASE", "sales")
    (tmp_path / "pw").write_text("pw")
    path = config(
        "connection_settings:\n"
        "  host: db.example.com\n"
        "  user: ${APP_USER}\n"
        "  password: {from_file: pw}\n"
        "pool_settings:\n"
        "  max_size: 9\n"
    )
    rows = {
        row.key: (row.value, row.origin) for row in explain(load_settings(path, resolve_env=True))
    }
    expected = {
        "connection_type": ("normal", "default"),
        "connection_settings.host": ("db.example.com", f"{path}:2:9"),
        "connection_settings.user": ("joe", f"${{APP_USER}}, {path}:3:9"),
        "connection_settings.password": (REDACTED, f"from_file pw, {path}:4:13"),
        "connection_settings.dbname": ("sales", "variable PGDATABASE"),
        "connection_settings.target_session_attrs": ("any", "libpq"),
        "pool_settings.max_size": ("9", f"{path}:6:13"),
        "pool_settings.min_size": ("5", "default"),
        "pool_settings.timeout": ("30", "default"),
        "connection_options.autocommit": ("false", "default"),
    }
    assert {key: rows.get(key) for key in expected} == expected
    assert "pool_settings.name" not in rows


def test_explanation_hides_the_password_that_libpq_takes_from_a_variable(monkeypatch):
    monkeypatch.setenv("PGPASSWORD", "CANARY")
    rows = explain(settings_from_environment())
    assert "CANARY" not in repr(rows)
    assert (REDACTED, "variable PGPASSWORD") in [(row.value, row.origin) for row in rows]
