"""From options, the file's beginning and the catalog to a plan: decisions about values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pgmonkey.cli.render.imports import command_line
from pgmonkey.config.settings import Mark
from pgmonkey.errors import ConfigError, CsvError, RequestError, TargetError
from pgmonkey.transfer.catalog import Column, Target, parse_name, refuse
from pgmonkey.transfer.plan import MaxErrors, Plan, Table
from pgmonkey.transfer.planning import WORTH_TWO_JOBS, Files, make_plan, widened
from pgmonkey.transfer.request import Request, limit, names, pairs
from pgmonkey.transfer.settingsfile import Chosen
from pgmonkey.transfer.sniff import Given, sniff

TABLE = Table("public", "item")


def column(name: str, kind: str = "text", **more: Any) -> Column:
    string = kind in ("text", "varchar")
    more = {"text": string or kind == "bytea", "string": string, "not_null": False, **more}
    return Column(name, kind, **more)


ITEM = Target(
    TABLE,
    "r",
    (column("id", "bigint"), column("name"), column("Name"), column("note", not_null=True)),
    keys=(("id",),),
)


def plan(
    csv: str,
    target: Target | None = ITEM,
    chosen: Chosen | None = None,
    size: int | None = 100,
    given: Given | None = None,
    **asked: Any,
) -> Plan:
    given = given or Given()
    head = sniff(csv.encode(), given, "f.csv", complete=True)
    request = Request("item", given, **asked)
    files = Files(("f.csv",), size)
    return make_plan(request, chosen or Chosen(), head, target, TABLE, files)[0]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("orders", (None, "orders")),
        ("Sales.Orders", ("sales", "orders")),
        ('"Sales".ORDERS', ("Sales", "orders")),
        ('"a.b"."c ""d"""', ("a.b", 'c "d"')),
        ('"select"', (None, "select")),
        ("_x$1", (None, "_x$1")),
        ("ÄPFEL", (None, "Äpfel")),
    ],
)
def test_name_folds_as_postgresql_folds_it(text, name):
    assert parse_name(text) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a b",
        "a;b",
        "a.",
        ".a",
        "a.b.c",
        '"a',
        '""',
        "1a",
        "a-b",
        "a--",
        "a'b",
        '"a"b',
        "x" * 64,
    ],
)
def test_what_is_no_name_is_refused(text):
    with pytest.raises(RequestError):
        parse_name(text)


def columns_of(found: Plan) -> list[str | None]:
    return [field.column for field in found.fields]


def test_columns_are_found_by_name_whatever_their_order():
    assert columns_of(plan("NOTE,ID\nx,1\n")) == ["note", "id"]


def test_exact_name_comes_before_the_folded_one():
    assert columns_of(plan("Name,name\nx,y\n")) == ["Name", "name"]
    assert columns_of(plan("NAME, id \nx,1\n")) == ["name", "id"]


def test_option_maps_skips_and_restricts():
    csv = "Nr,name,x\n1,a,b\n"
    assert columns_of(plan(csv, renames={"Nr": "ID"}, skip_columns=("x",))) == ["id", "name", None]
    assert columns_of(plan(csv, renames={"Nr": "id"}, columns=("id",))) == ["id", None, None]
    assert columns_of(plan(csv, renames={"Nr": "id"}, columns=("Nr", "name"))) == [
        "id",
        "name",
        None,
    ]


def test_settings_file_maps_and_an_option_wins_over_it():
    chosen = Chosen(columns={"a": "id", "b": None, "c": "name"})
    assert columns_of(plan("a,b,c\n1,2,3\n", chosen=chosen)) == ["id", None, "name"]
    assert columns_of(plan("a,b,c\n1,2,3\n", chosen=chosen, renames={"c": "note"})) == [
        "id",
        None,
        "note",
    ]


def test_without_a_header_the_columns_are_those_of_the_table_or_those_named():
    no = Given(header=False)
    assert columns_of(plan("1,a,b,c\n", given=no)) == ["id", "name", "Name", "note"]
    assert columns_of(plan("a,1\n", given=no, columns=("note", "id"))) == ["note", "id"]
    with pytest.raises(RequestError, match=r"^f.csv:1: 2 fields without a header, and item has 4"):
        plan("1,a\n", given=no)
    with pytest.raises(RequestError, match="--columns has 1 column;"):
        plan("1,a\n", given=no, columns=("id",))
    with pytest.raises(RequestError, match="say --columns A,B,C"):
        plan("1,a\n", None, given=no)


