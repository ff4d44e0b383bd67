"""Each check against a real server: a good one, a bad one, and the bad one after its remedy.

``CASES`` says how to make a server or a configuration bad. The remedy that the finding
prints is then pasted where it says (``support.audits.paste``), and the finding has to be
gone; where a remedy cannot be pasted (renew a certificate), the case does it by hand.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from psycopg import sql

from pgmonkey.cli.render.audit import AuditReport, render_audit
from pgmonkey.config.load import load_text
from pgmonkey.server import waivers
from pgmonkey.server.audit import Audit, Choice, examine
from pgmonkey.server.checks import CHECKS
from pgmonkey.server.fleet import Fleet
from pgmonkey.server.gathering import Wanted
from support.audits import Config, audit_of, facts_of, paste, result_of
from support.cli import run
from support.server import Database, PgServer
from support.setup import hba

# A name that the certificate has and that is not this machine's, at an address that is.
ELSEWHERE = "db"


class Bench:
    """One server, one database, one configuration, and everything that is undone at the end."""

    def __init__(self, server: PgServer, database: Database, stack: ExitStack) -> None:
        self.server = server
        self.database = database.name
        self.stack = stack
        self.wanted = Wanted()
        with server.admin() as conn:
            row = conn.execute("SELECT host(inet_client_addr())").fetchone()
        assert row is not None
        self.here = f"{row[0]}/32"
        self.good_rule = f"hostssl {self.database} app {self.here} scram-sha-256"
        self.config: Config = {
            "connection_type": "pool",
            "connection_settings": database.dsn_args(
                host=ELSEWHERE,
                hostaddr=server.address[0],
                keepalives_idle=60,
                keepalives_interval=15,
                keepalives_count=5,
            ),
            "pool_settings": {"min_size": 1, "max_size": 4},
            "sync_settings": {"idle_in_transaction_session_timeout": "60s"},
        }
        grants = [
            "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
            "GRANT SELECT ON pg_hba_file_rules, pg_file_settings TO app",
            "GRANT EXECUTE ON FUNCTION pg_hba_file_rules(), pg_show_all_file_settings() TO app",
            "GRANT pg_read_all_settings TO app",
            *(f"ALTER ROLE app SET tcp_keepalives_{n} = 5" for n in ("idle", "interval", "count")),
        ]
        if server.version >= 15:
            grants += [
                "GRANT SELECT ON pg_ident_file_mappings TO app",
                "GRANT EXECUTE ON FUNCTION pg_ident_file_mappings() TO app",
            ]
        self.run(";".join(grants), "ALTER ROLE app RESET ALL; REVOKE pg_read_all_settings FROM app")
        self.rules(self.good_rule)

    def run(self, statement: str, undo: str | None = None) -> None:
        """Run a statement as the superuser in this database, and *undo* at the end."""
        with self.server.admin(self.database) as conn:
            conn.execute(sql.SQL(statement))  # type: ignore[arg-type]  # the tests' own text
        if undo:
            self.stack.callback(self.run, undo)

    def rules(self, *lines: str) -> None:
        """Have these lines decide, after the harness' own."""
        self.stack.enter_context(self.server.hba(lines))

    def file_only(self, *lines: str) -> None:
        """Write these lines into pg_hba.conf and do not reload; undone by ``rules``' end."""
        self.server.place("pg_hba.conf", hba(lines))

    def settings(self, **values: str) -> None:
        """Have these server settings."""
        self.stack.enter_context(self.server.settings(**values))

    def configure(self, section: str = "connection_settings", **values: Any) -> None:
        """Change the configuration; None takes a key away."""
        kept = {**self.config.get(section, {}), **values}
        self.config[section] = {k: v for k, v in kept.items() if v is not None}

    def certificate(self, role: str = "app") -> None:
        """Give the configuration a client certificate for *role*."""
        self.configure(**self.server.certs.client(role).dsn_args())


Step = Callable[[Bench], None]


def nothing(bench: Bench) -> None:
    """Leave everything as it is."""


@dataclass(frozen=True)
class Case:
    """One way to fail a check.

    Attributes:
        mend: What to do in place of pasting the remedy; None pastes it.
        status, severity: Of the finding.
        after: What the check says once it was mended.
        since: The first major version this can be shown on.
    """

    id: str
    spoil: Step
    status: str
    severity: str
    mend: Step | None = None
    after: str = "OK"
    since: int = 0
    before: int = 99
    name: str = ""

    def __str__(self) -> str:
        return f"{self.id}-{self.name}" if self.name else self.id


