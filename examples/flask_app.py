"""A Flask application on one pool: a class that hides it, and two routes.

PGMONKEY_CONFIG=config.yaml flask --app examples/flask_app.py run
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from flask import Flask, request

from pgmonkey import PGConnectionManager

Params = Sequence[Any] | Mapping[str, Any] | None


class Database:
    """One pool for the whole application; every call borrows a connection and commits."""

    def __init__(self, config_path: str) -> None:
        self.manager = PGConnectionManager()
        self.pool = self.manager.get_database_connection(config_path, "pool")

    def fetch_one(self, query: str, params: Params = None) -> tuple[Any, ...] | None:
        with self.pool as conn:
            return conn.execute(query, params).fetchone()

    def fetch_all(self, query: str, params: Params = None) -> list[tuple[Any, ...]]:
        with self.pool as conn:
            return conn.execute(query, params).fetchall()

    def execute(self, query: str, params: Params = None) -> None:
        with self.pool as conn:
            conn.execute(query, params)


def create_app(config_path: str | None = None) -> Flask:
    """Return the application; the pool logs in now, so that a wrong password shows now."""
    app = Flask(__name__)
    database = Database(config_path or os.environ["PGMONKEY_CONFIG"])

    @app.get("/users")
    def list_users() -> dict[str, Any]:
        rows = database.fetch_all("SELECT id, name FROM users ORDER BY id")
        return {"users": [{"id": user_id, "name": name} for user_id, name in rows]}

    @app.post("/users")
    def add_user() -> tuple[dict[str, Any], int]:
        name = request.get_json()["name"]
        row = database.fetch_one("INSERT INTO users (name) VALUES (%s) RETURNING id", (name,))
        assert row is not None
        return {"id": row[0], "name": name}, 201

    return app
