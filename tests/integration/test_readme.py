"""Whatever the README shows is run: its programs, its commands, its sample of mistakes."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pgmonkey.server.waivers import parse_waivers
from support.cli import run

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
RELIABILITY = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


@pytest.fixture
def folder(config_file: Path, database: Any) -> Path:
    """A folder with the config.yaml of which the README speaks, its table and its CSV."""
    with database.server.admin(database.name) as conn:
        conn.execute("CREATE TABLE item (name text)")
        conn.execute("GRANT ALL ON item TO PUBLIC")
    config_file.rename(config_file.parent / "config.yaml")
    orders = "id;customer;zip;total\r\n1;Müller;00501;1.50\r\n2;;10115;2\r\n"
    (config_file.parent / "orders.csv").write_bytes(orders.encode("cp1252"))
    return config_file.parent


def test_every_program_runs(folder):
    programs = blocks("python") + blocks("python", RELIABILITY)
    assert len(programs) >= 5
    for program in programs:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", program],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert (done.stderr, done.returncode) == ("", 0), program


COMMANDS = [
    commands
    for block in blocks("sh")
    if (commands := [line for line in block.splitlines() if line.startswith("pgmonkey ")])
]


@pytest.mark.parametrize("commands", COMMANDS, ids=lambda commands: commands[0].partition(" -")[0])
def test_every_block_of_commands_runs_from_top_to_bottom(folder, commands):
    """A reader pastes a whole block, so each command finds what the one before it has left."""
    for command in commands:
        words = shlex.split(command, comments=True)[1:]
        if "--filepath config.yaml" in command:
            (folder / "config.yaml").unlink()
        done = run(*words, cwd=folder)
        assert (done.code, done.stdout + done.stderr != "") == (0, True), (command, done.stderr)


def test_sample_of_an_import_is_what_pgimport_prints(folder):
    found = re.findall(r"^```\n\$ (pgmonkey pgimport [^\n]*)\n(.*?)^```", README, re.S | re.M)
    ((command, sample),) = found  # the demo's own is held against the demo
    done = run(*shlex.split(command)[1:], cwd=folder)
    speed = r"in [\d.]+ s, [\d,]+ rows/s"
    assert re.sub(speed, "SPEED", done.stderr) == re.sub(speed, "SPEED", sample)
    assert (done.code, done.stdout) == (0, "")


def test_sample_of_mistakes_is_what_validate_prints(tmp_path):
    (sample,) = re.findall(
        r"^\$ pgmonkey pgconfig validate config.yaml\n(.*?)^```", README, re.S | re.M
    )
    config = tmp_path / "config.yaml"
    config.write_text(
        "connection_settings:\n  host: db.example.com\n  user: app\n  password: secret\n"
        "  dbname: sales\n  sslmode: verify_full\n  prot: 5432\npool_settings:\n  min_size: 30\n"
    )
    config.chmod(0o600)
    done = run("pgconfig", "validate", "config.yaml", cwd=tmp_path)
    assert (done.stdout + done.stderr, done.code) == (sample, 1)


def test_sample_of_a_failed_login_is_what_pgconfig_test_prints(config_dict, tmp_path):
    (sample,) = re.findall(r"^```\n(error\[PGM301\].*?)^```", README, re.S | re.M)
    settings = config_dict["connection_settings"]
    first = {"host": settings["host"], "user": settings["user"], "password": "wrong"}
    config = tmp_path / "config.yaml"
    config.touch(mode=0o600)
    config.write_text(
        yaml.safe_dump({"connection_settings": first | settings | first}, sort_keys=False)
    )
    done = run("pgconfig", "test", "-c", "config.yaml", cwd=tmp_path)
    lines = [
        re.sub(r"[\d.]+ ms", "N ms", re.sub(r" at \S+", " at SERVER", text)).splitlines()
        for text in (done.stderr, sample)
    ]
    assert (lines[0][:3], done.code) == (lines[1], 3)


def test_every_configuration_is_valid(tmp_path):
    secret = tmp_path / "db-password"
    secret.write_text("secret")
    for number, block in enumerate(blocks("yaml")):
        config = tmp_path / f"{number}.yaml"
        config.write_text(block.replace("/run/secrets/db-password", str(secret)))
        config.chmod(0o600)
        done = run("pgconfig", "validate", config, env={"PGUSER": "app"})
        assert (done.code, "0 errors" in done.stderr) == (0, True), done


def test_sample_of_a_rejected_row_is_what_pgimport_writes(folder, database):
    (sample,) = re.findall(
        r"^```\n(file,line,column,sqlstate,reason,row\n.*?)^```", README, re.S | re.M
    )
    with database.server.admin(database.name) as conn:
        conn.execute("CREATE TABLE orders (id bigint, customer text, zip text, total numeric)")
        conn.execute("GRANT ALL ON orders TO PUBLIC")
    with (folder / "orders.csv").open("ab") as file:
        file.write(b"3;Smith;10117;2,50\r\n")
    ((command,),) = [block for block in COMMANDS if "--rejects rejected.csv" in block[0]]
    assert run(*shlex.split(command)[1:], cwd=folder).code == 0
    assert (folder / "rejected.csv").read_text().splitlines() == sample.splitlines()


def test_sample_of_waivers_accepts_a_check_that_there_is(folder):
    (sample,) = re.findall(r"^```\n(- id: .*?)^```", README, re.S | re.M)
    (folder / "waivers.yaml").write_text(sample)
    args = ("pgserverconfig", "-c", "config.yaml", "--audit", "--fail-on", "never", "--json")
    done = run(*args, "--waivers", "waivers.yaml", cwd=folder)
    assert done.code == 0, done.stderr
    (waiver,) = parse_waivers(sample, "waivers.yaml")
    assert waiver.id in {result["id"] for result in json.loads(done.stdout)["results"]}
