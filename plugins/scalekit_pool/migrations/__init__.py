"""SQL migrations: read numbered files, and apply each once."""
