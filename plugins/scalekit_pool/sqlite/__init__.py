"""The SQLite backend of the pool, on aiosqlite."""
