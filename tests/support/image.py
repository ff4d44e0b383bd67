"""Our own image: built once per run, and run as `docker run` by people and CI jobs.

The engine is asked through the docker command, since that is what the README tells. Files
reach a container in a volume that root fills, so that owner and mode are what a test
says, wherever the engine keeps its volumes.
"""

from __future__ import annotations

import os
import re
import secrets
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.cli import LIMIT, Result
from support.docker import LABELS
from support.setup import Unavailable

ROOT = Path(__file__).parents[2]
# Seconds; a build on a fresh machine fetches the packages.
BUILD_LIMIT = 600

# The tests change HOME, below which the command keeps its contexts and plugins.
_ENV = {"DOCKER_CONFIG": str(Path.home() / ".docker"), **os.environ}
_LABELS = [f"--label={name}={value}" for name, value in LABELS.items()]


def docker(
    *argv: str | Path, stdin: str | None = None, timeout: float = LIMIT, cwd: Path | None = None
) -> Result:
    """Run the docker command and wait for it."""
    done = subprocess.run(
        ["docker", *map(str, argv)],
        env=_ENV,
        input=stdin or "",
        cwd=cwd,
        capture_output=True,
        encoding="utf-8",
        timeout=timeout,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def build() -> Image:
    """Build the image from this checkout, or take the one PGMONKEY_TEST_OUR_IMAGE names.

    Raises:
        Unavailable: No docker command, or no engine answers.
    """
    try:
        answer = docker("version", "--format", "{{.Server.Version}}")
    except FileNotFoundError as error:
        raise Unavailable("docker is not installed") from error
    if answer.code:
        raise Unavailable("no engine answers")
    if name := os.environ.get("PGMONKEY_TEST_OUR_IMAGE"):
        return Image(name, removed=False)
    name = f"pgmonkey:test-{secrets.token_hex(4)}"
    done = docker("build", "-t", name, *_LABELS, ROOT, timeout=BUILD_LIMIT)
    assert done.code == 0, done.stderr
    return Image(name)


def base_image() -> str:
    """Return the name of the image that ours stands on."""
    (default,) = re.findall(r"^ARG PYTHON=(.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    return f"python:{default}-slim"


@dataclass(frozen=True)
class Image:
    """Our image under the name it has for this run."""

    name: str
    removed: bool = True

    def command(self, *argv: str, options: tuple[str, ...] = ()) -> list[str]:
        """Return the words after ``docker`` that run *argv* in a fresh container."""
        return ["run", "--rm", "-i", *_LABELS, *options, self.name, *argv]

    def run(self, *argv: str, options: tuple[str, ...] = (), stdin: str | None = None) -> Result:
        """Run ``pgmonkey`` with *argv* in a fresh container.

        Args:
            options: For ``docker run``, such as ``--user``.
        """
        return docker(*self.command(*argv, options=options), stdin=stdin)

    def start(self, *argv: str, options: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
        """Start ``pgmonkey`` with *argv* and a pipe to its standard input."""
        return subprocess.Popen(
            ["docker", *self.command(*argv, options=options)],
            env=_ENV,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    @contextmanager
    def volume(self, files: Mapping[str, tuple[str, int, int, int]]) -> Iterator[str]:
        """Give the name of a volume with *files*: text, owner, group and mode by name."""
        name = f"pgmonkey-test-{secrets.token_hex(6)}"
        script = ""
        for file, (text, owner, group, mode) in files.items():
            install = f"install -o {owner} -g {group} -m {mode:04o} /dev/stdin /volume/{file}"
            script += f"printf %s {shlex.quote(text)} | {install}\n"
        made = docker("volume", "create", *_LABELS, name)
        assert made.code == 0, made.stderr
        try:
            options = ("--user", "0:0", "--entrypoint", "sh", "-v", f"{name}:/volume")
            filled = docker(*self.command("-es", options=options), stdin=script)
            assert filled.code == 0, filled.stderr
            yield name
        finally:
            docker("volume", "rm", "-f", name)

    def remove(self) -> None:
        """Remove the name, and with it the image if nothing else has it."""
        if self.removed:
            docker("image", "rm", "-f", self.name)


def env(variables: Mapping[str, str]) -> tuple[str, ...]:
    """Return the options that set *variables* in a container."""
    return tuple(word for name, value in variables.items() for word in ("-e", f"{name}={value}"))


def handles(container: str, signum: int) -> bool:
    """Tell whether the first process of *container* handles a signal by now."""
    asked = docker("exec", container, "cat", "/proc/1/status")
    caught = re.search(r"SigCgt:\s+(\w+)", asked.stdout)
    return caught is not None and bool(int(caught[1], 16) >> (signum - 1) & 1)