def both(*steps: Step) -> Step:
    """Return the steps in one."""

    def all_of_them(bench: Bench) -> None:
        for step in steps:
            step(bench)

    return all_of_them


def configured(section: str = "connection_settings", **values: Any) -> Step:
    return lambda bench: bench.configure(section, **values)


def set_on_server(**values: str) -> Step:
    return lambda bench: bench.settings(**values)


def ruled(*lines: str) -> Step:
    """Have lines decide in which {db}, {here} and {good} stand for this test's own."""
    return lambda bench: bench.rules(*_filled(bench, lines))


def filed(*lines: str) -> Step:
    """Put lines in the file without a reload."""
    return lambda bench: bench.file_only(*_filled(bench, lines))


def _filled(bench: Bench, lines: tuple[str, ...]) -> list[str]:
    return [line.format(db=bench.database, here=bench.here, good=bench.good_rule) for line in lines]


def ran(statement: str, undo: str | None = None) -> Step:
    return lambda bench: bench.run(
        statement.format(db=bench.database), undo.format(db=bench.database) if undo else None
    )


def from_here(bench: Bench) -> None:
    bench.wanted = Wanted(addresses=(ip_network(bench.here),))


def from_afar(bench: Bench) -> None:
    bench.wanted = Wanted(addresses=(ip_network("10.1.2.0/24"),))


def reload(bench: Bench) -> None:
    bench.server.reload()


def certified(role: str = "app") -> Step:
    return lambda bench: bench.certificate(role)


def shown(name: str) -> Step:
    return lambda bench: bench.stack.enter_context(bench.server.certificate(name)) and None


def key_mode(mode: int) -> Step:
    def chmod(bench: Bench) -> None:
        key = Path(bench.server.certs.client("app").key)
        key.chmod(mode)
        bench.stack.callback(key.chmod, 0o600)

    return chmod


def many_sessions(bench: Bench) -> None:
    for _ in range(15):
        args = bench.server.dsn_args(user="postgres")
        bench.stack.enter_context(psycopg.connect(**args, application_name="many"))


def right_root(bench: Bench) -> None:
    bench.configure(sslrootcert=str(bench.server.certs.ca))


def over_socket(bench: Bench) -> None:
    if bench.server.provider == "docker":
        pytest.skip("the socket is inside of the container")
    with bench.server.admin() as conn:
        row = conn.execute("SHOW unix_socket_directories").fetchone()
    assert row is not None
    bench.configure(host=row[0], hostaddr=None)


def away_from_loopback(bench: Bench) -> None:
    if bench.here == "127.0.0.1/32":
        pytest.skip("client and server are on one machine")


def password_as(kind: str) -> Step:
    def store(bench: Bench) -> None:
        with bench.server.admin() as conn:
            conn.execute(sql.SQL("SET password_encryption = {}").format(sql.Literal(kind)))
            conn.execute(
                sql.SQL("ALTER ROLE app PASSWORD {}").format(sql.Literal(bench.server.password))
            )
        if kind == "md5":
            bench.stack.callback(password_as("scram-sha-256"), bench)

    return store


def fleet(processes: int) -> Step:
    def size(bench: Bench) -> None:
        bench.wanted = Wanted(fleet=Fleet(processes=processes))

    return size


PLAIN_HOST = ruled("host {db} app {here} scram-sha-256")
NO_TLS = both(PLAIN_HOST, set_on_server(ssl="off"), configured(sslmode="prefer", sslrootcert=None))
SOON = "ALTER ROLE app VALID UNTIL '{}'"
FOREVER = "ALTER ROLE app VALID UNTIL 'infinity'"

