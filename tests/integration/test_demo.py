"""The README's first command shows what it says, with the server this run uses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from support.server import PgServer

DEMO = Path(__file__).parents[2] / "scripts" / "demo.py"


def test_demo_logs_in_with_all_four_types_and_runs_a_generated_program(server: PgServer):
    done = subprocess.run(
        [sys.executable, DEMO, server.provider],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "4 of 4 connection types passed" in done.stderr
    assert done.stdout.count("TLSv1.3 TLS_") == 4
    assert done.stdout.rstrip().endswith("'app')")
