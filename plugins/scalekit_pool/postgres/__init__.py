"""The PostgreSQL backend of the pool, on asyncpg."""
