"""Log in to PostgreSQL with psycopg, connection type async, and print a row."""

import asyncio
from pathlib import Path
from typing import Any

import psycopg
import yaml

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


async def prepare(conn: psycopg.AsyncConnection, config: dict[str, Any]) -> None:
    """Apply the session settings to a new connection."""
    for name, value in given(config, "async_settings").items():
        await conn.execute("SELECT set_config(%s, %s, false)", (name, value))
    await conn.commit()


async def main() -> None:
    config = read_config()
    conn = await psycopg.AsyncConnection.connect(**given(config, "connection_settings"))
    async with conn, conn.cursor() as cur:
        await prepare(conn, config)
        await cur.execute("SELECT current_database(), current_user")
        print(await cur.fetchone())


if __name__ == "__main__":
    asyncio.run(main())
