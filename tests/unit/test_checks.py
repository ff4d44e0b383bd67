"""The catalogue of checks: complete, explained, and the same in the documentation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pgmonkey.cli.main import main
from pgmonkey.cli.render.catalogue import PARTS, documentation, examples
from pgmonkey.config.keys import KEYS, OPEN_SECTIONS, SECTIONS
from pgmonkey.server import checks
from pgmonkey.server.checks import BY_ID, CHECKS
from pgmonkey.server.checks.model import SEVERITIES, Check

DOCS = Path(__file__).parent.parent.parent / "docs" / "checks.md"

# Ids are promises: none may go away or change its meaning. New ones are added here.
PROMISED = {
    "ADM": 6,
    "HBA": 11,
    "TLS": 17,
    "AUT": 5,
    "ROL": 5,
    "CAP": 6,
    "TMO": 7,
    "CFG": 2,
    "PRX": 1,
}


def test_every_promised_check_is_there_once():
    promised = {f"PGM-{part}-{n + 1:03}" for part, many in PROMISED.items() for n in range(many)}
    assert {check.id for check in CHECKS} == promised
    assert len(CHECKS) == len(BY_ID) == 60
    assert PARTS.keys() == PROMISED.keys()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
def test_check_says_what_it_wants_why_and_what_to_do(check: Check):
    for text in (check.title, check.why, check.reads, check.remedy):
        assert text == text.strip() != ""
    assert check.title[0].islower() or check.title.startswith(("TLS", "SCRAM", "PUBLIC"))
    assert not check.title.endswith(".")
    assert check.severity in SEVERITIES
    good, bad = examples(check)
    assert good.endswith(".")
    assert bad.endswith(".")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
def test_check_points_at_a_key_that_a_configuration_may_have(check: Check):
    section, _, name = check.key.rpartition(".")
    known = {key.path for key in KEYS} | SECTIONS.keys()
    assert check.key in known or (section in OPEN_SECTIONS and name)


def test_documentation_is_made_from_the_catalogue():
    assert DOCS.read_text(encoding="utf-8") == documentation()


@pytest.mark.parametrize("id", ["PGM-TLS-003", "pgm-tls-003"])
def test_explain_prints_one_check(id: str, capsys: pytest.CaptureFixture[str]):
    assert main(["pgserverconfig", "--explain", id]) == 0
    text = capsys.readouterr().out
    assert text.startswith("PGM-TLS-003 (medium): sslmode allows no silent downgrade\n")
    assert max(map(len, text.splitlines())) <= 79


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--explain PGM-TLS-03", "there is no check 'PGM-TLS-03'; did you mean 'PGM-TLS-013'"),
        ("--select PGM-TLZ --audit", "--select: no check begins with 'PGM-TLZ'"),
        ("--skip PGM-ADM-7 --audit", "--skip: no check begins with 'PGM-ADM-7'"),
        ("--severity PGM-TLS-003=huge --audit", "'huge' is not one of critical, high, medium"),
        ("--severity TLS=low --audit", "--severity: there is no check 'TLS'"),
        ("--fail-on high", "--fail-on is about an audit; add --audit"),
        ("--no-probe", "--no-probe is about an audit; add --audit"),
        ("--format sarif", "--format sarif is for an audit; add --audit"),
        ("--format sarif -O x.sarif", "--format sarif is for an audit; add --audit"),
        ("--audit --emit pg_hba.conf", "--emit and --audit exclude each other"),
        ("--audit --fail-on warning", "'warning' is not one of critical, high"),
    ],
)
def test_what_means_nothing_is_refused_before_anything_is_dialled(
    words: str, message: str, capsys: pytest.CaptureFixture[str]
):
    assert main(["pgserverconfig", "--dsn", "host=127.0.0.1 port=1", *words.split()]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_no_check_reads_anything_itself():
    """A check is a function of what it is given: no connection, no clock, no file."""
    for path in Path(checks.__file__).parent.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"^\s*(import|from) (os|socket|ssl|time|pathlib)\b", text, re.M), path
        assert not re.search(r"\.execute\(|datetime\.now|\bopen\(", text), path
