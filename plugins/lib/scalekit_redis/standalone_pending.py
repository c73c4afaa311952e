"""Commands sent to a standalone server that wait for their replies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from scalekit_redis.commands import Reply
from scalekit_redis.errors import NOT_EXECUTED, ReplyError
from scalekit_redis.node import Node
from scalekit_redis.pending import PendingCommand, PendingPipeline


class StandaloneCommand(PendingCommand):
    """A command for *node*."""

    __slots__ = ("node",)

    def __init__(
        self,
        node: Node,
        future: asyncio.Future[Reply],
        packed: bytes,
        started: float,
        deadline: float,
        *,
        retryable: bool,
    ) -> None:
        self.node = node
        self.future = future  # inlined PendingCommand.__init__, at a third of its cost
        self.packed = packed
        self.started = started
        self.deadline = deadline
        self.retryable = retryable

    def reject(self, error: ReplyError) -> None:
        """Send the command again when the server did not execute it, or fail it."""
        _reconnect_if_replica(self.node, error)
        if error.code not in NOT_EXECUTED or not self.node.retries.schedule(self, self.node.resend):
            super().reject(error)


class StandaloneScriptCommand(StandaloneCommand):
    """An EVALSHA; *source* packs the same run as an EVAL, for a server that replies NOSCRIPT."""

    __slots__ = ("source",)
    source: Callable[[], bytes] | None

    def reject(self, error: ReplyError) -> None:
        """Send EVAL after NOSCRIPT; other errors as for any command."""
        source = self.source
        if error.code != "NOSCRIPT" or source is None:
            super().reject(error)
            return
        self.source = None
        self.packed = source()
        self.node.resend(self)


class StandalonePipeline(PendingPipeline):
    """A pipeline for *node*."""

    __slots__ = ("_node",)

    def __init__(
        self,
        node: Node,
        future: asyncio.Future[Reply],
        packed: Sequence[bytes],
        started: float,
        deadline: float,
        *,
        retryable: bool,
    ) -> None:
        super().__init__(future, packed, started, deadline, retryable)
        self._node = node

    def receive(self, reply: Reply) -> bool:
        """Receive a reply; return whether it was the last."""
        if isinstance(reply, ReplyError):
            _reconnect_if_replica(self._node, reply)
        return super().receive(reply)

    def retry(self) -> bool:
        """Send the commands that were not executed again; return whether that is possible."""
        indexes = self.not_executed()
        if not indexes or not self._node.retries.schedule(self, self._node.resend):
            return False
        self.reduce_to(indexes)
        return True


def _reconnect_if_replica(node: Node, error: ReplyError) -> None:
    """Reconnect when the server became a replica: another server has its address, or soon will."""
    if error.code == "READONLY":
        node.reconnect("the server is a replica")
