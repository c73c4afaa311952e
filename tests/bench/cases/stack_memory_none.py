"""The whole stack in one process, without a cache."""

from scalekit.host import Host
from tests.bench.cases.stack import BODY, HEADERS, PATH, serve

__all__ = ["BODY", "HEADERS", "PATH"]


def make() -> Host:
    return serve("memory:")


app = make()
