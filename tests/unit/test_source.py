"""YAML text as nodes: what is read, and what is said of text that cannot be."""

from __future__ import annotations

import pytest
import yaml

from pgmonkey.config.nodes import Scalar, Sequence, Table, read_dict
from pgmonkey.config.source import read_bytes
from pgmonkey.errors import ConfigError


def read(text: str | bytes) -> Table:
    return read_bytes(text.encode() if isinstance(text, str) else text, "c.yaml")


def texts(node):
    """Return *node* with scalars as their text."""
    if isinstance(node, Table):
        return {key: texts(value) for key, value in node.entries.items()}
    return [texts(item) for item in node.items] if isinstance(node, Sequence) else node.text


@pytest.mark.parametrize(
    "text",
    [
        "05432",
        "007",
        "no",
        "12:30:45",
        "1_000",
        "0x10",
        "1e3",
        "True",
        "2024-01-01",
        "=",
        ".5",
        "0o7",
    ],
)
def test_plain_scalar_keeps_the_text_as_written(text):
    """YAML 1.1 would make an octal, a sexagesimal, a bool, a float or a date of it."""
    assert texts(read(f"a: {text}\n")) == {"a": text}


@pytest.mark.parametrize("text", ["", "~", "null", "Null", "NULL"])
def test_null_is_not_the_word_null_unless_quoted(text):
    assert texts(read(f"a: {text}\n")) == {"a": None}
    assert texts(read(f"a: '{text}'\n")) == {"a": text}


def test_value_and_key_know_their_line_and_column():
    root = read("a:\n  b: 'x'\n")
    inner = root.entries["a"]
    assert isinstance(inner, Table)
    assert str(root.key_mark("a")) == "c.yaml:1:1"
    assert str(inner.key_mark("b")) == "c.yaml:2:3"
    assert str(inner.entries["b"].mark) == "c.yaml:2:6"


def test_columns_count_characters_and_not_bytes():
    assert str(read("ключ: значение\n").entries["ключ"].mark) == "c.yaml:1:7"


@pytest.mark.parametrize(
    ("value", "places"),
    [
        ("${A}", ["1:4"]),
        ("'${A}${B}'", ["1:5", "1:9"]),
        ('"x\\t${A}"', ["1:8"]),
        ("one\n  two ${A}", ["2:7"]),
        (">-\n  one\n  ${A} ${B}", ["3:3", "3:8"]),
    ],
)
def test_scalar_knows_where_its_references_begin(value, places):
    scalar = read(f"a: {value}\n").entries["a"]
    assert isinstance(scalar, Scalar)
    assert [f"{mark.line}:{mark.column}" for mark in scalar.opens] == places


def test_anchor_is_used_again_by_its_alias():
    assert texts(read("a: &x {b: 1}\nc: *x\n")) == {"a": {"b": "1"}, "c": {"b": "1"}}


@pytest.mark.parametrize("order", ["<<: *x\n  k: 2", "k: 2\n  <<: *x"])
def test_merged_keys_give_way_to_those_of_the_mapping_itself(order):
    root = read(f"a: &x {{k: 1, l: 1}}\nb:\n  {order}\n")
    assert texts(root.entries["b"]) == {"k": "2", "l": "1"}


def test_of_several_merged_mappings_the_first_wins():
    root = read("a: &x {k: 1}\nb: &y {k: 2, l: 2}\nc: {<<: [*x, *y]}\n")
    assert texts(root.entries["c"]) == {"k": "1", "l": "2"}


def test_byte_order_mark_is_no_part_of_the_first_key():
    assert texts(read(b"\xef\xbb\xbfa: 1\n")) == {"a": "1"}


def test_windows_line_ends_are_fine():
    assert texts(read("a: 1\r\nb: |\r\n  x\r\n")) == {"a": "1", "b": "x\n"}


