"""The first commands on a connection: protocol version, authentication, database."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

from hiredis import ProtocolError, PushNotification, Reader

from scalekit_redis.commands import Reply
from scalekit_redis.errors import ReplyError
from scalekit_redis.pending import pack


class Handshake(asyncio.Protocol):
    """Sends *commands* as soon as it is connected, ``HELLO`` first.

    ``replied`` completes with the reply to the first command when each of them has its reply.
    """

    def __init__(self, commands: Sequence[tuple[str, ...]]) -> None:
        self.replied: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.replied.add_done_callback(_retrieve)
        self._commands = commands
        self._transport: asyncio.Transport | None = None
        self._missing = len(commands)
        self._first: Reply = None
        self._reader = Reader(replyError=ReplyError, notEnoughData=Ellipsis)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the commands."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(b"".join(map(pack, self._commands)))

    def data_received(self, data: bytes) -> None:
        """Parse replies; the first error reply fails the handshake."""
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not Ellipsis:
                self._receive(reply)
        except ProtocolError:
            self._fail(ConnectionError("the server sent an invalid reply"))
        if self._missing < 0:
            self._fail(ConnectionError("the server sent more replies than commands"))
        elif not self._missing and not self.replied.done():
            self.replied.set_result(self._first)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the handshake."""
        self._fail(exc or ConnectionError("the server closed the connection"))

    def _receive(self, reply: Reply) -> None:
        if type(reply) is PushNotification and reply[0] != b"subscribe":  # the reply to SUBSCRIBE is a push message
            return
        if self._missing == len(self._commands):
            self._first = reply
        self._missing -= 1
        if type(reply) is ReplyError:
            self._fail(reply)

    def _fail(self, error: Exception) -> None:
        if not self.replied.done():
            self.replied.set_exception(error)
        elif self._transport is not None:  # it is about to be handed over
            self._transport.abort()


def _retrieve(replied: asyncio.Future[Reply]) -> None:
    """Retrieve the exception: the caller may have timed out meanwhile."""
    if not replied.cancelled():
        replied.exception()
