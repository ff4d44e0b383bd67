"""What a command found, as values; every output format is made from these and nothing else.

Texts in here are free of secrets already: whoever fills in a message scrubs it. Rendered
text is not scrubbed again, since replacing inside JSON or XML could break it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from pgmonkey.cli.failures import Failure

if TYPE_CHECKING:
    from pgmonkey.cli.render.imports import Imported, Planned
    from pgmonkey.transfer.exporter import Exported


class Server(NamedTuple):
    """The server that answered.

    Attributes:
        version: As the server says it, such as ``17.6``.
        tls: ``TLSv1.3`` and the like; None for a plain connection.
    """

    host: str
    port: int
    database: str
    user: str
    version: str
    tls: str | None = None
    cipher: str | None = None


class PoolFill(NamedTuple):
    """How many connections a pool holds open, of how many it wants."""

    open: int
    min_size: int
    max_size: int

    def __str__(self) -> str:
        return f"{self.open} of {self.min_size}..{self.max_size} filled"


class Rung(NamedTuple):
    """One step of the connection ladder; ``ok`` and ``ms`` are None where it was not reached."""

    name: str
    ok: bool | None
    ms: float | None
    detail: str = ""


class TypeResult(NamedTuple):
    """What became of one connection type. Times in milliseconds."""

    type: str
    ok: bool
    connect_ms: float | None = None
    query_ms: float | None = None
    server: Server | None = None
    pool: PoolFill | None = None
    steps: tuple[Rung, ...] = ()
    error: Failure | None = None


class Finding(NamedTuple):
    """One objection to a configuration file. Line and column count from 1, if known."""

    file: str
    line: int | None
    column: int | None
    key: str | None
    code: str
    severity: Literal["error", "warning"]
    message: str


class Value(NamedTuple):
    """One effective value and where it comes from, such as ``config.yaml:5`` or ``default``."""

    key: str
    value: str
    origin: str


class Report(NamedTuple):
    """A command's whole answer.

    Attributes:
        command: Its name, such as ``pgconfig test``.
        exit_code: How the process will end.
        error: Why it ends so, when that is none of the results' own business.
    """

    command: str
    exit_code: int
    results: (
        tuple[TypeResult, ...]
        | tuple[Finding, ...]
        | tuple[Value, ...]
        | tuple[Exported, ...]
        | tuple[Imported, ...]
        | tuple[Planned, ...]
    ) = ()
    server: Server | None = None
    error: Failure | None = None
