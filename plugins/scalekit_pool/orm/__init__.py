"""ORM sessions: SQLAlchemy's engine and sessions on the connections of the pool; imported only when used."""
