"""Writes that replicas acknowledge (``WAIT``) before the caller continues.

``WAIT`` blocks its connection, so these writes have connections of their own, one write on each at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic

from scalekit_redis.commands import Command, Reply
from scalekit_redis.errors import RedisUnavailable, ReplyError
from scalekit_redis.node import Node
from scalekit_redis.pending import PendingPipeline, pack

MAX_CONNECTIONS = 10
"""Maximum number of connections, and so of concurrent writes."""


class AcknowledgedWrites:
    """Sends writes over connections that *connect* opens when they are needed, until *shared* is closed.

    The owner of *shared*, the connection for other commands, closes all of them.
    """

    def __init__(self, shared: Node, connect: Callable[[], Node]) -> None:
        self._shared = shared
        self._connect = connect
        self._idle: list[Node] = []
        self._slots = asyncio.Semaphore(MAX_CONNECTIONS)

    async def send(
        self, commands: Sequence[Command], replicas: int, ack_timeout: float, deadline: float
    ) -> list[Reply]:
        """Send *commands*, then WAIT for *replicas*; return the replies to *commands*, errors among them.

        Nothing is sent twice. Raises RedisUnavailable when too few replicas acknowledge within *ack_timeout* seconds,
        or the deadline passes.
        """
        started = monotonic()
        try:
            async with asyncio.timeout(deadline - started):
                await self._slots.acquire()
        except TimeoutError:
            raise RedisUnavailable("all connections for acknowledged writes are busy", "full") from None
        try:
            node = self._take()
        except BaseException:
            self._slots.release()
            raise
        try:
            wait = pack(("WAIT", replicas, max(1, round(ack_timeout * 1000))))  # 0 waits forever
            packed = [*(pack(each.args) for each in commands), wait]
            future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
            node.send(PendingPipeline(future, packed, started, deadline, retryable=False))
            replies: list[Reply] = await future
        finally:
            self._idle.append(node)
            self._slots.release()
        _verify(node, replies.pop(), replicas)
        return replies

    def _take(self) -> Node:
        if self._shared.closed:
            raise RedisUnavailable(f"{self._shared.name}: the client was closed", "closed")
        return self._idle.pop() if self._idle else self._connect()


def _verify(node: Node, acknowledged: Reply, replicas: int) -> None:
    if isinstance(acknowledged, ReplyError):  # a replica does not execute WAIT
        node.reconnect("the server is a replica")
        raise RedisUnavailable(f"{node.name}: {acknowledged}", "refused")
    if isinstance(acknowledged, Exception):
        raise acknowledged
    if acknowledged < replicas:
        reason = f"{acknowledged} of {replicas} replicas acknowledged the write"
        raise RedisUnavailable(f"{node.name}: {reason}", "unacknowledged")
