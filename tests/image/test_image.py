"""`docker run` as people and CI jobs type it: what is in the image, and how little it needs."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from pathlib import Path

import pytest
import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

import pgmonkey
from support.image import ROOT, base_image, docker, env, handles
from support.wait import until

# What it may get in the tightest place: nothing to write to, no rights, no account.
TIGHT = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
TEST = ("pgconfig", "test")
# Bytes; promised in the README.
LARGEST_ADDITION = 25_000_000
# Seconds until `docker stop` kills. What is terminated ends with another exit code.
PATIENCE = 30


def inspect(image, template: str) -> str:
    return docker("image", "inspect", "-f", template, image.name).stdout.strip()


def test_what_we_add_to_the_base_is_small(image):
    layers = [
        json.loads(docker("image", "inspect", name).stdout)[0]
        for name in (image.name, base_image())
    ]
    ours, theirs = layers
    assert ours["RootFS"]["Layers"][: len(theirs["RootFS"]["Layers"])] == theirs["RootFS"]["Layers"]
    added = ours["Size"] - theirs["Size"]
    assert 0 < added <= LARGEST_ADDITION
    said = re.search(r"adds (\d+) MB", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert said is not None
    assert abs(int(said[1]) - added / 1e6) <= 2, f"the README says {said[1]} MB, it is {added}"


def test_nothing_to_build_with_is_left(image):
    """The base has a pip of its own; there is none in our part, and no compiler at all."""
    script = "command -v gcc cc g++ make ld; find /opt /src /build /wheel -name pip* -o -name *.whl"
    done = image.run("-fc", script, options=("--entrypoint", "sh"))
    assert done.stdout == ""


def test_labels_say_what_it_is(image):
    labels = json.loads(inspect(image, "{{json .Config.Labels}}"))
    prefix = "org.opencontainers.image."
    assert labels[f"{prefix}version"] == pgmonkey.__version__
    assert labels[f"{prefix}licenses"] == "MIT"
    assert labels[f"{prefix}base.name"] == f"docker.io/library/{base_image()}"
    assert {f"{prefix}{name}" for name in ("title", "description", "revision")} <= labels.keys()


def test_it_runs_as_a_number_in_group_0_and_begins_in_work(image):
    assert inspect(image, "{{.Config.User}} {{.Config.WorkingDir}}") == "10001:0 /work"
    done = image.run("-c", "touch made && id -u && id -g", options=("--entrypoint", "sh"))
    assert done.stdout.split() == ["10001", "0"], done.stderr


def test_without_words_it_shows_its_help(image):
    done = image.run()
    assert (done.code, done.stdout.startswith("usage: pgmonkey")) == (0, True)


def test_bill_of_materials_is_valid_and_names_what_is_inside(image):
    done = image.run("/opt/pgmonkey/sbom.cdx.json", options=("--entrypoint", "cat"))
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(done.stdout) is None
    bill = json.loads(done.stdout)
    parts = {part["name"]: part for part in bill["components"]}
    installed = image.run(
        "-c",
        "import importlib.metadata as m\n"
        "for d in m.distributions(): print(d.name.lower().replace('_', '-'), d.version)",
        options=("--entrypoint", "python"),
    )
    for line in installed.stdout.splitlines():
        name, version = line.split()
        part = bill["metadata"]["component"] if name == "pgmonkey" else parts[name]
        assert part["version"] == version
    inside = {part["name"] for part in parts["psycopg-binary"]["components"]}
    assert {"openssl", "libpq"} <= inside
    assert "libc6" in parts
    assert parts["python"]["version"].startswith(
        base_image().removeprefix("python:").partition("-")[0]
    )


def test_packages_are_those_of_the_lock_file(image):
    locked = dict(
        re.findall(r"^([\w-]+)==(\S+)", (ROOT / "image/requirements.txt").read_text(), re.M)
    )
    done = image.run("/opt/pgmonkey/sbom.cdx.json", options=("--entrypoint", "cat"))
    parts = json.loads(done.stdout)["components"]
    found = {p["name"]: p["version"] for p in parts if p["purl"].startswith("pkg:pypi/")}
    assert found == locked


@pytest.mark.parametrize("user", [(), ("--user", "12345:12345"), ("--user", "0:0")])
def test_variables_alone_are_enough_in_the_tightest_place(image, variables, user):
    done = image.run(*TEST, options=(*TIGHT, *user, *env(variables)))
    assert done.code == 0, done.stderr
    assert f"@{variables['PGDATABASE']}" in done.stdout


def test_user_without_account_or_home_folder_is_fine(image, variables):
    options = (*TIGHT, "--user", "12345:12345", *env(variables | {"HOME": ""}))
    assert image.run(*TEST, options=options).code == 0


def test_user_without_account_is_asked_for_the_role(image, variables):
    del variables["PGUSER"]
    done = image.run(*TEST, options=("--user", "12345:12345", *env(variables)))
    assert done.code == 2
    assert "name the role to log in as" in done.stderr


@pytest.mark.parametrize(
    ("change", "code"),
    [({}, 0), ({"PGPORT": "no"}, 2), ({"PGPASSWORD": "wrong"}, 3)],
)
def test_exit_codes_pass_through(image, variables, change, code):
    assert image.run(*TEST, options=env(variables | change)).code == code


@pytest.mark.parametrize("user", [(), ("--user", "12345:12345")])
@pytest.mark.parametrize(
    ("change", "more", "code"),
    [
        ({}, (), 0),
        ({}, ("--fail-on", "low"), 1),
        ({"PGSSLMODE": "verify_full"}, (), 2),
        ({"PGPASSWORD": "wrong"}, (), 3),
        ({"PGHOSTADDR": "127.0.0.1"}, (), 3),
    ],
)
def test_audit_needs_variables_and_nothing_else(
    image, variables, tls_only, user, change, more, code
):
    options = (*TIGHT, *user, *env(variables | change))
    done = image.run("pgserverconfig", "--audit", *more, options=options)
    assert done.code == code, done.stdout + done.stderr
    assert ("ADMITTED" in done.stdout.partition("\n")[0]) is (code < 2)


def test_answer_no_passes_through(image, variables):
    options = env(variables | {"PGSSLMODE": "disable"})
    assert image.run(*TEST, "--require-tls", options=options).code == 1


def test_mounted_configuration_and_secret_file(image, variables, certs):
    config = {
        "connection_settings": {
            "host": "${PGHOST}",
            "hostaddr": "${PGHOSTADDR}",
            "user": "${PGUSER}",
            "dbname": "${PGDATABASE}",
            "password": {"from_file": "/run/secrets/db-password"},
            "sslmode": "verify-full",
            "sslrootcert": "/work/ca.crt",
        }
    }
    password = variables.pop("PGPASSWORD")
    files = {
        "config.yaml": (yaml.safe_dump(config), 0, 0, 0o644),
        "ca.crt": (certs.ca.read_text(), 0, 0, 0o644),
    }
    secret = {"db-password": (password + "\n", 0, 0, 0o440)}
    with image.volume(files) as work, image.volume(secret) as secrets:
        mounts = ("-v", f"{work}:/work:ro", "-v", f"{secrets}:/run/secrets:ro")
        done = image.run(
            *TEST, "-c", "config.yaml", "--resolve-env", options=(*TIGHT, *mounts, *env(variables))
        )
    assert done.code == 0, done.stderr
    assert "TLSv1.3" in done.stdout


def test_password_file_without_a_configuration(image, variables):
    secret = {"db-password": (variables.pop("PGPASSWORD") + "\n", 0, 0, 0o440)}
    with image.volume(secret) as secrets:
        variables["PGPASSWORD_FILE"] = "/run/secrets/db-password"
        mounts = ("-v", f"{secrets}:/run/secrets:ro")
        assert image.run(*TEST, options=(*TIGHT, *mounts, *env(variables))).code == 0


def test_configuration_on_standard_input(image, variables):
    config = "connection_settings: {sslmode: disable}"
    done = image.run(*TEST, "-c", "-", options=(*TIGHT, *env(variables)), stdin=config)
    assert done.code == 0, done.stderr


def test_system_means_the_authorities_of_the_image(image, variables, certs):
    """OpenSSL of psycopg's wheel looks elsewhere unless it is told; here is where it looks."""
    hashed = subprocess.run(
        ["openssl", "x509", "-hash", "-noout", "-in", certs.ca], capture_output=True, text=True
    ).stdout.strip()
    variables |= {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": "system"}
    refused = image.run(*TEST, options=env(variables))
    assert (refused.code, "PGM308" in refused.stderr) == (3, True)
    with image.volume({"ca": (certs.ca.read_text(), 0, 0, 0o644)}) as volume:
        # As `update-ca-certificates` in an image derived from ours would have it.
        script = f"cp /v/ca /etc/ssl/certs/{hashed}.0 && exec pgmonkey pgconfig test"
        options = ("--user", "0:0", "--entrypoint", "sh", "-v", f"{volume}:/v:ro", *env(variables))
        done = image.run("-c", script, options=options)
        assert done.code == 0, done.stderr
        mounted = ("-v", f"{volume}:/v:ro", *env(variables | {"SSL_CERT_FILE": "/v/ca"}))
        assert image.run(*TEST, options=mounted).code == 0


def test_public_authorities_are_there(image):
    script = (
        "import ctypes, glob, os, ssl\n"
        "print(len(ssl.create_default_context(cafile=os.environ['SSL_CERT_FILE']).get_ca_certs()))"
    )
    done = image.run("-c", script, options=("--entrypoint", "python"))
    assert int(done.stdout) > 50


def test_docker_stop_ends_a_command_that_waits_with_143(image, tmp_path: Path):
    """Process 1 gets no signal but those it handles, so it must handle this one early."""
    cid = tmp_path / "cid"
    process = image.start(*TEST, "-c", "-", options=("--cidfile", str(cid)))
    until(lambda: cid.exists() and handles(cid.read_text(), signal.SIGTERM))
    stopped = docker("stop", "-t", str(PATIENCE), cid.read_text())
    _, stderr = process.communicate()
    assert (stopped.code, process.returncode) == (0, 143)  # killed, it would be 137
    assert stderr.decode() == "terminated\n"
