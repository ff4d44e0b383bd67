"""`./scripts/demo` on a machine with Python and nothing else, as root and as a user."""

from __future__ import annotations

import pytest

from support.image import BUILD_LIMIT, ROOT, Image, base_image, docker

# What the demo needs of a checkout, in a place where whoever runs it may write, so that we
# see whether it does. A small image has no ps, so processes are read from /proc.
SCRIPT = """
mkdir /tmp/clone && cd /checkout
cp -R LICENSE README.md pgmonkey pyproject.toml scripts /tmp/clone/
find /tmp/clone -name __pycache__ -prune -exec rm -r {} +
chown -R $WHO /tmp/clone && cd /tmp/clone
state() {
    find / -xdev -type f -newer /tmp/begin ! -path '/proc/*' ! -path '/sys/*' ! -name before ! -name after | sort
    find /tmp -mindepth 1 -maxdepth 2 | sort
    cksum /etc/passwd /etc/group
    cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -o '[p]ostgres' | sort
    cat /proc/net/tcp /proc/net/tcp6 | grep ' 0A ' | wc -l
}
touch /tmp/begin && sleep 0.1
state >/before
setpriv --reuid $WHO --regid $WHO --clear-groups ./scripts/demo
echo "ended with $?"
state >/after
diff /before /after && echo "nothing is left"
"""


@pytest.mark.parametrize("who", ["0", "65534"], ids=["root", "nobody"])
def test_demo_runs_and_leaves_nothing(image: Image, who: str):
    """A container of the bare base is the machine; our image only says that there is an engine."""
    machine = Image(base_image(), removed=False)
    options = ("-e", f"WHO={who}", "-e", "HOME=/tmp", "-v", f"{ROOT}:/checkout:ro")
    done = docker(*machine.command("sh", "-s", options=options), stdin=SCRIPT, timeout=BUILD_LIMIT)
    assert "ended with 0\n" in done.stdout, done.stderr
    assert done.stdout.endswith("nothing is left\n"), done.stdout
    assert "4 of 4 connection types passed" in done.stderr
    assert done.stdout.count("TLSv1.3 TLS_") == 4
    assert "imported 8 rows into demo_orders" in done.stderr
    assert "2 rejected" in done.stderr
    assert "ADMITTED by pg_hba.conf:2 " in done.stdout
