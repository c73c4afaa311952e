"""A TCP proxy between a client and a server that delays, splits, cuts and half-closes connections."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from tests.processes import HOST
from tests.stream_server import stream_server


class Proxy:
    """Forwards data between clients and the server at *port*; tests change its attributes while it runs.

    ``delay`` of each segment is in seconds. ``pieces`` is the maximum size in bytes of a forwarded part of a reply; 0
    is unlimited. While ``open`` is not set nothing is forwarded. ``refuses`` aborts new connections, and ``ends_after``
    each connection after a reply that contains it.
    """

    def __init__(self, port: int) -> None:
        self.delay = 0.0
        self.pieces = 0
        self.refuses = False
        self.ends_after = b""
        self.open = asyncio.Event()
        self.open.set()
        self.port = 0
        self.accepted = 0
        self.segments = 0
        self.target = port
        self._random = random.Random(7)
        self._links: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}"

    def cut(self) -> None:
        """Reset every connection, also during a transfer."""
        for pair in self._links.copy():
            for writer in pair:
                writer.transport.abort()

    def half_close(self) -> None:
        """Send the end of the stream to the clients, and leave the connections open."""
        for client, _ in self._links.copy():
            client.write_eof()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self.refuses:
            writer.transport.abort()
            return
        try:
            replies, server = await asyncio.open_connection(HOST, self.target)
        except OSError:
            writer.transport.abort()
            return
        pair = (writer, server)
        self._links.add(pair)
        try:
            await asyncio.gather(self._forward(reader, server), self._forward(replies, writer, split=True))
        except (OSError, RuntimeError):  # uvloop raises them when a connection was cut
            pass
        finally:
            self._links.discard(pair)
            for each in pair:
                each.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, split: bool = False) -> None:
        while data := await reader.read(65536):
            self.segments += not split
            if self.delay:
                await asyncio.sleep(self.delay)
            await self.open.wait()
            for piece in self._pieces(data) if split and self.pieces else (data,):
                writer.write(piece)
                await writer.drain()
                if self.pieces:
                    await asyncio.sleep(0)
            if self.ends_after and split and self.ends_after in data:
                raise ConnectionResetError
        if not split:
            raise ConnectionResetError  # the client disconnected

    def _pieces(self, data: bytes) -> list[bytes]:
        parts = []
        while data:
            size = self._random.randint(1, self.pieces)
            parts.append(data[:size])
            data = data[size:]
        return parts


@asynccontextmanager
async def open_proxy(port: int) -> AsyncGenerator[Proxy, None]:
    """Return a proxy to *port*, open while inside."""
    proxy = Proxy(port)
    async with stream_server(proxy.serve) as proxy.port:
        yield proxy
