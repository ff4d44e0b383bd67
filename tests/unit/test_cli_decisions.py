"""What pgconfig test decides from values: times, requirements, and what a failure is called."""

from __future__ import annotations

import psycopg
import pytest

from pgmonkey.cli import exits
from pgmonkey.cli.common import connection_failure
from pgmonkey.cli.failures import CommandError, Failure, explain
from pgmonkey.cli.interrupts import Terminated
from pgmonkey.cli.pgconfig_test import connect_timeout, limit_said, not_filled, unmet, within
from pgmonkey.cli.render import Server, TypeResult
from pgmonkey.cli.trial import Outcome, PoolNotFilled
from pgmonkey.config.settings import Settings
from pgmonkey.connections.diagnosis import Diagnosis
from pgmonkey.connections.ladder import Ladder, Step
from pgmonkey.errors import (
    ConfigError,
    EnvInterpolationError,
    HandleBusyError,
    SessionSettingError,
)

PLAIN = Server("db", 5432, "sales", "app", "15.4")
SECURE = Server("db", 5432, "sales", "app", "15.4", "TLSv1.3", "TLS_AES_256_GCM_SHA384")


def settings(**connection: str) -> Settings:
    return Settings("prod.yaml", connection=connection)


@pytest.mark.parametrize(
    ("connection", "variable", "seconds"),
    [
        ({}, None, 10.0),
        ({"connect_timeout": "3"}, None, 3.0),
        ({"connect_timeout": "3"}, "7", 3.0),
        ({}, "7", 7.0),
        ({"connect_timeout": "1"}, None, 2.0),
        ({"connect_timeout": "0"}, None, 10.0),
        ({"connect_timeout": "-1"}, None, 10.0),
        ({"connect_timeout": "3", "host": "a,b,c"}, None, 9.0),
    ],
)
def test_time_of_a_login_is_that_of_the_configuration_and_never_endless(
    connection: dict[str, str], variable: str | None, seconds: float, monkeypatch
):
    if variable is not None:
        monkeypatch.setenv("PGCONNECT_TIMEOUT", variable)
    assert connect_timeout(settings(**connection)) == seconds


@pytest.mark.parametrize(
    ("connection", "variable", "option", "said"),
    [
        ({"connect_timeout": "7"}, None, None, "7 s (connect_timeout)"),
        ({"connect_timeout": "1"}, None, None, "2 s (connect_timeout)"),
        ({"connect_timeout": "7"}, None, 0.5, "0.5 s (--timeout)"),
        ({}, "7", None, "7 s (PGCONNECT_TIMEOUT)"),
        ({"connect_timeout": "0"}, None, None, "10 s"),
        ({}, None, None, "10 s"),
    ],
)
def test_limit_is_said_with_the_name_of_what_set_it(
    connection: dict[str, str],
    variable: str | None,
    option: float | None,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
):
    if variable is not None:
        monkeypatch.setenv("PGCONNECT_TIMEOUT", variable)
    given = settings(**connection)
    assert limit_said(given, option, option or connect_timeout(given)) == said


def test_timeout_holds_for_each_login_and_for_the_pools():
    given = within(settings(host="a,b", connect_timeout="30"), 5.0)
    assert given.connection["connect_timeout"] == "3"
    assert given.pool_settings.timeout == given.async_pool_settings.timeout == 5.0
    assert within(settings(), 0.5).connection["connect_timeout"] == "1"


@pytest.mark.parametrize(
    ("server", "require_tls", "minimum", "message"),
    [
        (SECURE, True, 150004, None),
        (PLAIN, False, None, None),
        (PLAIN, True, None, "the connection to db:5432 has no TLS"),
        (SECURE, True, 160000, "the server is PostgreSQL 15.4, older than 16"),
        (SECURE, False, 150005, "the server is PostgreSQL 15.4, older than 15.5"),
    ],
)
def test_requirement_that_is_not_met_is_an_answer_of_no(
    server: Server, require_tls: bool, minimum: int | None, message: str | None
):
    outcome = Outcome(TypeResult("normal", True, server=server), version=150004)
    failure = unmet(outcome, require_tls, minimum)
    if message is None:
        assert failure is None
    else:
        assert failure is not None
        assert (failure.message, failure.exit_code) == (message, exits.ANSWER_IS_NO)


