"""Django's DATABASES from the file that everything else uses.

Django makes its connections itself, from the same keywords; with ``"pool"`` it keeps them in
psycopg_pool's pool, sized as ``pool_settings`` says. In settings.py:

    from examples.django_settings import databases
    DATABASES = databases("/etc/app/pgmonkey.yaml")
"""

from __future__ import annotations

from typing import Any

from pgmonkey import load_config

# What Django has names of its own for.
NAMES = {"dbname": "NAME", "user": "USER", "password": "PASSWORD", "host": "HOST", "port": "PORT"}
# What psycopg_pool does not know.
OURS = ("check_on_checkout", "leak_after")


def databases(config: str, *, pool: bool = True) -> dict[str, Any]:
    """Return the value of DATABASES; with *pool*, Django keeps connections in a pool.

    A password given by ``from_file`` or ``from_command`` is read once, here. Django sets no
    session settings: those of ``sync_settings`` go along as libpq's ``options``.
    """
    loaded = load_config(config, resolve_env=True)
    keywords = {key: value for key, value in loaded["connection_settings"].items() if value}
    database: dict[str, Any] = {"ENGINE": "django.db.backends.postgresql"}
    database |= {theirs: str(keywords.pop(ours, "")) for ours, theirs in NAMES.items()}
    session = loaded.get("sync_settings") or {}
    if session:
        quoted = (f"-c {name}={_escaped(str(value))}" for name, value in session.items() if value)
        keywords["options"] = " ".join([keywords.get("options", ""), *quoted]).strip()
    if pool:
        sizes = loaded.get("pool_settings") or {}
        keywords["pool"] = {key: value for key, value in sizes.items() if key not in OURS}
    return {"default": database | {"OPTIONS": keywords}}


def _escaped(value: str) -> str:
    """Escape a value as libpq's ``options`` wants it: spaces and backslashes with a backslash."""
    return value.replace("\\", "\\\\").replace(" ", "\\ ")
