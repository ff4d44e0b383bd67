"""The lines we print, on a real server: with them this client gets in, without them it does not.

Every way to configure a client is one cell: sslmode, certificate, password, host. Cells for
which the same lines are printed share one reload. Names that need quotes take turns;
PGMONKEY_TEST_ALL_NAMES=1 tries each of them in each cell.
"""

from __future__ import annotations

import ipaddress
import itertools
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from psycopg import sql

from pgmonkey.config.load import load_settings
from pgmonkey.server import authprobe
from pgmonkey.server.client import Client, resolve
from pgmonkey.server.hba import Rule
from pgmonkey.server.recommend import Recommendation, recommend
from support.server import PgServer

SSLMODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
NAMES = (
    "all",
    "r with blank",
    "r,comma",
    'r"quote',
    "+plus",
    "/slash.x",
    "R_Upper",
    "sameuser",
    "@at",
    "r#hash",
    "back\\slash",
    "plain",
)
EACH_NAME = os.environ.get("PGMONKEY_TEST_ALL_NAMES") == "1"


@dataclass(frozen=True)
class Cell:
    """One client: its configuration, what it needs, and the password it has at run time."""

    settings: Any
    client: Client
    needs: Recommendation
    password: str

    def connect(self) -> None:
        """Log in, or raise psycopg.OperationalError.

        Without any credential in the configuration, the password comes from elsewhere.
        """
        args = {"password": self.password} if self._elsewhere else {}
        args |= self.settings.connect_arguments()
        with psycopg.connect(**args) as conn:
            row = conn.execute("SELECT session_user, current_database()").fetchone()
        assert row == (self.client.user, self.client.dbname)

    @property
    def _elsewhere(self) -> bool:
        methods = {rule.method for rule in self.needs.rules}
        return not self.client.password and "scram-sha-256" in methods


@pytest.fixture(scope="module")
def names(server: PgServer) -> Iterator[tuple[str, ...]]:
    """A role and a database of each name, and a role for whoever runs the tests."""
    own = resolve(load_settings({"connection_settings": {"user": "x"}})).os_user
    with server.admin() as conn:
        for name in (*NAMES, own):
            role, database = sql.Identifier(name), sql.Identifier(name)
            password = sql.Literal(server.password)
            conn.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, password))
            conn.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, role))
        try:
            yield (*NAMES, own)
        finally:
            for name in (*NAMES, own):
                conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
                conn.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def hosts(server: PgServer) -> dict[str, dict[str, Any]]:
    """Return how this server can be reached, by a word for it."""
    if server.provider == "docker":
        here = {"hostaddr": server.address[0]}
        return {
            "127.0.0.1": {"host": "127.0.0.1", **here},
            "localhost": {"host": "localhost", **here},
        }
    found: dict[str, dict[str, Any]] = {
        host: {"host": host, "hostaddr": None} for host in ("127.0.0.1", "localhost")
    }
    found["socket"] = {"host": server.socket_folder, "hostaddr": None}
    if authprobe.wire.socket.has_ipv6:
        found["::1"] = {"host": "::1", "hostaddr": None}
    return found


def cell(
    server: PgServer,
    sslmode: str,
    common_name: str | None,
    password: bool,
    reached: dict[str, Any],
    name: str,
    observed: Any,
) -> Cell:
    args = server.dsn_args(
        user=name,
        dbname=name,
        sslmode=sslmode,
        password=server.password if password else None,
        sslrootcert=str(server.certs.ca) if sslmode.startswith("verify") else None,
        **reached,
    )
    if common_name is not None:
        args |= server.certs.client(common_name).dsn_args()
    settings = load_settings(
        {"connection_settings": {key: str(value) for key, value in args.items()}}
    )
    client = resolve(settings)
    needs = recommend(client, version=server.version, observed=observed)
    return Cell(settings, client, needs, server.password)


