"""What an audit saw of a server, as values: the checks judge these and nothing else.

Each piece of evidence is either there or an ``Unread``, which says why and what grant would
open it: "could not be read" is an answer of its own, never a pass and never a failure. How
the pieces are read is in ``collect``; what is made of them in ``checks``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from pgmonkey.server.hba import RuleSet


@dataclass(frozen=True)
class Unread:
    """A piece of evidence that is missing.

    Attributes:
        why: What happened, for people; never the server's own words, which may be in any
            language and quote anything.
        grant: What to run as a superuser so that the next audit can read it; "" where no
            grant would help.
        sqlstate: The server's code, "" where there was none.
    """

    why: str
    grant: str = ""
    sqlstate: str = ""


@dataclass(frozen=True)
class Session:
    """The audit's own session, as the server sees it.

    Attributes:
        version: As ``server_version_num`` counts: 170004.
        standby: Whether the server is in recovery; its files may differ from the primary's.
        client: The client's address as the server sees it; None for a Unix socket.
        system_user: ``method:identity`` of the login from PostgreSQL 16, None below and
            where the method proved nothing.
        now: The server's clock.
    """

    version: int
    standby: bool
    user: str
    database: str
    pid: int
    client: str | None
    address: str | None
    port: int | None
    now: datetime
    system_user: str | None = None

    @property
    def major(self) -> int:
        return self.version // 10000


@dataclass(frozen=True)
class Setting:
    """One row of pg_settings.

    Attributes:
        context: ``postmaster`` needs a restart to change, ``sighup`` a reload; others can
            be set for a role.
        source: Such as ``configuration file``, ``default`` or ``database user``.
        granted: Whether the role may set it whatever its context, as a superuser or by
            GRANT SET ON PARAMETER (15 and newer).
        pending: Whether the files have another value, which a restart would bring.
    """

    name: str
    value: str
    unit: str = ""
    kind: str = "string"
    context: str = ""
    source: str = ""
    minimum: str | None = None
    maximum: str | None = None
    choices: tuple[str, ...] = ()
    pending: bool = False
    file: str | None = None
    line: int | None = None
    granted: bool = False


@dataclass(frozen=True)
class IdentRow:
    """One row of pg_ident_file_mappings."""

    line: int
    map: str | None
    system_name: str | None
    role: str | None
    error: str | None = None


@dataclass(frozen=True)
class FileError:
    """One entry of a configuration file that was not applied, or cannot be."""

    file: str | None
    line: int | None
    name: str | None
    error: str | None


@dataclass(frozen=True)
class Waiting:
    """A value in a configuration file that only a restart brings; the last one wins."""

    name: str
    value: str


@dataclass(frozen=True)
class Tls:
    """The server's end of the audit's own connection; all None without TLS."""

    version: str | None = None
    cipher: str | None = None
    bits: int | None = None


@dataclass(frozen=True)
class Role:
    """What the role of this client may do; ``limit`` and ``valid_until`` None without one."""

    name: str
    superuser: bool
    create_role: bool
    create_database: bool
    replication: bool
    bypass_rls: bool
    login: bool
    limit: int | None
    valid_until: datetime | None


@dataclass(frozen=True)
class Database:
    """The database of this client; ``limit`` is None without one."""

    name: str
    allows_connections: bool
    limit: int | None
    encoding: str
    connect: bool


@dataclass(frozen=True)
class PublicSchema:
    """Who may create in schema ``public``; ``exists`` is False where it was dropped."""

    exists: bool
    public_creates: bool = False


@dataclass(frozen=True)
class Usage:
    """Connections in use now.

    Attributes:
        all: Of every database; an upper bound, since some workers count.
        role, database: Of this role, of this database.
        own: Of this role with the application name of the configuration.
    """

    all: int
    role: int
    database: int
    own: int


@dataclass(frozen=True)
class ClientSide:
    """What libpq knows of the audit's connection without asking the server."""

    backend_pid: int
    tls: bool


@dataclass(frozen=True)
class Evidence:
    """Everything that was read.

    Attributes:
        settings: By name; a name that this server's version has and this role may not see
            is absent here, and in ``hidden``.
        memberships: Every role the client's role is a member of, directly or not, itself
            included; not what a superuser implicitly may.
        grants: How it comes to those: a role, and the member that it was granted to, for
            every step on the way.
        superusers: For each superuser that may log in, the roles it is a member of.
        verifier: How the role's password is stored: ``scram-sha-256``, ``md5``, "" for none.
        platform: ``rds``, ``cloudsql``, ``alloydb``, ``azure`` or "" for a server whose
            files somebody can edit.
    """

    session: Session | Unread
    client: ClientSide
    settings: Mapping[str, Setting] | Unread = field(default_factory=dict)
    hidden: frozenset[str] = frozenset()
    hba: RuleSet | Unread = Unread("not read")
    ident: tuple[IdentRow, ...] | Unread = Unread("not read")
    files: tuple[FileError, ...] | Unread = Unread("not read")
    waiting: tuple[Waiting, ...] | Unread = Unread("not read")
    tls: Tls | Unread = Unread("not read")
    role: Role | Unread = Unread("not read")
    memberships: frozenset[str] | Unread = Unread("not read")
    grants: tuple[tuple[str, str], ...] | Unread = Unread("not read")
    superusers: Mapping[str, frozenset[str]] | Unread = Unread("not read")
    database: Database | Unread = Unread("not read")
    schema: PublicSchema | Unread = Unread("not read")
    usage: Usage | Unread = Unread("not read")
    verifier: str | Unread = Unread("not read")
    platform: str = ""

    def setting(self, name: str) -> Setting | Unread | None:
        """Return a setting; ``Unread`` where it is hidden, None where the server has none."""
        if isinstance(self.settings, Unread):
            return self.settings
        if name in self.hidden:
            return Unread(f"the role may not see {name}", READ_SETTINGS)
        return self.settings.get(name)


# What a database administrator can grant to open a piece of evidence. The views over files
# need both lines (measured on 13 to 18), in the audited database; pg_monitor opens none.
READ_SETTINGS = "GRANT pg_read_all_settings TO {role};"
READ_HBA = (
    "GRANT SELECT ON pg_catalog.pg_hba_file_rules TO {role}; "
    "GRANT EXECUTE ON FUNCTION pg_catalog.pg_hba_file_rules() TO {role};"
)
READ_IDENT = (
    "GRANT SELECT ON pg_catalog.pg_ident_file_mappings TO {role}; "
    "GRANT EXECUTE ON FUNCTION pg_catalog.pg_ident_file_mappings() TO {role};"
)
READ_FILES = (
    "GRANT SELECT ON pg_catalog.pg_file_settings TO {role}; "
    "GRANT EXECUTE ON FUNCTION pg_catalog.pg_show_all_file_settings() TO {role};"
)
