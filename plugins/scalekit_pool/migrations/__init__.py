"""Apply numbered SQL migration files."""
