"""Commands on their way to one server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from scalekit_redis.errors import NOT_RUN, ReplyError
from scalekit_redis.node import Node
from scalekit_redis.pending import PendingCommand, PendingPipeline


class StandaloneCommand(PendingCommand):
    """One command for *node*."""

    __slots__ = ("node",)

    def __init__(
        self, node: Node, future: asyncio.Future[Any], packed: bytes, began: float, at: float, repeatable: bool
    ) -> None:
        self.node = node
        self.future = future  # as PendingCommand does, at a third of the cost
        self.packed = packed
        self.began = began
        self.at = at
        self.repeatable = repeatable

    def refuse(self, error: ReplyError) -> None:
        """Send the command again where the server did not run it, or fail it."""
        _doubt(self.node, error)
        if error.code not in NOT_RUN or not self.node.retries.later(self, self.node.put_again):
            super().refuse(error)


class StandaloneScriptCommand(StandaloneCommand):
    """A run of a script by *node*, which may not know it: *source* is the same command with the script in it."""

    __slots__ = ("source",)
    source: Callable[[], bytes] | None

    def refuse(self, error: ReplyError) -> None:
        """Send the source where the server does not know the script, or do as other commands do."""
        source = self.source
        if error.code != "NOSCRIPT" or source is None:
            super().refuse(error)
            return
        self.source = None
        self.packed = source()
        self.node.put_again(self)


class StandalonePipeline(PendingPipeline):
    """Several commands for *node*."""

    __slots__ = ("_node",)

    def __init__(
        self,
        node: Node,
        future: asyncio.Future[Any],
        packed: Sequence[bytes],
        began: float,
        at: float,
        repeatable: bool,
    ) -> None:
        super().__init__(future, packed, began, at, repeatable)
        self._node = node

    def take(self, reply: Any) -> bool:
        """Take a reply; tell whether it was the last."""
        if isinstance(reply, ReplyError):
            _doubt(self._node, reply)
        return super().take(reply)

    def again(self) -> bool:
        """Have what was not run sent again; tell whether that is so."""
        places = self.not_run()
        if not places or not self._node.retries.later(self, self._node.put_again):
            return False
        self.narrow(places)
        return True


def _doubt(node: Node, error: ReplyError) -> None:
    """Leave a server that became a replica: another has its address, or will."""
    if error.code == "READONLY":
        node.renew("the server is a replica")
