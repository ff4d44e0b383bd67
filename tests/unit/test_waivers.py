"""Waivers and baselines: what they accept, and that none is misread in silence."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from pgmonkey.config.settings import Mark
from pgmonkey.errors import ConfigError
from pgmonkey.server.audit import Audit, Result
from pgmonkey.server.checks import BY_ID
from pgmonkey.server.waivers import (
    Waiver,
    baseline_of,
    known_before,
    overdue,
    parse_baseline,
    parse_waivers,
    waived,
)

TODAY = date(2030, 6, 15)
FOUND = Result(
    BY_ID["PGM-TLS-003"],
    "REVIEW",
    "medium",
    "sslmode is prefer",
    None,
    "",
    "connection_settings.sslmode",
    Mark("config.yaml", 3, 5),
)
OTHER = replace(FOUND, check=BY_ID["PGM-HBA-001"], subject="host all all all md5")


def test_waivers_are_read_with_their_lines():
    text = """
- id: pgm-tls-003
  reason: loopback only
- id: PGM-HBA-001
  subject: host all all all md5
  reason: being replaced
  expires: 2030-12-31
"""
    assert parse_waivers(text, "w.yaml") == (
        Waiver("PGM-TLS-003", "loopback only", place="w.yaml:2"),
        Waiver(
            "PGM-HBA-001",
            "being replaced",
            "host all all all md5",
            date(2030, 12, 31),
            "w.yaml:4",
        ),
    )
    assert parse_waivers("", "w.yaml") == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id: PGM-TLS-003", "w.yaml:1: must be a list of waivers, each with id and reason"),
        ("- PGM-TLS-003", "w.yaml:1: a waiver has id and reason"),
        ("- id: PGM-TLS-003", "w.yaml:1: the waiver has no reason"),
        ("- id: PGM-TLS-003\n  reason: ''", "w.yaml:1: the waiver has no reason"),
        ("- reason: x", "w.yaml:1: the waiver has no id"),
        ("- id: PGM-TLS-03\n  reason: x", "there is no check 'PGM-TLS-03'; did you mean"),
        ("- id: PGM-TLS-003\n  raeson: x", "w.yaml:2: 'raeson' is no key of a waiver; did you"),
        ("- id: PGM-TLS-003\n  reason: [x]", "w.yaml:2: reason: must be text"),
        (
            "- id: PGM-TLS-003\n  reason: x\n  expires: soon",
            "w.yaml:1: expires: 'soon' is not a day such as 2030-12-31",
        ),
        ("- id: [", "w.yaml:1: is not YAML"),
    ],
)
def test_waiver_that_cannot_be_understood_is_refused(text: str, message: str):
    with pytest.raises(ConfigError) as refused:
        parse_waivers(text, "w.yaml")
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("waiver", "accepts"),
    [
        (Waiver("PGM-TLS-003", "x"), [True, False]),
        (Waiver("PGM-HBA-001", "x"), [False, True]),
        (Waiver("PGM-HBA-001", "x", "host all all all md5"), [False, True]),
        (Waiver("PGM-HBA-001", "x", "host all all all trust"), [False, False]),
        (Waiver("PGM-TLS-003", "x", expires=TODAY), [True, False]),
        (Waiver("PGM-TLS-003", "x", expires=date(2030, 6, 14)), [False, False]),
    ],
)
def test_waiver_accepts_its_own_finding_until_it_ends(waiver: Waiver, accepts: list[bool]):
    after = waived([FOUND, OTHER], [waiver], TODAY)
    assert [result.status == "WAIVED" for result in after] == accepts
    assert [result.waiver for result in after] == ["x" if yes else "" for yes in accepts]


def test_ended_waivers_are_told():
    ended = Waiver("PGM-TLS-003", "x", expires=date(2030, 6, 14))
    assert overdue([ended, Waiver("PGM-TLS-003", "x"), replace(ended, expires=TODAY)], TODAY) == (
        ended,
    )


def test_baseline_accepts_what_it_was_written_from_and_nothing_else():
    audit = Audit("", True, (), (), (FOUND,), (), 1, 1)
    baseline = parse_baseline(baseline_of(audit), "b.json")
    moved = replace(FOUND, found="other words", place=Mark("config.yaml", 30, 5))
    assert [r.status for r in known_before([moved, OTHER], baseline)] == ["WAIVED", "REVIEW"]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"schema": "x", "findings": {}}'])
def test_file_that_is_no_baseline_is_refused(text: str):
    with pytest.raises(ConfigError, match=r"b\.json: is no baseline; --write-baseline makes one"):
        parse_baseline(text, "b.json")
