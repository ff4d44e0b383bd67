"""``pgserverconfig --audit`` as a whole: rights, odd servers, formats, exit codes, secrecy."""

from __future__ import annotations

import io
import json
import re
import shlex
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import jsonschema
import psycopg
import pytest
import yaml
from psycopg import sql

from pgmonkey.cli import throwaway
from pgmonkey.cli.main import main
from pgmonkey.cli.render.audit import FORMATS
from pgmonkey.server.gathering import Wanted
from support.audits import audit_of, facts_of, result_of
from support.choice import Wish, choose
from support.cli import Result
from support.server import Database, PgServer
from support.setup import Running, Setup, hba
from support.wait import until

SARIF = json.loads((Path(__file__).parent.parent / "data" / "sarif-2.1.0.json").read_text())
GRANTS = (
    "GRANT SELECT ON pg_hba_file_rules, pg_file_settings TO app",
    "GRANT EXECUTE ON FUNCTION pg_hba_file_rules(), pg_show_all_file_settings() TO app",
    "GRANT pg_read_all_settings TO app",
)
IDENT = (
    "GRANT SELECT ON pg_ident_file_mappings TO app",
    "GRANT EXECUTE ON FUNCTION pg_ident_file_mappings() TO app",
)


def audit(config: Path | None, *options: str, env: dict[str, str] | None = None) -> Result:
    """Run an audit in this process, which saves the second that importing psycopg takes."""
    where = ["-c", str(config)] if config else []
    stdout, stderr = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(stdout), redirect_stderr(stderr):
        for name, value in (env or {}).items():
            patch.setenv(name, value)
        code = main(["pgserverconfig", *where, "--audit", *options])
    return Result(code, stdout.getvalue(), stderr.getvalue())


def verdict(config: Path, *options: str) -> dict[str, Any]:
    """Return the JSON of an audit."""
    done = audit(config, *options, "--json")
    document: dict[str, Any] = json.loads(done.stdout)
    assert document["exit_code"] == done.code, done.stderr
    return document


def write(folder: Path, config: dict[str, Any]) -> Path:
    path = folder / "config.yaml"
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return path


@pytest.fixture
def config(config_dict: dict[str, Any], tmp_path: Path) -> Path:
    return write(tmp_path, config_dict)


@contextmanager
def ran(server: PgServer, dbname: str, *statements: str, undo: str = "") -> Iterator[None]:
    with server.admin(dbname) as conn:
        for statement in statements:
            conn.execute(sql.SQL(statement))  # type: ignore[arg-type]  # the tests' own text
    try:
        yield
    finally:
        if undo:
            with server.admin(dbname) as conn:
                conn.execute(sql.SQL(undo))  # type: ignore[arg-type]  # likewise


# Rights


def test_plain_role_decides_most_and_names_the_grants_for_the_rest(config: Path, server: PgServer):
    found = verdict(config)
    assert found["exit_code"] == 0
    assert found["admitted"] is True
    assert found["verdict"].startswith("ADMITTED by a line that this role may not read")
    assert (found["coverage"]["decided"], found["coverage"]["total"]) == (48, 60)
    grants = {grant["grant"]: grant["ids"] for grant in found["coverage"]["grants"]}
    assert grants['GRANT pg_read_all_settings TO "app";'] == ["PGM-TLS-006", "PGM-TLS-008"]
    assert sum(map(len, grants.values())) == 12


def test_every_grant_that_is_named_decides_what_it_says(
    config: Path, database: Database, server: PgServer
):
    before = verdict(config)
    undo = "REVOKE pg_read_all_settings FROM app"
    grants = [grant["grant"] for grant in before["coverage"]["grants"]]
    with ran(server, database.name, *grants, undo=undo):
        after = verdict(config)
        status = {result["id"]: result["status"] for result in after["results"]}
        for grant in before["coverage"]["grants"]:
            assert {status[id] for id in grant["ids"]} <= {"OK", "N/A", "REVIEW", "MISMATCH"}
    # Which map a line refers to is asked only where a line can be read and has one.
    assert after["coverage"]["decided"] == 60
    assert re.match(r"ADMITTED by pg_hba\.conf:\d+ \(host, scram-sha-256\)", after["verdict"])


def test_monitor_opens_the_settings_and_not_the_files(
    config: Path, database: Database, server: PgServer
):
    with ran(server, database.name, "GRANT pg_monitor TO app", undo="REVOKE pg_monitor FROM app"):
        assert verdict(config)["coverage"]["decided"] == 50


