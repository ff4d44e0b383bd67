"""The CI snippets: parsed as their systems do, and their commands run against a real server.

What GitHub, GitLab and Kubernetes would do around a command is done by hand here; the
command itself, its files and its limits come from the snippet.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from support.image import ROOT, docker, env

EXAMPLES = ROOT / "examples" / "ci"
# More connections than the server of the tests has, which is a mismatch.
TOO_MANY = 1000


def example(name: str) -> list[Any]:
    return list(yaml.safe_load_all((EXAMPLES / name).read_text(encoding="utf-8")))


@pytest.fixture(params=[pytest.param(False, id="fits"), pytest.param(True, id="mismatch")])
def mismatch(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def project(tmp_path: Path, variables, tls_only, certs, mismatch: bool) -> Path:
    """A checkout with a config.yaml that fits the server, or asks too much of it."""
    settings = {
        "host": variables["PGHOST"],
        "hostaddr": variables["PGHOSTADDR"],
        "user": variables["PGUSER"],
        "dbname": variables["PGDATABASE"],
        "sslmode": "verify-full",
        "sslrootcert": "ca.crt",
        "connect_timeout": 10,
    }
    pool = {"min_size": 1, "max_size": TOO_MANY if mismatch else 4}
    config = {"connection_settings": settings, "pool_settings": pool}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "ca.crt").write_bytes(certs.ca.read_bytes())
    for path in tmp_path.iterdir():
        path.chmod(0o644)
    tmp_path.chmod(0o777)  # as runners check out
    return tmp_path


def test_github_workflow_gates_and_leaves_sarif(image, project, variables, mismatch):
    (workflow,) = example("github-actions.yml")
    assert workflow["permissions"]["security-events"] == "write"
    steps = workflow["jobs"]["audit"]["steps"]
    (audit,) = [step for step in steps if "run" in step]
    (upload,) = [step for step in steps if "upload-sarif" in step.get("uses", "")]
    secrets = {
        name: re.sub(r"\$\{\{ secrets\.(\w+) \}\}", lambda m: variables[m[1]], value)
        for name, value in audit["env"].items()
    }
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", audit["run"]],
        cwd=project,
        env={**os.environ, **workflow["env"], **secrets, "PGMONKEY_IMAGE": image.name},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == (1 if mismatch else 0), done.stdout + done.stderr
    assert ("::error file=config.yaml,line=" in done.stdout) is mismatch
    assert upload["if"] == "always()"
    sarif = json.loads((project / upload["with"]["sarif_file"]).read_text())
    assert sarif["version"] == "2.1.0"
    results = sarif["runs"][0]["results"]
    assert any(result["level"] == "error" for result in results) is mismatch


def test_gitlab_job_gates_and_leaves_its_reports(image, project, variables, mismatch):
    (pipeline,) = example("gitlab-ci.yml")
    job = pipeline["audit"]
    assert job["image"]["entrypoint"] == [""]
    # GitLab's runner mounts the checkout somewhere else, and gives the script to a shell.
    mount = ("-v", f"{project}:/builds/project", "-w", "/builds/project", "--entrypoint", "sh")
    secret = env({"PGPASSWORD": variables["PGPASSWORD"]})
    script = "\n".join(job["script"])
    done = docker(*image.command("-ec", script, options=(*mount, *secret)))
    assert done.code == (1 if mismatch else 0), done.stdout + done.stderr
    assert job["artifacts"]["when"] == "always"
    reports = job["artifacts"]["reports"]
    quality = json.loads((project / reports["codequality"]).read_text())
    assert {entry["location"]["path"] for entry in quality} == {"config.yaml"}
    assert any(entry["severity"] in ("critical", "blocker") for entry in quality) is mismatch
    suite = ElementTree.parse(project / reports["junit"]).getroot()
    assert suite.tag == "testsuites"
    assert int(suite.attrib["tests"]) > 20


def test_kubernetes_job_gates(image, variables, tls_only, certs, mismatch):
    config_map, job = example("kubernetes-job.yaml")
    spec = job["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert job["spec"]["backoffLimit"] == 0
    assert spec["securityContext"]["runAsNonRoot"] is True
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    mode = volumes["credentials"]["secret"]["defaultMode"]
    config = config_map["data"]["config.yaml"]
    if mismatch:
        config += f"pool_settings: {{max_size: {TOO_MANY}}}\n"
    # As the kubelet writes them: root's, with the mode that the volume asks for.
    files = {
        "config": {"config.yaml": (config, 0, 0, 0o644)},
        "credentials": {
            "password": (variables["PGPASSWORD"], 0, 0, mode),
            "ca.crt": (certs.ca.read_text(), 0, 0, mode),
        },
    }
    given = {entry["name"]: entry["value"] for entry in container["env"]}
    given["PGDATABASE"] = variables["PGDATABASE"]
    security = container["securityContext"]
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"]["drop"] == ["ALL"]
    options: tuple[str, ...] = (
        *("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
        *("--add-host", f"db:{variables['PGHOSTADDR']}"),
        *env(given),
    )
    with image.volume(files["config"]) as first, image.volume(files["credentials"]) as second:
        for mount in container["volumeMounts"]:
            name = {"config": first, "credentials": second}[mount["name"]]
            options += ("-v", f"{name}:{mount['mountPath']}:ro")
        done = image.run(*container["args"], options=options)
    assert done.code == (1 if mismatch else 0), done.stdout + done.stderr
    answer = json.loads(done.stdout)
    assert answer["exit_code"] == done.code
