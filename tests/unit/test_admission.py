"""Admission as values: which rule is met, what libpq tries, what this client can do then.

That the walk agrees with live servers is shown in tests/integration/test_admission.py.
"""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import Any

import pytest

from pgmonkey.server.addresses import standing_for
from pgmonkey.server.admission import admission, attempts, insertion_point, judge
from pgmonkey.server.client import Certificate, Client, Endpoint
from pgmonkey.server.hba import RuleSet
from pgmonkey.server.hba_file import parse
from pgmonkey.server.matching import Attempt, Known, matches

ADDRESS = ipaddress.ip_address("10.1.2.3")
TCP = Endpoint("db.example.com", "", 5432)
SOCKET = Endpoint("/run/postgresql", "", 5432)
KNOWN = Known(18, frozenset({"app", "staff"}))
CLIENT = Client("x.yaml", (TCP,), "app", "sales", password=True)


def rules(text: str) -> RuleSet:
    found = parse(text)
    assert found.problems == ()
    return found


def verdict(text: str, attempt: Attempt | None = None, known: Known = KNOWN) -> Any:
    return judge(rules(text).rules, attempt or Attempt("app", "sales", ADDRESS, "tls"), known)


def admit(text: str, client: Client = CLIENT, endpoint: Endpoint = TCP) -> Any:
    return admission(client, rules(text).rules, KNOWN, endpoint=endpoint, address=ADDRESS)


@pytest.mark.parametrize(
    ("sslmode", "encryptions"),
    [
        ("disable", ["none"]),
        ("allow", ["none", "tls"]),
        ("prefer", ["tls", "none"]),
        ("require", ["tls"]),
        ("verify-ca", ["tls"]),
        ("verify-full", ["tls"]),
    ],
)
def test_attempts_are_those_of_libpq(sslmode, encryptions):
    client = replace(CLIENT, sslmode=sslmode)
    assert [a.encryption for a in attempts(client, TCP, ADDRESS)] == encryptions
    (only,) = attempts(client, SOCKET, ADDRESS)
    assert (only.address, only.encryption) == (None, "none")


def test_gss_encryption_that_is_required_is_the_only_attempt():
    client = replace(CLIENT, gssencmode="require")
    assert [a.encryption for a in attempts(client, TCP, ADDRESS)] == ["gss"]


@pytest.mark.parametrize(
    ("rule", "answer"),
    [
        ("hostssl all all all trust", True),
        ("hostnossl all all all trust", False),
        ("local all all trust", False),
        ("hostnogssenc all all all trust", True),
        ("host sameuser all all trust", False),
        ("host samerole all all trust", False),
        ("host replication all all trust", False),
        ("host hr,sales all all trust", True),
        ('host "all" all all trust', False),
        ("host all +staff all trust", True),
        ('host all "+staff" all trust', False),
        ("host all +boss all trust", False),
        ("host all APP all trust", False),
        ("host all all 10.0.0.0/8 trust", True),
        ("host all all 10.0.0.9 255.0.0.0 trust", True),
        ("host all all 10.0.2.3 255.0.255.255 trust", True),
        ("host all all 11.0.0.0/8 trust", False),
        ("host all all ::ffff:10.1.2.3/128 trust", False),
        ("host all all 0.0.0.0/0 trust", True),
        ("host all all ::/0 trust", False),
        ("host all all samenet trust", None),
        ("host all all db.example.com trust", None),
        ("host hr all .example.com trust", False),
        ("host all /^a all trust", None),
    ],
)
def test_rule_matches_as_on_the_server(rule, answer):
    (parsed,) = rules(rule).rules
    assert matches(parsed, Attempt("app", "sales", ADDRESS, "tls"), KNOWN) is answer


def test_physical_replication_is_met_by_its_own_word_only():
    attempt = Attempt("app", "sales", ADDRESS, replication="physical")
    found = verdict("host all all all trust\nhost replication all all md5", attempt)
    assert found.rule.line == 2
    logical = replace(attempt, replication="database")
    assert verdict("host replication all all trust\nhost sales all all md5", logical).rule.line == 2


def test_first_match_decides_and_the_stricter_one_below_is_named():
    found = verdict(
        "host hr all all reject\nhost all all all md5\nhost sales all all scram-sha-256"
    )
    assert (found.outcome, found.method, found.rule.line) == ("method", "md5", 2)
    assert found.stricter.line == 3


def test_no_rule_is_a_refusal_without_a_line():
    found = verdict("host hr all all trust")
    assert (found.outcome, found.rule, found.method) == ("implicit", None, "")


def test_rule_that_hangs_on_the_dns_leaves_the_answer_open():
    found = verdict("host all all db.example.com trust\nhost all all all reject")
    assert found.outcome == "indeterminate"
    assert [rule.line for rule in found.branches] == [1, 2]


def test_refused_either_way_is_refused():
    assert verdict("host all all samenet reject").outcome == "implicit"
    assert verdict("host all all samenet reject\nhost all all all reject").rule.line == 2


def test_interfaces_decide_samenet_where_they_are_known():
    known = replace(KNOWN, interfaces=(ipaddress.ip_interface("10.1.2.9/24"),))
    text = "host all all samehost reject\nhost all all samenet trust"
    assert verdict(text, known=known).rule.line == 2


def test_pattern_is_for_the_server_to_judge_and_literal_before_16():
    asked = []
    known = replace(KNOWN, regex=lambda pattern, text: asked.append((pattern, text)) or True)
    assert verdict("host /^sa all all trust", known=known).method == "trust"
    assert asked == [("^sa", "sales")]
    assert verdict("host /^sa all all trust", known=replace(known, version=15)).rule is None