def test_superuser_decides_everything(config_dict: dict[str, Any], tmp_path: Path):
    config_dict["connection_settings"]["user"] = "postgres"
    found = verdict(write(tmp_path, config_dict), "--fail-on", "never")
    assert found["coverage"]["decided"] == 60
    assert found["coverage"]["grants"] == []


def test_unknown_fails_only_when_asked_to(config: Path):
    assert audit(config).code == 0
    assert audit(config, "--fail-on", "unknown").code == 1


# What is sent

ALLOWED = re.compile(
    r"BEGIN READ ONLY|SET LOCAL \w+ (=|TO) .*|SELECT .*|WITH RECURSIVE .*|SHOW \w+|ROLLBACK|", re.S
)


@pytest.mark.parametrize("sslmode", ["verify-full", "prefer", "disable"])
@pytest.mark.parametrize("role", ["app", "postgres"])
def test_nothing_but_reading_reaches_the_server_over_three_connections(
    role: str, sslmode: str, config_dict: dict[str, Any], server: PgServer, tmp_path: Path
):
    config_dict["connection_settings"] |= {"user": role, "sslmode": sslmode}
    config_dict["sync_settings"] = {"statement_timeout": "7s"}
    path = write(tmp_path, config_dict)
    with server.settings(log_statement="all", log_connections="on", log_line_prefix="<%p|%a> "):
        before = len(server.log())
        assert audit(path, "--fail-on", "never").code == 0
        # A backend's last words may come after its client has gone.
        with server.admin() as conn:
            conn.execute("SELECT 'the end'")
        log = server.log()[before:]
    ours = log.split("the end")[0]
    said = re.findall(
        r"<\d+\|pgmonkey audit> \w+: +(?:statement|execute [^:]*): (.*(?:\n\t.*)*)", ours
    )
    assert said
    for statement in said:
        for part in statement.split(";"):
            assert ALLOWED.fullmatch(part.strip()), part
    assert "7s" not in ours
    # The administrator's own connection at the end has been received by then.
    received = len(re.findall(r"connection received", ours)) - 1
    assert 1 <= received <= 3


def test_no_probe_makes_one_connection(config: Path, server: PgServer):
    with server.settings(log_connections="on"):
        before = len(server.log())
        assert audit(config, "--no-probe").code == 0
        log = server.log()[before:]
    assert log.count("connection received") - log.count("user=postgres") == 1


# Odd servers


@dataclass(frozen=True)
class Changed(Setup):
    """A server that is set up otherwise."""

    more: tuple[tuple[str, str], ...] = ()
    standby: bool = False

    def files(self) -> dict[str, bytes]:
        # With nowhere to stream from, a standby waits for ever and answers queries.
        return super().files() | ({"standby.signal": b""} if self.standby else {})

    def settings(self) -> dict[str, str]:
        return super().settings() | dict(self.more)


@contextmanager
def another(server: PgServer, **changes: Any) -> Iterator[tuple[Running, dict[str, Any]]]:
    """Start a second server like *server*, and give the configuration of its superuser."""
    choice = choose(Wish((server.provider,), server.version, required=True))
    assert choice.provider is not None
    setup = Changed(server.certs, password=server.password, **changes)
    running = choice.provider.start(setup)
    try:
        settings = server.dsn_args(user="postgres", port=running.port)
        if running.hostaddr:
            settings["hostaddr"] = running.hostaddr
        yield running, {"connection_type": "normal", "connection_settings": settings}
    finally:
        running.stop()


def test_standby_is_audited(server: PgServer):
    with another(server, standby=True) as (_, config):
        gathered = facts_of(config)
        assert gathered.error is None
        assert gathered.facts.session is not None
        assert gathered.facts.session.standby
        found = audit_of(config)
        assert (found.decided, found.admitted) == (60, True)