@pytest.mark.parametrize(
    ("csv", "asked", "error", "problem"),
    [
        ("id,nmae\n1,x\n", {}, TargetError, "f.csv:1: item has no column 'nmae' (did you mean"),
        ("id,id\n1,2\n", {}, CsvError, "f.csv:1: the header has 'id' twice, as fields 1 and 2"),
        ("id,ID\n1,2\n", {}, CsvError, "f.csv:1: 'id' and 'ID' both go to the column id"),
        ("id,\n1,2\n", {}, CsvError, "f.csv:1: field 2 of the header has no name"),
        ("17,x\n18,y\n", {}, CsvError, "f.csv:1: the first record looks like data, not like names"),
        ("id\n1\n", {"renames": {"Nr": "id"}}, RequestError, "f.csv: --map: the file has no"),
        ("id\n1\n", {"renames": {"id": "x"}}, RequestError, "--map: item has no column 'x'"),
        ("id\n1\n", {"columns": ("x",)}, RequestError, "f.csv: --columns: the file has no"),
        ("id\n1\n", {"skip_columns": ("x",)}, RequestError, "f.csv: --skip-columns: the file has"),
        ("id\n1\n", {"skip_columns": ("id",)}, RequestError, "f.csv: no column is left to load"),
        ("id\n1\n", {"mode": "create"}, TargetError, "item exists already"),
        ("id\n1\n", {"mode": "upsert", "key": ("name",)}, RequestError, "--key: 'name' is not"),
        (
            "id,name\n1,x\n",
            {"mode": "upsert", "key": ("name",)},
            TargetError,
            "--key: item has no unique key on (name); it has (id)",
        ),
    ],
)
def test_what_does_not_fit_the_table_is_named(csv, asked, error, problem):
    with pytest.raises(error) as caught:
        plan(csv, **asked)
    assert str(caught.value).startswith(problem)


@pytest.mark.parametrize(
    ("csv", "asked", "error", "problem"),
    [
        ("id\n1\n", {"create": "never"}, TargetError, "item does not exist, and --create never"),
        ("17,x\n18,y\n", {}, CsvError, "f.csv:1: item does not exist, and the first record looks"),
        ("id\n1\n", {"types": {"x": "text"}}, RequestError, "--types: x: the file has no such"),
        ("id\n1\n", {"types": {"id": "int); DROP"}}, RequestError, "--types: id: 'int); DROP' is"),
        ("x" * 64 + "\n1\n", {}, CsvError, "f.csv:1: the name 'xxx"),
    ],
)
def test_what_does_not_make_a_table_is_named(csv, asked, error, problem):
    with pytest.raises(error) as caught:
        plan(csv, None, **asked)
    assert str(caught.value).startswith(problem)


def test_mapping_in_the_settings_file_is_blamed_at_its_line():
    marks = {"columns.a": Mark("f.yaml", 7, 3), "columns.gone": Mark("f.yaml", 8, 3)}
    chosen = Chosen(columns={"a": "naem"}, marks=marks, path=Path("f.yaml"))
    with pytest.raises(ConfigError, match=r"^f.yaml:7:3: columns.a: item has no column 'naem'"):
        plan("a\n1\n", chosen=chosen)
    chosen = Chosen(columns={"gone": "id"}, marks=marks, path=Path("f.yaml"))
    with pytest.raises(ConfigError, match=r"^f.yaml:8:3: columns.gone: the file has no column"):
        plan("name\n1\n", chosen=chosen)


def test_mapping_that_says_what_is_so_anyway_may_outlive_its_column():
    plan("name\nx\n", chosen=Chosen(columns={"ID": "id", "Note": None}))


def test_generated_column_is_read_past_and_refused_when_named():
    target = Target(TABLE, "r", (column("a"), column("b", generated=True)))
    assert columns_of(plan("a,b\nx,y\n", target)) == ["a", None]
    with pytest.raises(TargetError, match="column b of item is generated"):
        plan("a,c\nx,y\n", target, renames={"c": "b"})
    assert columns_of(plan("x\n", target, given=Given(header=False))) == ["a"]


CSV = "Id,Zip,Price,Full Name\n1,00501,1.5,x\n2,10115,2,\n"


