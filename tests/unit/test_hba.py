"""Rules of pg_hba.conf as values: read as the server reads them, printed so that they read back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgmonkey.server import hba
from pgmonkey.server.hba import ALL, Rule, Token, aligned
from pgmonkey.server.hba_file import parse
from pgmonkey.server.hba_view import from_rows


class Folder:
    """Files by path, for what a rule file refers to."""

    def __init__(self, **files: str) -> None:
        self.files = {name.replace("__", "/").replace("_", "."): t for name, t in files.items()}

    def read(self, path: str) -> str:
        if path not in self.files:
            raise FileNotFoundError(2, "No such file or directory")
        return self.files[path]

    def names(self, folder: str) -> list[str]:
        return [p[len(folder) + 1 :] for p in self.files if p.startswith(folder + "/")]


def one(line: str, version: int = 18) -> Rule:
    found = parse(line, version=version)
    assert found.problems == ()
    (rule,) = found.rules
    return rule


def problem(line: str, version: int = 18) -> str:
    found = parse(line, version=version)
    assert found.rules == ()
    return found.problems[0].error


def test_line_is_read_into_its_columns():
    rule = one(
        "hostssl sales,hr +staff,app 10.0.0.5 255.0.0.0 cert map=x clientcert=verify-full # y"
    )
    assert rule.type == "hostssl"
    assert rule.databases == (Token("sales"), Token("hr"))
    assert rule.users == (Token("+staff"), Token("app"))
    assert (rule.address, rule.netmask) == ("10.0.0.5", "255.0.0.0")
    assert rule.options == (("map", "x"), ("clientcert", "verify-full"))
    assert rule.place == "pg_hba.conf:1"


@pytest.mark.parametrize(
    ("word", "token"),
    [
        ("all", Token("all")),
        ('"all"', Token("all", quoted=True)),
        ('a"l"l', Token("all")),  # the quote is not its first letter: still the keyword
        ('"a b"', Token("a b", quoted=True)),
        ('"a""b"', Token('a"b', quoted=True)),
        ('""', Token("", quoted=True)),
        ('+"my role"', Token("+my role")),
        ('"+x"', Token("+x", quoted=True)),
        ('x"#"y', Token("x#y")),
        ('"a,b"', Token("a,b", quoted=True)),
    ],
)
def test_quotes_are_read_as_the_server_reads_them(word, token):
    assert one(f"local {word} all trust").databases == (token,)


def test_comma_joins_only_what_follows_it_at_once():
    assert one("local a,b, c all trust").databases == (Token("a"), Token("b"), Token("c"))
    assert problem("local a ,b all trust") == "invalid authentication method 'all'"


def test_backslash_joins_lines_from_14_on():
    text = "local all \\\nall trust\nlocal x all reject"
    assert [rule.line for rule in parse(text, version=14).rules] == [1, 3]
    assert [p.line for p in parse(text, version=13).problems] == [1, 2]


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("hostx all all all trust", "invalid connection type 'hostx'"),
        ("host all all", "end-of-line before IP address specification"),
        ("local all all", "end-of-line before authentication method"),
        ("host all all 10.0.0.1 trust", "invalid IP mask 'trust'"),
        ("host all all 10.0.0.0/33 trust", "invalid CIDR mask in address '10.0.0.0/33'"),
        (
            "host all all db.example.com/8 trust",
            "specifying both host name and CIDR mask is invalid",
        ),
        ("host all all ::1 255.0.0.0 trust", "IP address and mask do not match"),
        ("host all all a,b trust", "multiple values specified for host address"),
        ("host all all all nonsense", "invalid authentication method 'nonsense'"),
        ("host all all all cert", "cert authentication is only supported on hostssl connections"),
        ("host all all all peer", "peer authentication is only supported on local sockets"),
        ("hostssl all all all cert clientcert=verify-ca", "clientcert only accepts 'verify-full'"),
        ("host all all all trust clientcert=verify-ca", "clientcert can only be configured for"),
        ("hostssl all all all trust clientcert=1", "invalid value for clientcert: '1'"),
        ("host all all all scram-sha-256 map=x", "authentication option 'map' is not valid here"),
        ("host all all all trust nonsense", "authentication option not in name=value format"),
        ("local @names all trust", "could not open file 'names': it was not given"),
    ],
)
def test_line_the_server_refuses_is_a_problem_and_no_rule(line, error):
    assert problem(line).startswith(error)


@pytest.mark.parametrize(
    ("line", "since"),
    [
        ("hostgssenc all all all gss", 12),
        ("hostssl all all all trust clientcert=verify-full", 12),
        ("host all all all oauth issuer=x scope=y", 18),
    ],
)
def test_line_is_read_from_the_major_on_that_knows_it(line, since):
    assert parse(line, version=since).rules
    assert parse(line, version=since - 1).problems


def test_files_that_are_named_are_read_where_they_stand():
    files = Folder(
        etc__more_conf="local y all reject\n",
        etc__names="a,b # c\n@deep\n",
        etc__deep='"d e"',
        etc__dir__2_conf="local two all trust",
        etc__dir__1_conf="local one all trust",
        etc__dir__1_txt="nonsense",
    )
    text = (
        "local @names all trust\ninclude more.conf\ninclude_if_exists no.conf\n"
        "include_dir dir\ninclude no.conf\nlocal z all trust"
    )
    found = parse(text, version=16, file="etc/pg_hba.conf", files=files)
    assert [",".join(t.text for t in r.databases) for r in found.rules] == [
        "a,b,d e",
        "y",
        "one",
        "two",
        "z",
    ]
    assert [r.place for r in found.rules][1] == "etc/more.conf:1"
    assert [p.place for p in found.problems] == ["etc/pg_hba.conf:5"]


def test_file_that_includes_itself_is_a_problem_and_ends():
    found = parse("include a.conf", file="a.conf", files=Folder(a_conf="include a.conf"))
    assert [p.error for p in found.problems] == ["maximum nesting depth exceeded"]


def test_passwords_in_options_are_masked_in_both_ways_in():
    line = 'host all all all ldap ldapserver=x ldapbinddn=y "ldapbindpasswd=s3cret word"'
    assert one(line).option("ldapbindpasswd") == hba.MASKED
    row = ROW | {"auth_method": "radius", "options": ["radiusservers=a", "radiussecrets=s3cret"]}
    assert "s3cret" not in repr(from_rows([row]))


@pytest.mark.parametrize(
    "error",
    [
        'could not parse RADIUS secrets list "s3cret",',
        "authentication option not in name=value format: s3cret",
    ],
)
def test_passwords_in_errors_are_masked_too(error):
    assert "s3cret" not in repr(from_rows([dict.fromkeys(ROW) | {"error": error}]))
    assert "s3cret" not in problem("host all all all ldap ldapbindpasswd=a s3cret")


ROW = {
    "line_number": 3,
    "type": "host",
    "database": ["all"],
    "user_name": ["all"],
    "address": "10.0.0.0",
    "netmask": "255.0.0.0",
    "auth_method": "md5",
    "options": None,
    "error": None,
}


def test_row_of_the_view_becomes_the_rule_of_its_line():
    (rule,) = from_rows([ROW]).rules
    assert str(rule) == "host all all 10.0.0.0/8 md5"
    assert rule.place == "pg_hba.conf:3"


def test_mask_that_is_no_prefix_stays_a_mask():
    (rule,) = from_rows([ROW | {"netmask": "255.0.255.0"}]).rules
    assert str(rule) == "host all all 10.0.0.0 255.0.255.0 md5"


def test_row_with_nothing_but_an_error_blocks_and_is_no_rule():
    broken = dict.fromkeys(ROW) | {"line_number": 4, "error": "invalid connection type"}
    found = from_rows([ROW, broken])
    assert len(found.rules) == 1
    assert [(p.place, p.error) for p in found.problems] == [
        ("pg_hba.conf:4", "invalid connection type")
    ]


def test_rule_that_is_switched_off_keeps_its_place_without_a_number():
    def row(number, line, error=None):
        name = "/etc/postgresql/pg_hba.conf"
        return ROW | {
            "rule_number": number, "line_number": line, "error": error, "file_name": name
        }  # fmt: skip

    off = "hostssl record cannot match because SSL is disabled"
    found = from_rows([row(1, 2), row(2, 9), row(None, 5, off)])
    assert [rule.line for rule in found.rules] == [2, 5, 9]
    assert [rule.disabled for rule in found.rules] == ["", off, ""]
    assert found.rules[1].place == "pg_hba.conf:5"


def test_files_of_one_name_in_two_folders_keep_their_folders():
    rows = [
        ROW | {"rule_number": n, "file_name": f"/etc/{n}/x.conf"} for n in (1, 2)
    ]  # fmt: skip
    assert [r.file for r in from_rows(rows).rules] == ["/etc/1/x.conf", "/etc/2/x.conf"]


names = st.text(
    st.one_of(
        st.sampled_from("all+/@,#\"\\ \t'^$.*[]{}()|?-=Aé\n\r"), st.characters(codec="utf-8")
    ),
    min_size=1,
    max_size=12,
).filter(lambda name: "\0" not in name)


@given(names, names)
def test_name_that_is_printed_reads_back_as_that_name_and_nothing_more(database, user):
    """Up to 15, where there are no regular expressions; those are tried on real servers."""
    tokens = hba.database_token(database, 15), hba.user_token(user, 15)
    if "\n" in database + user or "\r" in database + user:
        assert None in tokens
        return
    assert None not in tokens
    rule = Rule("host", (tokens[0],), (tokens[1],), "all", "scram-sha-256")
    back = one(str(rule), 15)
    assert (back.databases[0].text, back.users[0].text) == (database, user)
    assert back.databases[0].quoted or database not in hba.DATABASE_KEYWORDS
    assert back.users[0].quoted or (user != "all" and user[0] != "+")


@given(st.lists(st.text(st.sampled_from('ab"#, \t@+/\\'), max_size=6), min_size=1, max_size=6))
def test_what_was_read_is_printed_so_that_it_reads_back_the_same(words):
    found = parse("local " + " ".join(words) + " all trust", version=15)
    for rule in found.rules:
        back = one(str(rule), 15)
        assert [t.text for t in back.databases] == [t.text for t in rule.databases]


def test_slash_in_front_becomes_an_anchored_pattern_from_16_on():
    assert hba.user_token("/app", 15) == Token("/app", quoted=True)
    assert str(hba.user_token("/a.b c", 16)) == r'"/^\/a\.b\ c$"'
    assert str(hba.user_token("/app", 17)) == r"/^\/app$"


def test_columns_stand_under_their_heading():
    rules = [
        Rule("hostssl", (ALL,), (ALL,), "192.168.0.0/24", "cert"),
        Rule("local", (Token("a b", True),), (ALL,), "", "peer", (("map", "m"),)),
    ]
    assert aligned(rules) == (
        "TYPE     DATABASE  USER  ADDRESS         METHOD  OPTIONS\n"
        "hostssl  all       all   192.168.0.0/24  cert\n"
        'local    "a b"     all                   peer    map=m\n'
    )
    assert parse(aligned(rules, comment=True)).rules[0].address == "192.168.0.0/24"


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ("hostssl all all all cert", "hostssl all all all scram-sha-256 clientcert=verify-ca"),
        (
            "hostssl all all all scram-sha-256 clientcert=verify-ca",
            "host all all all scram-sha-256",
        ),
        ("host all all all scram-sha-256", "host all all all md5"),
        ("host all all all md5", "host all all all password"),
        ("host all all all password", "host all all all trust"),
        ("host all all all reject", "hostssl all all all cert"),
    ],
)
def test_rules_are_ordered_by_how_safe_they_are(better, worse):
    assert one(better).strength > one(worse).strength