REFUSED = {
    "": "c.yaml:1:1: is empty; `pgmonkey pgconfig create` writes a template",
    "# only a comment\n": "c.yaml:1:1: is empty; `pgmonkey pgconfig create` writes a template",
    "- a\n": "c.yaml:1:1: expects a mapping of sections, not a list",
    "just text\n": "c.yaml:1:1: expects a mapping of sections, not text",
    "a: 1\nb: 2\na: 3\n": "c.yaml:3:1: a: the same key stands in line 1 already; drop one of them",
    "a:\n\tb: 1\n": "c.yaml:2:1: a tab; YAML is indented with spaces",
    "a: *b\n": "c.yaml:1:4: a: no such anchor; quote a value that begins with '*'",
    "a: &b [*b]\n": "c.yaml:1:8: a: no such anchor; quote a value that begins with '*'",
    "a: &b\n": "c.yaml:1:4: a: an anchor without a value; quote a value that begins with '&'",
    "a: !b\n": "c.yaml:1:4: a: tags are not supported; quote a value that begins with '!'",
    "a: !!python/name:os.system\n": "c.yaml:1:4: a: tags are not supported; quote a value that begins with '!'",
    "a: @b\n": "c.yaml:1:4: a value cannot begin with '@'; put it in quotes",
    "a: `b\n": "c.yaml:1:4: a value cannot begin with '`'; put it in quotes",
    "? [a]\n: b\n": "c.yaml:1:3: a key must be text, not a list",
    "a: {<<: x}\n": "c.yaml:1:9: a: '<<' takes mappings, not text",
    "a: 1\n---\nb: 2\n": "c.yaml:2:1: a second document; one file holds one configuration",
    'a: "b\\0c"\n': "c.yaml:1:4: a: holds a NUL character",
    "a: b\x07c\n": "c.yaml:1:5: the character U+0007 cannot stand in YAML",
    b"a: 1\nb: caf\xe9\n": "c.yaml:2:7: this is not UTF-8; save the file as UTF-8",
    "a: 1\n".encode("utf-16"): "c.yaml:1:1: is UTF-16, not UTF-8; save it as UTF-8",
    "[" * 100: "c.yaml:1:21: nested deeper than 20 levels",
    "".join(f"k{n}: 1\n" for n in range(1001)): "c.yaml:1001:1: more than 1000 keys",
    "#" * 300_000: "c.yaml:1:1: is larger than 256 KiB",
}  # fmt: skip


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: repr(text)[:20])
def test_text_that_is_no_configuration_is_refused_with_its_place(text):
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert str(caught.value) == REFUSED[text]


@pytest.mark.parametrize(
    ("text", "place"), [("a: b: c\n", "1:5"), ("a: 'b\n", "2:1"), ("{a: b\n", "2:1"), ("a: 1\n b: 2\n", "2:3")]
)  # fmt: skip
def test_broken_yaml_is_refused_where_the_parser_stopped(text, place):
    with pytest.raises(ConfigError, match=rf"^c\.yaml:{place}: not YAML: "):
        read(text)


@pytest.mark.parametrize("loader", ["CSafeLoader", "SafeLoader"])
@pytest.mark.parametrize(
    "value", ["*CANARY", "&CANARY", "!CANARY", "!CA!NARY x", "@CANARY", "%CANARY", "{CANARY", "'CANARY", "CANARY: x: y"]
)  # fmt: skip
def test_parser_error_does_not_repeat_the_users_text(value, loader, monkeypatch):
    """It may be a password that had to be quoted. The parser without C quotes its tokens."""
    if loader == "SafeLoader":
        monkeypatch.delattr(yaml, "CSafeLoader")
    with pytest.raises(ConfigError) as caught:
        read(f"connection_settings:\n  password: {value}\n")
    error = caught.value
    assert "CANARY" not in str(error)
    assert error.__cause__ is None
    assert error.line in (2, 3)


def test_without_the_c_parser_the_nodes_are_the_same(monkeypatch):
    text = "a: &x {k: '1', l: [1, no]}\nb: {<<: *x, m: ~}\n"
    with_c = read(text)
    monkeypatch.delattr(yaml, "CSafeLoader")
    assert read(text) == with_c


def test_dict_becomes_the_nodes_of_its_yaml_text():
    config = {"a": {"b": 5432, "c": "x", "d": None, "e": True, "f": 2.5, "g": ["1", 2]}}
    root = read_dict(config, "<dict>")
    assert texts(root) == {
        "a": {"b": "5432", "c": "x", "d": None, "e": "true", "f": "2.5", "g": ["1", "2"]}
    }


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"a": {5: 1}}, "<dict>: a: a key must be text, not int"),
        ({"a": {"b": b"x"}}, "<dict>: a.b: expects text, a number or a switch, not bytes"),
        ({"a": {"b": "x\0"}}, "<dict>: a.b: holds a NUL character"),
        ({"a": "\ud800"}, "<dict>: a: holds a lone surrogate, which is no character"),
        ({"password: CANARY": b""}, "<dict>: password…: expects text, a number or a switch, not bytes"),
    ],
)  # fmt: skip
def test_dict_with_what_yaml_has_no_word_for_is_refused(config, message):
    with pytest.raises(ConfigError) as caught:
        read_dict(config, "<dict>")
    assert str(caught.value) == message
