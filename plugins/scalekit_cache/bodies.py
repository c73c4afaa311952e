"""Whether a GET has a body, which HTTP/2 and HTTP/3 need not announce in a header."""

from __future__ import annotations

import asyncio

from starlette.types import Message, Receive

FRAMED_BY_HEADERS = frozenset({"1.0", "1.1"})
"""Versions of HTTP in which a request without Content-Length and Transfer-Encoding has no body."""
PATIENCE = 1.0
"""Seconds that the first part of a request may take; one that takes longer is taken to have a body."""


class BodyProbe:
    """The first messages of a request, looked at before the application gets them."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._read: list[Message] = []
        self._next: asyncio.Task[Message] | None = None

    async def has_body(self) -> bool:
        """Tell whether the request has a body, or may still get one."""
        loop = asyncio.get_running_loop()
        end = loop.time() + PATIENCE
        while True:
            self._next = asyncio.ensure_future(self._from_server())
            await asyncio.wait({self._next}, timeout=end - loop.time())
            if not self._next.done():
                return True
            message, self._next = self._next.result(), None
            self._read.append(message)
            if message.get("body"):
                return True
            if not message.get("more_body", False):
                return False

    async def receive(self) -> Message:
        """Receive what has been looked at, and then what follows."""
        if self._read:
            return self._read.pop(0)
        if self._next is not None:
            try:
                return await asyncio.shield(self._next)
            finally:
                if self._next is not None and self._next.done():
                    self._next = None
        return await self._receive()

    def close(self) -> None:
        """Receive no more."""
        if self._next is not None:
            self._next.cancel()

    async def _from_server(self) -> Message:
        return await self._receive()
