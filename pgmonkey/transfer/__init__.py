"""CSV into and out of PostgreSQL, over a connection that somebody else opened.

    from pgmonkey.transfer import export_csv, import_csv

Names are imported on first use, since a connection is all that most programs want.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pgmonkey.transfer.exporter import Exported as Exported
    from pgmonkey.transfer.exporter import export_csv as export_csv
    from pgmonkey.transfer.importing import import_csv as import_csv
    from pgmonkey.transfer.plan import Summary as Summary

_HOME = {
    "export_csv": "pgmonkey.transfer.exporter",
    "Exported": "pgmonkey.transfer.exporter",
    "import_csv": "pgmonkey.transfer.importing",
    "Summary": "pgmonkey.transfer.plan",
}

__all__ = [*_HOME]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value: object = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value