CASES = (
    Case("PGM-ADM-001", both(from_here, ruled("host all app all reject")), "MISMATCH", "critical"),
    Case("PGM-ADM-001", filed(), "MISMATCH", "critical", name="file"),
    Case("PGM-ADM-001", from_afar, "MISMATCH", "critical", name="address"),
    Case(
        "PGM-ADM-002",
        filed("hostssl {db} app {here} cert"),
        "MISMATCH",
        "high",
        mend=certified(),
    ),
    Case("PGM-ADM-003", filed("hostssl {db} app {here} trust"), "REVIEW", "medium", mend=reload),
    Case("PGM-ADM-004", away_from_loopback, "REVIEW", "info", mend=from_here),
    Case(
        "PGM-ADM-005",
        both(ruled("hostssl {db} app {here} trust"), ran(SOON.format("2001-01-01"), FOREVER)),
        "MISMATCH",
        "critical",
    ),
    Case(
        "PGM-ADM-006",
        both(
            ruled("hostnossl {db} app {here} password", "hostssl {db} app {here} reject"),
            configured(sslmode="prefer"),
        ),
        "MISMATCH",
        "high",
        mend=both(configured(sslmode="verify-full"), ruled("{good}")),
        after="N/A",
    ),
    Case("PGM-HBA-001", ruled("host {db} app {here} trust"), "MISMATCH", "critical"),
    Case("PGM-HBA-001", ruled("hostssl {db} app {here} md5"), "REVIEW", "medium", name="md5"),
    Case("PGM-HBA-002", ruled("hostssl all all all scram-sha-256"), "REVIEW", "medium"),
    Case("PGM-HBA-003", ruled("hostssl all app all md5"), "MISMATCH", "high"),
    Case("PGM-HBA-004", PLAIN_HOST, "REVIEW", "medium"),
    Case(
        "PGM-HBA-005",
        filed("{good}", "hostssl all all nonsense"),
        "MISMATCH",
        "high",
        mend=filed("{good}"),
    ),
    Case(
        "PGM-HBA-006",
        both(
            ruled("{good}", "host {db} app {here} scram-sha-256"),
            set_on_server(ssl="off"),
            configured(sslmode="prefer", sslrootcert=None),
        ),
        "MISMATCH",
        "high",
    ),
    Case(
        "PGM-HBA-007", ruled("{good}", "host all other 10.9.9.0/24 trust"), "MISMATCH", "critical"
    ),
    Case(
        "PGM-HBA-008",
        both(from_afar, ruled("hostssl {db} app 10.1.2.0/24 scram-sha-256", "{good}")),
        "MISMATCH",
        "high",
    ),
    Case("PGM-HBA-009", ruled("hostssl {db} app samenet scram-sha-256", "{good}"), "REVIEW", "low"),
    Case("PGM-HBA-010", certified(), "REVIEW", "low"),
    Case(
        "PGM-HBA-010",
        filed("hostssl {db} app {here} scram-sha-256 clientcert=verify-full"),
        "MISMATCH",
        "high",
        mend=certified(),
        name="demanded",
    ),
    Case(
        "PGM-HBA-011",
        both(certified(), filed("hostssl {db} app {here} cert map=monkeys")),
        "MISMATCH",
        "high",
        since=15,
    ),
    Case("PGM-TLS-001", NO_TLS, "MISMATCH", "medium"),
    Case("PGM-TLS-002", both(PLAIN_HOST, configured(sslmode="disable")), "MISMATCH", "high"),
    Case("PGM-TLS-003", configured(sslmode="prefer"), "REVIEW", "medium"),
    Case(
        "PGM-TLS-004",
        configured(sslmode="require", sslrootcert=None),
        "REVIEW",
        "medium",
        mend=both(configured(sslmode="verify-full"), right_root),
    ),
    Case("PGM-TLS-006", set_on_server(ssl_min_protocol_version="TLSv1"), "MISMATCH", "high"),
    Case(
        "PGM-TLS-007",
        set_on_server(ssl_max_protocol_version="TLSv1.2", ssl_ciphers="ECDHE-ECDSA-AES256-SHA"),
        "REVIEW",
        "medium",
    ),
    Case("PGM-TLS-008", nothing, "REVIEW", "low"),
    Case(
        "PGM-TLS-009",
        both(shown("wrong_host"), configured(sslmode="verify-ca")),
        "REVIEW",
        "medium",
        mend=shown("good"),
    ),
    Case(
        "PGM-TLS-009", shown("wrong_host"), "MISMATCH", "critical", mend=shown("good"), name="full"
    ),
    Case(
        "PGM-TLS-010",
        lambda bench: bench.configure(sslrootcert=str(bench.server.certs.wrong_ca)),
        "MISMATCH",
        "critical",
        mend=right_root,
    ),
    Case(
        "PGM-TLS-011",
        both(shown("expired"), configured(sslmode="require", sslrootcert=None)),
        "MISMATCH",
        "critical",
        mend=shown("good"),
    ),
    Case("PGM-TLS-011", shown("expired"), "MISMATCH", "critical", mend=shown("good"), name="full"),
    Case(
        "PGM-TLS-012",
        both(certified(), key_mode(0o644)),
        "MISMATCH",
        "critical",
        mend=key_mode(0o600),
    ),
    Case(
        "PGM-TLS-012",
        both(certified(), configured(sslcert="/nowhere/nope.crt")),
        "MISMATCH",
        "critical",
        mend=certified(),
        name="missing",
    ),
    Case(
        "PGM-TLS-012",
        both(
            certified(),
            lambda bench: bench.configure(sslkey=bench.server.certs.client("other").key),
        ),
        "MISMATCH",
        "critical",
        mend=certified(),
        name="pair",
    ),
    Case(
        "PGM-TLS-013",
        both(
            certified("other"),
            filed("hostssl {db} app {here} scram-sha-256 clientcert=verify-full"),
        ),
        "MISMATCH",
        "high",
        after="N/A",
    ),
    Case("PGM-TLS-014", both(certified(), set_on_server(ssl_ca_file="")), "MISMATCH", "high"),
    Case(
        "PGM-TLS-015",
        configured(sslnegotiation="direct"),
        "MISMATCH",
        "high",
        after="N/A",
        before=17,
    ),
    Case(
        "PGM-TLS-017",
        both(configured(sslmode="verify-full"), over_socket),
        "REVIEW",
        "info",
    ),
    Case("PGM-AUT-001", set_on_server(password_encryption="md5"), "MISMATCH", "medium"),
    Case(
        "PGM-AUT-002",
        both(password_as("md5"), ruled("hostssl {db} app {here} md5")),
        "MISMATCH",
        "high",
        mend=password_as("scram-sha-256"),
    ),
    Case("PGM-AUT-003", ruled("hostssl {db} app {here} password"), "REVIEW", "medium"),
    Case("PGM-AUT-004", configured(sslmode="require", sslrootcert=None), "REVIEW", "medium"),
    Case("PGM-AUT-005", set_on_server(scram_iterations="1000"), "REVIEW", "low", since=16),
    Case(
        "PGM-ROL-001",
        ran("ALTER ROLE app SUPERUSER", "ALTER ROLE app NOSUPERUSER"),
        "MISMATCH",
        "critical",
        mend=ran("ALTER ROLE app NOSUPERUSER"),
    ),
    Case(
        "PGM-ROL-002",
        ran("ALTER ROLE app BYPASSRLS CREATEDB", "ALTER ROLE app NOBYPASSRLS NOCREATEDB"),
        "MISMATCH",
        "high",
    ),
    Case(
        "PGM-ROL-003",
        ran("GRANT pg_execute_server_program TO app", "REVOKE pg_execute_server_program FROM app"),
        "MISMATCH",
        "critical",
    ),
    Case(
        "PGM-ROL-003",
        ran(
            "CREATE ROLE team; GRANT pg_read_server_files TO team; GRANT team TO app",
            "DROP ROLE team",
        ),
        "MISMATCH",
        "high",
        name="through",
    ),
    Case("PGM-ROL-004", ran("GRANT CREATE ON SCHEMA public TO PUBLIC"), "REVIEW", "medium"),
    Case("PGM-ROL-005", lambda bench: expires_soon(bench), "MISMATCH", "high", after="N/A"),
    Case(
        "PGM-CAP-001",
        configured("pool_settings", max_size=400),
        "MISMATCH",
        "high",
        mend=configured("pool_settings", max_size=20),
    ),
    Case("PGM-CAP-002", fleet(100), "MISMATCH", "high", mend=fleet(1)),
    Case(
        "PGM-CAP-003",
        both(configured("pool_settings", max_size=210), many_sessions),
        "REVIEW",
        "medium",
        mend=lambda bench: bench.server.terminate("application_name", "many"),
    ),
    Case(
        "PGM-CAP-004",
        ran("ALTER ROLE app CONNECTION LIMIT 3", "ALTER ROLE app CONNECTION LIMIT -1"),
        "MISMATCH",
        "high",
    ),
    Case("PGM-CAP-005", ran('ALTER DATABASE "{db}" CONNECTION LIMIT 3'), "MISMATCH", "high"),
    Case("PGM-TMO-001", configured(connect_timeout=None), "REVIEW", "medium"),
    Case("PGM-TMO-002", configured("pool_settings", timeout=5), "REVIEW", "low"),
    Case(
        "PGM-TMO-003",
        configured("sync_settings", lock_timeout="30s", statement_timeout="5s"),
        "REVIEW",
        "low",
    ),
    Case(
        "PGM-TMO-004",
        ran("ALTER ROLE app SET idle_session_timeout = '60s'"),
        "MISMATCH",
        "high",
        since=14,
    ),
    Case(
        "PGM-TMO-005",
        configured("sync_settings", idle_in_transaction_session_timeout=None),
        "REVIEW",
        "medium",
    ),
    Case("PGM-TMO-006", configured(keepalives_idle=None), "REVIEW", "medium"),
    Case(
        "PGM-TMO-006",
        ran("ALTER ROLE app RESET tcp_keepalives_idle"),
        "REVIEW",
        "medium",
        name="server",
    ),
    Case(
        "PGM-TMO-007",
        configured("sync_settings", statment_timeout="5s"),
        "MISMATCH",
        "high",
        mend=configured("sync_settings", statment_timeout=None),
    ),
    Case(
        "PGM-TMO-007",
        configured("sync_settings", statement_timeout="5 parsecs"),
        "MISMATCH",
        "high",
        mend=configured("sync_settings", statement_timeout="5s"),
        name="value",
    ),
    Case(
        "PGM-TMO-007",
        configured("sync_settings", log_statement="all"),
        "MISMATCH",
        "high",
        mend=ran(
            "GRANT SET ON PARAMETER log_statement TO app",
            "REVOKE SET ON PARAMETER log_statement FROM app",
        ),
        since=15,
        name="granted",
    ),
    Case(
        "PGM-CFG-001",
        set_on_server(max_connections="300"),
        "REVIEW",
        "medium",
        mend=both(ran("ALTER SYSTEM RESET max_connections"), reload),
    ),
    Case(
        "PGM-CFG-002",
        lambda bench: auto_conf(bench, "nonsense = 1"),
        "MISMATCH",
        "high",
        mend=lambda bench: auto_conf(bench),
    ),
)

