"""Find statements of migrations that lock tables of PostgreSQL, or break instances of the previous release."""
