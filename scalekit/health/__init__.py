"""Health: checks that run in the background, and pages that read their results from memory."""
