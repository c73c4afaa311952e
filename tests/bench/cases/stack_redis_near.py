"""The whole stack on Redis, with the response in the process too."""

from scalekit.host import Host
from tests.bench.cases.stack import BODY, HEADERS, PATH, REDIS, ROOMY, serve

__all__ = ["BODY", "HEADERS", "PATH"]


def make() -> Host:
    return serve(REDIS, ROOMY)


app = make()
