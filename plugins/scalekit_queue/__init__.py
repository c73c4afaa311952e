"""Messages that are never lost: published, consumed, retried and, when nothing helps, kept as dead letters."""
