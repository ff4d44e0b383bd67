"""PgBouncer between the tests and their server: the machine's own, or in a container.

It knows the ordinary role's password, so it answers and asks with SCRAM. It refuses to
run as root, so root hands it to the account that servers run under.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg

from pgmonkey.cli.throwaway import UNPRIVILEGED
from support.docker import free_port
from support.server import PgServer
from support.setup import Unavailable
from support.wait import until

IMAGE = "edoburu/pgbouncer:latest"
# Sessions it keeps with the server: few, so that clients meet each other's.
SERVER_SESSIONS = 2


@contextmanager
def pgbouncer(server: PgServer, mode: str) -> Iterator[dict[str, Any]]:
    """Give the libpq keywords of an ordinary login through a pooler in *mode*.

    Raises:
        Unavailable: There is no PgBouncer here.
    """
    binary = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    way = _container(server, mode) if server.inner_address else _process(server, mode, binary)
    with way as (host, port):
        args = server.dsn_args(host=host, hostaddr=None, port=port, sslmode=None, sslrootcert=None)
        until(lambda: _answers(args))
        yield args


def _answers(args: dict[str, Any]) -> bool:
    try:
        with psycopg.connect(**args):
            return True
    except psycopg.OperationalError:
        return False


@contextmanager
def _process(server: PgServer, mode: str, binary: str | None) -> Iterator[tuple[str, int]]:
    if binary is None:
        raise Unavailable("no pgbouncer in PATH")
    host, target = server.address
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="pgbouncer-") as name:
        folder = Path(name)
        (folder / "userlist.txt").write_text(f'"{server.user}" "{server.password}"\n')
        (folder / "pgbouncer.ini").write_text(
            f"[databases]\n* = host={host} port={target}\n"
            "[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = scram-sha-256\nauth_file = {folder}/userlist.txt\n"
            f"pool_mode = {mode}\ndefault_pool_size = {SERVER_SESSIONS}\n"
            f"logfile = {folder}/log\nserver_login_retry = 0.2\n"
        )
        rights: dict[str, Any] = {}
        if os.geteuid() == 0:
            account = pwd.getpwnam(UNPRIVILEGED)
            rights = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
            for path in (folder, *folder.iterdir()):
                os.chown(path, account.pw_uid, account.pw_gid)
        process = subprocess.Popen(
            [binary, "-q", folder / "pgbouncer.ini"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            **rights,
        )
        try:
            yield "127.0.0.1", port
        finally:
            process.terminate()
            process.wait()


@contextmanager
def _container(server: PgServer, mode: str) -> Iterator[tuple[str, int]]:
    from testcontainers.core.container import DockerContainer

    from support import docker

    docker.find(IMAGE)
    container = DockerContainer(IMAGE).with_kwargs(labels=docker.LABELS)
    settings = {
        "DB_HOST": server.inner_address,
        "DB_PORT": "5432",
        "DB_USER": server.user,
        "DB_PASSWORD": server.password,
        "AUTH_TYPE": "scram-sha-256",
        "POOL_MODE": mode,
        "DEFAULT_POOL_SIZE": str(SERVER_SESSIONS),
        "SERVER_LOGIN_RETRY": "0.2",
    }
    for name, value in settings.items():
        container.with_env(name, value)
    port = free_port()
    container.ports["5432"] = ("127.0.0.1", port)  # type: ignore[assignment]  # as in docker
    container.start()
    try:
        yield "127.0.0.1", port
    finally:
        with suppress(Exception):
            container.stop()