def test_full_server_is_told_as_such_and_by_whoever_still_gets_in(server: PgServer, tmp_path: Path):
    with another(server, more=(("max_connections", "20"),)) as (_, config), ExitStack() as stack:
        args = config["connection_settings"]
        with psycopg.connect(**args, autocommit=True) as conn:
            conn.execute(
                sql.SQL("CREATE ROLE app LOGIN PASSWORD {}").format(sql.Literal(args["password"]))
            )
        free = result_of(config, "PGM-CAP-006")
        assert free.status == "OK"
        for _ in range(17):
            stack.enter_context(psycopg.connect(**{**args, "user": "app"}))
        full = result_of(config, "PGM-CAP-006")
        assert (full.status, full.severity) in {("REVIEW", "medium"), ("MISMATCH", "high")}
        assert full.remedy is not None
        config["connection_settings"] = {**args, "user": "app"}
        done = audit(write(tmp_path, config))
        assert done.code == 3
        assert "error[PGM320]" in done.stderr
        assert "max_connections = 20" in done.stdout
        # Which limit is used up is said by the server's words alone; none is lifted on a guess.
        assert "SHOW max_connections;" in done.stdout
        assert "CONNECTION LIMIT" not in done.stdout
        stack.close()
        until(lambda: result_of(config, "PGM-CAP-006").status == "OK")
        assert audit(tmp_path / "config.yaml", "--fail-on", "critical").code == 0


def test_database_without_an_encoding_is_audited(
    config_dict: dict[str, Any], server: PgServer, tmp_path: Path
):
    name = "ascii_only"
    create = (
        f"CREATE DATABASE {name} OWNER app TEMPLATE template0 ENCODING 'SQL_ASCII' "
        "LC_COLLATE 'C' LC_CTYPE 'C'"
    )
    with ran(server, "postgres", create, undo=f"DROP DATABASE {name} WITH (FORCE)"):
        config_dict["connection_settings"]["dbname"] = name
        found = verdict(write(tmp_path, config_dict))
        assert found["coverage"]["decided"] == 48
        assert found["admitted"] is True


