"""What the library logs and warns about, as a command's notes.

Without this, Python prints warnings of a library raw on standard error. psycopg_pool's
own are shown with -v only: each repeats what the command itself will report.
"""

from __future__ import annotations

import logging
import warnings
from typing import TextIO

from pgmonkey.cli.output import Output

_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)


def attach(out: Output) -> None:
    """Show log records and deprecations through *out* from now on."""
    root = logging.getLogger()
    for old in [handler for handler in root.handlers if isinstance(handler, _Notes)]:
        root.removeHandler(old)
    root.addHandler(_Notes(out))
    logging.getLogger("pgmonkey").setLevel(_LEVELS[max(0, min(out.verbosity, 2))])

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        out.warning(str(message))

    warnings.showwarning = show
    # Python hides deprecations that arise in a library; here the user is the one to act.
    warnings.filterwarnings("default", category=DeprecationWarning, module="pgmonkey")


class _Notes(logging.Handler):
    def __init__(self, out: Output) -> None:
        super().__init__()
        self._out = out

    def emit(self, record: logging.LogRecord) -> None:
        ours = record.name.split(".")[0] == "pgmonkey"
        if ours and record.levelno >= logging.WARNING:
            self._out.warning(record.getMessage())
        else:
            self._out.detail(f"{record.levelname.lower()}: {record.name}: {record.getMessage()}")
