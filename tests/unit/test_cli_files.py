"""create, validate, show and schema: what needs no server, run as a user runs it."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import jsonschema
import pytest
import yaml

from support.cli import run

CANARY = "canary-7f3a"
# In every form a text could carry it.
URI = f"postgresql://app:{CANARY}%2F@db.example.com:5433/sales?sslmode=require"


@pytest.fixture
def write(tmp_path: Path):
    """Write a configuration that only its owner may read, and return its path."""

    def write(text: str, name: str = "config.yaml") -> Path:
        path = tmp_path / name
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_created_file_is_private_loads_and_agrees_with_the_schema(tmp_path: Path):
    path = tmp_path / "new.yaml"
    made = run("pgconfig", "create", "--type", "pg", "--filepath", path)
    assert (made.code, made.stdout) == (0, "")
    assert made.stderr == f"wrote {path}; next: pgmonkey pgconfig test -c {path}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]
    checked = run("pgconfig", "validate", path)
    assert (checked.code, checked.stdout) == (0, "")
    schema = json.loads(run("pgconfig", "schema").stdout)
    jsonschema.validate(yaml.safe_load(path.read_text()), schema)


def test_existing_file_is_refused_and_untouched(tmp_path: Path):
    path = tmp_path / "config.yaml"
    path.write_text("mine")
    before = path.stat()
    refused = run("pgconfig", "create", "--filepath", path)
    assert (refused.code, refused.stdout) == (4, "")
    assert refused.stderr.startswith(f"error[PGM402]: {path} exists already")
    after = path.stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_mode) == (
        before.st_ino,
        before.st_mtime_ns,
        before.st_mode,
    )
    assert path.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [path]


def test_broken_link_counts_as_existing(tmp_path: Path):
    link = tmp_path / "config.yaml"
    link.symlink_to(tmp_path / "elsewhere")
    assert run("pgconfig", "create", "--filepath", link).code == 4
    assert not (tmp_path / "elsewhere").exists()


def test_force_replaces_the_file_behind_a_link(tmp_path: Path):
    target, link = tmp_path / "real.yaml", tmp_path / "link.yaml"
    target.write_text("mine")
    link.symlink_to(target)
    assert run("pgconfig", "create", "--filepath", link, "--force").code == 0
    assert link.is_symlink()
    assert "connection_settings:" in target.read_text()
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert {path.name for path in tmp_path.iterdir()} == {"real.yaml", "link.yaml"}


def test_folder_that_is_not_there_is_exit_4(tmp_path: Path):
    result = run("pgconfig", "create", "--filepath", tmp_path / "no" / "config.yaml")
    assert result.code == 4
    assert result.stderr.startswith(f"error[PGM403]: {tmp_path / 'no'}: the folder does not exist")


def test_tilde_is_the_home_folder(tmp_path: Path):
    env = {"HOME": str(tmp_path)}
    assert run("pgconfig", "create", "--filepath", "~/c.yaml", env=env).code == 0
    assert run("pgconfig", "show", env=env | {"PGMONKEY_CONFIG": "~/c.yaml"}).code == 0
    assert (tmp_path / "c.yaml").is_file()


def test_template_goes_to_standard_output_for_a_dash():
    made = run("pgconfig", "create", "--filepath", "-")
    assert (made.code, made.stderr) == (0, "")
    assert yaml.safe_load(made.stdout)["connection_type"] == "normal"


def test_password_of_a_uri_is_never_written(tmp_path: Path):
    path = tmp_path / "new.yaml"
    made = run("pgconfig", "create", "--filepath", path, "--from-dsn", URI)
    assert made.code == 0
    assert f"next: pgmonkey pgconfig test -c {path} --resolve-env\n" in made.stderr
    assert "--resolve-env reads it from PGPASSWORD; set it first" in made.stderr
    assert CANARY not in made.stdout + made.stderr + path.read_text()
    settings = yaml.safe_load(path.read_text())["connection_settings"]
    expected = {
        "user": "app",
        "password": {"from_env": "PGPASSWORD"},
        "host": "db.example.com",
        "port": "5433",
        "dbname": "sales",
        "sslmode": "require",
    }
    assert {key: settings[key] for key in expected} == expected


def test_uri_that_cannot_be_read_is_refused_without_repeating_it(tmp_path: Path):
    result = run(
        "pgconfig", "create", "--filepath", tmp_path / "x", "--from-dsn", f"{URI}&nonsense=%zz"
    )
    assert result.code == 2
    assert CANARY not in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["test", "create"])
def test_password_with_an_at_sign_in_a_uri_is_refused_without_repeating_it(command):
    uri = f"postgresql://app:{CANARY}@pass@localhost:5432/sales"
    options = {"test": ("--dsn", uri), "create": ("--filepath", "-", "--from-dsn", uri)}[command]
    result = run("pgconfig", command, *options)
    assert (result.code, result.stdout) == (2, "")
    assert "an @ in a password is written %40" in result.stderr
    assert not any(part in result.stderr for part in (CANARY, "pass@", "localhost"))


def test_values_of_the_environment_are_filled_in_and_secrets_named(tmp_path: Path):
    env = {
        "PGHOST": "it's.example.com",
        "PGUSER": "app",
        "PGDATABASE": "tab\there",
        "PGPASSWORD": CANARY,
        "PGTARGETSESSIONATTRS": "read-write",
    }
    made = run("pgconfig", "create", "--filepath", "-", "--from-env", env=env)
    assert made.code == 0
    assert CANARY not in made.stdout + made.stderr
    settings = yaml.safe_load(made.stdout)["connection_settings"]
    assert settings["host"] == "it's.example.com"
    assert settings["dbname"] == "tab\there"
    assert settings["port"] == ""
    assert settings["password"] == {"from_env": "PGPASSWORD"}
    assert settings["target_session_attrs"] == "read-write"


def test_password_file_of_the_environment_becomes_a_reference():
    env = {"PGHOST": "db", "PGPASSWORD_FILE": "/run/secrets/db"}
    made = run("pgconfig", "create", "--filepath", "-", "--from-env", env=env)
    password = yaml.safe_load(made.stdout)["connection_settings"]["password"]
    assert password == {"from_file": "/run/secrets/db"}


WRONG = """\
connection_settings:
  hots: localhost
  sslmode: verify_full
