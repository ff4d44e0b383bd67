"""pg_hba.conf from its text: the server's own reading of it, major by major.

A line the server cannot read keeps the whole file from being loaded, so such a line is a
``Problem`` of its own and never a guess. The rules of reading are those of
``src/backend/libpq/hba.c`` (next_token, tokenize_auth_file, parse_hba_line): quotes may
begin inside a word, ``#`` ends a line outside of quotes, a comma joins what follows it.

Other files (``@file``, ``include``) are read by the caller's function: nothing is opened
here.
"""

from __future__ import annotations

import posixpath
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from pgmonkey.server import hba
from pgmonkey.server.hba import Problem, Rule, RuleSet, Token
from pgmonkey.server.hba_methods import BadLine, checked

CONTINUATION_SINCE = 14  # a backslash at the end of a line
GSSENC_SINCE = 12
INCLUDE_SINCE = hba.REGEX_SINCE  # both came with 16
MAX_DEPTH = 10  # CONF_FILE_MAX_DEPTH

_BLANK = " \t\r"
_INCLUDES = ("include", "include_if_exists", "include_dir")


class Files(Protocol):
    """How other files are read."""

    def read(self, path: str) -> str:
        """Return the text of a file. Raises FileNotFoundError or another OSError."""

    def names(self, folder: str) -> list[str]:
        """Return the names of the files in a folder. Raises OSError."""


class _Line(NamedTuple):
    """One logical line: its fields, each a list of tokens."""

    file: str
    number: int
    fields: list[list[Token]]


def parse(
    text: str, *, version: int = 18, file: str = "pg_hba.conf", files: Files | None = None
) -> RuleSet:
    """Return the rules of a file and the lines that keep it from being loaded.

    Args:
        version: Major version of the server that reads it.
        file: What *text* is called in the result; relative names in it start at its folder.
        files: Reads what the file refers to; without it such a reference is a problem.
    """
    reading = _Reading(version, files)
    reading.file(text, file, 0)
    return RuleSet(
        tuple(hba.masked(rule) for rule in reading.rules),
        tuple(reading.problems),
    )


@dataclass
class _Reading:
    version: int
    files: Files | None

    def __post_init__(self) -> None:
        self.rules: list[Rule] = []
        self.problems: list[Problem] = []

    def file(self, text: str, file: str, depth: int) -> None:
        for number, line in _logical_lines(text, self.version):
            try:
                fields = list(self._fields(line, file))
                if not fields:
                    continue
                word = fields[0][0]
                if self.version >= INCLUDE_SINCE and word.text in _INCLUDES and len(fields) > 1:
                    self._include(word.text, fields, file, depth)
                else:
                    rule = parse_fields(_Line(file, number, fields), self.version)
                    self.rules.append(rule)
            except BadLine as error:
                self.problems.append(Problem(file, number, hba.masked_error(str(error))))

    def _fields(self, line: str, file: str) -> Iterator[list[Token]]:
        for field in _split(line):
            tokens: list[Token] = []
            for token in field:
                if token.text.startswith("@") and len(token.text) > 1 and not token.quoted:
                    tokens += self._expand(token.text[1:], file, 1)
                else:
                    tokens.append(token)
            if tokens:
                yield tokens

    def _expand(self, name: str, file: str, depth: int) -> list[Token]:
        """Return the tokens of ``@name``: every word of the file, whatever its lines."""
        if depth > MAX_DEPTH:
            raise BadLine(f"could not open file {name!r}: maximum nesting depth exceeded")
        path = posixpath.join(posixpath.dirname(file), name)
        found: list[Token] = []
        for _, line in _logical_lines(self._read(path), self.version):
            for field in _split(line):
                for token in field:
                    if token.text.startswith("@") and len(token.text) > 1 and not token.quoted:
                        found += self._expand(token.text[1:], path, depth + 1)
                    else:
                        found.append(token)
        return found

    def _include(self, word: str, fields: list[list[Token]], file: str, depth: int) -> None:
        if len(fields) != 2 or len(fields[1]) != 1:
            raise BadLine(f"{word} takes one name")
        if depth + 1 > MAX_DEPTH:
            raise BadLine("maximum nesting depth exceeded")
        path = posixpath.join(posixpath.dirname(file), fields[1][0].text)
        paths = [path]
        if word == "include_dir":
            paths = [posixpath.join(path, name) for name in self._names(path)]
        for each in paths:
            try:
                text = self._read(each)
            except _Missing:
                if word == "include_if_exists":
                    continue
                raise
            self.file(text, each, depth + 1)

    def _read(self, path: str) -> str:
        if self.files is None:
            raise BadLine(f"could not open file {path!r}: it was not given")
        try:
            return self.files.read(path)
        except FileNotFoundError as error:
            raise _Missing(f"could not open file {path!r}: {error.strerror}") from error
        except OSError as error:
            raise BadLine(f"could not open file {path!r}: {error.strerror}") from error

    def _names(self, path: str) -> list[str]:
        """Return the files that include_dir takes: ``*.conf``, hidden ones left out, sorted."""
        if self.files is None:
            raise BadLine(f"could not open directory {path!r}: it was not given")
        try:
            names = self.files.names(path)
        except OSError as error:
            raise BadLine(f"could not open directory {path!r}: {error.strerror}") from error
        return sorted(n for n in names if n.endswith(".conf") and not n.startswith("."))


