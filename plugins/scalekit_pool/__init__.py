"""A database pool: SQLite and PostgreSQL behind one interface, in which no connection is ever lost."""