pool_settings:
  min_size: 30
"""


def test_every_finding_has_its_place_and_errors_are_exit_1(write):
    path = write(WRONG)
    result = run("pgconfig", "validate", path)
    assert result.code == 1
    lines = result.stdout.splitlines()
    assert [line.removeprefix(str(path)).split(": ")[:3] for line in lines] == [
        [":2:3", "warning", "connection_settings.hots"],
        [":3:12", "error", "connection_settings.sslmode"],
        [":5:13", "error", "pool_settings.min_size"],
    ]
    assert result.stderr == "1 file: 2 errors, 1 warning\n"


def test_warning_alone_is_exit_0_and_under_strict_exit_1(write):
    path = write("connection_settings: {hots: localhost}\n")
    loose, strict = run("pgconfig", "validate", path), run("pgconfig", "validate", path, "--strict")
    assert (loose.code, strict.code) == (0, 1)
    assert ": warning: " in loose.stdout
    assert ": error: " in strict.stdout


def test_several_files_are_checked_and_all_their_findings_told(write):
    good, bad = write("connection_settings: {host: a}\n", "good.yaml"), write(WRONG, "bad.yaml")
    result = run("pgconfig", "validate", good, bad, "--format", "json")
    document = json.loads(result.stdout)
    assert (result.code, document["exit_code"], document["ok"]) == (1, 1, False)
    assert {finding["file"] for finding in document["results"]} == {str(bad)}
    assert [f["line"] for f in document["results"]] == [2, 3, 5]


def test_standard_input_is_checked_under_its_own_name():
    result = run("pgconfig", "validate", "-", "--format", "sarif", stdin=WRONG)
    assert result.code == 1
    places = [
        r["locations"][0]["physicalLocation"]
        for r in json.loads(result.stdout)["runs"][0]["results"]
    ]
    assert [place["region"]["startLine"] for place in places] == [2, 3, 5]
    assert {place["artifactLocation"]["uri"] for place in places} == {"%3Cstdin%3E"}


def test_validate_without_a_file_says_that_it_checks_files():
    result = run("pgconfig", "validate", env={"PGHOST": "db"})
    assert (result.code, result.stdout) == (2, "")
    assert "validate checks files, and none was named" in result.stderr


@pytest.mark.parametrize("library", ["pgmonkey", "psycopg"])
def test_program_that_will_not_resolve_the_references_is_told_of(library, write):
    path = write("connection_settings: {host: '${DB_HOST:-db}'}\n")
    command = ("pgconfig", "generate-code", "-c", path, "--library", library)
    plain = run(*command)
    assert plain.code == 0
    assert "add --resolve-env" in plain.stderr
    assert run(*command, "--resolve-env").stderr == ""


def test_missing_file_is_exit_2_and_the_others_are_checked_all_the_same(write, tmp_path: Path):
    missing = tmp_path / "no.yaml"
    bad = write("connection_type: perhaps\n", "bad.yaml")
    good = write("connection_settings: {host: db}\n", "good.yaml")
    for order in ((bad, missing, good), (missing, good, bad)):
        result = run("pgconfig", "validate", *order, "--json")
        document = json.loads(result.stdout)
        assert (result.code, document["exit_code"], document["ok"]) == (2, 2, False)
        found = {(Path(row["file"]).name, row["line"]) for row in document["results"]}
        assert found == {("no.yaml", None), ("bad.yaml", 1)}
    alone = run("pgconfig", "validate", missing)
    assert alone.code == 2
    assert f"{missing}: " in alone.stdout
    assert "does not exist" in alone.stdout


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("PGSSLMODE", "verify_full", "did you mean 'verify-full'?"),
        ("PGPORT", "abc", "from 1 to 65535"),
        ("PGPORT", "1,2", "could not match 2 port numbers to 3 hosts"),
        ("PGSERVICE", "nosvc", 'definition of service "nosvc" not found'),
    ],
)
def test_variable_that_libpq_refuses_needs_no_server_to_be_wrong(variable, value, said, tmp_path):
    host = "127.0.0.1,127.0.0.2,127.0.0.3" if "," in value else "127.0.0.1"
    (tmp_path / "services").write_text("[other]\nhost=db\n")
    env = {"PGHOST": host, "PGSERVICEFILE": str(tmp_path / "services"), variable: value}
    result = run("pgconfig", "test", "--timeout", "5", env=env)
    assert result.code == 2, result.stderr
    assert result.stderr.startswith(f"error[PGM201]: {variable}: ")
    assert said in result.stderr
    assert "reached" not in result.stderr


def test_file_that_is_no_yaml_is_a_finding_with_its_line(write):
    result = run("pgconfig", "validate", write("a: [1\nb: 2\n"), "--format", "github")
    assert result.code == 1
    assert result.stdout.startswith("::error file=")
    assert ",line=2," in result.stdout


def test_effective_values_have_their_origin_and_no_secret(write):
    path = write(
        f"connection_settings:\n  host: '${{HOST_HERE:-nowhere}}'\n  password: {CANARY}\n"
        "  connect_timeout: ''\n"
    )
    env = {"HOST_HERE": "db.example.com", "PGUSER": "somebody"}
    result = run("pgconfig", "show", "-c", path, "--resolve-env", "--json", env=env)
    document = json.loads(result.stdout)
    rows = {row["key"]: (row["value"], row["origin"]) for row in document["results"]}
    assert rows["connection_settings.host"] == ("db.example.com", f"${{HOST_HERE}}, {path}:2:9")
    assert rows["connection_settings.password"] == ("***REDACTED***", f"{path}:3:13")
    assert rows["connection_settings.user"] == ("somebody", "variable PGUSER")
    assert rows["pool_settings.max_size"] == ("20", "default")
    assert "connection_settings.connect_timeout" not in rows
    assert document["schema"] == "pgmonkey.pgconfig-show/1"
    assert CANARY not in result.stdout + result.stderr


def test_reference_is_shown_as_it_is_written_unless_it_is_to_be_resolved(write):
    path = write(
        "connection_settings:\n  host: '${NOT_SET}'\n  user: {from_env: NOT_SET}\n"
        "  password: {from_file: /not/here}\n"
    )
    result = run("pgconfig", "show", "-c", path, "--json")
    rows = {row["key"]: row["value"] for row in json.loads(result.stdout)["results"]}
    assert rows["connection_settings.host"] == "${NOT_SET}"
    assert rows["connection_settings.user"] == "{from_env: NOT_SET}"
    assert run("pgconfig", "generate-code", "-c", path).code == 0
    resolved = run("pgconfig", "show", "-c", path, "--resolve-env")
    assert (resolved.code, resolved.stdout) == (2, "")
    assert "error[PGM202]" in resolved.stderr
    assert "NOT_SET" in resolved.stderr


def test_file_named_by_the_environment_is_used_and_the_command_line_goes_before_it(write):
    first, second = (
        write("connection_settings: {host: one}\n", "1"),
        write("connection_settings: {host: two}\n", "2"),
    )
    env = {"PGMONKEY_CONFIG": str(first), "PGHOST": "three"}
    assert "one" in run("pgconfig", "show", env=env).stdout
    assert "two" in run("pgconfig", "show", "-c", second, env=env).stdout
    by_uri = run("pgconfig", "show", "--dsn", "postgresql://four/", env=env)
    assert "four" in by_uri.stdout
    assert "one" not in by_uri.stdout


def test_file_everybody_may_read_is_warned_of_once_and_not_when_quiet(write):
    path = write(f"connection_settings: {{host: db, password: {CANARY}}}\n")
    path.chmod(0o644)
    loud = run("pgconfig", "show", "-c", path)
    assert loud.stderr.count("warning: ") == 1
    assert run("pgconfig", "show", "-c", path, "-q").stderr == ""


def test_old_form_of_the_file_is_told_as_a_warning(write):
    path = write("postgresql:\n  connection_settings: {host: db}\n")
    result = run("pgconfig", "show", "-c", path)
    assert result.code == 0
    assert result.stderr.startswith(f"warning: {path}:1:1: ")
    assert os.linesep not in result.stderr.rstrip()


def test_generated_program_is_the_whole_output_and_compiles(write):
    path = write(f"connection_settings: {{host: db, password: {CANARY}}}\n")
    result = run("pgconfig", "generate-code", "--filepath", path)
    assert (result.code, result.stderr) == (0, "")
    compile(result.stdout, "generated", "exec")
    assert CANARY not in result.stdout
    assert str(path) in result.stdout
