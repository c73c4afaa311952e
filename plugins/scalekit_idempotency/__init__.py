"""Idempotent requests: a repeated request with the same Idempotency-Key gets the stored response."""
