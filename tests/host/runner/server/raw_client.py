"""An application behind a connection in this process on a real socket, and a client that sends raw bytes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from scalekit.config import Size
from scalekit.runner.server.request_parser import ConnectionLimits
from tests.host.runner.server.bare_host import ProtocolFactory
from tests.processes import HOST

LIMIT = 20.0
LIMITS = ConnectionLimits(header_timeout=600.0, write_timeout=600.0, max_header=Size("64KiB"))
OURS = ProtocolFactory(LIMITS)


class Client:
    """A connection on which bytes are sent as they are."""

    def __init__(self, port: int, state: ServerState) -> None:
        self.port = port
        self.state = state
        self.loop = asyncio.get_running_loop()
        self.socket = socket.socket()
        self.socket.setblocking(False)

    async def __aenter__(self) -> Client:
        await self.loop.sock_connect(self.socket, (HOST, self.port))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.socket.close()
        await until(lambda: not self.state.connections)

    async def send(self, data: bytes) -> None:
        await self.loop.sock_sendall(self.socket, data)

    async def receive(self, end: bytes) -> bytes:
        """Return the input up to *end*."""
        received = b""
        async with asyncio.timeout(LIMIT):
            while not received.endswith(end):
                data = await self.loop.sock_recv(self.socket, 65536)
                assert data, received
                received += data
        return received

    async def rest(self) -> bytes:
        """Return everything that comes until the server closes."""
        received = b""
        async with asyncio.timeout(LIMIT):
            try:
                while data := await self.loop.sock_recv(self.socket, 65536):
                    received += data
            except ConnectionResetError:
                pass
        return received


class AppServer:
    """A server on a port of its own."""

    def __init__(self, port: int, state: ServerState) -> None:
        self.port = port
        self.state = state

    def client(self) -> Client:
        return Client(self.port, self.state)

    async def request(self, request: bytes) -> bytes:
        """Send *request* on a connection of its own, and return all that comes until the server closes it."""
        async with self.client() as client:
            await client.send(request)
            return await client.rest()


@asynccontextmanager
async def serving(
    app: ASGIApp, protocol: Callable[..., HttpToolsProtocol] = OURS, keep_alive: float = 600.0
) -> AsyncGenerator[AppServer, None]:
    """Serve *app* on connections of *protocol*."""
    keeping: Any = keep_alive
    config = uvicorn.Config(
        app, interface="asgi3", timeout_keep_alive=keeping, proxy_headers=False, access_log=False, log_config=None
    )
    state = ServerState()
    with socket.create_server((HOST, 0)) as listener:
        server = await asyncio.get_running_loop().create_server(lambda: protocol(config, state, {}), sock=listener)
        try:
            yield AppServer(listener.getsockname()[1], state)
        finally:
            server.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT):
        while not condition():
            await asyncio.sleep(0.001)
