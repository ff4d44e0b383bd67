"""Log in to PostgreSQL with pgmonkey, connection type async_pool, and print a row.

What is not said here, libpq's variables say: PGHOST, PGUSER, PGPASSWORD.
"""

import asyncio
import os

from pgmonkey import PGConnectionManager

CONFIG = {
    "connection_settings": {
        "user": "app",
        "dbname": "shop",
        "sslmode": "require",
        "password": {"from_file": os.environ["PGPASSWORD_FILE"]},
    },
}


async def main() -> None:
    manager = PGConnectionManager()
    pool = await manager.get_database_connection_from_dict(
        CONFIG, "async_pool", resolve_env=True
    )
    async with pool as conn, conn.cursor() as cur:
        await cur.execute("SELECT current_database(), current_user")
        print(await cur.fetchone())
    # A service does this once, at its end.
    await manager.clear_cache_async()


if __name__ == "__main__":
    asyncio.run(main())
