"""Rules of pg_hba.conf as values: build them, print them, say how safe they are.

PostgreSQL uses the first rule that matches and never looks further, so their order is
part of their meaning. Which one a client meets is decided in ``admission``; how they are
read from a file is in ``hba_file``, from a live server's view in ``hba_view``.

PostgreSQL documentation: "The pg_hba.conf File".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

LOCAL, HOST, HOSTSSL, HOSTNOSSL = "local", "host", "hostssl", "hostnossl"
HOSTGSSENC, HOSTNOGSSENC = "hostgssenc", "hostnogssenc"
TYPES = (LOCAL, HOST, HOSTSSL, HOSTNOSSL, HOSTGSSENC, HOSTNOGSSENC)

HEADING = ("TYPE", "DATABASE", "USER", "ADDRESS", "METHOD", "OPTIONS")

# Words that mean more than a name unless they stand in quotes.
DATABASE_KEYWORDS = frozenset({"all", "sameuser", "samerole", "samegroup", "replication"})
USER_KEYWORDS = frozenset({"all"})
ADDRESS_KEYWORDS = frozenset({"all", "samehost", "samenet"})

# A slash in front makes a name a regular expression, even inside quotes.
REGEX_SINCE = 16

# These hand the password itself to the server.
CLEARTEXT = frozenset({"password", "ldap", "radius", "pam", "bsd"})
PASSWORD = CLEARTEXT | {"md5", "scram-sha-256"}

# How well a method knows whom it lets in; higher is better. A certificate beside a
# password is one step above the password alone.
STRENGTH = {
    "reject": 100,
    "cert": 90,
    "scram-sha-256": 80,
    "gss": 80,
    "sspi": 80,
    "oauth": 80,
    "peer": 70,
    "md5": 50,
    **dict.fromkeys(CLEARTEXT, 40),
    "ident": 20,
    "trust": 0,
}
_CLIENT_CERTIFICATE = 5

_SPECIAL = re.compile(r'[\s,#"]')
MASKED = "***"
_SECRET_OPTIONS = frozenset({"ldapbindpasswd", "radiussecrets"})


@dataclass(frozen=True)
class Token:
    """One entry of the DATABASE or USER column.

    Attributes:
        quoted: It begins with a quote, which makes a keyword or ``+`` a plain name. The
            view pg_hba_file_rules does not tell; rules from there have False.
    """

    text: str
    quoted: bool = False

    def __str__(self) -> str:
        if self.quoted:
            return _quoted(self.text)
        if not _SPECIAL.search(self.text):
            return _quoted(self.text) if self.text[:1] in ("@", "") else self.text
        # `+"a b"` is a group, `"+a b"` a name: what counts is the first character.
        if self.text[0] == "+":
            return "+" + _quoted(self.text[1:])
        return _quoted(self.text)


ALL = Token("all")


@dataclass(frozen=True)
class Rule:
    """One line of pg_hba.conf.

    Attributes:
        address: CIDR, ``all``, ``samehost``, ``samenet``, a host name or ``.suffix``;
            "" for ``local``. Bits outside of the mask may be set, as in the file.
        netmask: Where the mask is no prefix length; "" otherwise.
        options: Name and value, in order; secrets are masked before they come here.
        line: Counted from 1; None for a rule that stands in no file.
        number: The server's own, from 16 on; None where it has none.
        disabled: Why the rule is loaded and can never match, in the server's words; ""
            for an ordinary one.
    """

    type: str
    databases: tuple[Token, ...]
    users: tuple[Token, ...]
    address: str
    method: str
    options: tuple[tuple[str, str], ...] = ()
    netmask: str = ""
    file: str = "pg_hba.conf"
    line: int | None = None
    number: int | None = None
    disabled: str = ""

    def option(self, name: str) -> str | None:
        """Return the value of an option, None where it is not set."""
        return dict(self.options).get(name)

    @property
    def place(self) -> str:
        """``pg_hba.conf:14``."""
        return self.file if self.line is None else f"{self.file}:{self.line}"

    @property
    def client_certificate(self) -> str:
        """What is asked of a client's certificate: "", ``verify-ca`` or ``verify-full``."""
        if self.method == "cert":
            return "verify-full"
        asked = self.option("clientcert") or ""
        # Up to 11 a switch, which the server then understood as verify-ca.
        return {"1": "verify-ca", "true": "verify-ca", "0": "", "no-verify": ""}.get(asked, asked)

    @property
    def strength(self) -> int:
        """A number to compare rules with: the higher, the safer."""
        if self.method == "trust" and self.client_certificate == "verify-full":
            return STRENGTH["cert"]  # the same proof; only system_user knows of no name
        extra = _CLIENT_CERTIFICATE if self.client_certificate and self.method != "cert" else 0
        return STRENGTH.get(self.method, 0) + extra

    @property
    def cells(self) -> tuple[str, ...]:
        """The six columns as text; options with blanks between."""
        return (
            self.type,
            ",".join(map(str, self.databases)),
            ",".join(map(str, self.users)),
            f"{self.address} {self.netmask}".strip(),
            self.method,
            " ".join(_option(name, value) for name, value in self.options),
        )

    def __str__(self) -> str:
        return " ".join(cell for cell in self.cells if cell)


