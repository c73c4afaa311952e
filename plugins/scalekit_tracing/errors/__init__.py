"""Report unhandled exceptions to a Sentry-compatible server."""
