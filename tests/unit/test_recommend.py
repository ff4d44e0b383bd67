"""What is advised for a client, case by case of the tables it was decided by.

That the advice lets the client in, and nothing else does, is shown on real servers in
tests/integration/test_recommendation.py.
"""

from __future__ import annotations

import ipaddress
import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from pgmonkey.cli.main import main
from pgmonkey.server.client import Certificate, Client, Endpoint
from pgmonkey.server.fleet import Fleet, accurate_need, demand, printed_minimum
from pgmonkey.server.hba_file import parse
from pgmonkey.server.recommend import recommend
from support.certs import CertKit

TCP = Endpoint("192.168.0.10", "", 5432)
SOCKET = Endpoint("/run/postgresql", "", 5432)
CLIENT = Client("x.yaml", (TCP,), "app", "sales", sslmode="require", password=True, os_user="me")
CERTIFICATE = Certificate("app.crt", "app.key", "app")
OTHER = replace(CERTIFICATE, common_name="bob")
UNREADABLE = Certificate("app.crt", "app.key", problem="no certificate in it")
MISSING = Certificate("app.crt", "app.key", missing=True, problem="no such file")


def lines(client: Client, **how: Any) -> list[str]:
    return [str(rule) for rule in recommend(client, **how).rules]


def line(client: Client, **how: Any) -> str:
    (only,) = lines(client, **how)
    return only


@pytest.fixture
def sample(certs: CertKit, tmp_path: Path) -> Path:
    """The configuration of the published sample: a client certificate, a pool of 20."""
    certificate = certs.client("app")
    path = tmp_path / "config.yaml"
    path.touch(mode=0o600)
    path.write_text(
        "connection_type: 'pool'\n"
        "connection_settings:\n"
        "  user: 'app'\n  password: 'password'\n  host: '192.168.0.10'\n  dbname: 'sales'\n"
        f"  sslmode: 'verify-full'\n  sslcert: '{certificate.cert}'\n"
        f"  sslkey: '{certificate.key}'\n  sslrootcert: '{certs.ca}'\n"
        "pool_settings:\n  min_size: 5\n  max_size: 20\n"
    )
    return path


BLOCK = """\
1) Database type detected: PostgreSQL

2) Minimal database server settings needed for this config file:

   a) pg_hba.conf:

TYPE     DATABASE  USER  ADDRESS         METHOD         OPTIONS
hostssl  all       all   192.168.0.0/24  scram-sha-256  clientcert=verify-full

   b) postgresql.conf:

max_connections = 22
ssl = on
ssl_cert_file = 'server.crt'
ssl_key_file = 'server.key'
ssl_ca_file = 'ca.crt'
"""


