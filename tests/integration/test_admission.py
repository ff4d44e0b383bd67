"""Who is let in, by which rule: our walk against the server's own, on random rules.

The server is asked by the same question a client would ask, over TCP in both families,
with TLS and without, and over its socket; what it wants first says which rule it took.
PGMONKEY_TEST_ADMISSIONS is how many logins are compared (1500 in CI, on each of its versions;
fewer in an ordinary run), PGMONKEY_TEST_SEED begins another series.
"""

from __future__ import annotations

import functools
import ipaddress
import os
import random
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psutil
import psycopg
import pytest
from psycopg import sql

from pgmonkey.server import authprobe
from pgmonkey.server.admission import admission, attempts, judge
from pgmonkey.server.client import Client, Endpoint
from pgmonkey.server.hba import Rule
from pgmonkey.server.hba_file import parse
from pgmonkey.server.hba_view import from_rows
from pgmonkey.server.matching import Attempt, IPInterface, Known
from support.server import PgServer
from support.setup import hba

LOGINS = int(os.environ.get("PGMONKEY_TEST_ADMISSIONS", "300"))
SEED = int(os.environ.get("PGMONKEY_TEST_SEED", "4"))
LOGINS_PER_FILE = 50

GROUPS = ("h_staff", "h_company")
ROLES = ("h_plain", "h_lead", "h_quiet", "h_boss", "h Odd,Name", "h_sales")
USERS = (*ROLES, "h_unknown")
DATABASES = ("h_sales", "h_hr", "h_staff", "h_plain", "H_Sales", "all", "replication")

DATABASE_WORDS = [
    "all",
    "sameuser",
    "samerole",
    "samegroup",
    "replication",
    "h_sales",
    "h_hr",
    "h_sales,h_hr",
    "h_staff,sameuser",
    "replication,h_sales",
    '"all"',
    '"sameuser"',
    '"replication"',
    "H_Sales",
    "h_plain",
    '"h_hr",h_x',
]
USER_WORDS = [
    "all",
    "h_plain",
    "h_lead",
    "h_sales",
    "h_plain,h_quiet",
    "+h_staff",
    "+h_company",
    "+h_boss",
    "+h_unknown",
    '"+h_staff"',
    "h_unknown",
    "+h_sales,h_lead",
    "h_plain,+h_company",
    '"h Odd,Name"',
    '"h Odd,Name",h_boss',
    '+"h_staff"',
    '"all"',
]
# A server before 16 takes these for names, which nobody has.
DATABASE_PATTERNS = ("/^h_s", "/hr$", '"/^(h_sales|all)$"', "/[[:upper:]]", r"/\mh", "/^h_.{2}$")
USER_PATTERNS = ("/^h_", "/lead", '"/^h Odd,"', "/(?i)^H_P", r"/^h_(plain|boss)$", r'"/\s"')
ADDRESSES = [
    "127.0.0.1/32",
    "127.0.0.0/8",
    "0.0.0.0/0",
    "::1/128",
    "::/0",
    "::ffff:127.0.0.1/128",
    "10.0.0.0/8",
    "all",
    "samehost",
    "samenet",
    "172.16.0.0/12",
    "localhost",
    ".invalid",
    "127.0.0.5 255.0.0.0",
    "127.9.9.1 255.0.0.255",
    "::1 ffff::ffff",
]
METHODS = ("trust", "reject", "scram-sha-256", "md5", "password")
TYPES = ("host", "hostssl", "hostssl", "hostnossl", "hostgssenc", "hostnogssenc")
EVERY_OUTCOME = {
    ("trust", ""),
    ("cleartext", ""),
    ("md5", ""),
    ("sasl", ""),
    ("error", "reject"),
    ("error", "implicit-reject"),
    ("error", "certificate"),
}


@dataclass(frozen=True)
class Lab:
    """A server with roles that are members of each other in every way."""

    server: PgServer
    tcp: tuple[Endpoint, ...]
    socket: tuple[Endpoint, ...]
    interfaces: tuple[IPInterface, ...] | None
    regex: Callable[[str, str], bool]
    member_of: Callable[[str], frozenset[str]]

    def address(self, endpoint: Endpoint) -> Any:
        """Return this machine's address as the server sees it."""
        return None if endpoint.socket else _seen(self.server, endpoint.hostaddr)

    def known(self, user: str) -> Known:
        return Known(
            self.server.version, self.member_of(user), self.regex, interfaces=self.interfaces
        )


