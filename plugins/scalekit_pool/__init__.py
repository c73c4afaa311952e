"""Database connection pool: SQLite and PostgreSQL behind one interface."""
