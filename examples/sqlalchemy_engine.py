"""A SQLAlchemy engine on pgmonkey's pool: one pool, not two.

``lend`` gives a connection that goes back to the pool when SQLAlchemy closes it, and
``NullPool`` has it closed after each use. Sizes, timeouts and session settings are the
file's; what SQLAlchemy would do to look after connections (pool_pre_ping, pool_recycle)
the pool does already.
"""

from __future__ import annotations

import os

from sqlalchemy import Engine, create_engine, text
from sqlalchemy.pool import NullPool

from pgmonkey import PGConnectionManager

manager = PGConnectionManager()


def engine_for(config: str) -> Engine:
    """Return an engine for a configuration file; engines for the same file share its pool."""
    pool = manager.get_database_connection(config, "pool")
    return create_engine("postgresql+psycopg://", creator=pool.lend, poolclass=NullPool)


if __name__ == "__main__":
    engine = engine_for(os.environ["PGMONKEY_CONFIG"])
    with engine.begin() as conn:
        print(conn.execute(text("SELECT current_user")).scalar_one())