def test_new_table_has_inferred_types_and_names_in_lower_case():
    found = plan(CSV, None, key=("id",))
    assert found.create == (
        'CREATE TABLE "public"."item" (\n  "id" bigint,\n  "zip" text,\n  "price" numeric,\n'
        '  "full name" text,\n  PRIMARY KEY ("id")\n)'
    )
    assert found.shape is not None
    assert found.shape.types == ("bigint", "text", "numeric", "text")
    assert plan(CSV, None, lowercase=False).columns == ("Id", "Zip", "Price", "Full Name")
    assert plan(CSV, None, chosen=Chosen(lowercase=False)).columns[0] == "Id"


def test_types_may_be_said_and_are_then_not_held_against_the_file():
    found = plan(CSV, None, types={"Id": "integer", "price": "numeric(10,2)"})
    assert [f.type for f in found.fields] == ["integer", "text", "numeric(10,2)", "text"]
    assert found.shape is None
    found = plan(CSV, None, infer=False, chosen=Chosen(types={"id": "bigint"}))
    assert [f.type for f in found.fields] == ["bigint", "text", "text", "text"]
    assert plan("a\n1\n", None, types={"a": "timestamp(3) with time zone[]"}).create


def test_name_that_is_sql_is_quoted_in_the_statement():
    found = plan('"a"");drop table x;--",b\n1,2\n', None)
    assert found.create is not None
    assert '"a"");drop table x;--" bigint' in found.create


def test_shape_that_does_not_hold_makes_a_column_wider_and_no_other():
    found = plan("a,b\n1,2024-01-01\n", None)
    assert found.shape is not None
    error: Any = None
    try:
        found.shape.check(b"1.5,x\n", 3, "f.csv")
    except Exception as caught:
        error = caught
    wide = widened(found, found.shape.widened(error))
    assert [f.type for f in wide.fields] == ["numeric", "date"]
    assert wide.create == 'CREATE TABLE "public"."item" (\n  "a" numeric,\n  "b" date\n)'


@pytest.mark.parametrize(
    ("given", "empty"),
    [
        # a number, text that may be NULL, text that may not, and bytea, which has ''
        (Given(), ["FORCE_NULL", "", "FORCE_NOT_NULL", ""]),
        (Given(empty_as="text"), ["FORCE_NULL", "FORCE_NOT_NULL", "FORCE_NOT_NULL", ""]),
        (Given(empty_as="null"), ["FORCE_NULL"] * 4),
        (Given(null="NA"), ["FORCE_NULL", "", "", ""]),
        (Given(null=""), ["FORCE_NULL", "", "FORCE_NOT_NULL", ""]),
    ],
)
def test_empty_field_means_what_its_column_can_hold(given, empty):
    target = Target(
        TABLE,
        "r",
        (column("n", "int"), column("t"), column("m", not_null=True), column("b", "bytea")),
    )
    assert [f.empty for f in plan("n,t,m,b\n1,2,3,4\n", target, given=given).fields] == empty


def test_null_text_and_empty_as_null_exclude_each_other():
    with pytest.raises(RequestError, match="one text for NULL"):
        plan("id\n1\n", given=Given(null="NA", empty_as="null"))


BIG = WORTH_TWO_JOBS


@pytest.mark.parametrize(
    ("target", "asked", "size", "jobs", "why"),
    [
        (ITEM, {}, BIG, 2, None),
        (ITEM, {}, BIG - 1, 1, "small"),
        (ITEM, {"jobs": 4}, 100, 4, None),
        (ITEM, {"jobs": 1}, BIG, 1, None),
        (ITEM, {}, None, 1, "size"),
        (ITEM, {"jobs": 2}, None, 2, None),
        (None, {"jobs": 2}, BIG, 1, "new table"),
        (ITEM, {"mode": "truncate"}, BIG, 1, "emptied"),
        (ITEM, {"mode": "replace"}, BIG, 1, "emptied"),
        (ITEM, {"mode": "upsert", "key": ("id",)}, BIG, 1, "same key"),
        (ITEM, {"on_conflict": "skip"}, BIG, 1, "same key"),
        (ITEM, {"on_error": "skip"}, BIG, 1, "rejected"),
        (ITEM, {"commit_every": 10}, BIG, 1, "committed"),
        (Target(TABLE, "r", ITEM.columns, self_reference=True), {}, BIG, 1, "refer"),
        (Target(TABLE, "r", ITEM.columns, statement_triggers=True), {}, BIG, 1, "trigger"),
        (Target(TABLE, "r", (*ITEM.columns, column("s", numbered=True))), {}, BIG, 1, "numbered"),
    ],
)
def test_second_connection_is_used_where_it_pays_and_is_safe(target, asked, size, jobs, why):
    found = plan("id\n1\n", target, size=size, **asked)
    assert found.jobs == jobs
    assert (found.why_one_job is None) is (why is None)
    assert why is None or why in str(found.why_one_job)


