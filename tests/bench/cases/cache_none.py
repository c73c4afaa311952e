"""Starlette under a host without plugins, with another query each time: the base of a miss."""

from collections.abc import Awaitable

from starlette.types import Receive, Scope, Send

from scalekit import create_app
from scalekit.host import Host
from tests.bench.cases import starlette_bare

PATH = starlette_bare.PATH
BODY = starlette_bare.BODY


class Asking:
    """Adds a number to each request's query, so that no two are the same."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.number = 0

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "http":
            self.number += 1
            scope["query_string"] = b"n=%d" % self.number
        return self.host(scope, receive, send)


def make() -> Asking:
    return Asking(create_app({}, app=starlette_bare.make()))


app = make()