# Shown elsewhere: what needs a pooler, a full server, or a TLS that OpenSSL has to be told to speak.
ELSEWHERE_SHOWN = {"PGM-PRX-001", "PGM-TLS-016", "PGM-CAP-006", "PGM-TLS-005"}


def auto_conf(bench: Bench, *lines: str) -> None:
    bench.server.place("postgresql.auto.conf", lines)
    bench.stack.callback(bench.server.place, "postgresql.auto.conf", ())


def expires_soon(bench: Bench) -> None:
    with bench.server.admin() as conn:
        row = conn.execute("SELECT to_char(now() + interval '3 days', 'YYYY-MM-DD')").fetchone()
    assert row is not None
    bench.run(SOON.format(row[0]), FOREVER)


@pytest.fixture
def bench(server: PgServer, database: Database) -> Iterator[Bench]:
    with ExitStack() as stack:
        yield Bench(server, database, stack)


def test_good_server_has_no_findings_but_those_of_a_default_server(bench: Bench):
    audit = audit_of(bench.config, bench.wanted)
    found = {result.check.id: result.found for result in audit.findings}
    # PostgreSQL's own default list of ciphers; and, from a container, the bridge's address.
    expected = {"PGM-TLS-008"}
    if bench.here != "127.0.0.1/32":
        expected |= {"PGM-ADM-004", "PGM-HBA-008"}
    assert found.keys() == expected, found
    assert {result.status for result in audit.results} <= {"OK", "N/A", "REVIEW", "MISMATCH"}
    assert audit.admitted
    line = len(hba(())) + 1
    expected_start = f"ADMITTED by pg_hba.conf:{line} (hostssl, scram-sha-256), TLSv1.3"
    assert audit.verdict.startswith(expected_start)
    assert audit.decided == audit.total == 60


