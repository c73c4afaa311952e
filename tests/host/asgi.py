"""Small applications, and a client that sends them messages one by one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scalekit.http.filter import Filter
from scalekit.http.filter_chain import FilterChain
from scalekit.http.route_template import RouteTemplates


def http_scope(path: str = "/", method: str = "GET", headers: Sequence[tuple[bytes, bytes]] = (), **more: Any) -> Scope:
    return {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"testserver"), *headers],
        "client": ("127.0.0.1", 50000),
        "server": ("testserver", 80),
        "state": {},
        **more,
    }


def behind(app: ASGIApp, *filters: Filter) -> FilterChain:
    """Return *app* behind *filters*, the first outermost."""
    return FilterChain(filters, app, RouteTemplates())


class Conversation:
    """The messages that a client sends and receives."""

    def __init__(self) -> None:
        self.to_app: asyncio.Queue[Message] = asyncio.Queue()
        self.sent: list[Message] = []

    def chunk(self, body: bytes, more: bool = False) -> None:
        self.to_app.put_nowait({"type": "http.request", "body": body, "more_body": more})

    def leave(self) -> None:
        self.to_app.put_nowait({"type": "http.disconnect"})

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        await app(scope, self.to_app.get, self.send)

    @property
    def status(self) -> int | None:
        return next((message["status"] for message in self.sent if message["type"] == "http.response.start"), None)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent if message["type"] == "http.response.body")


async def respond(send: Send, body: bytes = b"ok", status: int = 200) -> None:
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def echo_length(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the whole body and respond with its length; raise when the client disconnects."""
    length = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError("the client left")
        length += len(message["body"])
        if not message["more_body"]:
            return await respond(send, str(length).encode())


def http_only(app: ASGIApp) -> ASGIApp:
    """Return *app* as an application that raises for other scopes than HTTP."""

    async def only(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        await app(scope, receive, send)

    return only
