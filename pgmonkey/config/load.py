"""The way in: a file, a dict, a text or libpq's variables become ``Settings``.

``load_settings`` stands in the path of every ``get_database_connection``, so what it made
is remembered (``memory``). A password from ``from_file`` or ``from_command`` plays no part
in that: it is read anew for every connection. Any other value of ``from_command`` is as
old as what is remembered.
"""

from __future__ import annotations

import logging
import os
import stat
import sys
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from pgmonkey.config import memory, rotation
from pgmonkey.config.conninfo import keywords
from pgmonkey.config.interpolation import Resolver, environment, stamp, switched_on
from pgmonkey.config.keys import (
    ASYNC,
    ASYNC_POOL,
    CONNECTION,
    OPTIONS,
    POOL,
    SECTIONS,
    SYNC,
    running_libpq,
)
from pgmonkey.config.nodes import Scalar, Table, read_dict
from pgmonkey.config.redaction import Secret, sealed, without_frames
from pgmonkey.config.remarks import remarks
from pgmonkey.config.settings import ConnectionOptions, Mark, PoolSettings, Settings
from pgmonkey.config.source import MAX_BYTES, read_bytes
from pgmonkey.config.validate import Reading, Validator
from pgmonkey.errors import ConfigError

log = logging.getLogger("pgmonkey.config")

Source: TypeAlias = "str | os.PathLike[str] | Mapping[str, Any]"

DICT, ENVIRONMENT, DSN = "<dict>", "<environment>", "--dsn"

# Files that the log has said of that everybody may read their password.
_told: set[str] = set()


class _Flags(NamedTuple):
    resolve_env: bool
    allow_sensitive_defaults: bool
    strict: bool
    keep_references: bool = False


_PLAIN = _Flags(False, False, False)


@sealed
def load_config(
    path: str | os.PathLike[str],
    *,
    resolve_env: bool = False,
    allow_sensitive_defaults: bool = False,
    strict: bool = False,
) -> dict[str, Any]:
    """Return the configuration in the file *path* as a plain dict, in the flat form.

    The values are the user's own; with *resolve_env*, references are replaced by what
    they give, passwords included (see ``redact_config``).

    Raises:
        ConfigError: The file is missing, is not YAML, or does not mean anything.
        EnvInterpolationError: A reference could not be resolved.
    """
    flags = _Flags(switched_on(resolve_env), allow_sensitive_defaults, strict)
    root, mode = _read_file(path, os.fsdecode(path))
    reading, _ = _judge(root, flags, _folder(path), mode)
    _tell(reading)
    config: dict[str, Any] = {name: {} for name in reading.sections}
    for item in reading.items:
        section, _, name = item.path.rpartition(".")
        (config[section] if section else config)[name] = item.given
    if reading.ignored:
        config[CONNECTION] |= reading.ignored
    return config


@sealed
def load_settings(
    source: Source,
    *,
    resolve_env: bool = False,
    allow_sensitive_defaults: bool = False,
    strict: bool = False,
    name: str | None = None,
    keep_references: bool = False,
) -> Settings:
    """Return the settings in a file or a dict; *name* stands for it in messages.

    With *keep_references*, references that are not resolved stay as literal text, for who
    shows the settings and does not connect; in keys that are no text they count as not given.

    Raises:
        ConfigError: The file is missing, is not YAML, or does not mean anything; or a
            value is a reference and *resolve_env* is off.
        EnvInterpolationError: A reference could not be resolved.
    """
    flags = _Flags(switched_on(resolve_env), allow_sensitive_defaults, strict, keep_references)
    if isinstance(source, Mapping):
        content = memory.dict_key(source)
        key, before = (content, flags, name), None
        if content is not None and (known := memory.recall(key, before)):
            return known
        name = name or DICT
        reading, resolver = _judge(read_dict(source, name), flags)
        settings = _settings(reading, name, flags)
        if content is not None:
            memory.keep(key, settings, before, resolver)
        return settings

    path = os.fspath(source)
    try:
        before = stamp(path)
    except (OSError, ValueError):
        before = None  # reading it says why
    if before is not None and (known := memory.recall((path, flags, name), before)):
        return known
    root, mode = _read_file(path, name or path)
    reading, resolver = _judge(root, flags, _folder(path), mode)
    settings = _settings(reading, name or path, flags)
    if before is not None and stat.S_ISREG(mode):  # a pipe can be read only once
        memory.keep((path, flags, name), settings, before, resolver)
    return settings


@sealed
def load_text(
    text: str | bytes,
    name: str,
    *,
    resolve_env: bool = False,
    allow_sensitive_defaults: bool = False,
    strict: bool = False,
    keep_references: bool = False,
) -> Settings:
    """Return the settings in YAML *text*, which messages call *name*; see ``load_settings``.

    Relative paths in it start at the working directory.
    """
    flags = _Flags(switched_on(resolve_env), allow_sensitive_defaults, strict, keep_references)
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    reading, _ = _judge(read_bytes(data, name), flags)
    return _settings(reading, name, flags)


@sealed
def settings_from_environment(dsn: str | None = None) -> Settings:
    """Return settings without a configuration: libpq reads its PG* variables itself.

    A password in the file that PGPASSWORD_FILE names is read for every connection.

    Args:
        dsn: A URI or conninfo string; what it gives goes before the variables.

    Raises:
        ConfigError: *dsn* cannot be read, or PGPASSWORD and PGPASSWORD_FILE are both set.
    """
    mark, from_dsn = Mark(ENVIRONMENT), Mark(DSN)
    section = Table(mark)
    for keyword, text in keywords(dsn, file=DSN).items() if dsn else ():
        section.entries[keyword] = Scalar(from_dsn, text, plain=False)
    reading, _ = _judge(Table(mark, {CONNECTION: section}), _PLAIN)
    settings = _settings(reading, ENVIRONMENT, _PLAIN)
    path = environment("PGPASSWORD_FILE")
    if not path or "password" in settings.connection:
        return settings
    if environment("PGPASSWORD"):
        raise mark.error("PGPASSWORD is set too; unset one of them", "PGPASSWORD_FILE")
    source = rotation.from_file(Path(path).absolute(), mark, "PGPASSWORD_FILE", strict=False)
    source.reveal()
    password = f"{CONNECTION}.password"
    return replace(
        settings,
        connection={**settings.connection, "password": source},
        marks={**settings.marks, password: mark},
        origins={password: "PGPASSWORD_FILE"},
    )