class _Missing(BadLine):
    """A file that include_if_exists does not mind."""


def _logical_lines(text: str, version: int) -> Iterator[tuple[int, str]]:
    """Yield each line with the number of its first one; a backslash at its end joins the next."""
    joined, begins = "", 0
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        line = line.removesuffix("\r")
        begins = begins or number
        if version >= CONTINUATION_SINCE and line.endswith("\\") and number < len(lines):
            joined += line[:-1]
            continue
        yield begins, joined + line
        joined, begins = "", 0
    if joined:
        yield begins, joined


def _split(line: str) -> Iterator[list[Token]]:
    """Yield the fields of a line: words, with those that commas join in one list."""
    at = 0
    while True:
        field: list[Token] = []
        comma = True
        while comma:
            token, comma, at = _next_token(line, at)
            if token is None:
                break
            field.append(token)
        if not field:
            return
        yield field


def _next_token(line: str, at: int) -> tuple[Token | None, bool, int]:
    """Return the next word, whether a comma ended it, and where to go on.

    Letter by letter as next_token does it, since its answer for ``a"b ""c"`` is the answer.
    """
    while at < len(line) and (line[at] in _BLANK or line[at] == ","):
        at += 1
    text = ""
    in_quote = was_quote = saw_quote = initial_quote = False
    while at < len(line):
        char = line[at]
        if not in_quote:
            if char in _BLANK:
                break
            if char == "#":
                at = len(line)
                break
            if char == ",":
                return Token(text, initial_quote), True, at + 1
        if char != '"' or was_quote:
            text += char
        was_quote = in_quote and char == '"' and not was_quote
        if char == '"':
            in_quote = not in_quote
            saw_quote = True
            initial_quote = initial_quote or not text
        at += 1
    return (Token(text, initial_quote) if saw_quote or text else None), False, at


def parse_fields(line: _Line, version: int) -> Rule:
    """Return the rule that the fields of one line make.

    Raises:
        BadLine: The server would refuse it.
    """
    fields = iter(line.fields)
    kind = _one(next(fields), "connection type")
    types = hba.TYPES if version >= GSSENC_SINCE else hba.TYPES[:4]
    if kind not in types:
        raise BadLine(f"invalid connection type {kind!r}")
    databases = _field(fields, "database specification")
    users = _field(fields, "role specification")
    address = netmask = ""
    if kind != hba.LOCAL:
        address, netmask = _address(fields)
    method = _one(_field(fields, "authentication method"), "authentication method")
    words = [token.text for field in fields for token in field]
    method, options = checked(kind, method, words, version)
    return Rule(
        kind,
        tuple(databases),
        tuple(users),
        address,
        method,
        options,
        netmask,
        line.file,
        line.number,
    )


def _field(fields: Iterator[list[Token]], what: str) -> list[Token]:
    field = next(fields, None)
    if field is None:
        raise BadLine(f"end-of-line before {what}")
    return field


def _one(field: list[Token], what: str) -> str:
    if len(field) > 1:
        raise BadLine(f"multiple values specified for {what}")
    return field[0].text


def _address(fields: Iterator[list[Token]]) -> tuple[str, str]:
    field = _field(fields, "IP address specification")
    text = _one(field, "host address")
    if text in hba.ADDRESS_KEYWORDS and not field[0].quoted:
        return text, ""
    ip, slash, length = text.partition("/")
    family = _family(ip)
    if family is None:
        if slash:
            raise BadLine(f"specifying both host name and CIDR mask is invalid: {text!r}")
        return text, ""
    if slash:
        if not re.fullmatch(r"[0-9]+", length) or int(length) > _BITS[family]:
            raise BadLine(f"invalid CIDR mask in address {text!r}")
        return text, ""
    mask = _one(_field(fields, "netmask specification"), "netmask")
    if _family(mask) is None:
        raise BadLine(f"invalid IP mask {mask!r}")
    if _family(mask) != family:
        raise BadLine("IP address and mask do not match")
    return text, mask


_BITS = {socket.AF_INET: 32, socket.AF_INET6: 128}


def _family(text: str) -> socket.AddressFamily | None:
    """Return the family of a numeric address; None for a name. Nothing is looked up."""
    try:
        found = socket.getaddrinfo(text, None, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return None
    return found[0][0]
