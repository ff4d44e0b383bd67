"""One result model, every format: the same facts, and each document valid of its kind."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import pytest

from pgmonkey.cli.exits import CATALOGUE
from pgmonkey.cli.failures import Failure
from pgmonkey.cli.render import (
    Finding,
    PoolFill,
    Report,
    Rung,
    Server,
    TypeResult,
    Value,
    render,
)

SERVER = Server("db.example.com", 5432, "sales", "app", "17.6", "TLSv1.3", "TLS_AES_256_GCM_SHA384")
REFUSED = Failure(
    "PGM301", 'login of "app" <refused>', "dns 3 ms > login FAILED", "check PGPASSWORD", 3
)
TESTED = Report(
    "pgconfig test",
    3,
    (
        TypeResult("normal", True, 12.34, 1.5, SERVER),
        TypeResult("pool", True, 11.0, 0.9, SERVER, PoolFill(5, 5, 20)),
        TypeResult(
            "async",
            False,
            steps=(Rung("dns", True, 3.0), Rung("login", False, None)),
            error=REFUSED,
        ),
    ),
    SERVER,
    REFUSED,
)
CHECKED = Report(
    "pgconfig validate",
    1,
    (
        Finding("a b.yaml", 14, 3, "pool_settings.min_size", "PGM201", "error", "30 is larger, 5%"),
        Finding("c.yaml", None, None, None, "PGM201", "warning", "is empty"),
    ),
)
SHOWN = Report("pgconfig show", 0, (Value("connection_settings.port", "05432", "config.yaml:5:9"),))
BROKEN = Report("pgconfig test", 2, error=Failure("PGM103", "no \x00 configuration", exit_code=2))


def test_table_of_types_shows_what_was_reached():
    # fmt: off
    assert render(TESTED, "table").splitlines() == [
        "type    result    connect    query    user@database    server    TLS                             pool",
        "------  --------  ---------  -------  ---------------  --------  ------------------------------  -----------------",
        "normal  ok        12.3 ms    1.5 ms   app@sales        17.6      TLSv1.3 TLS_AES_256_GCM_SHA384",
        "pool    ok        11.0 ms    0.9 ms   app@sales        17.6      TLSv1.3 TLS_AES_256_GCM_SHA384  5 of 5..20 filled",
        "async   FAILED",
    ]
    # fmt: on


def test_column_without_any_value_is_left_out():
    only = Report("pgconfig test", 3, (TypeResult("pool", False, error=REFUSED),))
    assert render(only, "table") == "type    result\n------  --------\npool    FAILED\n"


@pytest.mark.parametrize("width", [1, 40, 79])
def test_table_too_wide_for_the_terminal_becomes_blocks(width: int):
    blocks = render(TESTED, "table", width=width).split("\n\n")
    assert len(blocks) == 3
    assert blocks[1].splitlines()[:3] == [
        "type:          pool",
        "result:        ok",
        "connect:       11.0 ms",
    ]
    assert blocks[2].splitlines() == ["type:          async", "result:        FAILED"]


def test_table_that_fits_stays_a_table():
    assert render(TESTED, "table", width=120) == render(TESTED, "table")


def test_number_in_a_table_is_shown_as_it_was_written():
    assert "05432" in render(SHOWN, "table")


def test_findings_are_lines_that_editors_understand():
    assert render(CHECKED, "table") == (
        "a b.yaml:14:3: error: pool_settings.min_size: 30 is larger, 5%\n"
        "c.yaml: warning: is empty\n"
    )


def test_no_finding_is_an_empty_result():
    assert render(Report("pgconfig validate", 0), "table") == ""


def test_json_has_the_promised_shape():
    document = json.loads(render(TESTED, "json"))
    assert list(document) == ["schema", "ok", "exit_code", "server", "results", "error"]
    assert document["schema"] == "pgmonkey.pgconfig-test/1"
    assert (document["ok"], document["exit_code"]) == (False, 3)
    assert document["server"]["tls"] == "TLSv1.3"
    assert [r["type"] for r in document["results"]] == ["normal", "pool", "async"]
    assert document["results"][1]["pool"] == {"open": 5, "min_size": 5, "max_size": 20}
    assert document["results"][2]["steps"][1] == {
        "name": "login", "ok": False, "ms": None, "detail": "",
    }  # fmt: skip
    assert document["error"] == document["results"][2]["error"]
    assert document["error"] == {
        "code": "PGM301",
        "message": 'login of "app" <refused>',
        "hint": "check PGPASSWORD",
    }


@pytest.mark.parametrize("report", [TESTED, CHECKED, SHOWN, BROKEN])
def test_json_is_ascii_for_every_stream(report: Report):
    assert render(report, "json").isascii()


def test_junit_has_a_case_for_each_type():
    root = ET.fromstring(render(TESTED, "junit"))
    assert (root.tag, root.get("tests"), root.get("failures")) == ("testsuites", "3", "1")
    cases = list(root.iter("testcase"))
    assert [case.get("name") for case in cases] == ["normal", "pool", "async"]
    assert cases[0].get("time") == "0.014"
    assert [len(case) for case in cases] == [0, 0, 1]
    failure = cases[2][0]
    assert (failure.get("type"), failure.get("message")) == ("PGM301", 'login of "app" <refused>')
    assert failure.text is not None
    assert "login FAILED" in failure.text


def test_junit_of_a_command_that_could_not_begin_has_one_error():
    """A control character, which XML cannot carry at all, does not break the document."""
    root = ET.fromstring(render(BROKEN, "junit"))
    assert (root.get("tests"), root.get("errors")) == ("1", "1")
    (error,) = root.iter("error")
    assert error.get("message") == "no ? configuration"


def test_sarif_names_file_line_and_column():
    log = json.loads(render(CHECKED, "sarif"))
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    driver = run["tool"]["driver"]
    assert driver["name"] == "pgmonkey"
    assert [rule["id"] for rule in driver["rules"]] == ["PGM201"]
    assert driver["rules"][0]["shortDescription"]["text"] == CATALOGUE["PGM201"].title
    first, second = run["results"]
    assert first["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": "a%20b.yaml"},
        "region": {"startLine": 14, "startColumn": 3},
    }
    assert (first["level"], second["level"]) == ("error", "warning")
    assert "region" not in second["locations"][0]["physicalLocation"]
    assert first["message"]["text"] == "pool_settings.min_size: 30 is larger, 5%"
    assert driver["rules"][first["ruleIndex"]]["id"] == first["ruleId"]
    assert run["invocations"] == [{"executionSuccessful": True, "exitCode": 1}]


def test_sarif_of_a_command_that_could_not_begin_says_so():
    (run,) = json.loads(render(BROKEN, "sarif"))["runs"]
    assert run["results"] == []
    assert run["invocations"][0]["executionSuccessful"] is False


def test_workflow_commands_escape_what_the_runner_unescapes():
    assert render(CHECKED, "github") == (
        "::error file=a b.yaml,line=14,col=3,title=PGM201::"
        "pool_settings.min_size: 30 is larger, 5%25\n"
        "::warning file=c.yaml,title=PGM201::is empty\n"
    )
    odd = Finding("a,b:c%.yaml", 1, 2, None, "PGM201", "error", "two\nlines")
    assert render(Report("pgconfig validate", 1, (odd,)), "github") == (
        "::error file=a%2Cb%3Ac%25.yaml,line=1,col=2,title=PGM201::two%0Alines\n"
    )