@pytest.mark.parametrize("flag", ["--filepath", "--connconfig", "-c"])
def test_sample_prints_the_known_block(sample: Path, flag: str, capsys):
    assert main(["pgserverconfig", flag, str(sample)]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith(BLOCK)
    assert printed.err == ""


def test_sample_whose_files_are_elsewhere_prints_the_known_block_too(sample: Path, capsys):
    text = sample.read_text()
    for word in ("sslcert", "sslkey", "sslrootcert"):
        text = "\n".join(
            f"  {word}: '/path/to/client.{word}'" if row.startswith(f"  {word}:") else row
            for row in text.split("\n")
        )
    sample.write_text(text)
    assert main(["pgserverconfig", "--filepath", str(sample)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(BLOCK)
    assert "clientcert=verify-ca whatever it is" in " ".join(printed.split())


def test_old_word_for_the_method_is_printed_on_request(sample: Path, capsys):
    assert main(["pgserverconfig", "-c", str(sample), "--hba-method", "md5"]) == 0
    printed = capsys.readouterr().out
    assert "hostssl  all       all   192.168.0.0/24  md5     clientcert=verify-full" in printed
    assert "md5 is obsolete" in printed


def test_readme_shows_that_block():
    readme = (Path(__file__).parent.parent.parent / "README.md").read_text(encoding="utf-8")
    assert f"$ pgmonkey pgserverconfig --filepath config.yaml\n{BLOCK}" in readme


@pytest.mark.parametrize(
    ("sslmode", "kind"),
    [
        ("disable", "host"),
        ("allow", "hostssl"),
        ("prefer", "hostssl"),
        ("require", "hostssl"),
        ("verify-ca", "hostssl"),
        ("verify-full", "hostssl"),
    ],
)
def test_type_follows_sslmode(sslmode, kind):
    expected = f"{kind} all all 192.168.0.0/24 scram-sha-256"
    assert line(replace(CLIENT, sslmode=sslmode)) == expected


def test_type_for_gss_encryption_asks_for_gss():
    client = replace(CLIENT, gssencmode="require")
    assert line(client) == "hostgssenc all all 192.168.0.0/24 gss include_realm=1"
    assert [a.name for a in recommend(client).settings] == ["max_connections"]


@pytest.mark.parametrize(
    ("certificate", "password", "method"),
    [
        (None, True, "scram-sha-256"),
        (CERTIFICATE, True, "scram-sha-256 clientcert=verify-full"),
        (OTHER, True, "scram-sha-256 clientcert=verify-ca"),
        (CERTIFICATE, False, "cert"),
        (OTHER, False, "cert map=pgmonkey"),
        (UNREADABLE, True, "scram-sha-256 clientcert=verify-ca"),
        (UNREADABLE, False, "cert"),
        (MISSING, True, "scram-sha-256 clientcert=verify-ca"),
        (None, False, "scram-sha-256"),
    ],
)
def test_method_follows_what_the_client_has(certificate, password, method):
    client = replace(CLIENT, certificate=certificate, password=password)
    found = recommend(client)
    assert str(found.rules[0]) == f"hostssl all all 192.168.0.0/24 {method}"
    assert found.ident == (("pgmonkey bob app",) if "map" in method else ())
    assert ("no password" in " ".join(found.notes)) is (certificate is None and not password)


def test_certificate_means_nothing_without_tls():
    client = replace(CLIENT, certificate=CERTIFICATE, sslmode="disable")
    assert line(client) == "host all all 192.168.0.0/24 scram-sha-256"


@pytest.mark.parametrize(
    ("os_user", "password", "method", "ident"),
    [
        ("app", True, "peer", ()),
        ("app", False, "peer", ()),
        ("me", True, "scram-sha-256", ()),
        ("me", False, "peer map=pgmonkey", ("pgmonkey me app",)),
        ("", False, "scram-sha-256", ()),
    ],
)
def test_socket_is_local_and_asks_the_system_first(os_user, password, method, ident):
    client = replace(CLIENT, endpoints=(SOCKET,), os_user=os_user, password=password)
    found = recommend(client)
    assert [str(rule) for rule in found.rules] == [f"local all all {method}"]
    assert found.ident == ident
    assert [advice.line for advice in found.settings] == ["max_connections = 20"]


@pytest.mark.parametrize(
    ("host", "addresses"),
    [
        ("192.168.3.4", ["192.168.3.0/24"]),
        ("127.0.0.5", ["127.0.0.1/32"]),
        ("2001:db8:1:2:3::4", ["2001:db8:1:2::/64"]),
        ("fe80::1%eth0", ["fe80::/64"]),
        ("::1", ["::1/128"]),
        ("localhost", ["127.0.0.1/32", "::1/128"]),
        ("db.example.com", ["samenet"]),
    ],
)
def test_address_is_assumed_beside_the_server_and_said_to_be(host, addresses):
    found = recommend(replace(CLIENT, endpoints=(Endpoint(host, "", 5432),)))
    assert [rule.address for rule in found.rules] == addresses
    assert found.origin == "assumed"
    loopback = host in ("127.0.0.5", "::1", "localhost")
    assert ("--client-address" in " ".join(found.notes)) is not loopback


def test_address_that_is_dialled_counts_and_not_its_name():
    client = replace(CLIENT, endpoints=(Endpoint("db.example.com", "10.0.0.9", 5432),))
    assert line(client).split()[3] == "10.0.0.0/24"


def test_address_that_is_given_or_seen_goes_before_what_is_assumed():
    given = [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("::1/128")]
    seen = ipaddress.ip_network("172.17.0.1/32")
    assert [r.address for r in recommend(CLIENT, addresses=given, observed=seen).rules] == [
        "10.0.0.0/8",
        "::1/128",
    ]
    assert recommend(CLIENT, observed=seen).rules[0].address == "172.17.0.1/32"


def test_several_hosts_need_each_line_once():
    hosts = (TCP, Endpoint("192.168.0.11", "", 5432), Endpoint("10.0.0.1", "", 5432), SOCKET)
    assert [text.split()[0] for text in lines(replace(CLIENT, endpoints=hosts))] == [
        "local",
        "hostssl",
        "hostssl",
    ]


def test_exact_line_names_this_client_alone_and_every_line_is_one_the_server_reads():
    odd = replace(CLIENT, user="+a, b", dbname="all")
    found = recommend(odd, version=15)
    assert [str(rule) for rule in found.exact] == [
        'hostssl "all" "+a, b" 192.168.0.0/24 scram-sha-256'
    ]
    slash = recommend(replace(CLIENT, user="/app"), version=16)
    assert str(slash.exact[0].users[0]) == r"/^\/app$"
    assert "needs PostgreSQL 16" in " ".join(slash.notes)
    for rule in (*found.exact, *found.rules, *slash.exact):
        assert parse(str(rule), version=15).problems == ()


def test_physical_replication_is_named_by_its_word():
    client = replace(CLIENT, replication="physical")
    assert line(client).split()[1] == "replication"
    assert str(recommend(client).exact[0].databases[0]) == "replication"


@pytest.mark.parametrize(
    ("kind", "size", "largest", "printed", "accurate"),
    [
        ("normal", 1, 0, 20, 5),
        ("normal", 1, 20, 22, 5),
        ("async", 1, 5, 20, 5),
        ("pool", 20, 20, 22, 24),
        ("pool", 5, 5, 6, 9),
        ("pool", 9, 9, 10, 13),
        ("pool", 25, 25, 28, 29),
        ("pool", 20, 50, 22, 24),
        ("async_pool", 50, 50, 55, 54),
    ],
)
def test_connections_are_counted_in_whole_numbers(kind, size, largest, printed, accurate):
    client = replace(CLIENT, connection_type=kind, max_size=size, largest_pool=largest)
    assert printed_minimum(client, Fleet()) == printed
    assert accurate_need(demand(client, Fleet())) == accurate
    assert recommend(client).settings[0].line == f"max_connections = {printed}"


def test_fleet_counts_every_program_and_those_of_a_roll_out():
    client = replace(CLIENT, connection_type="pool", max_size=20)
    fleet = Fleet(4, 3, Fraction(1, 3))
    assert demand(client, fleet) == 320
    found = recommend(client, fleet=fleet)
    assert (found.accurate, found.settings[0].value) == (324, "324")
    assert demand(client, Fleet(3, 1, Fraction(1, 7), 2)) == 71  # 68.57 programs' worth, rounded up


def test_hardening_fits_the_version_and_the_port():
    client = replace(CLIENT, endpoints=(replace(TCP, port=6000),))
    names = [advice.name for advice in recommend(client).hardening]
    assert names == [
        "password_encryption",
        "ssl_min_protocol_version",
        "listen_addresses",
        "port",
        "superuser_reserved_connections",
    ]
    assert "ssl_min_protocol_version" not in [
        advice.name for advice in recommend(CLIENT, version=11).hardening
    ]


def test_nothing_that_is_printed_trusts_anybody():
    for certificate in (None, CERTIFICATE, OTHER, UNREADABLE):
        for password in (True, False):
            for endpoint in (TCP, SOCKET):
                client = replace(
                    CLIENT, certificate=certificate, password=password, endpoints=(endpoint,)
                )
                assert all(rule.method != "trust" for rule in recommend(client).rules)


def test_json_has_both_scopes_and_the_arithmetic(sample: Path, capsys):
    assert main(["pgserverconfig", "-c", str(sample), "--json", "--processes", "2"]) == 0
    document = json.loads(capsys.readouterr().out)
    kinds = [item["kind"] for item in document["results"]]
    assert document["ok"] is True
    assert kinds.count("setting") == 5
    scopes = [item["scope"] for item in document["results"] if item["kind"] == "hba"]
    assert scopes == ["network", "exact"]
    capacity = next(item for item in document["results"] if item["kind"] == "capacity")
    assert (capacity["demand"], capacity["max_connections_accurate"]) == (40, 44)


@pytest.mark.parametrize("file", ["postgresql.conf", "pg_hba.conf", "alter-system"])
def test_file_to_paste_has_no_word_of_ours(sample: Path, file: str, capsys):
    assert main(["pgserverconfig", "-c", str(sample), "--emit", file, "--least-privilege"]) == 0
    printed = capsys.readouterr()
    assert printed.err  # what was assumed is said where it is not pasted
    text = printed.out
    if file == "pg_hba.conf":
        assert [str(rule) for rule in parse(text).rules] == [
            "hostssl sales app 192.168.0.0/24 scram-sha-256 clientcert=verify-full"
        ]
        assert parse(text).problems == ()
    else:
        sign = "--" if file == "alter-system" else "#"
        rows = [row for row in text.splitlines() if not row.startswith(sign)]
        assert all(" = " in row or row == "SELECT pg_reload_conf();" for row in rows)


@pytest.mark.parametrize("file", ["postgresql.conf", "alter-system"])
def test_file_that_the_client_does_without_is_not_asked_of_the_server(
    file: str, tmp_path: Path, capsys
):
    """A server told of a file that is not there does not start again."""
    config = tmp_path / "config.yaml"
    config.touch(mode=0o600)
    config.write_text("connection_settings: {host: db, user: app, sslmode: require}\n")
    assert main(["pgserverconfig", "-c", str(config), "--emit", file]) == 0
    rows = capsys.readouterr().out.splitlines()
    optional = [row for row in rows if "ssl_ca_file = 'ca.crt'" in row]
    assert len(optional) == 1
    assert optional[0].startswith(("#", "--"))
    assert any("the next start of the server fails" in row for row in rows)
    assert any("ssl_cert_file = 'server.crt'" in row and row[0] not in "#-" for row in rows)


def test_markdown_is_a_table(sample: Path, capsys):
    assert main(["pgserverconfig", "-c", str(sample), "--format", "markdown", "--harden"]) == 0
    assert "| TYPE | DATABASE | USER | ADDRESS | METHOD | OPTIONS |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--client-address", "10.0.0.0/33"], "'10.0.0.0/33' is not an address or a network"),
        (["--processes", "0"], "'0' is not a whole number from 1 on"),
        (["--surge", "half"], "'half' is not a share such as 1/3, 0.5 or 50%"),
        (["--emit", "pg_hba.conf", "--json"], "--emit and --format json exclude each other"),
        (["--emit", "pg_hba"], "did you mean 'pg_hba.conf'?"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_would(sample: Path, words, said, capsys):
    assert main(["pgserverconfig", "-c", str(sample), *words]) == 2
    assert said in capsys.readouterr().err


def test_unresolved_password_is_a_password_and_an_unresolved_host_is_refused(sample: Path, capsys):
    text = sample.read_text()
    sample.write_text(text.replace("'password'", "${DB_PASSWORD}"))
    assert main(["pgserverconfig", "-c", str(sample)]) == 0
    assert capsys.readouterr().out.startswith(BLOCK)
    sample.write_text(text.replace("'192.168.0.10'", "${DB_HOST}"))
    assert main(["pgserverconfig", "-c", str(sample)]) == 2
    assert "connection_settings.host" in capsys.readouterr().err


def test_password_is_in_no_output(sample: Path, capsys):
    sample.write_text(sample.read_text().replace("'password'", "'canary-7'"))
    for format in ("text", "json", "markdown"):
        assert main(["pgserverconfig", "-c", str(sample), "--format", format, "-vv"]) == 0
        printed = capsys.readouterr()
        assert "canary" not in printed.out + printed.err