def test_requirements_are_no_matter_where_nothing_connected():
    assert unmet(Outcome(TypeResult("pool", False)), True, 990000) is None


def test_failed_connection_takes_cause_and_steps_from_the_ladder():
    ladder = Ladder.broken(
        [Step("dns", True, 3.0), Step("tcp", False)],
        Diagnosis("PGM304", "connection refused at db:5432", "is the server running?"),
    )
    found = connection_failure(settings(host="db"), psycopg.OperationalError("whatever"), ladder)
    assert found == Failure(
        "PGM304",
        "connection refused at db:5432",
        "dns 3 ms > tcp FAILED",
        "is the server running?",
        exits.NO_CONNECTION,
    )


def test_failure_that_the_ladder_does_not_meet_again_is_told_in_its_own_words():
    error = psycopg.OperationalError("connection failed: FATAL:  sorry, too many clients already")
    found = connection_failure(settings(host="db"), error, Ladder((Step("dns", True, 1.0),)))
    assert (found.code, found.reached) == ("PGM320", "")
    assert "too many clients already" in found.message


def test_pool_that_stays_short_says_what_stopped_it():
    error = PoolNotFilled("the pool has 3 of min_size 5 connections")
    cause = Diagnosis("PGM320", "too many connections for role", "lower max_size")
    stopped = not_filled(error, settings(), Ladder.broken([Step("dns", False)], cause))
    assert stopped.code == "PGM314"
    assert stopped.message == f"{error}: too many connections for role"
    assert (stopped.hint, stopped.exit_code) == ("lower max_size", exits.NO_CONNECTION)
    slow = not_filled(error, settings(host="db"), Ladder((Step("dns", True, 1.0),)))
    assert slow.message == f"{error} at db"
    assert slow.reached == "dns 1 ms > pool FAILED"


@pytest.mark.parametrize(
    ("error", "code", "exit_code"),
    [
        (CommandError(Failure("PGM103", "x")), "PGM103", exits.USAGE),
        (ConfigError("x"), "PGM201", exits.USAGE),
        (EnvInterpolationError("x"), "PGM202", exits.USAGE),
        (SessionSettingError("x"), "PGM203", exits.USAGE),
        (HandleBusyError("x"), "PGM311", exits.REFUSED),
        (psycopg.OperationalError("x"), "PGM300", exits.NO_CONNECTION),
        (psycopg.errors.AdminShutdown("x"), "PGM401", exits.REFUSED),
        (psycopg.errors.UndefinedTable("x"), "PGM401", exits.REFUSED),
        (PermissionError(13, "Permission denied", "x.yaml"), "PGM403", exits.REFUSED),
        (KeyboardInterrupt(), "PGM902", exits.INTERRUPTED),
        (Terminated(), "PGM902", exits.TERMINATED),
        (RuntimeError("x"), "PGM901", exits.BUG),
        (RecursionError(), "PGM901", exits.BUG),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_exception_becomes_a_code_and_an_exit_code(error: BaseException, code: str, exit_code: int):
    failure = explain(error)
    assert (failure.code, failure.exit_code) == (code, exit_code)
    assert failure.code in exits.CATALOGUE
    assert failure.exit_code in exits.MEANING


def test_error_of_the_server_is_one_line_with_its_sqlstate():
    failure = explain(psycopg.errors.UndefinedTable('relation "x"\nLINE 1: ...\n   ^'))
    assert failure.message == 'relation "x" (SQLSTATE 42P01)'


def test_file_of_a_system_error_is_named():
    failure = explain(PermissionError(13, "Permission denied", "x.yaml"))
    assert failure.message == "x.yaml: Permission denied"
