"""An application with streams of messages behind a real server, and its clients."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx2
import websockets

from tests.service import Service

APPLICATION = """\
import os
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request, WebSocket
from scalekit.contracts import BROADCAST, Broadcast
from scalekit_broadcast import send_messages, server_sent_events

app = FastAPI()
Broadcasts = Annotated[Broadcast, Depends(BROADCAST)]


@app.api_route("/live/{channel}", methods=["GET", "HEAD"])
async def live(request: Request, channel: str):
    return server_sent_events(request, channel)


@app.post("/publish/{channel}")
async def publish(request: Request, channel: str, broadcast: Broadcasts):
    return {"id": await broadcast.publish(channel, await request.json()), "pid": os.getpid()}


@app.websocket("/websocket/{channel}")
async def websocket(websocket: WebSocket, channel: str):
    await websocket.accept()
    await send_messages(websocket, channel, after=websocket.query_params.get("after"))


@app.get("/subscribers")
async def subscribers(broadcast: Broadcasts):
    return [broadcast.count_subscribers(), broadcast.count_channels()]


@app.get("/pid")
async def pid():
    return os.getpid()
"""


TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Shared by the clients, since each would create one of its own, which takes longer than its requests."""


def new_client() -> httpx2.AsyncClient:
    """Return a client with connections of its own, which reach any worker."""
    return httpx2.AsyncClient(timeout=60, verify=TLS)


class Event(NamedTuple):
    """An event as EventSource reads it."""

    id: str
    event: str
    data: str

    @property
    def json(self) -> Any:
        return json.loads(self.data)


class EventSource:
    """A stream of events; ``last_id`` is what a browser sends when it reconnects."""

    def __init__(self, response: httpx2.Response, last_id: str | None = None) -> None:
        self.response = response
        self.last_id = last_id
        self.comments = 0
        self._lines: AsyncIterator[str] = response.aiter_lines()

    async def next(self) -> Event | None:
        """Return the next event with data, or None at the end of the stream."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(30):
            async for line in self._lines:
                name, _, value = line.partition(":")
                if line and not name:
                    self.comments += 1
                elif line:
                    fields[name] = value.removeprefix(" ")
                else:
                    self.last_id = fields.get("id", self.last_id)
                    if "data" in fields:
                        return Event(fields.get("id", ""), fields.get("event", "message"), fields["data"])
                    fields = {}
        return None

    async def take(self, number: int) -> list[Any]:
        """Return the data of the next *number* events."""
        events = [await self.next() for _ in range(number)]
        return [event.json for event in events if event is not None]


@asynccontextmanager
async def event_source(
    service: Service, channel: str, last_id: str | None = None, **headers: str
) -> AsyncGenerator[EventSource, None]:
    """Connect to the stream of *channel*, and disconnect on exit."""
    sent = headers | ({} if last_id is None else {"last-event-id": last_id})
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in sent.items()]
    url = f"{service.url}/live/{channel}"
    async with new_client() as client, client.stream("GET", url, headers=encoded) as response:
        yield EventSource(response, last_id)


async def publish(service: Service, channel: str, data: Any) -> str:
    async with new_client() as client:
        response = await client.post(f"{service.url}/publish/{channel}", content=json.dumps(data))
        assert response.status_code == 200, response.text
        return str(response.json()["id"])


def open_websocket(service: Service, channel: str, after: str | None = None) -> websockets.connect:
    query = "" if after is None else f"?after={after}"
    return websockets.connect(f"ws{service.url.removeprefix('http')}/websocket/{channel}{query}")


async def subscribers(service: Service) -> list[int]:
    async with new_client() as client:
        found: list[int] = (await client.get(f"{service.url}/subscribers")).json()
        return found


async def wait_for_subscribers(service: Service, expected: list[int]) -> None:
    """Wait until the process has *expected* subscribers and channels."""
    async with asyncio.timeout(30):
        while await subscribers(service) != expected:
            await asyncio.sleep(0.02)
