"""THE table of keys: what may stand in a configuration, and what it means.

The validator, the template of ``pgconfig create``, the JSON Schema and the reference in
the documentation are all made from ``KEYS``. Which connection keys are valid is not ours
to say: libpq knows, and the one that is running is asked. The table adds what libpq does
not tell: a sentence, a type, the choices.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

from pgmonkey.config.settings import CONNECTION_TYPES, ConnectionOptions, PoolSettings

CONNECTION, SYNC, ASYNC = "connection_settings", "sync_settings", "async_settings"
POOL, ASYNC_POOL, OPTIONS = "pool_settings", "async_pool_settings", "connection_options"

# In the order of the template.
SECTIONS = {
    CONNECTION: "Who connects where to, and how; any keyword of libpq may stand here",
    POOL: "Settings for 'pool' connection type",
    SYNC: "Server settings for 'normal' and 'pool'; any may stand here, set as a connection is made",
    ASYNC: "Server settings for 'async' and 'async_pool'; any may stand here, set as a connection is made",
    ASYNC_POOL: "Settings for 'async_pool' connection type",
    OPTIONS: "What psycopg decides about a connection",
}
# In these any name is a key: the server has the last word on them.
OPEN_SECTIONS = frozenset({SYNC, ASYNC})

Kind = Literal["text", "integer", "number", "switch", "choice", "ports", "setting", "threshold"]


class Key(NamedTuple):
    """One key.

    Attributes:
        section: The section it stands in, or "" at the top level.
        kind: What its value is; ``setting`` is a server setting and ``threshold`` a
            whole number or ``off``.
        default: What holds when it is not given; None leaves it to libpq or the server.
        minimum, maximum: Both included; in ``unit``.
        positive: Whether 0 is too little.
        secret: Whether the value itself is a secret. Keys that are only treated like one
            in messages (``redaction.is_sensitive``) are not marked.
        template: The value in the template, as YAML; "" leaves the key out of it.
        active: Whether the template's line counts, or is a comment.
        libpq: The first major version of libpq that knows it, where that matters.
    """

    section: str
    name: str
    help: str
    kind: Kind = "text"
    default: str | int | float | bool | None = None
    minimum: int = 0
    maximum: int | None = None
    positive: bool = False
    unit: str = ""
    choices: tuple[str, ...] = ()
    secret: bool = False
    template: str = ""
    active: bool = True
    libpq: int = 0

    @property
    def path(self) -> str:
        """The dotted path, as messages have it."""
        return f"{self.section}.{self.name}" if self.section else self.name


# A year: whoever waits longer than that for a connection has made a mistake.
_YEAR = 31_536_000
# PostgreSQL's own limit of backends (src/include/storage/procnumber.h, MAX_BACKENDS).
_BACKENDS = 262_143
_INT = 2_147_483_647


def _libpq(
    name: str, help: str, kind: Kind = "text", default: str | int | bool | None = None, **more: Any
) -> Key:
    if kind == "integer":
        more.setdefault("maximum", _INT)
    return Key(CONNECTION, name, help, kind, default, **more)


# One key a line; the formatter would make eight of each.
# fmt: off
_CONNECTION = (
    _libpq("user", "Role to log in as", template="'postgres'"),
    _libpq("password", "Its password", secret=True, template="'password'"),
    _libpq("host", "Server's name, address or socket folder; several with commas", template="'localhost'"),
    _libpq("port", "Server's port; one for all hosts, or one each", "ports", 5432, minimum=1, maximum=65535, template="'5432'"),
    _libpq("dbname", "Database to connect to", template="'mydatabase'"),
    _libpq("sslmode", "How much TLS is asked for", "choice", "prefer", choices=("disable", "allow", "prefer", "require", "verify-ca", "verify-full"), template="'prefer'"),
    _libpq("sslcert", "Path to the client SSL certificate, if needed", template="''"),
    _libpq("sslkey", "Path to the client SSL key, if needed", template="''"),
    _libpq("sslrootcert", "Path to the root SSL certificate, if needed", template="''"),
    _libpq("connect_timeout", "Maximum wait for each host and address, 0 for ever", "integer", unit="seconds", template="'10'"),
    _libpq("application_name", "Name shown in pg_stat_activity", template="'myapp'"),
    _libpq("keepalives", "Enable TCP keepalives (1=on, 0=off)", "switch", True, template="'1'"),
    _libpq("keepalives_idle", "Silence before a keepalive probe is sent", "integer", unit="seconds", template="'60'"),
    _libpq("keepalives_interval", "Time between keepalive probes", "integer", unit="seconds", template="'15'"),
    _libpq("keepalives_count", "Unanswered probes before the connection is closed", "integer", template="'5'"),
    _libpq("hostaddr", "Address to dial, while host is the name that TLS verifies"),
    _libpq("passfile", "Password file; ~/.pgpass unless given"),
    _libpq("service", "Entry of pg_service.conf with further keywords"),
    _libpq("servicefile", "The pg_service.conf to look in", libpq=19),
    _libpq("options", "Command-line options for the server process"),
    _libpq("client_encoding", "Encoding of text on the wire"),
    _libpq("fallback_application_name", "Name used when application_name is not given"),
    _libpq("tcp_user_timeout", "How long sent data may stay unacknowledged; 0 is the system's choice", "integer", unit="milliseconds"),
    _libpq("target_session_attrs", "Which of several hosts will do", "choice", "any", choices=("any", "read-write", "read-only", "primary", "standby", "prefer-standby")),
    _libpq("load_balance_hosts", "Whether hosts are tried in random order", "choice", "disable", choices=("disable", "random"), libpq=16),
    _libpq("channel_binding", "Whether the login is bound to the TLS channel", "choice", "prefer", choices=("disable", "prefer", "require"), libpq=13),
    _libpq("require_auth", "Methods the server may ask for, such as scram-sha-256", libpq=16),
    _libpq("sslnegotiation", "How TLS begins; direct saves a round trip", "choice", "postgres", choices=("postgres", "direct"), libpq=17),
    _libpq("sslcertmode", "Whether the client certificate is sent", "choice", "allow", choices=("disable", "allow", "require"), libpq=16),
    _libpq("sslpassword", "Password of the client's key", secret=True, libpq=13),
    _libpq("sslcrl", "Path to the list of revoked certificates"),
    _libpq("sslcrldir", "Folder of lists of revoked certificates", libpq=14),
    _libpq("sslsni", "Whether the host's name is sent in clear as TLS begins", "switch", True, libpq=14),
    _libpq("sslcompression", "Whether TLS compresses; insecure, and off in most builds", "switch", False),
    _libpq("ssl_min_protocol_version", "Oldest TLS version that will do, such as TLSv1.3", libpq=13),
    _libpq("ssl_max_protocol_version", "Newest TLS version that will do", libpq=13),
    _libpq("sslkeylogfile", "File for TLS session keys; for debugging only", libpq=18),
    _libpq("min_protocol_version", "Oldest version of PostgreSQL's protocol that will do", libpq=18),
    _libpq("max_protocol_version", "Newest version of PostgreSQL's protocol to ask for", libpq=18),
    _libpq("gssencmode", "Whether GSSAPI encrypts the connection", "choice", choices=("disable", "prefer", "require")),
    _libpq("krbsrvname", "Kerberos name of the service", default="postgres"),
    _libpq("gsslib", "GSS library to use"),
    _libpq("gssdelegation", "Whether GSS credentials are handed to the server", "switch", False, libpq=16),
    _libpq("requirepeer", "System user that must own the server, on a socket"),
    _libpq("replication", "Replication protocol to speak"),
    _libpq("scram_client_key", "SCRAM key in place of a password", secret=True, libpq=18),
    _libpq("scram_server_key", "SCRAM key of the server", secret=True, libpq=18),
    _libpq("oauth_issuer", "Issuer of OAuth tokens", libpq=18),
    _libpq("oauth_client_id", "Client's id at that issuer", libpq=18),
    _libpq("oauth_client_secret", "Client's secret at that issuer", secret=True, libpq=18),
    _libpq("oauth_scope", "Scope to ask the issuer for", libpq=18),
)


def _pool(section: str) -> tuple[Key, ...]:
    default = PoolSettings()
    return (
        Key(section, "min_size", "Minimum number of connections in the pool", "integer", default.min_size, 0, _BACKENDS, template="5"),
        Key(section, "max_size", "Maximum number of connections in the pool", "integer", default.max_size, 1, _BACKENDS, template="20"),
        Key(section, "timeout", "Maximum wait for a connection from the pool before an error", "number", default.timeout, maximum=_YEAR, positive=True, unit="seconds", template="30"),
        Key(section, "max_idle", "Time a connection beyond min_size may stay idle before it is closed", "number", default.max_idle, maximum=_YEAR, positive=True, unit="seconds", template="300"),
        Key(section, "max_lifetime", "Time a connection may be reused before it is replaced", "number", default.max_lifetime, maximum=_YEAR, positive=True, unit="seconds", template="3600"),
        Key(section, "check_on_checkout", "Ask the server for a sign of life before handing a connection out", "switch", default.check_on_checkout, template="false"),
        Key(section, "max_waiting", "How many may wait for a connection; 0 sets no limit", "integer", default.max_waiting, maximum=_INT),
        Key(section, "reconnect_timeout", "Time of failed attempts after which the pool reports it, and rests until somebody asks", "number", default.reconnect_timeout, maximum=_YEAR, positive=True, unit="seconds"),
        Key(section, "num_workers", "Threads or tasks that open connections in the background", "integer", default.num_workers, 1, 100),
        Key(section, "name", "Name of the pool in log messages"),
        Key(section, "leak_after", "Time after which a connection that is still held is reported with its borrower's calls; never unless given", "number", default.leak_after, maximum=_YEAR, positive=True, unit="seconds"),
    )


def _session(section: str, active: bool) -> tuple[Key, ...]:
    return (
        Key(section, "idle_in_transaction_session_timeout", "End sessions idle in a transaction for this long", "setting", unit="milliseconds", template="'5000'", active=active),
        Key(section, "statement_timeout", "Cancel statements exceeding this time", "setting", unit="milliseconds", template="'30000'", active=active),
        Key(section, "lock_timeout", "Timeout for acquiring locks", "setting", unit="milliseconds", template="'10000'", active=active),
        Key(section, "work_mem", "Memory for sort operations and more", "setting", template="'256MB'", active=False),
        Key(section, "search_path", "Schemas that names are looked up in", "setting", template="'app, public'", active=False),
    )


_OPTION_DEFAULTS = ConnectionOptions()
KEYS: tuple[Key, ...] = (
    Key("", "connection_type", "Connection type when none is named in the call", "choice", "normal", choices=CONNECTION_TYPES, template="'normal'"),
    *_CONNECTION,
    *_pool(POOL),
    *_session(SYNC, active=False),
    *_session(ASYNC, active=True),
    *_pool(ASYNC_POOL),
    Key(OPTIONS, "autocommit", "Whether each statement commits by itself", "switch", _OPTION_DEFAULTS.autocommit, template="false", active=False),
    Key(OPTIONS, "isolation_level", "Isolation of transactions", "choice", choices=("read uncommitted", "read committed", "repeatable read", "serializable"), template="'read committed'", active=False),
    Key(OPTIONS, "read_only", "Whether transactions may only read", "switch", template="false", active=False),
    Key(OPTIONS, "prepare_threshold", "Executions before a query is prepared on the server; off for never", "threshold", _OPTION_DEFAULTS.prepare_threshold, maximum=_INT, template="5", active=False),
    Key(OPTIONS, "pooler", "Mode of a PgBouncer in between, if there is one", "choice", choices=("session", "transaction"), template="'transaction'", active=False),
)
# fmt: on

# What people call a key, after other libraries and tools.
MISNOMERS = {
    "database": "dbname",
    "db": "dbname",
    "username": "user",
    "passwd": "password",
    "pass": "password",
    "hostname": "host",
    "server": "host",
    "timeout": "connect_timeout",
    "min": "min_size",
    "max": "max_size",
    "minconn": "min_size",
    "maxconn": "max_size",
    "ssl": "sslmode",
    "sslca": "sslrootcert",
}


# psycopg's own option; earlier versions took it beside libpq's keywords, and so do we.
MOVED = {key.name: key for key in KEYS if key.path == f"{OPTIONS}.autocommit"}

# A server setting: PostgreSQL's identifiers, with a dot in those of extensions.
SETTING_NAME = r"^[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)*$"


class Libpq(NamedTuple):
    """A libpq: its major version and the keywords it knows."""

    version: int
    keywords: frozenset[str]


@functools.cache
def running_libpq() -> Libpq:
    """Return the libpq that psycopg uses here."""
    from psycopg import pq

    keywords = frozenset(option.keyword.decode() for option in pq.Conninfo.get_defaults())
    return Libpq(pq.version() // 10000, keywords)


@functools.cache
def keys_of(section: str, libpq: Libpq | None = None) -> dict[str, Key]:
    """Return the keys of *section* by name; for connections those of *libpq*, if given.

    A keyword that the table lacks comes from a libpq newer than the table.
    """
    table = {key.name: key for key in KEYS if key.section == section}
    if section != CONNECTION or libpq is None:
        return table
    known = {name: key for name, key in table.items() if name in libpq.keywords}
    for name in sorted(libpq.keywords - table.keys()):
        known[name] = Key(CONNECTION, name, "See the documentation of libpq")
    return known


def nearest(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" with the one of *known* that is most like *word*, or ""."""
    known = list(known)
    guess = MISNOMERS.get(word.lower())
    if guess not in known:
        from difflib import get_close_matches

        close = get_close_matches(word.lower()[:64], known, n=1)
        guess = close[0] if close else None
    return f"; did you mean {guess!r}?" if guess else ""