def every_cell(server: PgServer, names: Sequence[str]) -> list[Cell]:
    observed = None
    if server.provider == "docker":  # the server sees the engine's address, not ours
        with server.admin() as conn:
            row = conn.execute("SELECT inet_client_addr()").fetchone()
        assert row is not None
        observed = ipaddress.ip_network(row[0])
    ways = list(itertools.product(SSLMODES, (True, False), (True, False), hosts(server).values()))
    turn = itertools.cycle(names)
    cells = [
        cell(server, sslmode, name if certificate else None, password, reached, name, observed)
        for sslmode, certificate, password, reached in ways
        for name in (names if EACH_NAME else (next(turn),))
    ]
    # A certificate for another name: no password means a user map.
    cells += [
        cell(
            server,
            "verify-full",
            '/CN, of "nobody"',
            password,
            hosts(server)["localhost"],
            name,
            observed,
        )
        for password in (True, False)
        for name in names
    ]
    return cells


def load(server: PgServer, rules: Sequence[Rule], ident: Sequence[str]) -> Any:
    if any("map" in dict(rule.options) for rule in rules):
        server.place("pg_ident.conf", ident)
    return server.hba([str(rule) for rule in rules], socket=True)


def test_lines_let_in_whom_they_were_printed_for_and_nobody_without_them(
    server: PgServer, names: tuple[str, ...]
):
    cells = every_cell(server, names)
    assert len(cells) >= 6 * 2 * 2 * len(hosts(server))
    assert {cell.client.user for cell in cells} == set(names)

    with server.hba([], socket=True):
        for cell in cells:
            with pytest.raises(psycopg.OperationalError, match=r"no pg_hba\.conf entry"):
                cell.connect()

    # The broad lines, and the exact ones of as many clients as agree about all but the name.
    for rules_of in (lambda needs: needs.rules, lambda needs: needs.exact):
        groups: dict[Any, list[Cell]] = defaultdict(list)
        for cell in cells:
            needs = cell.needs
            shape = [(r.type, r.address, r.method, r.options) for r in needs.rules]
            groups[repr(shape)].append(cell)
        for members in groups.values():
            rules = list(dict.fromkeys(r for cell in members for r in rules_of(cell.needs)))
            ident = list(dict.fromkeys(line for cell in members for line in cell.needs.ident))
            with load(server, rules, ident):
                for cell in members:
                    cell.connect()
    server.place("pg_ident.conf", [])


def test_exact_line_is_for_nobody_else(server: PgServer, names: tuple[str, ...]):
    """Also where the name has to be written as a pattern."""
    reached = hosts(server)["127.0.0.1"]
    some = cell(server, "require", None, True, reached, "/slash.x", None)
    address = ipaddress.ip_network("0.0.0.0/0")
    needs = recommend(some.client, version=server.version, addresses=[address])
    others = ("slash.x", "/slashyx", "x/slash.x", "/slash.xx", "/SLASH.X", "plain")
    with server.hba([str(rule) for rule in needs.exact]):
        some.connect()
        for other in others:
            for stranger in ({"user": other}, {"dbname": other}):
                client = resolve(
                    load_settings(
                        {
                            "connection_settings": {
                                "user": "/slash.x",
                                "dbname": "/slash.x",
                                **{key: str(v) for key, v in reached.items() if v},
                                "port": str(server.port),
                                **stranger,
                            }
                        }
                    )
                )
                answer = authprobe.probe(client, client.endpoints[0], encrypted=True)
                assert answer.detail == "implicit-reject", stranger


def test_settings_are_ones_the_server_takes(server: PgServer, config_dict: dict[str, Any]):
    config_dict["connection_type"] = "pool"
    needs = recommend(resolve(load_settings(config_dict)), version=server.version)
    with server.admin() as conn:
        for advice in (*needs.settings, *needs.hardening):
            name = sql.Identifier(advice.name)
            try:
                # Checked as a file's line would be, except that the file must not exist yet.
                conn.execute(
                    sql.SQL("ALTER SYSTEM SET {} = {}").format(name, sql.SQL(advice.literal))
                )
            finally:
                conn.execute(sql.SQL("ALTER SYSTEM RESET {}").format(name))
            row = conn.execute(
                "SELECT context FROM pg_settings WHERE name = %s", [advice.name]
            ).fetchone()
            assert row == ({"restart": "postmaster", "reload": "sighup"}[advice.needs],) or (
                advice.name == "password_encryption"  # a session may set it, too
            )
