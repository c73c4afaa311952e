"""The same, for a page of the allowed origin."""

from tests.bench.cases.cors_on import BODY, ORIGIN, PATH, app, make

__all__ = ["BODY", "PATH", "app", "make"]

HEADERS = [(b"origin", ORIGIN.encode())]
