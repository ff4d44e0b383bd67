"""What a configuration means, as frozen values: the one thing every other room receives.

A ``Settings`` is complete and valid by construction: defaults are filled in, references
are resolved, numbers are numbers, empty values are gone. Whoever holds one needs neither
the file nor the environment. How it is made from YAML or a dict is in ``load``.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from pgmonkey.config.redaction import Secret, scrub
from pgmonkey.errors import ConfigError

if TYPE_CHECKING:
    from pgmonkey.config.rotation import SecretSource

ConnectionType = Literal["normal", "pool", "async", "async_pool"]
CONNECTION_TYPES: tuple[ConnectionType, ...] = get_args(ConnectionType)

# Fingerprints are keyed with a value that never leaves the process, so that one which
# does leave it (a log, a core dump) cannot be used to test guesses of a password.
_FINGERPRINT_KEY = secrets.token_bytes(32)


class Mark(NamedTuple):
    """Where a value stands: line and column count from 1, None outside a file."""

    file: str
    line: int | None = None
    column: int | None = None

    def error(
        self, problem: str, key: str | None = None, kind: type[ConfigError] = ConfigError
    ) -> ConfigError:
        """Return an error about this place."""
        return kind(problem, file=self.file, line=self.line, column=self.column, key=key)

    def __str__(self) -> str:
        return ":".join(str(p) for p in (self.file, self.line, self.column) if p is not None)


@dataclass(frozen=True)
class PoolSettings:
    """``pool_settings`` or ``async_pool_settings``; times in seconds.

    The defaults are those of the documented template. Those from ``max_waiting`` to ``name``
    are psycopg_pool's own parameters under their own names (psycopg documentation,
    "Connection pools"). Without ``leak_after`` nobody looks for leaks.
    """

    min_size: int = 5
    max_size: int = 20
    timeout: float = 30.0
    max_idle: float = 300.0
    max_lifetime: float = 3600.0
    check_on_checkout: bool = False
    max_waiting: int = 0
    reconnect_timeout: float = 300.0
    num_workers: int = 3
    name: str | None = None
    leak_after: float | None = None


@dataclass(frozen=True)
class ConnectionOptions:
    """``connection_options``: what psycopg, not libpq, decides about a connection.

    None leaves the server's default. ``isolation_level`` is in PostgreSQL's words, such
    as "repeatable read". ``pooler`` names the mode of a PgBouncer in between, if any.
    """

    autocommit: bool = False
    isolation_level: str | None = None
    read_only: bool | None = None
    prepare_threshold: int | None = 5
    pooler: Literal["session", "transaction"] | None = None


@dataclass(frozen=True, repr=False)
class Settings:
    """One configuration, ready to use.

    Attributes:
        name: The file as the user named it, ``<dict>`` or ``<environment>``.
        connection_type: The type used where the caller names none.
        connection: libpq keywords that were given a value; never an empty one. Secrets
            are ``Secret``, or a ``SecretSource`` which is read for every connection.
        sync_settings: Server settings for ``normal`` and ``pool``, by name.
        async_settings: The same for ``async`` and ``async_pool``.
        marks: Position of every key that was given, by dotted path.
        origins: Which reference gave the value of a key, by dotted path: ``${PGHOST}`` or
            ``from_file /run/secrets/user``. Literal values are not in here.
        unresolved: Keys, by dotted path, whose reference was kept (``keep_references``):
            their value here is that text, or a default where text will not do.
    """

    name: str
    connection_type: ConnectionType = "normal"
    connection: Mapping[str, str | Secret | SecretSource] = field(default_factory=dict)
    pool_settings: PoolSettings = PoolSettings()
    async_pool_settings: PoolSettings = PoolSettings()
    sync_settings: Mapping[str, str] = field(default_factory=dict)
    async_settings: Mapping[str, str] = field(default_factory=dict)
    options: ConnectionOptions = ConnectionOptions()
    marks: Mapping[str, Mark] = field(default_factory=dict, compare=False)
    origins: Mapping[str, str] = field(default_factory=dict, compare=False)
    unresolved: frozenset[str] = field(default=frozenset(), compare=False)

    def __post_init__(self) -> None:
        for section in ("connection", "sync_settings", "async_settings", "marks", "origins"):
            object.__setattr__(self, section, MappingProxyType(dict(getattr(self, section))))

    def __repr__(self) -> str:
        return f"<Settings {self.name}: {self.target}>"

    def pool(self, connection_type: ConnectionType) -> PoolSettings:
        """Return the pool section that *connection_type* uses."""
        return self.async_pool_settings if connection_type == "async_pool" else self.pool_settings

    def session(self, connection_type: ConnectionType) -> Mapping[str, str]:
        """Return the server settings that a connection of this type starts with."""
        return self.async_settings if connection_type.startswith("async") else self.sync_settings

    def mark(self, key: str) -> Mark:
        """Return where *key* (dotted) was given, or the file alone when it was not."""
        return self.marks.get(key, Mark(self.name))

    @property
    def rotates(self) -> bool:
        """Whether some secret is read anew for every physical connection, which may block."""
        return any(not isinstance(v, str | Secret) for v in self.connection.values())

    def connect_arguments(self) -> dict[str, str]:
        """Return the libpq keywords for one physical connection, secrets in clear.

        A secret given by ``from_file`` or ``from_command`` is read now, every time, so
        that a rotated one is used from the next connection on.

        Raises:
            EnvInterpolationError: Such a secret could not be read.
        """
        return {
            key: value if isinstance(value, str) else value.reveal()
            for key, value in self.connection.items()
        }

    @cached_property
    def target(self) -> str:
        """``user@host:port/dbname`` as far as they are given; never a secret."""
        given = {k: v for k, v in self.connection.items() if isinstance(v, str)}
        host = given.get("host") or given.get("hostaddr") or given.get("service") or "default host"
        port = f":{given['port']}" if "port" in given else ""
        user = f"{given['user']}@" if "user" in given else ""
        dbname = f"/{given['dbname']}" if "dbname" in given else ""
        return self.scrub(f"{user}{host}{port}{dbname}")

    @cached_property
    def fingerprint(self) -> str:
        """A keyed SHA-256 of everything that shapes a connection; equal configs, equal text.

        A secret given by reference enters by its reference, so that rotating it keeps
        the pool. ``connection_type`` is no part of it: the cache has that beside it.
        """
        shape: dict[str, Any] = {
            "connection": {
                k: v if isinstance(v, str) else v.identity() for k, v in self.connection.items()
            },
            "pool": asdict(self.pool_settings),
            "async_pool": asdict(self.async_pool_settings),
            "sync": dict(self.sync_settings),
            "async": dict(self.async_settings),
            "options": asdict(self.options),
        }
        text = json.dumps(shape, sort_keys=True).encode()
        return hashlib.sha256(_FINGERPRINT_KEY + text).hexdigest()

    def scrub(self, text: str) -> str:
        """Return *text* with every secret of this configuration replaced.

        Values read from a rotating source count as secret for as long as it lives.
        """
        known = [
            value
            for secret in self.connection.values()
            if not isinstance(secret, str)
            for value in secret.known_values()
        ]
        return scrub(text, known)