@functools.cache
def _seen(server: PgServer, hostaddr: str) -> Any:
    args = server.dsn_args(hostaddr=hostaddr, user=server.superuser)
    with psycopg.connect(**args) as conn:
        row = conn.execute("SELECT inet_client_addr()").fetchone()
    assert row is not None
    return row[0]


@pytest.fixture(scope="module")
def lab(server: PgServer) -> Iterator[Lab]:
    hosts = [server.address[0]]
    if server.provider != "docker" and _listens("::1", server.port):
        hosts.append("::1")
    folder = server.socket_folder
    with server.admin() as conn:
        _make_roles(conn)
        try:
            yield Lab(
                server,
                tuple(Endpoint(server.host, host, server.port) for host in hosts),
                (Endpoint(folder, "", server.port),) if folder else (),
                None if server.provider == "docker" else _interfaces(),
                functools.cache(functools.partial(_regex, conn)),
                functools.cache(functools.partial(_member_of, conn)),
            )
        finally:
            for role in (*ROLES, *GROUPS):
                conn.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def _make_roles(conn: psycopg.Connection[Any]) -> None:
    for role in (*ROLES, *GROUPS):
        options = {"h_boss": "SUPERUSER", "h_quiet": "NOINHERIT"}.get(role, "")
        conn.execute(sql.SQL(f"CREATE ROLE {{}} LOGIN {options}").format(sql.Identifier(role)))
        if role in ROLES:
            # Stored as md5 long ago: only so does an md5 rule ask for md5. Never used.
            conn.execute(
                sql.SQL("ALTER ROLE {} PASSWORD {}").format(
                    sql.Identifier(role), sql.Literal("md5" + "0" * 32)
                )
            )
    for group, member in (
        ("h_company", "h_staff"),
        ("h_staff", "h_lead"),
        ("h_staff", "h_quiet"),
        ("h_sales", "h Odd,Name"),
    ):
        conn.execute(
            sql.SQL("GRANT {} TO {}").format(sql.Identifier(group), sql.Identifier(member))
        )


def _listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError:
        return False
    return True


def _interfaces() -> tuple[IPInterface, ...]:
    return tuple(
        ipaddress.ip_interface(
            f"{a.address.partition('%')[0]}/{bin(int(ipaddress.ip_address(a.netmask))).count('1')}"
        )
        for addresses in psutil.net_if_addrs().values()
        for a in addresses
        if a.family in (socket.AF_INET, socket.AF_INET6) and a.netmask
    )


def _regex(conn: psycopg.Connection[Any], pattern: str, text: str) -> bool:
    row = conn.execute('SELECT %s::text COLLATE "C" ~ %s', [text, pattern]).fetchone()
    assert row is not None
    return bool(row[0])


MEMBERSHIPS = """
    WITH RECURSIVE m(oid) AS (
        SELECT oid FROM pg_catalog.pg_roles WHERE rolname = %s
        UNION SELECT roleid FROM pg_catalog.pg_auth_members JOIN m ON member = m.oid)
    SELECT rolname FROM pg_catalog.pg_roles JOIN m USING (oid)"""


def _member_of(conn: psycopg.Connection[Any], user: str) -> frozenset[str]:
    return frozenset(row[0] for row in conn.execute(MEMBERSHIPS, [user]))


def a_rule(chance: random.Random) -> str:
    """Return a line that is about as likely to be for a login as not."""

    def one_of(words: Sequence[str], patterns: Sequence[str] = ()) -> str:
        if chance.random() < 0.3:
            return "all"
        return chance.choice(patterns if patterns and chance.random() < 0.25 else words)

    databases = one_of(DATABASE_WORDS, DATABASE_PATTERNS)
    users = one_of(USER_WORDS, USER_PATTERNS)
    method = chance.choice(METHODS)
    if chance.random() < 0.25:
        return f"local {databases} {users} {method}"
    kind = chance.choice(TYPES)
    if kind == "hostssl" and method != "reject" and chance.random() < 0.5:
        method += " clientcert=verify-ca"
    return f"{kind} {databases} {users} {one_of(ADDRESSES)} {method}"


def expected(rule: Rule | None, user: str) -> tuple[str, str]:
    """Return kind and detail of the answer that says that *rule* decided."""
    if rule is None:
        return ("error", "implicit-reject")
    if rule.method == "reject":
        return ("error", "reject")
    if rule.client_certificate:
        return ("error", "certificate")
    if rule.method == "md5":
        # Who does not exist is asked in the way that new passwords are stored.
        return ("md5" if user in ROLES else "sasl", "")
    return ({"password": "cleartext", "scram-sha-256": "sasl"}.get(rule.method, rule.method), "")


