"""Run an ASGI application without a server: its lifespan, and one request at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from starlette.types import ASGIApp, Message, Receive, Send

from scalekit.app_lifespan import app_lifespan

State = dict[str, Any]


@dataclass(slots=True)
class ReceivedResponse:
    """The response of an application to one request."""

    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """Return the value of the header *name*, or None."""
        wanted = name.lower().encode()
        return next((value.decode("latin-1") for key, value in self.headers if key.lower() == wanted), None)


@asynccontextmanager
async def running(app: ASGIApp) -> AsyncGenerator[State, None]:
    """Start *app* as a server does, yield the lifespan state for its requests, and stop it.

    Raises StartError with the application's message when the start fails.
    """
    state: State = {}
    async with app_lifespan(app, state):
        yield state


async def request(
    app: ASGIApp,
    target: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    state: State | None = None,
    client: tuple[str, int] = ("127.0.0.1", 50000),
) -> ReceivedResponse:
    """Send one request for *target*, a path with an optional query, and return the complete response."""
    path, _, query = target.partition("?")
    fields = {"host": "localhost", **({"content-length": str(len(body))} if body else {}), **(headers or {})}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in fields.items()],
        "client": client,
        "server": ("localhost", 80),
        "state": dict(state or {}),
    }
    response = ReceivedResponse()
    await app(scope, _receive(body), _collect(response))
    return response


def _receive(body: bytes) -> Receive:
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if messages:
            return messages.pop()
        await asyncio.Event().wait()  # a client that stays connected until the application has responded
        return {"type": "http.disconnect"}

    return receive


def _collect(response: ReceivedResponse) -> Send:
    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            response.status = message["status"]
            response.headers = list(message.get("headers", ()))
        elif message["type"] == "http.response.body":
            response.body += message.get("body", b"")

    return send
