"""Health: checks in the background, pages that only read memory."""
