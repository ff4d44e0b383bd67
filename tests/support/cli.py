"""Run the command line as a user does: another process, real streams, a real exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pgmonkey

# Seconds. A command that hangs fails its test by name instead of stopping the run.
LIMIT = 60

# Takes from root the right to pass over the permissions of files.
_OBEYING = (
    ("setpriv", "--bounding-set", "-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
)

# The child imports the very package this process tests, wherever its working folder is.
_PACKAGE_HOME = str(Path(pgmonkey.__file__).parent.parent)


@dataclass(frozen=True)
class Result:
    """What one command left behind."""

    code: int
    stdout: str
    stderr: str


def run(
    *argv: str | Path,
    env: Mapping[str, str | None] | None = None,
    stdin: str | None = None,
    cwd: Path | None = None,
    timeout: float = LIMIT,
    obeying: bool = False,
) -> Result:
    """Run ``python -m pgmonkey`` with *argv* and wait for it.

    Args:
        env: Changes to this process's environment; None as a value removes a variable.
        stdin: Text for its standard input; None gives an empty one.
        cwd: Working folder; None is the empty home folder of the tests.
        timeout: Seconds until the command is killed and the test fails.
        obeying: Whether permissions of files hold for root, too.
    """
    environ = {**os.environ, "PYTHONPATH": _PACKAGE_HOME}
    for name, value in (env or {}).items():
        if value is None:
            environ.pop(name, None)
        else:
            environ[name] = value
    done = subprocess.run(
        [*(_OBEYING if obeying else ()), sys.executable, "-m", "pgmonkey", *map(str, argv)],
        env=environ,
        input=stdin or "",
        cwd=cwd or environ["HOME"],
        capture_output=True,
        encoding="utf-8",
        timeout=timeout,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)
