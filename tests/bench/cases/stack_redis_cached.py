"""The whole stack on Redis, which holds the response; the process has no room for it."""

from scalekit.host import Host
from tests.bench.cases.stack import BODY, HEADERS, NO_ROOM, PATH, REDIS, serve

__all__ = ["BODY", "HEADERS", "PATH"]


def make() -> Host:
    return serve(REDIS, NO_ROOM)


app = make()
