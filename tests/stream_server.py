"""A TCP server of a test, in the test's event loop, which leaves no socket to the garbage collector.

A socket that is left open fails the test during which the garbage collector finds it, which is any later one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

from tests.processes import HOST

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Connections:
    """The accepted connections of a server, each handled by *handler* in a task of its own."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Handle a connection; abort one that was accepted while the server was closed."""
        self._writers.append(writer)
        if self._closed:
            writer.transport.abort()
            return
        task = asyncio.ensure_future(self._handle(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Cancel the handlers, also those that have not begun, and abort every connection."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*(writer.wait_closed() for writer in self._writers), return_exceptions=True)

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._handler(reader, writer)
        except (OSError, asyncio.IncompleteReadError):  # the client disconnected
            pass


@asynccontextmanager
async def stream_server(handler: Handler) -> AsyncGenerator[int, None]:
    """Handle each connection by *handler* while inside, and yield the port."""
    connections = Connections(handler)
    server = await asyncio.start_server(connections.accept, HOST, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await connections.close()
