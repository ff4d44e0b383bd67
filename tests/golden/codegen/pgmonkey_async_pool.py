"""Log in to PostgreSQL with pgmonkey, connection type async_pool, and print a row."""

import asyncio

from pgmonkey import PGConnectionManager

CONFIG = "config.yaml"


async def main() -> None:
    manager = PGConnectionManager()
    pool = await manager.get_database_connection(CONFIG, "async_pool")
    async with pool as conn, conn.cursor() as cur:
        await cur.execute("SELECT current_database(), current_user")
        print(await cur.fetchone())
    # A service does this once, at its end.
    await manager.clear_cache_async()


if __name__ == "__main__":
    asyncio.run(main())
