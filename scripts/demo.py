"""What ``scripts/demo`` shows: every command as a user would type it, and what it prints.

The server comes from the same providers as the tests', with certificates made for this
run; only the folder it is shown in and the server itself are thrown away at the end.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support.certs import CertKit
from support.choice import Wish, choose
from support.server import Database, PgServer
from support.setup import Setup

CONFIG = """\
connection_type: normal

connection_settings:
  host: {host}
  port: {port}
  user: {user}
  password: {password}
  dbname: {dbname}
  sslmode: verify-full
  sslrootcert: {sslrootcert}

pool_settings: {{min_size: 2, max_size: 5}}
async_pool_settings: {{min_size: 2, max_size: 5}}
"""

STEPS = (
    "pgmonkey pgconfig validate config.yaml",
    "pgmonkey pgconfig show -c config.yaml",
    "pgmonkey pgconfig test -c config.yaml --connection-type all",
    "pgmonkey pgconfig generate-code -c config.yaml --connection-type async_pool > app.py",
    "python app.py",
)


def main(provider: str) -> int:
    """Start a server, run every step in a folder of its own, and return the worst exit code."""
    choice = choose(Wish.of({}, provider))
    if choice.provider is None:
        print("no PostgreSQL server can be started here:", *choice.reasons, sep="\n  ")
        return 3
    print(f"starting a throw-away server: {choice.provider.title}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        setup = Setup(CertKit(folder))
        running = choice.provider.start(setup)
        try:
            with PgServer(choice.provider, running, setup).database() as database:
                return show(database, folder)
        finally:
            running.stop()


def show(database: Database, folder: Path) -> int:
    """Write the configuration and run the steps; the first that fails is the last."""
    config = folder / "config.yaml"
    config.touch(mode=0o600)
    config.write_text(CONFIG.format(**database.dsn_args()), encoding="utf-8")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for step in STEPS:
        print(f"\n$ {step}", flush=True)
        code = subprocess.run(
            step, shell=True, cwd=folder, env=os.environ | {"PATH": path}, check=False
        ).returncode
        if code:
            print(f"{shlex.quote(step)} ended with exit code {code}")
            return code
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1] if len(sys.argv) > 1 else "auto"))
