"""Clients that do not read: a connection in this process, with buffers so small that the unsent rest is known."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from scalekit.config import Size
from scalekit.runner.server.request_parser import ConnectionLimits
from tests.host.runner.server.bare_host import ProtocolFactory
from tests.processes import HOST

pytestmark = pytest.mark.anyio

WRITE_TIMEOUT = 1.0
LEFT = 60_000
"""Bytes that exceed the socket buffer of a client that does not read, but do not pause the application."""
LIMITS = ConnectionLimits(header_timeout=600.0, write_timeout=WRITE_TIMEOUT, max_header=Size("8KiB"))


class Server:
    """A server of one application, whose clients it knows."""

    def __init__(self) -> None:
        self.state = ServerState()
        self.slept = asyncio.Event()
        self.port = 0

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send *size* bytes; for /slow the second half after the write timeout."""
        kind, _, size = scope["path"][1:].partition("/")
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", size.encode())]})
        if kind == "slow":
            await send({"type": "http.response.body", "body": b"x" * (int(size) // 2), "more_body": True})
            await asyncio.sleep(2 * WRITE_TIMEOUT)
            await send({"type": "http.response.body", "body": b"x" * (int(size) // 2)})
            self.slept.set()
        else:
            await send({"type": "http.response.body", "body": b"x" * int(size)})

    @asynccontextmanager
    async def serve(self) -> AsyncGenerator[None, None]:
        config = uvicorn.Config(self.app, interface="asgi3", timeout_keep_alive=600, log_config=None)
        protocol: Any = partial(ProtocolFactory(LIMITS), config, self.state, {})
        with socket.create_server((HOST, 0)) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            self.port = listener.getsockname()[1]
            server = await asyncio.get_running_loop().create_server(protocol, sock=listener)
            try:
                yield
            finally:
                server.close()

    async def until_it_has_no_client(self) -> None:
        async with asyncio.timeout(60):
            while self.state.connections:
                await asyncio.sleep(0.01)


class Client:
    """A client that reads on demand."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)

    async def connect(self, server: Server) -> None:
        await self.loop.sock_connect(self.socket, (HOST, server.port))

    async def ask(self, path: str, connection: str = "keep-alive") -> None:
        request = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: {connection}\r\n\r\n"
        await self.loop.sock_sendall(self.socket, request.encode())

    async def read(self, size: int) -> int:
        """Read *size* bytes of body, and the head if one begins here; return how many came."""
        received = b""
        async with asyncio.timeout(60):
            while len(received.rpartition(b"\r\n\r\n")[2]) < size:
                data = await self.loop.sock_recv(self.socket, 65536)
                if not data:
                    break
                received += data
        return len(received.rpartition(b"\r\n\r\n")[2])


@pytest.fixture
async def server() -> AsyncGenerator[Server, None]:
    server = Server()
    async with server.serve():
        yield server


@pytest.fixture
async def client(server: Server) -> AsyncGenerator[Client, None]:
    client = Client()
    await client.connect(server)
    with client.socket:
        yield client
    await server.until_it_has_no_client()


@pytest.mark.parametrize("connection", ["keep-alive", "close"])
async def test_a_response_must_be_read_within_write_timeout(server: Server, client: Client, connection: str) -> None:
    await client.ask(f"/at-once/{LEFT}", connection)
    while not server.state.connections:
        await asyncio.sleep(0)
    await server.until_it_has_no_client()


@pytest.mark.parametrize("connection", ["keep-alive", "close"])
async def test_a_client_that_stops_reading_near_the_end_is_disconnected(
    server: Server, client: Client, connection: str
) -> None:
    await client.ask(f"/at-once/{LEFT + 200_000}", connection)
    assert await client.read(LEFT + 180_000) < LEFT + 200_000
    await server.until_it_has_no_client()


async def test_write_timeout_starts_again_for_the_next_response(server: Server, client: Client) -> None:
    await client.ask(f"/at-once/{LEFT}")
    assert await client.read(LEFT) == LEFT
    await client.ask(f"/slow/{LEFT}")
    await asyncio.wait_for(server.slept.wait(), 60)
    assert await client.read(LEFT) == LEFT


async def test_a_client_that_is_disconnected_receives_a_reset(server: Server, client: Client) -> None:
    await client.ask(f"/at-once/{LEFT}")
    await client.read(1)
    await server.until_it_has_no_client()
    with pytest.raises(ConnectionResetError):
        await client.read(LEFT)