def test_messages_in_another_language_change_nothing(
    config_dict: dict[str, Any],
    server: PgServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """gettext takes the language from LANGUAGE wherever the locale is not plain C."""
    if server.provider != "local":
        pytest.skip("only the machine's own PostgreSQL brings translations")
    genuine = throwaway.subprocess.run

    def in_german(*args: Any, env: dict[str, str] | None = None, **how: Any) -> Any:
        kept = {name: value for name, value in (env or {}).items() if name != "LC_ALL"}
        return genuine(*args, env={**kept, "LANGUAGE": "de"} if env else None, **how)

    with monkeypatch.context() as patch:
        patch.setattr(throwaway.subprocess, "run", in_german)
        german = another(server, more=(("lc_messages", "C.UTF-8"),))
        running, config = german.__enter__()
    try:
        args = config["connection_settings"]
        with psycopg.connect(**args, autocommit=True) as conn:
            conn.execute(
                sql.SQL("CREATE ROLE app LOGIN PASSWORD {}").format(sql.Literal(args["password"]))
            )
        config["connection_settings"] = {**args, "user": "app"}
        found = verdict(write(tmp_path, config))
        assert (found["coverage"]["decided"], found["admitted"]) == (48, True)
        config["connection_settings"] |= {"password": "wrong"}
        done = audit(write(tmp_path, config))
        assert done.code == 3
        assert "bereit" in running.log()  # ready, in German
    finally:
        german.__exit__(None, None, None)


def test_server_that_is_down_gets_recommendations_and_exit_code_3(
    config_dict: dict[str, Any], tmp_path: Path
):
    config_dict["connection_settings"] |= {"port": 1}
    path = write(tmp_path, config_dict)
    done = audit(path)
    assert done.code == 3
    assert done.stdout.startswith("NOT REACHED: ")
    assert "max_connections = 20" in done.stdout
    assert "hostssl  all       all" in done.stdout
    optional = audit(path, "--audit-optional")
    assert optional.code == 0
    assert optional.stdout == done.stdout
    assert "error" not in optional.stderr
    for format in FORMATS[1:]:
        told = audit(path, "--format", format)
        assert told.code == 3
        assert "PGM304" in told.stdout or format == "gitlab"
        if format == "sarif":
            jsonschema.Draft4Validator(SARIF).validate(json.loads(told.stdout))


def test_refused_login_is_explained_from_outside(
    config_dict: dict[str, Any], server: PgServer, tmp_path: Path
):
    path = write(tmp_path, config_dict)
    with server.hba("host all app all reject"):
        done = audit(path)
        found = verdict(path)
    assert (done.code, done.stdout.startswith("REFUSED: ")) == (3, True)
    assert found["results"][0]["id"] == "PGM-ADM-001"
    assert found["results"][0]["status"] == "MISMATCH"
    assert "hostssl" in found["results"][0]["remedy"]["lines"][0]


def test_line_to_try_lets_in_this_role_and_nobody_else_be_it_called_all(
    config_dict: dict[str, Any], database: Database, server: PgServer, tmp_path: Path
):
    secret = sql.Literal(config_dict["connection_settings"]["password"])
    with server.admin() as conn:
        conn.execute(sql.SQL('CREATE ROLE "all" LOGIN PASSWORD {}').format(secret))
    try:
        config_dict["connection_settings"]["user"] = "all"
        path = write(tmp_path, config_dict)
        with server.hba("host all all all reject"):
            refused = audit(path)
        hint = re.search(r"above the line that rejects, and reload: pgmonkey (.*)", refused.stderr)
        assert hint is not None, refused.stderr
        stdout = io.StringIO()
        with redirect_stdout(stdout), redirect_stderr(io.StringIO()):
            assert main(shlex.split(hint[1])) == 0
        lines = [line for line in stdout.getvalue().splitlines() if not line.startswith("#")]
        with server.hba([*lines, "host all all all reject"]):
            assert verdict(path, "--fail-on", "never")["admitted"] is True
            config_dict["connection_settings"]["user"] = "app"
            assert audit(write(tmp_path, config_dict)).code == 3
    finally:
        with server.admin() as conn:
            conn.execute('DROP ROLE "all"')


def said(found: dict[str, Any], id: str) -> dict[str, Any]:
    result: dict[str, Any] = next(r for r in found["results"] if r["id"] == id)
    return result


@pytest.mark.parametrize("rule", ["reject", "none"])
def test_refusal_on_a_socket_is_no_silence(
    rule: str, config_dict: dict[str, Any], server: PgServer, tmp_path: Path
):
    if server.socket_folder is None:
        pytest.skip("this server has no socket within reach")
    args = {k: v for k, v in config_dict["connection_settings"].items() if not k.startswith("ssl")}
    args.pop("hostaddr", None)
    config_dict["connection_settings"] = {**args, "host": server.socket_folder}
    with server.hba(["local all app reject"] if rule == "reject" else [], socket=True):
        found = verdict(write(tmp_path, config_dict))
    assert found["exit_code"] == 3
    assert found["verdict"].startswith("REFUSED: ")
    refused = said(found, "PGM-ADM-001")
    assert (refused["status"], refused["severity"]) == ("MISMATCH", "critical")
    assert refused["remedy"]["lines"][0].startswith("local ")


@pytest.mark.parametrize(
    ("spoil", "undo", "remedy"),
    [
        ("ALTER ROLE app NOLOGIN", "ALTER ROLE app LOGIN", 'ALTER ROLE "app" LOGIN;'),
        (
            "REVOKE CONNECT ON DATABASE {db} FROM app, PUBLIC",
            "SELECT 1",
            'GRANT CONNECT ON DATABASE "{db}" TO "app";',
        ),
        (
            "ALTER ROLE app CONNECTION LIMIT 0",
            "ALTER ROLE app CONNECTION LIMIT -1",
            'ALTER ROLE "app" CONNECTION LIMIT -1;',
        ),
        ("SELECT 1", "SELECT 1", 'CREATE DATABASE "nowhere" OWNER "app";'),
    ],
)
def test_refusal_after_the_rules_names_what_to_grant(
    spoil: str,
    undo: str,
    remedy: str,
    config_dict: dict[str, Any],
    server: PgServer,
    tmp_path: Path,
):
    name = "connect_refused"
    with server.admin() as conn:
        conn.execute("CREATE DATABASE connect_refused")
    config_dict["connection_settings"]["dbname"] = "nowhere" if "nowhere" in remedy else name
    try:
        with ran(server, "postgres", spoil.format(db=name), undo=undo):
            found = verdict(write(tmp_path, config_dict))
    finally:
        with server.admin() as conn:
            conn.execute("DROP DATABASE connect_refused WITH (FORCE)")
    assert found["exit_code"] == 3
    assert found["verdict"].startswith("REFUSED: ")
    refused = said(found, "PGM-ADM-005")
    assert (refused["status"], refused["severity"]) == ("MISMATCH", "critical")
    assert refused["remedy"]["lines"][0] == remedy.format(db=name)


def test_refusal_without_tls_is_no_silence(
    config_dict: dict[str, Any], server: PgServer, tmp_path: Path
):
    config_dict["connection_settings"] |= {"sslmode": "prefer", "sslrootcert": ""}
    with server.settings(ssl="off", log_connections="on"), server.hba([]):
        before = len(server.log())
        found = verdict(write(tmp_path, config_dict))
        log = server.log()[before:].split("user=postgres")[0]
    assert found["exit_code"] == 3
    assert found["verdict"].startswith("REFUSED: ")
    assert said(found, "PGM-ADM-001")["status"] == "MISMATCH"
    assert log.count("connection received") <= 3 + 1  # and the harness' own
    for result in found["results"]:
        assert "--no-probe" not in result["found"], result


def test_server_without_tls_has_answered(
    config_dict: dict[str, Any], server: PgServer, tmp_path: Path
):
    config_dict["connection_settings"] |= {"sslmode": "require", "sslrootcert": ""}
    with server.settings(ssl="off"):
        found = verdict(write(tmp_path, config_dict))
    assert (found["exit_code"], said(found, "PGM-TLS-001")["status"]) == (3, "MISMATCH")
    assert found["verdict"].startswith("REFUSED: ")
    assert said(found, "PGM-TLS-016")["status"] == "N/A"


def test_plain_attempt_is_not_answered_with_a_line_for_tls(
    config_dict: dict[str, Any], database: Database, server: PgServer, tmp_path: Path
):
    config_dict["connection_settings"] |= {"sslmode": "prefer", "sslrootcert": ""}
    rules = [
        f"hostssl {database.name} app all scram-sha-256",
        "hostnossl all app all password",
        "hostssl all app all reject",
    ]
    undo = "REVOKE pg_read_all_settings FROM app"
    with server.hba(rules), ran(server, database.name, *GRANTS, undo=undo):
        found = verdict(write(tmp_path, config_dict))
        assert said(found, "PGM-HBA-003")["status"] == "OK"
        travels = said(found, "PGM-AUT-003")
        assert (travels["status"], travels["severity"]) == ("MISMATCH", "critical")
        assert travels["remedy"]["lines"] == ["connection_settings:", "  sslmode: require"]
        assert "hostnossl line with reject" in travels["remedy"]["where"]
        assert "hostssl" not in json.dumps(travels)
        with server.hba(rules[1:]):
            found = verdict(write(tmp_path, config_dict))
    # Neither the key alone nor a line with reject would leave this client a way in.
    travels = said(found, "PGM-AUT-003")
    assert travels["remedy"]["lines"] == ["connection_settings:", "  sslmode: require"]
    assert travels["remedy"]["where"].endswith(", once a hostssl line admits this client")
    assert said(found, "PGM-HBA-003")["status"] == "MISMATCH"


def test_file_that_would_refuse_after_a_reload_is_mended_before_it_is_loaded(
    config_dict: dict[str, Any], database: Database, server: PgServer, tmp_path: Path
):
    path = write(tmp_path, config_dict)
    undo = "REVOKE pg_read_all_settings FROM app"
    rule = "hostssl all app all scram-sha-256"
    with server.hba(rule), ran(server, database.name, *GRANTS, undo=undo):
        server.place("pg_hba.conf", hba(["host all app all reject", rule]))
        found = verdict(path)
    assert re.match(
        r"ADMITTED now; REFUSED by pg_hba\.conf:\d+ \(host, reject\) after the next reload, ",
        found["verdict"],
    )
    assert (found["exit_code"], found["admitted"]) == (1, True)
    remedy = said(found, "PGM-ADM-003")["remedy"]
    assert remedy["lines"][0].startswith("hostssl ")
    assert re.search(r"above line \d+; then reload", remedy["where"])


def test_plaintext_downgrade_is_found(
    config_dict: dict[str, Any], database: Database, server: PgServer, tmp_path: Path
):
    config_dict["connection_settings"] |= {"sslmode": "prefer", "sslrootcert": ""}
    path = write(tmp_path, config_dict)
    with server.hba(["hostnossl all app all password", "hostssl all app all reject"]):
        unprivileged = verdict(path)
        with ran(server, database.name, *GRANTS, undo="REVOKE pg_read_all_settings FROM app"):
            privileged = verdict(path)
    for found in (unprivileged, privileged):
        assert found["exit_code"] == 1
        downgrade = next(r for r in found["results"] if r["id"] == "PGM-ADM-006")
        assert (downgrade["status"], downgrade["severity"]) == ("MISMATCH", "high")
    assert "hostnossl, password" in privileged["verdict"]


# Formats and exit codes


@pytest.fixture
def spoilt(config_dict: dict[str, Any], tmp_path: Path) -> Path:
    """A configuration with findings of several severities."""
    config_dict["connection_type"] = "pool"
    config_dict["connection_settings"] |= {"sslmode": "require", "sslrootcert": ""}
    config_dict["pool_settings"]["max_size"] = 400
    del config_dict["connection_settings"]["connect_timeout"]
    return write(tmp_path, config_dict)


def test_all_formats_tell_the_same_findings(spoilt: Path):
    folder = spoilt.parent
    files = [option for f in FORMATS for option in ("--format", f, "-O", str(folder / f))]
    done = audit(spoilt, *files)
    assert done.code == 1
    texts = {format: (folder / format).read_text(encoding="utf-8") for format in FORMATS}
    document = json.loads(texts["json"])
    found = [r for r in document["results"] if r["status"] in ("MISMATCH", "REVIEW")]
    ids = sorted(r["id"] for r in found)
    assert {"PGM-CAP-001", "PGM-TLS-004", "PGM-TMO-001"} <= set(ids)
    assert document["counts"]["MISMATCH"] + document["counts"]["REVIEW"] == len(ids)

    log = json.loads(texts["sarif"])
    jsonschema.Draft4Validator(SARIF).validate(log)
    (sarif,) = log["runs"]
    assert sorted(r["ruleId"] for r in sarif["results"]) == ids
    assert len(sarif["tool"]["driver"]["rules"]) == 60
    for result in sarif["results"]:
        place = result["locations"][0]["physicalLocation"]
        assert unquote(place["artifactLocation"]["uri"]) == str(spoilt)
        assert 1 <= place["region"]["startLine"] <= len(spoilt.read_text().splitlines())

    suite = ET.fromstring(texts["junit"])
    assert (
        sorted(
            c.attrib["name"].split()[0]
            for c in suite.iter("testcase")
            if c.find("failure") is not None
        )
        == ids
    )
    assert int(suite.attrib["failures"]) == len(ids)
    assert sorted(entry["check_name"] for entry in json.loads(texts["gitlab"])) == ids
    assert sorted(re.findall(r"title=(PGM-\w+-\d+)", texts["github"])) == ids
    assert sorted(re.findall(r"^- \*\*\w+\*\* `(PGM-\w+-\d+)`", texts["markdown"], re.M)) == ids
    assert sorted(re.findall(r"^   [A-Z]+ (PGM-\w+-\d+):", texts["table"], re.M)) == ids
    total = f"{len(ids)} findings"
    assert all(total in texts[format] for format in ("table", "markdown", "json"))
    assert "MISMATCH" in texts["table"]


def test_findings_point_at_the_key_that_asks_for_them(spoilt: Path):
    lines = spoilt.read_text().splitlines()
    found = {r["id"]: r for r in verdict(spoilt)["results"]}
    assert "max_size: 400" in lines[found["PGM-CAP-001"]["line"] - 1]
    assert "sslmode: require" in lines[found["PGM-TLS-004"]["line"] - 1]
    # A key that is missing is asked for where its section begins.
    assert found["PGM-TMO-001"]["key"] == "connection_settings.connect_timeout"
    assert lines[found["PGM-TMO-001"]["line"] - 2] == "connection_settings:"


def test_fingerprints_stay_from_run_to_run(spoilt: Path):
    first, second = verdict(spoilt), verdict(spoilt)
    prints = [r["fingerprint"] for r in first["results"]]
    assert prints == [r["fingerprint"] for r in second["results"]]
    assert len(set(prints)) == len(prints)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ("", 1),
        ("--fail-on mismatch", 1),
        ("--fail-on high", 1),
        ("--fail-on critical", 0),
        ("--fail-on never", 0),
        ("--fail-on medium --select PGM-TMO-001", 1),
        ("--fail-on high --select PGM-TMO-001", 0),
        ("--severity PGM-TMO-001=critical --fail-on critical", 1),
        ("--select PGM-ADM,PGM-TLS --fail-on high", 0),
        ("--skip PGM-CAP --fail-on high", 0),
        ("--skip PGM-CAP", 0),
        ("--select PGM-AUT,PGM-TLS", 0),
        ("--severity PGM-CAP-001=low --skip PGM-CAP-002", 0),
    ],
)
def test_exit_code_is_what_fail_on_says(spoilt: Path, options: str, code: int):
    assert audit(spoilt, *options.split()).code == code


