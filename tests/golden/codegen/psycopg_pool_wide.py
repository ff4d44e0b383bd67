"""Log in to PostgreSQL with psycopg, connection type pool, and print a row."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import psycopg
import yaml
from psycopg_pool import ConnectionPool

CONFIG = Path("config.yaml")
REFERENCE = re.compile(r"\$\$|\$\{(?P<name>\w+)(?P<operator>:?[-?+])?|\}")


class AsWritten(yaml.SafeLoader):
    """Reads every value as the text that stands there: a port 05432, a password 007."""


AsWritten.yaml_implicit_resolvers = {
    first: [rule for rule in rules if rule[0].endswith((":null", ":merge"))]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def expand(
    text: str, at: int = 0, *, inside: bool = False, live: bool = True
) -> tuple[str, int]:
    """Resolve the references in a text; those which are not live may be unset."""
    done = ""
    while token := REFERENCE.search(text, at):
        done += text[at : token.start()]
        at = token.end()
        name, operator = token["name"], token["operator"] or ""
        if token[0] == "$$":
            done += "$"
        elif name is None and inside:
            return done, at
        elif name is None:
            done += "}"
        else:
            value = os.environ.get(name)
            given = bool(value) if operator.startswith(":") else value is not None
            other = live and given == operator.endswith("+")
            operand, at = expand(text, at, inside=True, live=other)
            if other and operator.endswith(("+", "-")):
                done += operand
            elif given and not operator.endswith("+"):
                done += value or ""
            elif live and not operator.endswith(("+", "-")):
                raise SystemExit(f"{name} is not set {operand}")
    return done + text[at:], len(text)


def resolve(value: Any) -> Any:
    """Replace the references in a value, and in everything inside it."""
    if isinstance(value, str):
        return expand(value)[0]
    if isinstance(value, list):
        return [resolve(v) for v in value]
    if not isinstance(value, dict):
        return value
    value = {key: resolve(inner) for key, inner in value.items()}
    if list(value) == ["from_env"]:
        return os.environ[value["from_env"]]
    if list(value) == ["from_file"]:
        # A relative path starts at the configuration; the newline at the end is not meant.
        path = CONFIG.parent / Path(value["from_file"]).expanduser()
        return path.read_text(encoding="utf-8").removesuffix("\n")
    if list(value) == ["from_command"]:
        done = subprocess.run(
            value["from_command"],
            cwd=CONFIG.parent,
            stdout=subprocess.PIPE,
            check=True,
            text=True,
            timeout=10,
        )
        return done.stdout.removesuffix("\n")
    return value


def read_config() -> dict[str, Any]:
    """Return the configuration, references resolved."""
    text = CONFIG.read_text(encoding="utf-8-sig")
    return resolve(yaml.load(text, Loader=AsWritten)["postgresql"])


def given(config: dict[str, Any], section: str) -> dict[str, Any]:
    """Return the values of a section which are not left empty."""
    values = config.get(section) or {}
    return {key: value for key, value in values.items() if value not in (None, "")}


def connection_arguments() -> dict[str, Any]:
    """Return what connect() is given; the password may have been rotated."""
    arguments: dict[str, Any] = given(read_config(), "connection_settings")
    arguments.pop("autocommit", None)
    arguments["keepalives"] = "1"
    arguments["autocommit"] = True
    arguments["prepare_threshold"] = None
    return arguments


def prepare(conn: psycopg.Connection, config: dict[str, Any]) -> None:
    """Apply the session settings to the transaction that begins."""
    conn.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    conn.read_only = True
    for name, value in given(config, "sync_settings").items():
        conn.execute("SELECT set_config(%s, %s, true)", (name, value))


def main() -> None:
    config = read_config()
    sizes = given(config, "pool_settings")
    pool = ConnectionPool(
        kwargs=connection_arguments,
        min_size=int(sizes.get("min_size", 5)),
        max_size=int(sizes.get("max_size", 20)),
        timeout=float(sizes.get("timeout", 30)),
        max_idle=float(sizes.get("max_idle", 300)),
        max_lifetime=float(sizes.get("max_lifetime", 3600)),
        max_waiting=int(sizes.get("max_waiting", 0)),
        name=sizes["name"],
        check=ConnectionPool.check_connection,
        open=False,
    )
    # Entering the pool opens it, leaving it closes its connections.
    with pool, pool.connection() as conn, conn.cursor() as cur:
        prepare(conn, config)
        cur.execute("SELECT current_database(), current_user")
        print(cur.fetchone())


if __name__ == "__main__":
    main()
