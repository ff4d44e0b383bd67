"""Every docker command of the README is run as printed, but for the name of the image."""

from __future__ import annotations

import os
import re
import subprocess

import psycopg
import pytest
import yaml

from support.image import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for block in re.findall(r"^```sh\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)
    for line in block.splitlines()
    if line.startswith("docker run ")
]


def test_image_is_built_as_the_readme_says():
    assert "\ndocker build -t pgmonkey .\n" in README
    assert len(COMMANDS) >= 5


@pytest.mark.parametrize("command", COMMANDS)
def test_command_runs(image, variables, tls_only, database, tmp_path, command):
    """The address of the server is what PGHOST says, since the host's name means nothing there."""
    variables["PGHOST"] = variables.pop("PGHOSTADDR")
    names = {"PGHOST": "host", "PGUSER": "user", "PGPASSWORD": "password", "PGDATABASE": "dbname"}
    config = {
        "connection_settings": {keyword: variables[name] for name, keyword in names.items()},
        "pool_settings": {"min_size": 1},
        "async_pool_settings": {"min_size": 1},
    }
    (tmp_path / "items.csv").write_text("id,name\n1,lamp\n")
    with psycopg.connect(**database.dsn_args()) as conn:
        conn.execute("CREATE TABLE item (id bigint, name text)")
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    path.chmod(0o600)
    tmp_path.chmod(0o755)
    typed = command.replace(" pgmonkey ", f" {image.name} ", 1)
    # The database is the user's own here, and in a test it is not.
    typed = typed.replace("-e PGUSER", "-e PGUSER -e PGDATABASE")
    done = subprocess.run(
        ["bash", "-c", typed],
        cwd=tmp_path,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    exported = tmp_path / "exported.csv"
    if exported.exists():
        assert exported.read_text() == "id,name\n"
    assert done.stdout or exported.exists() or "imported 1 row" in done.stderr