def test_accepted_findings_are_shown_as_such_and_fail_nothing(spoilt: Path):
    waivers = spoilt.parent / "waivers.yaml"
    waivers.write_text(
        "- id: PGM-CAP-001\n  reason: the pool never fills\n"
        "- id: PGM-CAP-002\n  reason: likewise\n"
        "- id: PGM-CAP-003\n  reason: likewise\n"
    )
    assert audit(spoilt).code == 1
    found = verdict(spoilt, "--waivers", str(waivers))
    assert found["exit_code"] == 0
    waived = {r["id"]: r["waiver"] for r in found["results"] if r["status"] == "WAIVED"}
    assert waived["PGM-CAP-001"] == "the pool never fills"
    assert (
        next(r["status"] for r in found["settings"] if r["setting"] == "max_connections")
        == "WAIVED"
    )
    sarif = json.loads(audit(spoilt, "--waivers", str(waivers), "--format", "sarif").stdout)
    jsonschema.Draft4Validator(SARIF).validate(sarif)
    suppressed = {r["ruleId"] for r in sarif["runs"][0]["results"] if r.get("suppressions")}
    assert suppressed == waived.keys()
    waivers.write_text("- id: PGM-CAP-001\n")
    refused = audit(spoilt, "--waivers", str(waivers))
    assert (refused.code, refused.stdout) == (2, "")
    assert f"{waivers}:1: the waiver has no reason" in refused.stderr


