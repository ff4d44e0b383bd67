"""One YAML file for every PostgreSQL connection.

    from pgmonkey import PGConnectionManager, load_config, redact_config

Names are imported on first use, so that ``pgmonkey --help`` pays for none of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgmonkey._version import __version__

if TYPE_CHECKING:
    from pgmonkey.config.load import load_config as load_config
    from pgmonkey.config.redaction import redact_config as redact_config
    from pgmonkey.connections.manager import PGConnectionManager as PGConnectionManager
    from pgmonkey.errors import CommitUnknownError as CommitUnknownError
    from pgmonkey.errors import ConfigError as ConfigError
    from pgmonkey.errors import EnvInterpolationError as EnvInterpolationError
    from pgmonkey.errors import HandleBusyError as HandleBusyError
    from pgmonkey.errors import HandleError as HandleError
    from pgmonkey.errors import PGMonkeyError as PGMonkeyError
    from pgmonkey.errors import SessionSettingError as SessionSettingError
    from pgmonkey.errors import TransactionLostError as TransactionLostError

_HOME = {
    "PGConnectionManager": "pgmonkey.connections.manager",
    "load_config": "pgmonkey.config.load",
    "redact_config": "pgmonkey.config.redaction",
    "PGMonkeyError": "pgmonkey.errors",
    "ConfigError": "pgmonkey.errors",
    "EnvInterpolationError": "pgmonkey.errors",
    "SessionSettingError": "pgmonkey.errors",
    "HandleError": "pgmonkey.errors",
    "HandleBusyError": "pgmonkey.errors",
    "TransactionLostError": "pgmonkey.errors",
    "CommitUnknownError": "pgmonkey.errors",
}

__all__ = ["__version__", *_HOME]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value: object = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
