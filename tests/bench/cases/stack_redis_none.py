"""The whole stack on Redis, without a cache."""

from scalekit.host import Host
from tests.bench.cases.stack import BODY, HEADERS, PATH, REDIS, serve

__all__ = ["BODY", "HEADERS", "PATH"]


def make() -> Host:
    return serve(REDIS)


app = make()