@pytest.mark.parametrize("case", CASES, ids=str)
def test_bad_server_is_found_and_its_remedy_helps(case: Case, bench: Bench):
    if not case.since <= bench.server.version < case.before:
        pytest.skip(f"not on PostgreSQL {bench.server.version}")
    case.spoil(bench)
    bad = result_of(bench.config, case.id, bench.wanted)
    assert (bad.status, bad.severity) == (case.status, case.severity), bad.found
    assert bad.remedy is not None
    if case.mend is not None:
        case.mend(bench)
    else:
        bench.config = paste(bad, bench.server, bench.database, bench.config)
    good = result_of(bench.config, case.id, bench.wanted)
    assert good.status == case.after, good.found


def test_every_check_is_shown_good_bad_and_mended():
    assert {case.id for case in CASES} | ELSEWHERE_SHOWN == {check.id for check in CHECKS}


# What an OpenSSL of today has to be told before it speaks TLS 1.1.
OLD_OPENSSL = """openssl_conf = all
[all]
ssl_conf = ssl
[ssl]
system_default = old
[old]
MinProtocol = TLSv1.1
CipherString = DEFAULT@SECLEVEL=0
"""


def test_old_protocol_is_found_where_one_was_negotiated(bench: Bench, tmp_path: Path):
    old = tmp_path / "openssl.cnf"
    old.write_text(OLD_OPENSSL)
    bench.configure(ssl_min_protocol_version="TLSv1.1")
    config = tmp_path / "config.yaml"
    config.touch(mode=0o600)
    config.write_text(yaml.safe_dump(bench.config))
    bench.settings(
        ssl_ciphers="DEFAULT:@SECLEVEL=0",
        ssl_min_protocol_version="TLSv1.1",
        ssl_max_protocol_version="TLSv1.1",
    )
    words = ("pgserverconfig", "-c", config, "--audit", "--select", "PGM-TLS-005", "--json")
    (bad,) = json.loads(run(*words, env={"OPENSSL_CONF": str(old)}).stdout)["results"]
    assert (bad["status"], bad["severity"]) == ("MISMATCH", "high"), bad["found"]
    assert "TLSv1.1" in bad["found"]
    assert "TLSv1.2" in bad["remedy"]["lines"][0]
    bench.settings(ssl_min_protocol_version="TLSv1.2", ssl_max_protocol_version="")
    (good,) = json.loads(run(*words, env={"OPENSSL_CONF": str(old)}).stdout)["results"]
    assert good["status"] == "OK", good["found"]


