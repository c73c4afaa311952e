"""The whole stack in one process, which holds the response."""

from scalekit.host import Host
from tests.bench.cases.stack import BODY, HEADERS, PATH, ROOMY, serve

__all__ = ["BODY", "HEADERS", "PATH"]


def make() -> Host:
    return serve("memory:", ROOMY)


app = make()
