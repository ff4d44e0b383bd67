"""Log in to PostgreSQL with psycopg, connection type pool, and print a row."""

from pathlib import Path
from typing import Any

import yaml
from psycopg_pool import ConnectionPool

CONFIG = Path("config.yaml")


class AsWritten(yaml.SafeLoader):
    """Reads every value as the text that stands there: a port 05432, a password 007."""


AsWritten.yaml_implicit_resolvers = {
    first: [rule for rule in rules if rule[0].endswith((":null", ":merge"))]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_config() -> dict[str, Any]:
    """Return the configuration."""
    text = CONFIG.read_text(encoding="utf-8-sig")
    return yaml.load(text, Loader=AsWritten)


def given(config: dict[str, Any], section: str) -> dict[str, Any]:
    """Return the values of a section which are not left empty."""
    values = config.get(section) or {}
    return {key: value for key, value in values.items() if value not in (None, "")}


def main() -> None:
    config = read_config()
    sizes = given(config, "pool_settings")
    pool = ConnectionPool(
        kwargs=given(config, "connection_settings"),
        min_size=int(sizes.get("min_size", 5)),
        max_size=int(sizes.get("max_size", 20)),
        timeout=float(sizes.get("timeout", 30)),
        max_idle=float(sizes.get("max_idle", 300)),
        max_lifetime=float(sizes.get("max_lifetime", 3600)),
        open=False,
    )
    # Entering the pool opens it, leaving it closes its connections.
    with pool, pool.connection() as conn, conn.cursor() as cur:
        cur.execute("SELECT current_database(), current_user")
        print(cur.fetchone())


if __name__ == "__main__":
    main()
