"""PGConnectionManager: one cache of handles, one lifetime.

A handle is cached by its type, the fingerprint of its configuration and, for async
types, the event loop. Whoever asks first builds it; others who ask meanwhile wait for
that one and share its result or its failure. No lock is held while connecting, and a
failure is not cached.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
import weakref
from collections.abc import Mapping
from concurrent.futures import Future
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict, overload

from pgmonkey.config.load import load_settings
from pgmonkey.config.settings import CONNECTION_TYPES, ConnectionType, Settings
from pgmonkey.connections import fork
from pgmonkey.connections.aio import AsyncConnectionHandle, AsyncPoolHandle
from pgmonkey.connections.closing import SYNC, AnyHandle, close, close_all
from pgmonkey.connections.pending import PendingHandle
from pgmonkey.connections.sync import ConnectionHandle, PoolHandle
from pgmonkey.errors import ConfigError, HandleError

if TYPE_CHECKING:
    from typing_extensions import Unpack

logger = logging.getLogger("pgmonkey.connections")

# Each handle may hold max_size sessions, so a program with more configurations than this
# is more likely to build them in a loop than to need them all.
MAX_HANDLES = 64

# How long clear_cache() waits for a handle whose event loop runs in another thread.
CLOSE_SECONDS = 5.0

Path: TypeAlias = "str | PathLike[str]"
Dict: TypeAlias = Mapping[str, Any]
Loop: TypeAlias = weakref.ref[asyncio.AbstractEventLoop]
Key: TypeAlias = tuple[ConnectionType, str, Loop | None]

_NO_FUTURE: Future[Any] = Future()

_HANDLES: dict[ConnectionType, type[Any]] = {
    "normal": ConnectionHandle,
    "pool": PoolHandle,
    "async": AsyncConnectionHandle,
    "async_pool": AsyncPoolHandle,
}


class How(TypedDict, total=False):
    """The keyword arguments of ``get_database_connection``, for its overloads."""

    force_reload: bool
    resolve_env: bool
    allow_sensitive_defaults: bool
    strict: bool


class PGConnectionManager:
    """Gives connections of four types from one configuration, and keeps them.

    A manager that is no longer referenced closes what it opened, and so does the end of
    the process. It may be used from any number of threads, tasks and event loops.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._handles: dict[Key, AnyHandle] = {}
        self._building: dict[Key, Future[Any]] = {}
        fork.watch(self)

    def _forked(self) -> None:
        self._lock = threading.Lock()
        self._building = {}  # by threads of the parent
        self._handles = {key: handle for key, handle in self._handles.items() if key[2] is None}

    @overload
    def get_database_connection(
        self, config: Path, connection_type: Literal["normal"], **how: Unpack[How]
    ) -> ConnectionHandle: ...
    @overload
    def get_database_connection(
        self, config: Path, connection_type: Literal["pool"], **how: Unpack[How]
    ) -> PoolHandle: ...
    @overload
    def get_database_connection(
        self, config: Path, connection_type: Literal["async"], **how: Unpack[How]
    ) -> PendingHandle[AsyncConnectionHandle]: ...
    @overload
    def get_database_connection(
        self, config: Path, connection_type: Literal["async_pool"], **how: Unpack[How]
    ) -> PendingHandle[AsyncPoolHandle]: ...
    @overload
    def get_database_connection(
        self, config: Path, connection_type: str | None = None, **how: Unpack[How]
    ) -> Any: ...

    def get_database_connection(
        self,
        config: Path,
        connection_type: str | None = None,
        *,
        force_reload: bool = False,
        resolve_env: bool = False,
        allow_sensitive_defaults: bool = False,
        strict: bool = False,
    ) -> Any:
        """Return the handle for a configuration file, connected; the same one every time.

        Args:
            config: Path of the YAML file.
            connection_type: ``normal``, ``pool``, ``async`` or ``async_pool``; None takes
                the one in the file. The async types return something to await.
            force_reload: Build a new handle, put it in the cache, then close the old one.
                When the new one cannot be built, the old one stays.
            resolve_env: Resolve ``${VAR}``, ``from_env``, ``from_file``, ``from_command``.
            allow_sensitive_defaults: Let ``${VAR:-default}`` stand for a secret too.
            strict: Take for errors what is a warning otherwise.

        Raises:
            ConfigError: The configuration is wrong; raised at the call, also for async types.
            psycopg.OperationalError: No connection, with the cause; when awaited, for
                async types.
        """
        settings = load_settings(
            config,
            resolve_env=resolve_env,
            allow_sensitive_defaults=allow_sensitive_defaults,
            strict=strict,
        )
        return self.get_from_settings(settings, connection_type, force_reload=force_reload)

    @overload
    def get_database_connection_from_dict(
        self, config: Dict, connection_type: Literal["normal"], **how: Unpack[How]
    ) -> ConnectionHandle: ...
    @overload
    def get_database_connection_from_dict(
        self, config: Dict, connection_type: Literal["pool"], **how: Unpack[How]
    ) -> PoolHandle: ...
    @overload
    def get_database_connection_from_dict(
        self, config: Dict, connection_type: Literal["async"], **how: Unpack[How]
    ) -> PendingHandle[AsyncConnectionHandle]: ...
    @overload
    def get_database_connection_from_dict(
        self, config: Dict, connection_type: Literal["async_pool"], **how: Unpack[How]
    ) -> PendingHandle[AsyncPoolHandle]: ...
    @overload
    def get_database_connection_from_dict(
        self, config: Dict, connection_type: str | None = None, **how: Unpack[How]
    ) -> Any: ...

    def get_database_connection_from_dict(
        self,
        config: Dict,
        connection_type: str | None = None,
        *,
        force_reload: bool = False,
        resolve_env: bool = False,
        allow_sensitive_defaults: bool = False,
        strict: bool = False,
    ) -> Any:
        """Do the same as ``get_database_connection`` for a configuration held as a dict."""
        try:
            settings = load_settings(
                config,
                resolve_env=resolve_env,
                allow_sensitive_defaults=allow_sensitive_defaults,
                strict=strict,
            )
        finally:
            del config  # reporters that record local variables must not find a password here
        return self.get_from_settings(settings, connection_type, force_reload=force_reload)

    def get_from_settings(
        self,
        settings: Settings,
        connection_type: str | None = None,
        *,
        force_reload: bool = False,
    ) -> Any:
        """Do the same for a configuration that is loaded already."""
        kind = _known_type(connection_type or settings.connection_type, settings.name)
        if kind in ("normal", "pool"):
            return self._get(kind, settings, force_reload)
        return PendingHandle(lambda: self._get_async(kind, settings, force_reload))

    @property
    def cache_info(self) -> dict[str, Any]:
        """``size``: how many handles are cached; ``connection_types``: their types, oldest first."""
        with self._lock:
            types = [key[0] for key in self._handles]
        return {"size": len(types), "connection_types": types}

    def clear_cache(self) -> None:
        """Disconnect every cached handle.

        Raises:
            HandleError: Called in a running event loop, where async handles cannot be closed
                without being awaited.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            raise HandleError(
                "clear_cache() cannot wait inside an event loop; await clear_cache_async()"
            )
        for closing in [close(handle) for handle in self._take_all()]:
            if closing is not None:
                closing.result(CLOSE_SECONDS)

    async def clear_cache_async(self) -> None:
        """Disconnect every cached handle, from inside an event loop."""
        await close_all(self._take_all())

    def _take_all(self) -> list[AnyHandle]:
        with self._lock:
            handles = list(self._handles.values())
            self._handles.clear()
        return handles

    def _get(self, kind: ConnectionType, settings: Settings, force_reload: bool) -> Any:
        key = (kind, settings.fingerprint, None)
        while True:
            handle, future, mine = self._look_up(key, force_reload)
            if handle is not None:
                handle.connect()  # heals it where its server has gone
                return handle
            if not mine:
                try:
                    return future.result()
                except _BuilderInterrupted:
                    continue
            handle = _HANDLES[kind](settings, kind, self._forget)
            try:
                handle.connect()
            except BaseException as error:  # whoever waits for this must be told
                self._failed(key, future, error)
                raise
            for gone in self._built(key, future, handle):
                close(gone)
            return handle

    async def _get_async(self, kind: ConnectionType, settings: Settings, force_reload: bool) -> Any:
        key = (kind, settings.fingerprint, weakref.ref(asyncio.get_running_loop()))
        while True:
            handle, future, mine = self._look_up(key, force_reload)
            if handle is not None:
                await handle.connect()
                return handle
            if not mine:
                try:
                    return await asyncio.wrap_future(future)
                except _BuilderInterrupted:
                    continue
            handle = _HANDLES[kind](settings, kind, self._forget)
            try:
                await handle.connect()
            except BaseException as error:  # whoever waits for this must be told
                self._failed(key, future, error)
                raise
            await close_all(self._built(key, future, handle))
            return handle

    def _look_up(self, key: Key, force_reload: bool) -> tuple[Any, Future[Any], bool]:
        """Return the cached handle; or None, the future of one being built, whether by us."""
        with self._lock:
            if not force_reload and (handle := self._handles.pop(key, None)) is not None:
                self._handles[key] = handle  # last used stands last
                return handle, _NO_FUTURE, False
            if (future := self._building.get(key)) is not None:
                return None, future, False
            self._building[key] = future = Future()
        # Running cannot be cancelled: a waiter that gives up must not end it for the others.
        future.set_running_or_notify_cancel()
        return None, future, True

    def _built(self, key: Key, future: Future[Any], handle: AnyHandle) -> list[AnyHandle]:
        """Put *handle* into the cache, tell who waits, and return the handles to close now."""
        with self._lock:
            gone = [self._handles.pop(key)] if key in self._handles else []
            for other, old in list(self._handles.items()):
                if other[2] is not None and not isinstance(old, SYNC) and old.loop() is None:
                    gone.append(self._handles.pop(other))  # its event loop has ended
            if len(self._handles) >= MAX_HANDLES:
                unused = next((k for k, h in self._handles.items() if not h.busy), None)
                gone.append(self._handles.pop(unused or next(iter(self._handles))))
                _warn_of_many_handles()
            self._handles[key] = handle
            del self._building[key]
        future.set_result(handle)
        return gone

    def _failed(self, key: Key, future: Future[Any], error: BaseException) -> None:
        with self._lock:
            del self._building[key]
        # An interrupt is the builder's own; who waited for it starts over.
        future.set_exception(error if isinstance(error, Exception) else _BuilderInterrupted())

    def _forget(self, handle: AnyHandle) -> None:
        with self._lock:
            for key in [key for key, cached in self._handles.items() if cached is handle]:
                del self._handles[key]


class _BuilderInterrupted(Exception):
    """Whoever was building the handle was cancelled or interrupted."""


def _known_type(name: str, file: str) -> ConnectionType:
    for known in CONNECTION_TYPES:
        if name == known:
            return known
    raise ConfigError(
        f"{name!r} is not a connection type; use one of {', '.join(CONNECTION_TYPES)}",
        file=file,
        key="connection_type",
    )


@functools.cache
def _warn_of_many_handles() -> None:
    logger.warning(
        "more than %d configurations are in use, so the longest unused connection is closed"
        " for each new one; is a configuration built anew for each request?",
        MAX_HANDLES,
    )
