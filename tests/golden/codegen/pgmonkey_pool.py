"""Log in to PostgreSQL with pgmonkey, connection type pool, and print a row."""

from pgmonkey import PGConnectionManager

CONFIG = "config.yaml"


def main() -> None:
    manager = PGConnectionManager()
    pool = manager.get_database_connection(CONFIG, "pool")
    with pool as conn, conn.cursor() as cur:
        cur.execute("SELECT current_database(), current_user")
        print(cur.fetchone())


if __name__ == "__main__":
    main()