def test_baseline_lets_only_news_fail(spoilt: Path):
    known = str(spoilt.parent / "known.json")
    assert audit(spoilt, "--write-baseline", known).code == 1
    quiet = verdict(spoilt, "--baseline", known, "--fail-on", "low")
    assert (quiet["exit_code"], quiet["counts"]["MISMATCH"], quiet["counts"]["REVIEW"]) == (0, 0, 0)
    text = spoilt.read_text().replace("sslmode: require", "sslmode: disable")
    spoilt.write_text(text + "sync_settings:\n  statment_timeout: 5s\n")
    news = verdict(spoilt, "--baseline", known)
    assert news["exit_code"] == 1
    assert [r["id"] for r in news["results"] if r["status"] == "MISMATCH"] == ["PGM-TMO-007"]


def test_table_has_the_shape_that_users_know(config: Path):
    text = audit(config).stdout
    assert re.search(r"^Setting +Recommended +Current +Source +Status$", text, re.M)
    assert re.search(r"^max_connections +20 +220 +configuration file +OK$", text, re.M)
    assert "1) Database type detected: PostgreSQL" in text
    assert "2) Server settings audit:" in text
    assert "   postgresql.conf:" in text


def test_environment_alone_is_enough(config_dict: dict[str, Any]):
    args = config_dict["connection_settings"]
    env = {
        "PGHOST": args["host"],
        "PGPORT": str(args["port"]),
        "PGUSER": args["user"],
        "PGDATABASE": args["dbname"],
        "PGPASSWORD": args["password"],
        "PGSSLMODE": "verify-full",
        "PGSSLROOTCERT": args["sslrootcert"],
        # Poolers refuse it, and the audit is not about it.
        "PGOPTIONS": "-c statement_timeout=1",
    } | ({"PGHOSTADDR": args["hostaddr"]} if "hostaddr" in args else {})
    done = audit(None, "--format", "sarif", env=env)
    assert done.code == 0, done.stderr
    log = json.loads(done.stdout)
    jsonschema.Draft4Validator(SARIF).validate(log)
    assert log["runs"][0]["results"]
    for result in log["runs"][0]["results"]:
        place = result["locations"][0]["physicalLocation"]
        assert unquote(place["artifactLocation"]["uri"]) == "<environment>"
        assert place["region"]["startLine"] == 1


