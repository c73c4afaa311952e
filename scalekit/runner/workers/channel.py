"""Messages between the supervisor and one worker, over a pair of sockets."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncGenerator
from enum import Enum
from typing import NamedTuple

HEAD = struct.Struct("!cI")
LARGEST = 64 * 2**20
"""Bytes of a message; the numbers of 50,000 histograms fit."""


class MessageKind(Enum):
    """What a message is about; the first six come from workers, the others from the supervisor."""

    READY = b"r"
    ALIVE = b"a"
    NUMBERS = b"n"
    WANT_TOTAL = b"w"
    ASK_ALL = b"k"
    ANSWER = b"y"
    WANT_NUMBERS = b"q"
    TOTAL = b"t"
    REPORT = b"l"
    INQUIRY = b"i"
    ANSWERS = b"s"
    RETIRE = b"e"


class ChannelMessage(NamedTuple):
    """One message."""

    kind: MessageKind
    content: bytes


class Channel:
    """One end of the pair."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, end: socket.socket) -> Channel:
        """Return the channel over *end*, which it closes when it is closed."""
        return cls(*await asyncio.open_unix_connection(sock=end))

    @property
    def idle(self) -> bool:
        """Whether the other side has taken all that was sent."""
        return not self._writer.transport.get_write_buffer_size()

    def send(self, kind: MessageKind, content: bytes = b"") -> None:
        """Send a message without waiting; to a side that has gone it sends nothing."""
        if not self._writer.is_closing():
            self._writer.write(HEAD.pack(kind.value, len(content)) + content)

    async def messages(self) -> AsyncGenerator[ChannelMessage, None]:
        """Give what the other side sends until it has gone, or sends what is no message."""
        while True:
            try:
                kind, length = HEAD.unpack(await self._reader.readexactly(HEAD.size))
                if length > LARGEST:
                    return
                yield ChannelMessage(MessageKind(kind), await self._reader.readexactly(length))
            except (asyncio.IncompleteReadError, OSError, ValueError):
                return

    async def close(self) -> None:
        """Send what is left, if the other side takes it at once, and close."""
        self._writer.close()
        try:
            async with asyncio.timeout(1.0):
                await self._writer.wait_closed()
        except (OSError, TimeoutError):
            self._writer.transport.abort()
