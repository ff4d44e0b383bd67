"""The end of a load: one moment, whatever happens in it, and the truth about it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgmonkey.errors import CommitUnknownError, LostError, PartlyError
from pgmonkey.transfer import commit
from pgmonkey.transfer.commit import number, settle
from pgmonkey.transfer.importer import load
from pgmonkey.transfer.plan import Field, Plan, Table
from pgmonkey.transfer.twophase import Pact, recover
from support.server import Database, PgServer
from support.wait import until

LOST = psycopg.OperationalError("the connection is lost")


@pytest.fixture
def plain(plain_server: PgServer) -> Iterator[Database]:
    """A database of the server that has max_prepared_transactions = 0."""
    with plain_server.database() as database:
        yield database


def connect(database: Database) -> psycopg.Connection[Any]:
    return psycopg.connect(**database.dsn_args())


def parts(database: Database, pact: Pact) -> list[psycopg.Connection[Any]]:
    """Three connections of a load that have sent a row each."""
    conns = [connect(database) for _ in range(3)]
    for part, conn in enumerate(conns, 1):
        pact.begin(conn, part)
        conn.execute("INSERT INTO t VALUES (%s)", [part])
    return conns


def rows(conn: psycopg.Connection[Any]) -> list[int]:
    found = [row[0] for row in conn.execute("SELECT * FROM t ORDER BY 1").fetchall()]
    conn.commit()
    return found


def prepared(conn: psycopg.Connection[Any]) -> int:
    row = conn.execute("SELECT count(*) FROM pg_prepared_xacts").fetchone()
    conn.commit()
    assert row is not None
    return int(row[0])


@pytest.fixture(params=["two_phase", "in_turn"])
def table(request: pytest.FixtureRequest) -> Iterator[tuple[Database, psycopg.Connection[Any]]]:
    """A table on a server that knows two-phase commit, and on one that does not."""
    name = "database" if request.param == "two_phase" else "plain"
    database = request.getfixturevalue(name)
    with connect(database) as conn:
        conn.execute("CREATE TABLE t (id int)")
        conn.commit()
        yield database, conn


@pytest.fixture
def two_phase(database: Database) -> Iterator[tuple[Database, psycopg.Connection[Any]]]:
    with connect(database) as conn:
        conn.execute("CREATE TABLE t (id int)")
        conn.commit()
        yield database, conn
        if conn.closed:
            return
        conn.rollback()
        for xid in conn.tpc_recover():  # of a test that failed; others would meet them
            if xid.database == conn.info.dbname:
                conn.tpc_rollback(xid)


def await_end_of_coordinator(conn: psycopg.Connection[Any]) -> None:
    """Wait until the server has noticed that nobody is in charge of the load any more."""
    query = """SELECT count(*) FROM pg_locks AS l JOIN pg_database AS d ON d.oid = l.database
               WHERE l.locktype = 'advisory' AND d.datname = current_database()"""
    until(lambda: conn.execute(query).fetchone() == (0,))
    conn.rollback()


def test_parts_are_committed_together_and_it_is_said_how(table):
    database, conn = table
    pact = Pact(conn, 3)
    conns = parts(database, pact)
    pact.commit(conns, lambda: connect(database), list)
    pact.close()
    assert rows(conn) == [1, 2, 3]
    assert prepared(conn) == 0
    words = "two-phase commit of 3" if pact.two_phase else "3 transactions committed within"
    assert pact.how.startswith(words)
    for other in conns:
        other.close()


def test_parts_are_rolled_back_together(table):
    database, conn = table
    pact = Pact(conn, 3)
    conns = parts(database, pact)
    if pact.two_phase:
        conns[0].tpc_prepare()
        conns[1].tpc_prepare()
    conns[2].close()
    pact.roll_back(conns)
    assert (rows(conn), prepared(conn)) == ([], 0)
    for other in conns:
        other.close()


def test_load_that_dies_before_its_first_commit_is_undone_by_the_next(two_phase):
    database, conn = two_phase
    for ready in (1, 2, 3):
        with connect(database) as coordinator:
            pact = Pact(coordinator, 3)
            conns = parts(database, pact)
            for other in conns[:ready]:
                other.tpc_prepare()
            assert recover(conn) == []  # it may be alive
            for other in conns:
                other.close()
        await_end_of_coordinator(conn)
        assert prepared(conn) == ready
        [said] = recover(conn)
        assert said.endswith("undone: nothing of it is in")
        assert (rows(conn), prepared(conn)) == ([], 0)


def test_load_that_dies_after_its_first_commit_is_finished_by_the_next(two_phase, tmp_path):
    database, conn = two_phase
    with connect(database) as coordinator:
        pact = Pact(coordinator, 3)
        conns = parts(database, pact)
        for other in conns:
            other.tpc_prepare()
        conns[0].tpc_commit()
        for other in conns:
            other.close()
    await_end_of_coordinator(conn)
    assert rows(conn) == [1]
    path = tmp_path / "t.csv"
    path.write_text("id\n9\n")
    notes: list[str] = []
    plan = Plan(Table("public", "t"), (Field(0, "id", "id"),))
    load(plan, [path], conn, on_note=notes.append)
    assert notes == [
        "an earlier import was killed during its commit; it is now finished: all of it is in"
    ]
    assert (rows(conn), prepared(conn)) == ([1, 2, 3, 9], 0)


def test_connection_lost_during_the_commit_of_prepared_parts_changes_nothing(two_phase):
    database, conn = two_phase
    pact = Pact(conn, 3)
    conns = parts(database, pact)
    prepare = conns[-1].tpc_prepare

    def prepare_and_lose_another() -> None:
        prepare()
        commit.cut(conns[1])

    conns[-1].tpc_prepare = prepare_and_lose_another
    pact.commit(conns, lambda: connect(database), list)
    assert (rows(conn), prepared(conn)) == ([1, 2, 3], 0)
    for other in conns:
        other.close()


def test_connection_lost_between_commits_is_reported_with_the_lines_that_are_in(plain):
    with connect(plain) as conn:
        conn.execute("CREATE TABLE t (id int)")
        conn.commit()
        pact = Pact(conn, 3)
        conns = parts(plain, pact)
        assert not pact.two_phase
        last = conns[0].commit

        def commit_and_lose_another() -> None:
            last()
            commit.cut(conns[1])

        conns[0].commit = commit_and_lose_another
        lines = ["t.csv:2-10", "t.csv:11-20", "t.csv:21"]
        with pytest.raises(PartlyError) as partly:
            pact.commit(conns, lambda: connect(plain), lambda: lines)
        said = str(partly.value)
        assert "committed: t.csv:2-10; not: t.csv:11-20; rolled back: t.csv:21" in said
        assert rows(conn) == [1]
        for other in conns:
            other.close()


def test_outcome_of_a_commit_without_an_answer_is_asked_for(two_phase, monkeypatch):
    database, conn = two_phase
    numbers = []
    for end in (conn.commit, conn.rollback):
        conn.execute("INSERT INTO t VALUES (1)")
        numbers.append(number(conn))
        end()
    settle(numbers[0], lambda: connect(database), LOST)
    with pytest.raises(LostError, match="nothing was imported"):
        settle(numbers[1], lambda: connect(database), LOST)
    monkeypatch.setattr(commit, "SETTLE_SECONDS", 0.3)
    conn.execute("INSERT INTO t VALUES (1)")
    for reach in (None, lambda: connect(database)):  # in progress, as far as it can be told
        with pytest.raises(CommitUnknownError, match=r"SELECT pg_xact_status\('\d+'\)"):
            settle(number(conn), reach, LOST)


def test_file_that_is_lost_is_the_error_of_the_system(two_phase, tmp_path: Path):
    database, conn = two_phase
    plan = Plan(Table("public", "t"), (Field(0, "id", "id"),), jobs=2)
    with pytest.raises(FileNotFoundError):
        load(plan, [tmp_path / "missing"], conn, connect=lambda: connect(database))
    assert prepared(conn) == 0