def test_both_checks_of_capacity_ask_for_the_same_max_connections(bench: Bench):
    bench.configure("pool_settings", max_size=400)
    lines = {
        result_of(bench.config, id).remedy.lines  # type: ignore[union-attr]  # both fail
        for id in ("PGM-CAP-001", "PGM-CAP-002")
    }
    assert len(lines) == 1, lines


def test_remedy_of_a_superuser_runs_as_it_stands_and_gives_no_more_than_tables(bench: Bench):
    bench.run("ALTER ROLE app SUPERUSER", "ALTER ROLE app NOSUPERUSER")
    remedy = result_of(bench.config, "PGM-ROL-001").remedy
    assert remedy is not None
    with bench.server.admin(bench.database) as conn, conn.transaction(force_rollback=True):
        for line in remedy.lines:
            if not line.startswith("\\"):
                conn.execute(line)  # type: ignore[arg-type]  # what is to be pasted
    assert "pg_" not in " ".join(remedy.lines)


# What makes each remedy for a configuration appear on a good server.
TO_CONFIGURE = (
    ("PGM-TLS-003", {"sslmode": "prefer", "sslrootcert": None}, "PGSSLMODE=verify-full"),
    ("PGM-TLS-004", {"sslmode": "require", "sslrootcert": None}, "PGSSLROOTCERT=ca.crt"),
    ("PGM-AUT-004", {"sslmode": "require", "sslrootcert": None}, "PGREQUIREAUTH=scram-sha-256"),
    ("PGM-TMO-001", {"connect_timeout": None}, "PGCONNECT_TIMEOUT=10"),
    ("PGM-TMO-006", {"keepalives_idle": None}, "in a configuration file"),
    ("PGM-TMO-002", {}, "in a configuration file"),
    ("PGM-TMO-003", {}, "in a configuration file"),
    ("PGM-TMO-004", {}, "in a configuration file"),
    ("PGM-TMO-005", {}, "in a configuration file"),
)


