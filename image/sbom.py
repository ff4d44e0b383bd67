"""Write the bill of materials of the image, in CycloneDX 1.6.

The image build runs this with the Python that the image will have: its Python packages, the
libraries that wheels carry inside them, and Debian's packages of the base. A wheel names some
of its libraries itself (PEP 770); OpenSSL and libpq, which it does not name, are asked.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import platform
import re
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

Component = dict[str, Any]

DPKG = Path("/var/lib/dpkg/status")


def component(kind: str, name: str, version: str, purl: str, **more: Any) -> Component:
    return {
        "type": kind,
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
        **more,
    }


def licence(expression: str | None, text: str | None) -> dict[str, Any]:
    """Return what a package says of its licence: an SPDX expression, or its own short words."""
    if expression:
        return {"licenses": [{"expression": expression}]}
    if text and "\n" not in text.strip():
        return {"licenses": [{"license": {"name": text.strip()}}]}
    return {}


def python_packages() -> Iterator[Component]:
    """Give each installed distribution, with the libraries inside it."""
    for dist in distributions():
        meta = dist.metadata
        name = re.sub(r"[-_.]+", "-", meta["Name"]).lower()
        inside = [*named_inside(dist), *found_inside(dist)]
        more = licence(meta.get("License-Expression"), meta.get("License"))
        if inside:
            more["components"] = inside
        yield component("library", name, dist.version, f"pkg:pypi/{name}@{dist.version}", **more)


def named_inside(dist: Distribution) -> Iterator[Component]:
    """Give the components that a wheel's own bills of materials name (PEP 770)."""
    for path in dist.files or ():
        if path.match("*.dist-info/sboms/*.cdx.json"):
            for part in json.loads(path.read_text())["components"]:
                if not part["purl"].startswith("pkg:pypi/"):
                    yield part


def found_inside(dist: Distribution) -> Iterator[Component]:
    """Give the shared libraries that a wheel carries, OpenSSL and libpq with their versions."""
    for path in dist.files or ():
        file = Path(str(path.locate()))
        if not path.parts[0].endswith(".libs"):
            continue
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        purl = f"pkg:generic/{file.name}?checksum=sha256:{digest}"
        yield {
            "type": "file",
            "bom-ref": purl,
            "name": file.name,
            "hashes": [{"alg": "SHA-256", "content": digest}],
        }
        if file.name.startswith("libcrypto"):
            library = ctypes.CDLL(str(file))
            library.OpenSSL_version.restype = ctypes.c_char_p
            version = library.OpenSSL_version(0).decode().split()[1]  # OpenSSL 3.5.4 30 Sep 2025
            yield component("library", "openssl", version, f"pkg:generic/openssl@{version}")
        if file.name.startswith("libpq"):
            import psycopg

            major, minor = divmod(psycopg.pq.version(), 10000)
            yield component(
                "library", "libpq", f"{major}.{minor}", f"pkg:generic/postgresql@{major}.{minor}"
            )


def debian_packages() -> Iterator[Component]:
    """Give what dpkg has installed in the base."""
    for paragraph in DPKG.read_text(encoding="utf-8").split("\n\n") if DPKG.exists() else ():
        fields = dict(re.findall(r"^([\w-]+): (.*)$", paragraph, re.MULTILINE))
        if fields.get("Status") != "install ok installed":
            continue
        name, version, arch = fields["Package"], fields["Version"], fields["Architecture"]
        purl = f"pkg:deb/debian/{name}@{version.replace('+', '%2B')}?arch={arch}"
        yield component("library", name, version, purl)


def bill() -> dict[str, Any]:
    """Return the document. It has no time and no serial number, so that equal images have equal ones."""
    packages = sorted(python_packages(), key=lambda part: part["name"])
    (ours,) = (part for part in packages if part["name"] == "pgmonkey")
    # Not pkg:pypi, where that name belongs to another program.
    purl = f"pkg:generic/pgmonkey@{ours['version']}"
    python = component(
        "platform",
        "python",
        platform.python_version(),
        f"pkg:generic/python@{platform.python_version()}",
    )
    others = [part for part in packages if part is not ours]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": ours | {"type": "application", "purl": purl, "bom-ref": purl}},
        "components": [python, *others, *debian_packages()],
    }


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(bill(), indent=1) + "\n", encoding="utf-8")