@pytest.mark.parametrize(
    "asked",
    [
        {"mode": "upsert"},
        {"mode": "upsert", "key": ("id",), "on_conflict": "error"},
        {"on_conflict": "update"},
        {"mode": "create", "create": "never"},
        {"rejects": Path("x")},
        {"max_errors": MaxErrors(1)},
        {"mode": "truncate", "commit_every": 10},
        {"mode": "replace", "commit_every": 10},
        {"on_error": "skip", "commit_every": 10},
    ],
)
def test_request_that_contradicts_itself_is_refused(asked):
    with pytest.raises(RequestError):
        Request("item", **asked)


@pytest.mark.parametrize("kind", ["v", "m", "S", "i", "c"])
def test_what_is_no_table_is_called_by_its_name(kind):
    with pytest.raises(TargetError, match=r"^x is a"):
        refuse(kind, "x", rls=False, instead_of=False, role="app")


def test_view_with_a_trigger_is_admitted_and_row_security_never():
    refuse("v", "x", rls=False, instead_of=True, role="app")
    refuse("p", "x", rls=False, instead_of=False, role="app")
    with pytest.raises(TargetError, match="row-level security that applies to app"):
        refuse("r", "x", rls=True, instead_of=False, role="app")


def test_lists_are_cut_at_commas_outside_of_quotes_and_parentheses():
    assert names(["a, b", '"c,d"', '"e ""f"""', ""]) == ("a", "b", "c,d", 'e "f"', "")
    assert pairs(["p=numeric(10,2),x=text", '"a=b"=c=d', "=id"], "--types") == {
        "p": "numeric(10,2)",
        "x": "text",
        "a=b": "c=d",
        "": "id",
    }
    for wrong in ("a", "a=", "a=b,a=c"):
        with pytest.raises(RequestError):
            pairs([wrong], "--map")


def test_limit_of_errors_is_a_number_or_a_share():
    assert limit("10") == MaxErrors(10) == limit(10)
    assert limit("0.5 %") == MaxErrors(percent=0.5)
    assert limit(None) == MaxErrors()
    for wrong in ("", "-1", "101%", "x", "1e3", "%"):
        with pytest.raises(RequestError):
            limit(wrong)


def test_limit_is_exceeded_by_one_more_and_a_share_only_at_the_end():
    assert not MaxErrors(1).exceeded(1, 10)
    assert MaxErrors(1).exceeded(2, 10)
    assert not MaxErrors(percent=10).exceeded(10, 10)
    assert MaxErrors(percent=10).exceeded(2, 10, at_end=True)
    assert not MaxErrors(percent=10).exceeded(1, 10, at_end=True)
    assert not MaxErrors().exceeded(10**9, 10**9, at_end=True)


def test_command_line_of_a_dry_run_says_everything_the_plan_decided():
    given = Given(encoding="cp1252", delimiter="\t", skip_lines=1, null="NA", empty_as="auto")
    csv = "junk\nNr\ta,b\tSkip\n1\tx\ty\n"
    asked: dict[str, Any] = {
        "renames": {"Nr": "id"},
        "skip_columns": ("Skip",),
        "on_error": "skip",
        "max_errors": MaxErrors(percent=1),
        "rejects": Path("bad rows.csv"),
    }
    made = plan(csv, None, given=given, **asked)
    line = command_line(Request("item", given, **asked), made, ["f.csv"], ["-c", "c.yaml"])
    assert line == (
        "pgmonkey pgimport --table item --import_file f.csv -c c.yaml --encoding cp1252 "
        "--delimiter '\\t' --header yes --skip-lines 1 --null NA --map Nr=id "
        "--skip-columns Skip --types id=bigint --types '\"a,b\"=text' --mode append "
        "--on-error skip --rejects 'bad rows.csv' --max-errors 1%"
    )