def test_rule_that_is_switched_off_matches_nobody():
    (rule,) = rules("hostssl all all all trust").rules
    attempt = Attempt("app", "sales", ADDRESS, "tls")
    assert matches(replace(rule, disabled="SSL is disabled"), attempt, KNOWN) is False


def test_password_in_clear_after_a_refused_tls_attempt_is_found():
    text = "hostnossl all all all password\nhostssl all all all reject"
    found = admit(text)
    assert [step.verdict.outcome for step in found.steps] == ["reject", "method"]
    assert found.admitted is found.plaintext
    assert found.admitted.verdict.method == "password"
    assert admit(text, replace(CLIENT, sslmode="require")).admitted is None


def test_plaintext_that_would_be_served_is_named_although_tls_comes_first():
    found = admit("host all all all scram-sha-256")
    assert found.admitted is found.steps[0]
    assert found.plaintext is found.steps[1]
    assert admit("hostssl all all all scram-sha-256").plaintext is None
    assert admit("hostnossl all all samenet md5\nhostssl all all all md5").plaintext is not None


def test_server_without_tls_refuses_who_demands_it_and_serves_who_prefers_it():
    (rule,) = rules("host all all all md5").rules
    known = replace(KNOWN, tls=False)

    def admitted(sslmode: str) -> Any:
        client = replace(CLIENT, sslmode=sslmode)
        return admission(client, [rule], known, endpoint=TCP, address=ADDRESS).admitted

    assert admitted("require") is None
    assert admitted("prefer").verdict.attempt.encryption == "none"


CERTIFICATE = Certificate("app.crt", "app.key", "app")


@pytest.mark.parametrize(
    ("rule", "client", "ok", "reason"),
    [
        ("scram-sha-256", CLIENT, True, "a password is configured"),
        (
            "scram-sha-256",
            replace(CLIENT, password=False),
            False,
            "scram-sha-256 asks for a password, and no source has one",
        ),
        ("trust", replace(CLIENT, password=False), True, "nothing is asked"),
        (
            "scram-sha-256 clientcert=verify-ca",
            CLIENT,
            False,
            "a client certificate is asked for, and none is configured",
        ),
        ("cert", replace(CLIENT, certificate=CERTIFICATE), True, "the certificate is configured"),
        (
            "cert",
            replace(CLIENT, certificate=replace(CERTIFICATE, common_name="bob")),
            False,
            "the certificate's CN is 'bob', not 'app'",
        ),
        (
            "cert map=m",
            replace(CLIENT, certificate=replace(CERTIFICATE, common_name="bob")),
            None,
            "the map 'm' decides about the certificate",
        ),
        (
            "trust clientcert=verify-full",
            replace(CLIENT, certificate=replace(CERTIFICATE, problem="no such file")),
            None,
            "app.crt: no such file",
        ),
        ("gss", CLIENT, None, "whether gss succeeds cannot be told from here"),
        (
            "password",
            replace(CLIENT, require_auth="scram-sha-256"),
            False,
            "require_auth=scram-sha-256 refuses password",
        ),
        ("md5", replace(CLIENT, require_auth="scram-sha-256"), True, "a password is configured"),
        (
            "password",
            replace(CLIENT, require_auth="!password,!md5"),
            False,
            "require_auth=!password,!md5 refuses password",
        ),
        (
            "password",
            replace(CLIENT, channel_binding="require"),
            False,
            "channel_binding=require needs SCRAM over TLS",
        ),
    ],
)
def test_what_the_client_lacks_is_said(rule, client, ok, reason):
    client = replace(client, sslmode="require")
    (step,) = admit(f"hostssl all all all {rule}", client).steps
    assert (step.satisfaction.ok, step.satisfaction.reason) == (ok, reason)


def test_certificate_is_no_use_without_tls_and_no_later_rule_is_tried():
    text = "hostssl all all all scram-sha-256 clientcert=verify-ca\nhost all all all trust"
    assert admit(text, replace(CLIENT, sslmode="require")).admitted is None


@pytest.mark.parametrize(("os_user", "ok"), [("app", True), ("root", False)])
def test_peer_is_for_the_user_of_that_name(os_user, ok):
    client = replace(CLIENT, os_user=os_user, endpoints=(SOCKET,))
    found = admit("local all all peer", client, SOCKET)
    assert (found.admitted is not None) is ok


def test_new_line_belongs_above_the_first_that_may_match():
    text = "host hr all all md5\nhost all all samenet md5\nhost all all all reject"
    wanted = attempts(CLIENT, TCP, ADDRESS)
    assert insertion_point(rules(text).rules, wanted, KNOWN).line == 2
    assert insertion_point(rules(text).rules[:1], wanted, KNOWN) is None


def test_addresses_that_stand_for_a_network_meet_whatever_any_of_its_hosts_meets():
    text = (
        "host all all 10.1.0.32/28 trust\n"
        "host all all 10.1.0.40/32 reject\n"
        "host all all 10.1.0.0/26 md5\n"
        "host all all 10.1.0.128/25 scram-sha-256\n"
        "host all all 10.0.0.0/8 password\n"
        "host all all ::/0 cert\n"
    )
    rules = parse(text).rules
    network = ipaddress.ip_network("10.1.0.0/24")

    def met(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> int | None:
        rule = judge(rules, Attempt("app", "sales", address), Known(17)).rule
        return rule.line if rule else None

    some = standing_for(network, rules)
    assert some[0] == ipaddress.ip_address("10.1.0.1")
    assert {met(address) for address in some} == {met(host) for host in network.hosts()}
    assert len(some) < 16
    only = ipaddress.ip_network("10.1.0.40")
    assert standing_for(only, rules) == (ipaddress.ip_address("10.1.0.40"),)
