"""Log in to PostgreSQL with psycopg, connection type async_pool, and print a row.

What is not said here, libpq's variables say: PGHOST, PGUSER, PGPASSWORD.
"""

import asyncio
import os
from pathlib import Path
from typing import Any

from psycopg_pool import AsyncConnectionPool


def connection_arguments() -> dict[str, Any]:
    """Return what connect() is given; the password may have been rotated."""
    password = Path(os.environ["PGPASSWORD_FILE"]).read_text(encoding="utf-8")
    return {
        "user": "app",
        "dbname": "shop",
        "sslmode": "require",
        "password": password.removesuffix("\n"),
    }


async def main() -> None:
    pool = AsyncConnectionPool(
        kwargs=connection_arguments,
        min_size=5,
        max_size=20,
        timeout=30,
        max_idle=300,
        max_lifetime=3600,
        open=False,
    )
    # Entering the pool opens it, leaving it closes its connections.
    async with pool, pool.connection() as conn, conn.cursor() as cur:
        await cur.execute("SELECT current_database(), current_user")
        print(await cur.fetchone())


if __name__ == "__main__":
    asyncio.run(main())
