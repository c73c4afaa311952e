"""A host whose filters respond by path, behind HttpProtocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from scalekit import Decision, Exchange, Filter, LocalResponse, Pending, create_app
from scalekit.host import Host
from scalekit.runner.server.protocol import HttpProtocol
from scalekit.runner.server.request_head_cache import RequestHeadCache
from scalekit.runner.server.request_parser import ConnectionLimits
from tests.host.asgi import behind
from tests.host.runner.server.apps import respond
from tests.host.runner.server.raw_client import LIMITS, AppServer, serving


class RespondingFilter(Filter):
    """Responds at once below ``/local``; below ``/pending`` when the test has resolved the reply for the path.

    *headers* and *body* are those of its responses. Everything else is the application's, which responds when the test
    has let the path go: ``gates`` has an event for each.
    """

    def __init__(self, body: bytes = b"", *headers: tuple[bytes, bytes]) -> None:
        self.body = body
        self.headers = headers
        self.replies: dict[str, asyncio.Future[None]] = {}
        self.gates: dict[str, asyncio.Event] = {}

    def on_request(self, exchange: Exchange) -> Decision:
        path = exchange.path
        if path.startswith("/local"):
            return self.response(path)
        if not path.startswith("/pending"):
            return None
        reply = self.replies[path] = asyncio.get_running_loop().create_future()
        return Pending(reply, lambda: None if "app" in path else self.response(path))

    def response(self, path: str) -> LocalResponse:
        body = self.body or path.encode()
        return LocalResponse(200, [(b"content-length", b"%d" % len(body)), *self.headers], body)

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond with the path, below ``/gate`` only when the test says so."""
        if scope["path"].startswith("/gate"):
            await self.gates.setdefault(scope["path"], asyncio.Event()).wait()
        await respond(send, scope["path"].encode())


class CompletionLog(Filter):
    """Notes how requests ended."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, int, str]] = []

    def on_complete(self, exchange: Exchange, error: BaseException | None) -> None:
        self.notes.append((exchange.path, exchange.status, type(error).__name__ if error else ""))


def host_of(app: ASGIApp, *filters: Filter) -> Host:
    """Return a host of nothing but *filters* and *app*."""
    host = create_app({}, app=app)
    host.chain = behind(app, *filters)
    return host


@asynccontextmanager
async def serving_filters(
    app: ASGIApp, *filters: Filter, limits: ConnectionLimits = LIMITS, keep_alive: float = 600.0
) -> AsyncGenerator[AppServer, None]:
    """Serve *app* behind *filters* on connections that let them decide before there is a task."""
    host = host_of(app, *filters)

    def connection(config: Any, state: Any, app_state: dict[str, Any]) -> HttpProtocol:
        return HttpProtocol(limits, host, RequestHeadCache(), config=config, server_state=state, app_state=app_state)

    async with serving(host, connection, keep_alive) as wire:
        yield wire
