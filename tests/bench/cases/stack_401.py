"""The whole stack in one process, where the client shows no token."""

from scalekit.host import Host
from tests.bench.cases.stack import PATH, serve

__all__ = ["BODY", "PATH", "STATUS"]

STATUS = 401
BODY = None


def make() -> Host:
    return serve("memory:")


app = make()