def test_waiting_time_of_the_environment_counts_and_what_the_dsn_says_is_changed_there(
    config_dict: dict[str, Any],
):
    args = config_dict["connection_settings"]
    dsn = (
        f"host={args['host']} port={args['port']} user={args['user']} "
        f"dbname={args['dbname']} sslmode=require"
        + (f" hostaddr={args['hostaddr']}" if "hostaddr" in args else "")
    )
    env = {"PGPASSWORD": args["password"], "PGCONNECT_TIMEOUT": "7"}
    done = audit(None, "--dsn", dsn, "--json", env=env)
    found = json.loads(done.stdout)
    assert said(found, "PGM-TMO-001")["status"] == "OK"
    remedy = said(found, "PGM-TLS-004")["remedy"]
    assert remedy == {"where": "in --dsn", "lines": ["sslmode=verify-full", "sslrootcert=ca.crt"]}
    without = {"PGCONNECT_TIMEOUT": "7"}
    refused = json.loads(audit(None, "--dsn", dsn, "--json", env=without).stdout)
    remedy = said(refused, "PGM-ADM-002")["remedy"]
    assert remedy == {"where": "in the environment", "lines": ["PGPASSWORD=..."]}


def test_references_are_resolved_as_everywhere(config_dict: dict[str, Any], tmp_path: Path):
    password = config_dict["connection_settings"]["password"]
    config_dict["connection_settings"]["password"] = "${AUDIT_PASSWORD}"
    path = write(tmp_path, config_dict)
    env = {"AUDIT_PASSWORD": password}
    assert audit(path, "--resolve-env", env=env).code == 0
    unresolved = audit(path, env=env)
    assert unresolved.code == 2
    assert "--resolve-env" in unresolved.stderr


