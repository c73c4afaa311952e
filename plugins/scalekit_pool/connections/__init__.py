"""The connection pool, and the interface of the database drivers that use it."""