def findings(
    source: Source | bytes,
    *,
    resolve_env: bool = False,
    allow_sensitive_defaults: bool = False,
    strict: bool = False,
    name: str | None = None,
) -> list[ConfigError]:
    """Return every problem of a file, a dict or YAML in bytes, in the order of lines.

    Without *resolve_env*, values that are references are not judged, and a warning says
    so. Warnings are marked by their ``severity``, and *name* stands for the source in messages.
    """
    try:
        flags = _Flags(switched_on(resolve_env), allow_sensitive_defaults, strict)
        if isinstance(source, Mapping):
            reading, _ = _judge(read_dict(source, name or DICT), flags)
        elif isinstance(source, bytes):
            reading, _ = _judge(read_bytes(source, name or "<text>"), flags)
        else:
            root, mode = _read_file(source, name or os.fsdecode(source))
            reading, _ = _judge(root, flags, _folder(source), mode)
    except ConfigError as error:
        return [without_frames(error)]
    return [without_frames(problem) for problem in reading.in_order(*remarks(reading))]


def _folder(path: str | os.PathLike[str]) -> Path:
    return Path(path).absolute().parent


@sealed
def read_table(path: str | os.PathLike[str]) -> Table:
    """Return the nodes of the file at *path*, as they are written.

    Raises:
        ConfigError: It cannot be read, or is not YAML of the accepted kind.
    """
    return _read_file(path, os.fspath(path))[0]


def _read_file(path: str | os.PathLike[str], name: str) -> tuple[Table, int]:
    """Return the root node of a file, and the file's mode."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123  # no Path on the way to every handle
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        problem = "does not exist; `pgmonkey pgconfig create` writes a template"
        raise ConfigError(problem, file=name) from error
    except IsADirectoryError as error:
        raise ConfigError("is a directory, not a file", file=name) from error
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=name) from error
    except ValueError as error:
        raise ConfigError("is not the name of a file", file=name) from error
    return read_bytes(data, name), mode


def _judge(
    root: Table, flags: _Flags, folder: Path | None = None, mode: int = 0
) -> tuple[Reading, Resolver | None]:
    """Judge a configuration; *folder* and *mode* are those of its file, if it has one."""
    resolver = None
    if flags.resolve_env:
        resolver = Resolver(
            folder,
            allow_sensitive_defaults=flags.allow_sensitive_defaults,
            strict=flags.strict,
        )
    public = os.name == "posix" and bool(mode & stat.S_IROTH)
    validator = Validator(running_libpq(), resolver, strict=flags.strict, public=public)
    return validator.read(root), resolver


def _tell(reading: Reading) -> None:
    """Raise the first error of *reading*; if there is none, give its warnings."""
    if reading.errors:
        raise reading.errors[0]
    if reading.old_form is not None:
        warnings.warn(str(reading.old_form), DeprecationWarning, _caller())
    for warning in reading.warnings:
        log.warning("%s", warning)
    exposed = reading.exposed
    if exposed is not None and str(exposed.file) not in _told:
        _told.add(str(exposed.file))
        log.warning("%s", exposed)


def _caller() -> int:
    """Return the stack level, for ``warnings.warn``, of the first frame that is not ours."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").startswith("pgmonkey."):
        level, frame = level + 1, frame.f_back
    return level


def _settings(reading: Reading, name: str, flags: _Flags) -> Settings:
    """Return what *reading* means, unless it has errors."""
    _tell(reading)
    values: dict[str, dict[str, Any]] = {section: {} for section in ("", *SECTIONS)}
    for item in reading.items:
        if item.literal and flags.keep_references:
            if item.key.section in (CONNECTION, SYNC, ASYNC):
                text = _as_text(item.given)
                values[item.key.section][item.key.name] = Secret(text) if item.key.secret else text
        elif item.literal:
            problem = "is a reference, and resolve_env is off"
            hint = "turn it on with resolve_env=True or --resolve-env"
            raise item.mark.error(f"{problem}; {hint}", item.path)
        elif item.value is not None:
            values[item.key.section][item.key.name] = item.value
    if values[OPTIONS].get("prepare_threshold") is False:
        values[OPTIONS]["prepare_threshold"] = None
    return Settings(
        name=name,
        **values[""],
        connection=values[CONNECTION],
        pool_settings=PoolSettings(**values[POOL]),
        async_pool_settings=PoolSettings(**values[ASYNC_POOL]),
        sync_settings=values[SYNC],
        async_settings=values[ASYNC],
        options=ConnectionOptions(**values[OPTIONS]),
        marks={path: item.mark for item in reading.items for path in (item.path, item.key.path)},
        origins={item.key.path: item.origin for item in reading.items if item.origin},
        unresolved=frozenset(item.key.path for item in reading.items if item.literal),
    )


def _as_text(reference: object) -> str:
    """Return a reference as YAML has it: ``${HOST}``, or ``{from_env: HOST}``."""
    if not isinstance(reference, Mapping):
        return str(reference)
    ((name, operand),) = reference.items()
    return f"{{{name}: {operand}}}"