# Secrets

CANARY = "cana'ry-7f3a"


def test_no_secret_is_in_any_format(
    config_dict: dict[str, Any], database: Database, server: PgServer, tmp_path: Path
):
    config_dict["connection_settings"]["user"] = "postgres"
    path = write(tmp_path, config_dict)
    lines = [
        f'host all ldap 10.0.0.0/8 ldap ldapserver=x ldapbasedn="dc=x" ldapbinddn="cn=x" ldapbindpasswd="{CANARY}"',
        f'host all radius 10.0.0.0/8 radius radiusservers=127.0.0.1 radiussecrets="{CANARY}"',
        "host all all all scram-sha-256",
    ]
    files = [option for f in FORMATS for option in ("--format", f, "-O", str(tmp_path / f))]
    with server.hba("host all all all scram-sha-256"):
        # Lines that cannot be read quote what they cannot read.
        server.place(
            "pg_hba.conf",
            [
                *("local all all trust", "host all postgres all scram-sha-256", *lines),
                f'host all radius 10.0.0.0/8 radius radiusservers=x radiussecrets="{CANARY}, """',
                f"host all ldap 10.0.0.0/8 ldap ldapserver=x ldapbindpasswd= {CANARY}",
            ],
        )
        broken = audit(path, *files, "--client-address", "10.0.0.1/32", "--fail-on", "never", "-vv")
        assert broken.code == 0, broken.stderr
        texts = [broken.stdout, broken.stderr, *((tmp_path / f).read_text() for f in FORMATS)]
        wrong = {**config_dict["connection_settings"], "password": CANARY}
        path = write(tmp_path, {**config_dict, "connection_settings": wrong})
        refused = audit(path, *files, "-vv")
        assert refused.code == 3
        texts += [refused.stdout, refused.stderr, *((tmp_path / f).read_text() for f in FORMATS)]
    assert "PGM-HBA-005" in texts[0]
    for text in texts:
        assert "7f3a" not in text
        assert server.password not in text


# A pooler in between is another file's: it needs a container of its own.


# This machine, and some of the network that is asked about.
PART = (
    "host all app 127.0.0.0/8 scram-sha-256",
    "host all app 172.16.0.0/12 scram-sha-256",
    "host all app ::1/128 scram-sha-256",
    "host all app 10.1.0.0/28 scram-sha-256",
)


def test_network_is_admitted_only_if_all_of_it_is(
    config_dict: dict[str, Any], database: Database, server: PgServer
):
    from ipaddress import ip_network

    wanted = Wanted(addresses=(ip_network("10.1.0.0/16"),))
    with ran(server, database.name, *GRANTS, undo="REVOKE pg_read_all_settings FROM app"):
        with server.hba(PART):
            part = audit_of(config_dict, wanted)
        with server.hba((*PART, "host all app 10.1.0.0/16 scram-sha-256")):
            whole = audit_of(config_dict, wanted)
    assert part.admitted is False
    assert part.verdict.startswith("REFUSED from 10.1.0.16 in 10.1.0.0/16: no rule matches")
    assert whole.admitted is True
    assert whole.verdict.startswith("ADMITTED from 10.1.0.0/16 by pg_hba.conf:")


def test_wider_network_is_judged_by_its_worst_address(
    config_dict: dict[str, Any], database: Database, server: PgServer
):
    from ipaddress import ip_network

    wanted = Wanted(addresses=(ip_network("127.0.0.0/8"), ip_network("10.0.0.0/8")))
    with (
        ran(server, database.name, *GRANTS, undo="REVOKE pg_read_all_settings FROM app"),
        server.hba("host all app 127.0.0.0/8 scram-sha-256"),
    ):
        found = audit_of(config_dict, wanted)
    if server.provider != "docker":
        assert found.admitted is False
        assert found.verdict.startswith("REFUSED from 10.0.0.0/8: no rule matches")