@pytest.mark.parametrize(("id", "values", "variable"), TO_CONFIGURE, ids=lambda v: str(v)[:11])
def test_remedy_for_a_configuration_is_one_and_has_its_section(
    bench: Bench, id: str, values: dict[str, Any], variable: str
):
    bench.configure(**values)
    if id == "PGM-TMO-002":
        bench.configure("pool_settings", timeout=5)
    if id in ("PGM-TMO-003", "PGM-TMO-005"):
        bench.config["sync_settings"] = {"lock_timeout": "30s", "statement_timeout": "5s"}
    if id == "PGM-TMO-004":
        if bench.server.version < 14:
            pytest.skip("idle_session_timeout came with 14")
        bench.run("ALTER ROLE app SET idle_session_timeout = '60s'")
    facts = facts_of(bench.config).facts
    only = Choice(select=(id,))
    (filed_,) = examine(facts, only).results
    assert filed_.remedy is not None
    text = "\n".join(filed_.remedy.lines)
    assert text.startswith(f"{filed_.key.partition('.')[0]}:\n  ")
    load_text(text, "config.yaml", strict=True)
    if "sslmode: verify" in text:
        assert "sslrootcert: ca.crt" in text
    bare = replace(facts, settings=replace(facts.settings, name="<environment>"))
    (told,) = examine(bare, only).results
    assert told.remedy is not None
    assert variable in (*told.remedy.lines, told.remedy.where.partition(":")[0])


@pytest.mark.parametrize("sslmode", ["require", "verify-full"])
def test_an_expired_certificate_is_not_taken_for_a_wrong_authority(bench: Bench, sslmode: str):
    bench.configure(sslmode=sslmode)
    shown("expired")(bench)
    assert result_of(bench.config, "PGM-TLS-010").status == "OK"
    assert result_of(bench.config, "PGM-TLS-011").severity == "critical"
    bench.configure(sslrootcert=str(bench.server.certs.wrong_ca), sslmode="require")
    assert result_of(bench.config, "PGM-TLS-011").severity == "critical"
    bench.configure(sslmode="verify-ca")
    assert result_of(bench.config, "PGM-TLS-010").status == "MISMATCH"


def test_remedy_of_a_wrong_name_is_a_new_certificate_first_and_a_wrong_pair_needs_no_chmod(
    bench: Bench,
):
    shown("wrong_host")(bench)
    named = result_of(bench.config, "PGM-TLS-009").remedy
    assert named is not None
    assert named.lines[0].endswith(f"subjectAltName = DNS:{ELSEWHERE}, and reload")
    assert "host: " in named.lines[1]
    bench.certificate()
    bench.configure(sslkey=bench.server.certs.client("other").key)
    pair = result_of(bench.config, "PGM-TLS-012")
    assert pair.key == "connection_settings.sslkey"
    assert pair.remedy is not None
    assert "chmod" not in " ".join(pair.remedy.lines)
    bench.certificate()
    bench.configure(sslcert="/nowhere/nope.crt")
    missing = result_of(bench.config, "PGM-TLS-012")
    assert "/nowhere/nope.crt" in missing.found
    assert missing.key == "connection_settings.sslcert"


def test_pending_max_connections_is_judged_by_what_a_restart_would_bring(bench: Bench):
    bench.configure("pool_settings", max_size=20)
    bench.settings(max_connections="15")
    short = result_of(bench.config, "PGM-CFG-001")
    assert "-> 15)" in short.found
    assert short.severity == "high"
    assert short.remedy is not None
    assert short.remedy.lines[0] == "ALTER SYSTEM SET max_connections = '24';"
    bench.settings(max_connections="300")
    plenty = result_of(bench.config, "PGM-CFG-001")
    assert "-> 300)" in plenty.found
    assert plenty.severity == "medium"


def test_text_says_how_many_findings_were_accepted_and_by_which_file(bench: Bench):
    found = audit_of(bench.config, bench.wanted)
    accepted = replace(found, results=tuple(waivers.known_before(found.results, _known(found))))
    advice = facts_of(bench.config).facts.recommendation
    report = AuditReport("config.yaml", 0, accepted, advice, accepted_by=("known.json",))
    for format in ("table", "markdown"):
        text = render_audit(report, format)
        assert "accepted by known.json" in text.replace("\\", "")
    assert report.accepted.startswith(f"{len(found.findings)} finding")


def _known(found: Audit) -> frozenset[str]:
    return waivers.parse_baseline(waivers.baseline_of(found), "known.json")
