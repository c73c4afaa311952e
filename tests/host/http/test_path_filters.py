from __future__ import annotations

import pytest
from starlette.types import Receive, Scope, Send

from scalekit import Decision, Exchange, Filter, LocalResponse, WebSocketExchange
from scalekit.http.path_filters import PathFilter, PathFilters
from tests.host.asgi import Conversation, behind, http_scope, respond

pytestmark = pytest.mark.anyio


class Recorder(PathFilter):
    """Responds below its prefix to paths with an ``x``."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.called: list[str] = []

    def on_request(self, exchange: Exchange) -> Decision:
        self.called.append(exchange.path)
        found = exchange.route_path.startswith(self.prefix) and exchange.path.endswith("x")
        return LocalResponse(200, [], self.prefix.encode()) if found else None

    def on_open(self, exchange: WebSocketExchange) -> Decision:
        return self.on_request(exchange)


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await respond(send, b"application")


async def ask(filters: Filter, path: str, **more: object) -> bytes:
    client = Conversation()
    await client.run(behind(application, filters), http_scope(path, **more))  # type: ignore[arg-type] # of the scope
    return client.body


async def test_the_first_filter_that_decides_responds() -> None:
    first, second = Recorder("/health"), Recorder("/-")
    filters = PathFilters([first, second])
    assert await ask(filters, "/health/x") == b"/health"
    assert await ask(filters, "/-/x") == b"/-"
    assert await ask(filters, "/-/y") == b"application"
    assert (first.called, second.called) == (["/health/x", "/-/x", "/-/y"], ["/-/x", "/-/y"])


@pytest.mark.parametrize("path", ["/", "/healt", "*", "//-/x", "/x"])
async def test_other_paths_call_no_filter(path: str) -> None:
    recorder = Recorder("/health")
    assert await ask(PathFilters([recorder, Recorder("/-")]), path) == b"application"
    assert recorder.called == []


async def test_the_prefix_of_a_proxy_is_ignored() -> None:
    assert await ask(PathFilters([Recorder("/-")]), "/shop/-/x", root_path="/shop") == b"/-"


async def test_filters_decide_on_websockets_too() -> None:
    recorder = Recorder("/-")
    await Conversation().run(behind(application, PathFilters([recorder])), {**http_scope("/-/y"), "type": "websocket"})
    assert recorder.called == ["/-/y"]
