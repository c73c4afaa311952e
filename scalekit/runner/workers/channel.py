"""Length-prefixed messages between the supervisor and one worker, over a socket pair."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncGenerator
from enum import Enum
from typing import NamedTuple

HEAD = struct.Struct("!cI")
MAX_MESSAGE_SIZE = 64 * 2**20
"""Bytes of a message; the metrics of 50,000 histograms fit."""


class MessageKind(Enum):
    """The kinds of message; both sides send HUB, workers the next seven, the supervisor the others."""

    HUB = b"h"
    READY = b"r"
    HEARTBEAT = b"a"
    METRICS = b"n"
    TOTAL_REQUEST = b"w"
    QUERY_ALL = b"k"
    QUERY_RESULT = b"y"
    OVERRIDE_CHANGE = b"c"
    METRICS_REQUEST = b"q"
    TOTAL = b"t"
    LOG = b"l"
    QUERY = b"i"
    QUERY_ALL_RESULT = b"s"
    OVERRIDES = b"v"
    RETIRE = b"e"


class ChannelMessage(NamedTuple):
    """One message."""

    kind: MessageKind
    content: bytes


class Channel:
    """One end of the socket pair."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, end: socket.socket) -> Channel:
        """Return the channel over *end*; closing the channel closes *end*."""
        return cls(*await asyncio.open_unix_connection(sock=end))

    @property
    def backlog(self) -> int:
        """Bytes in the write buffer."""
        return self._writer.transport.get_write_buffer_size()

    def send(self, kind: MessageKind, content: bytes = b"") -> None:
        """Send a message without waiting; do nothing when the other side has closed."""
        if not self._writer.is_closing():
            self._writer.write(HEAD.pack(kind.value, len(content)) + content)

    async def messages(self) -> AsyncGenerator[ChannelMessage, None]:
        """Yield messages until the other side closes or sends an invalid one."""
        while True:
            try:
                kind, length = HEAD.unpack(await self._reader.readexactly(HEAD.size))
                if length > MAX_MESSAGE_SIZE:
                    return
                yield ChannelMessage(MessageKind(kind), await self._reader.readexactly(length))
            except (asyncio.IncompleteReadError, OSError, ValueError):
                return

    async def close(self) -> None:
        """Flush the write buffer for up to one second, then close."""
        self._writer.close()
        try:
            async with asyncio.timeout(1.0):
                await self._writer.wait_closed()
        except (OSError, TimeoutError):
            self._writer.transport.abort()
