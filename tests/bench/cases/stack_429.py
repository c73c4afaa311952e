"""The whole stack in one process, with clients over their limit."""

from scalekit.host import Host
from tests.bench.cases.stack import HEADERS, PATH, serve

__all__ = ["BEFORE", "BODY", "HEADERS", "PATH", "STATUS"]

STATUS = 429
BEFORE = 1000
"""Requests until every client has sent one."""
BODY = None
TOO_OFTEN = "1/7d"


def make() -> Host:
    return serve("memory:", limit=TOO_OFTEN)


app = make()
