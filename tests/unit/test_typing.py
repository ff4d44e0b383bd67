"""The types that an editor shows: judged by mypy in strict mode, on what users write."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pgmonkey

USES = Path(__file__).parents[1] / "typing" / "typical_uses.py"
HOME = str(Path(pgmonkey.__file__).parents[1])


def test_typical_uses_have_the_right_types_and_mistakes_are_found(tmp_path):
    (tmp_path / "mypy.ini").write_text("[mypy]\n", encoding="utf-8")  # and not the project's
    environment = dict(os.environ)
    if sysconfig.get_path("purelib") != HOME:  # there, mypy finds it by itself
        environment["MYPYPATH"] = HOME
    # Silent: the package itself is checked elsewhere, with the stubs that it needs.
    options = ["--strict", "--follow-imports=silent", f"--cache-dir={tmp_path / 'cache'}"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, USES],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