@dataclass(frozen=True)
class Problem:
    """A line the server does not understand: it refuses to load the whole file."""

    file: str
    line: int | None
    error: str

    @property
    def place(self) -> str:
        return self.file if self.line is None else f"{self.file}:{self.line}"


@dataclass(frozen=True)
class RuleSet:
    """The rules of a file or a server, in the order in which they are tried."""

    rules: tuple[Rule, ...]
    problems: tuple[Problem, ...] = ()


def masked(rule: Rule) -> Rule:
    """Return *rule* without the passwords that its options may hold."""
    options = tuple(
        (name, MASKED if name in _SECRET_OPTIONS else value) for name, value in rule.options
    )
    return replace(rule, options=options)


def masked_error(text: str) -> str:
    """Return the server's words about a line without what may be part of a password there.

    It repeats a list of RADIUS secrets that it cannot read, and an option which has no
    ``=``: what follows a blank inside of a password without quotes.
    """
    if "secret" in text.lower():
        text = re.sub(r'".*"', f'"{MASKED}"', text, flags=re.DOTALL)
    return re.sub(r"(name=value format: ).*", rf"\g<1>{MASKED}", text, flags=re.DOTALL)


def aligned(rules: Iterable[Rule], *, heading: bool = True, comment: bool = False) -> str:
    """Return *rules* in columns, one a line, under the heading of the columns.

    With *comment* the heading is a comment, so that the text is a file.
    """
    rows: list[Sequence[str]] = [rule.cells for rule in rules]
    if heading:
        rows.insert(0, ((f"# {HEADING[0]}" if comment else HEADING[0]), *HEADING[1:]))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)] if rows else []
    lines = (
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
    return "".join(f"{line}\n" for line in lines)


def name_token(name: str, keywords: frozenset[str], version: int) -> Token | None:
    """Return the token that means exactly *name* to a server of major *version*.

    From 16 on no quoting makes a slash in front literal, so such a name becomes a regular
    expression. None: no token can say it, since a line ends at a line feed.
    """
    if version >= REGEX_SINCE and (name.startswith("/") or "\n" in name or "\r" in name):
        escaped = re.sub(r"[!-/:-@\[-^`{-~ \t]", r"\\\g<0>", name)
        escaped = escaped.replace("\n", r"\n").replace("\r", r"\r")
        return Token(f"/^{escaped}$", quoted=bool(_SPECIAL.search(escaped)))
    if "\n" in name or "\r" in name:
        return None
    special = bool(_SPECIAL.search(name)) or name[:1] in ("+", "@", "/", "")
    return Token(name, quoted=special or name in keywords)


def database_token(name: str, version: int) -> Token | None:
    """Return the token for the database *name*; see ``name_token``."""
    return name_token(name, DATABASE_KEYWORDS, version)


def user_token(name: str, version: int) -> Token | None:
    """Return the token for the role *name*; see ``name_token``."""
    return name_token(name, USER_KEYWORDS, version)


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _option(name: str, value: str) -> str:
    return f"{name}={_quoted(value)}" if _SPECIAL.search(value) else f"{name}={value}"