def test_every_verdict_is_the_servers_own(
    lab: Lab, record_testsuite_property: Callable[[str, object], None]
):
    chance = random.Random(SEED)
    compared = open_questions = 0
    outcomes: Counter[tuple[str, str]] = Counter()
    with lab.server.hba([]), lab.server.admin() as conn:
        # Until every way to be let in or refused was met, or the series would prove little.
        while compared < LOGINS or not (compared > 3 * LOGINS or outcomes.keys() >= EVERY_OUTCOME):
            lines = [a_rule(chance) for _ in range(chance.randint(4, 30))]
            lab.server.place("pg_hba.conf", hba(lines, socket=False))
            lab.server.reload()
            rules = _both_readings(lab, conn, lines)
            for _ in range(LOGINS_PER_FILE):
                endpoint = chance.choice(lab.tcp * 2 + lab.socket)
                attempt = Attempt(
                    chance.choice(USERS),
                    chance.choice(DATABASES),
                    lab.address(endpoint),
                    "none" if endpoint.socket else chance.choice(("tls", "none")),
                    chance.choices(("", "physical", "database"), (8, 2, 1))[0],
                )
                verdict = judge(rules, attempt, lab.known(attempt.user))
                client = Client(
                    "lab",
                    (endpoint,),
                    attempt.user,
                    attempt.database,
                    replication=attempt.replication,
                )
                answer = authprobe.probe(client, endpoint, encrypted=attempt.encryption == "tls")
                live = (answer.kind, answer.detail)
                possible = {expected(rule, attempt.user) for rule in verdict.branches}
                assert live in possible, (lines, attempt, answer, verdict)
                if len(possible) > 1:
                    open_questions += 1
                else:
                    compared += 1
                    outcomes[live] += 1
    # Of how many logins the series was is in the report that --junitxml writes.
    record_testsuite_property("logins compared", compared)
    record_testsuite_property("logins left open", open_questions)
    assert outcomes.keys() >= EVERY_OUTCOME
    assert open_questions < compared / 2


def _both_readings(
    lab: Lab, conn: psycopg.Connection[Any], lines: Sequence[str]
) -> tuple[Rule, ...]:
    """Return the rules as we read the file, after comparing them with the server's reading."""
    row = conn.execute("SELECT pg_read_file('pg_hba.conf')").fetchone()
    assert row is not None
    ours = parse(row[0], version=lab.server.version)
    with conn.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        theirs = from_rows(cursor.execute("SELECT * FROM pg_hba_file_rules").fetchall())
    assert ours.problems == theirs.problems == ()
    assert [_shape(rule) for rule in ours.rules] == [_shape(rule) for rule in theirs.rules], lines
    return ours.rules


def _shape(rule: Rule) -> tuple[Any, ...]:
    """Return what both readings share: the view has no quotes, and writes masks in its own way."""
    address: Any = rule.address
    if address[:1].isdigit() or ":" in address:
        base, _, length = address.partition("/")
        ip = ipaddress.ip_address(base)
        mask = rule.netmask or str(ipaddress.ip_network(f"{ip}/{length}", strict=False).netmask)
        address = (ip, ipaddress.ip_address(mask))
    return (
        rule.type,
        [token.text for token in rule.databases],
        [token.text for token in rule.users],
        address,
        rule.method,
        rule.options,
        rule.line,
    )


DOWNGRADE = ("hostnossl all all all password", "hostssl all all all reject")


def test_password_in_clear_is_foreseen_and_happens(server: PgServer):
    """TLS is refused by a rule, so libpq tries again without, and hands the password over."""
    with server.hba(DOWNGRADE):
        endpoint = Endpoint(*server.address[:1], server.address[0], server.port)
        client = Client("x", (endpoint,), server.user, "postgres", password=True)
        address = _seen(server, endpoint.hostaddr)
        found = admission(
            client,
            parse("\n".join(DOWNGRADE)).rules,
            Known(server.version),
            endpoint=endpoint,
            address=address,
        )
        assert found.admitted is found.plaintext
        assert found.admitted is not None
        assert found.admitted.verdict.method == "password"
        answers = [
            authprobe.probe(client, endpoint, encrypted=attempt.encryption == "tls")
            for attempt in attempts(client, endpoint, address)
        ]
        assert [(a.encrypted, a.kind, a.detail) for a in answers] == [
            (True, "error", "reject"),
            (False, "cleartext", ""),
        ]
        with psycopg.connect(**server.dsn_args(sslmode="prefer", sslrootcert=None)) as conn:
            assert conn.pgconn.ssl_in_use is False
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(**server.dsn_args(sslmode="require", sslrootcert=None))
