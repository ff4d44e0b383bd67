"""What an audit asks of a server: one query for each piece of evidence.

Names are qualified and the search path is pg_catalog, so that no object of the audited
database can stand in for one of the server's. Times come as seconds since 1970, since
Python's calendar ends before PostgreSQL's. How a query is sent is in ``reader``, what the
evidence means in ``checks``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from pgmonkey.server import evidence
from pgmonkey.server.evidence import (
    ClientSide,
    Database,
    Evidence,
    FileError,
    IdentRow,
    PublicSchema,
    Role,
    Session,
    Setting,
    Tls,
    Unread,
    Usage,
    Waiting,
)
from pgmonkey.server.hba import MASKED, RuleSet
from pgmonkey.server.hba_view import from_rows
from pgmonkey.server.reader import Reader

if TYPE_CHECKING:
    import psycopg

_QUOTED = re.compile('".*"')


# These are our own within a query, so what the session would have is read instead.
OURS = ("statement_timeout", "lock_timeout", "client_encoding", "search_path")

# Which major version brought a setting that the checks read; 0 is before any we support.
SETTINGS_SINCE = {
    **dict.fromkeys(
        [
            "max_connections",
            "superuser_reserved_connections",
            "ssl",
            "ssl_cert_file",
            "ssl_key_file",
            "ssl_ca_file",
            "ssl_ciphers",
            "password_encryption",
            "listen_addresses",
            "port",
            "authentication_timeout",
            "statement_timeout",
            "lock_timeout",
            "deadlock_timeout",
            "idle_in_transaction_session_timeout",
            "tcp_keepalives_idle",
            "tcp_keepalives_interval",
            "tcp_keepalives_count",
            "ssl_min_protocol_version",
            "tcp_user_timeout",
        ],
        0,
    ),
    "idle_session_timeout": 14,
    "client_connection_check_interval": 14,
    "reserved_connections": 16,
    "scram_iterations": 16,
    "transaction_timeout": 17,
    "allow_alter_system": 17,
}

# A role that only a managed platform has, and what the platform is called here.
PLATFORMS = {
    "rds_superuser": "rds",
    "cloudsqlsuperuser": "cloudsql",
    "alloydbsuperuser": "alloydb",
    "azure_pg_admin": "azure",
}


def collect(
    conn: psycopg.Connection[Any], application_name: str = "", names: Iterable[str] = ()
) -> Evidence:
    """Return what *conn*, an open connection in autocommit mode, can see of its server.

    Args:
        application_name: Sessions with it count as this client's own.
        names: Further settings to read, such as those the configuration sets.

    Raises:
        psycopg.OperationalError: The connection broke on the way.
    """
    reader = Reader(conn)
    session = reader.read(_session)
    major = session.major if isinstance(session, Session) else conn.info.server_version // 10000
    wanted = {name for name, since in SETTINGS_SINCE.items() if since <= major}
    settings = reader.read(lambda r: _settings(r, sorted(wanted | {n.lower() for n in names})))
    seen = set() if isinstance(settings, Unread) else settings.keys()
    platform = reader.read(_platform)
    return Evidence(
        session=session,
        client=ClientSide(conn.pgconn.backend_pid, conn.pgconn.ssl_in_use),
        settings=settings,
        hidden=frozenset() if isinstance(settings, Unread) else frozenset(wanted - seen),
        hba=reader.read(_hba, evidence.READ_HBA),
        ident=reader.read(_ident, evidence.READ_IDENT) if major >= 15 else Unread(BEFORE_15),
        files=reader.read(_files, evidence.READ_FILES),
        waiting=reader.read(lambda r: _waiting(r, sorted(wanted)), evidence.READ_FILES),
        tls=reader.read(_tls),
        role=reader.read(_role),
        memberships=reader.read(_memberships),
        grants=reader.read(_grants),
        superusers=reader.read(_superusers),
        database=reader.read(_database),
        schema=reader.read(_public_schema),
        usage=reader.read(lambda r: _usage(r, application_name)),
        verifier=reader.read(_verifier),
        platform="" if isinstance(platform, Unread) else platform,
    )


BEFORE_15 = "PostgreSQL shows the maps of pg_ident.conf from version 15 on"


def _session(reader: Reader) -> Session:
    major = reader.conn.info.server_version // 10000
    (row,) = reader.ask(
        "SELECT pg_catalog.current_setting('server_version_num')::pg_catalog.int4, "
        "pg_catalog.pg_is_in_recovery(), session_user::pg_catalog.text, "
        "pg_catalog.current_database()::pg_catalog.text, pg_catalog.pg_backend_pid(), "
        "pg_catalog.host(pg_catalog.inet_client_addr()), "
        "pg_catalog.host(pg_catalog.inet_server_addr()), pg_catalog.inet_server_port(), "
        "extract(epoch FROM pg_catalog.now())::pg_catalog.float8, "
        + ("system_user" if major >= 16 else "NULL")
    )
    return Session(
        version=row[0],
        standby=row[1],
        user=row[2],
        database=row[3],
        pid=row[4],
        client=row[5],
        address=row[6],
        port=row[7],
        now=_moment(row[8]) or datetime.now(timezone.utc),
        system_user=row[9],
    )


def _settings(reader: Reader, names: list[str]) -> Mapping[str, Setting]:
    may_set = "pg_catalog.has_parameter_privilege(name, 'SET')"
    if reader.conn.info.server_version < 150000:
        may_set = "false"
    rows = reader.ask(
        "SELECT name, CASE WHEN name = ANY (%s) THEN reset_val ELSE setting END, unit, vartype, "
        "context, source, min_val, max_val, enumvals, pending_restart, sourcefile, sourceline, "
        f"{may_set} "
        "FROM pg_catalog.pg_settings WHERE pg_catalog.lower(name) = ANY (%s)",
        (list(OURS), names),
    )
    return {
        row[0].lower(): Setting(
            name=row[0],
            value=row[1] or "",
            unit=row[2] or "",
            kind=row[3],
            context=row[4],
            source=row[5],
            minimum=row[6],
            maximum=row[7],
            choices=tuple(row[8] or ()),
            pending=row[9],
            file=row[10],
            line=row[11],
            granted=row[12],
        )
        for row in rows
    }


def _hba(reader: Reader) -> RuleSet:
    major = reader.conn.info.server_version // 10000
    columns = ["line_number", "type", "database", "user_name", "address", "netmask"]
    columns += ["auth_method", "options", "error"]
    order = "line_number"
    if major >= 16:
        columns = ["rule_number", "file_name", *columns]
        order = "rule_number NULLS LAST, file_name, line_number"
    rows = reader.ask(
        f"SELECT {', '.join(columns)} FROM pg_catalog.pg_hba_file_rules ORDER BY {order}"
    )
    found = [dict(zip(columns, row, strict=True)) for row in rows]
    for row in found:
        if row["error"]:
            row["error"] = harmless(row["error"])
    return from_rows(found)


def harmless(error: str) -> str:
    """Return the server's text about a bad line without the value that it quotes, if secret.

    A list of RADIUS secrets that cannot be parsed is quoted whole, and of an option with
    blanks the part after the first one (src/backend/libpq/hba.c). The words around are
    translated; RADIUS and the equals sign are not.
    """
    if "RADIUS" in error:
        return _QUOTED.sub(f'"{MASKED}"', error)
    head, colon, _ = error.partition(": ")
    return f"{head}: {MASKED}" if colon and "=" in head else error


def _ident(reader: Reader) -> tuple[IdentRow, ...]:
    rows = reader.ask(
        "SELECT line_number, map_name, sys_name, pg_username, error "
        "FROM pg_catalog.pg_ident_file_mappings ORDER BY line_number"
    )
    return tuple(IdentRow(*row) for row in rows)


def _files(reader: Reader) -> tuple[FileError, ...]:
    # Not the value: it may be a secret, such as that of primary_conninfo.
    rows = reader.ask(
        "SELECT sourcefile, sourceline, name, error FROM pg_catalog.pg_file_settings "
        "WHERE error IS NOT NULL ORDER BY sourcefile, sourceline"
    )
    return tuple(FileError(*row) for row in rows)


def _waiting(reader: Reader, names: list[str]) -> tuple[Waiting, ...]:
    # Of the settings that the checks know alone, none of which is a secret.
    rows = reader.ask(
        "SELECT f.name, f.setting FROM pg_catalog.pg_file_settings f "
        "JOIN pg_catalog.pg_settings s ON s.name OPERATOR(pg_catalog.=) f.name "
        "WHERE s.pending_restart AND f.setting IS NOT NULL "
        "AND f.name OPERATOR(pg_catalog.=) ANY (%s) ORDER BY f.seqno",
        (names,),
    )
    return tuple(Waiting(*row) for row in rows)


def _tls(reader: Reader) -> Tls:
    rows = reader.ask(
        "SELECT version, cipher, bits FROM pg_catalog.pg_stat_ssl "
        "WHERE pid = pg_catalog.pg_backend_pid() AND ssl"
    )
    return Tls(*rows[0]) if rows else Tls()


def _role(reader: Reader) -> Role:
    ((name, *flags, limit, until),) = reader.ask(
        "SELECT rolname, rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls, "
        "rolcanlogin, rolconnlimit, extract(epoch FROM rolvaliduntil)::pg_catalog.float8 "
        "FROM pg_catalog.pg_roles WHERE rolname = session_user"
    )
    return Role(name, *flags, limit=None if limit < 0 else limit, valid_until=_moment(until))  # type: ignore[misc]  # six flags, as Role has them


# Every role that a member is in, at any depth. Not pg_has_role: it is true of everything
# for a superuser, and pg_hba.conf asks for real membership.
_WALK = (
    "WITH RECURSIVE walk (root, role) AS (SELECT oid, oid FROM pg_catalog.pg_roles WHERE {} "
    "UNION SELECT walk.root, m.roleid FROM walk JOIN pg_catalog.pg_auth_members AS m "
    "ON m.member = walk.role) SELECT r.rolname::pg_catalog.text, g.rolname::pg_catalog.text "
    "FROM walk JOIN pg_catalog.pg_roles AS r ON r.oid = walk.root "
    "JOIN pg_catalog.pg_roles AS g ON g.oid = walk.role"
)


def _memberships(reader: Reader) -> frozenset[str]:
    return frozenset(g for _, g in reader.ask(_WALK.format("rolname = session_user")))


def _grants(reader: Reader) -> tuple[tuple[str, str], ...]:
    rows = reader.ask(
        "WITH RECURSIVE walk (role) AS (SELECT oid FROM pg_catalog.pg_roles "
        "WHERE rolname = session_user UNION SELECT m.roleid FROM walk "
        "JOIN pg_catalog.pg_auth_members AS m ON m.member = walk.role) "
        "SELECT DISTINCT g.rolname::pg_catalog.text, r.rolname::pg_catalog.text FROM walk "
        "JOIN pg_catalog.pg_auth_members AS m ON m.member = walk.role "
        "JOIN pg_catalog.pg_roles AS g ON g.oid = m.roleid "
        "JOIN pg_catalog.pg_roles AS r ON r.oid = m.member ORDER BY 1, 2"
    )
    return tuple((group, member) for group, member in rows)


def _superusers(reader: Reader) -> Mapping[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for role, group in reader.ask(_WALK.format("rolsuper AND rolcanlogin")):
        found.setdefault(role, set()).add(group)
    return {role: frozenset(groups) for role, groups in sorted(found.items())}


def _database(reader: Reader) -> Database:
    ((name, allows, limit, encoding, connect),) = reader.ask(
        "SELECT datname, datallowconn, datconnlimit, pg_catalog.pg_encoding_to_char(encoding), "
        "pg_catalog.has_database_privilege(oid, 'CONNECT') FROM pg_catalog.pg_database "
        "WHERE datname = pg_catalog.current_database()"
    )
    return Database(name, allows, None if limit < 0 else limit, encoding, connect)


def _public_schema(reader: Reader) -> PublicSchema:
    # A NULL list means the defaults, which for a schema give PUBLIC nothing.
    rows = reader.ask(
        "SELECT EXISTS (SELECT FROM pg_catalog.aclexplode(nspacl) AS a "
        "WHERE a.grantee = 0 AND a.privilege_type = 'CREATE') "
        "FROM pg_catalog.pg_namespace WHERE nspname = 'public'"
    )
    return PublicSchema(True, rows[0][0]) if rows else PublicSchema(False)


def _usage(reader: Reader, application_name: str) -> Usage:
    ((everybody, role, database, own),) = reader.ask(
        "SELECT (SELECT sum(numbackends) FROM pg_catalog.pg_stat_database)::pg_catalog.int4, "
        "count(*) FILTER (WHERE usename = session_user), "
        "count(*) FILTER (WHERE datname = pg_catalog.current_database()), "
        "count(*) FILTER (WHERE usename = session_user AND application_name = %s) "
        "FROM pg_catalog.pg_stat_activity WHERE pid <> pg_catalog.pg_backend_pid()",
        (application_name,),
    )
    return Usage(everybody - 1, role, database, own)


def _verifier(reader: Reader) -> str:
    # The kind only: the verifier itself never leaves the server.
    ((kind,),) = reader.ask(
        "SELECT CASE WHEN rolpassword LIKE 'SCRAM-SHA-256$%' THEN 'scram-sha-256' "
        "WHEN rolpassword LIKE 'md5%' THEN 'md5' WHEN rolpassword IS NULL THEN '' "
        "ELSE 'other' END FROM pg_catalog.pg_authid WHERE rolname = session_user"
    )
    return str(kind)


def _platform(reader: Reader) -> str:
    rows = reader.ask(
        "SELECT rolname::pg_catalog.text FROM pg_catalog.pg_roles WHERE rolname = ANY (%s)",
        (list(PLATFORMS),),
    )
    return PLATFORMS[rows[0][0]] if rows else ""


def _moment(epoch: float | None) -> datetime | None:
    """Return a moment in seconds since 1970; None for never, and for infinity."""
    if epoch is None or epoch == float("inf"):
        return None
    # The years that datetime has; PostgreSQL knows some more.
    return datetime.fromtimestamp(min(max(epoch, 0.0), 253_370_764_800.0), timezone.utc)
