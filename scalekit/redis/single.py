"""One server, with nothing to decide."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

from scalekit.redis.calls import Batch, Call, pack
from scalekit.redis.commands import Command, Word, Words
from scalekit.redis.errors import NOT_RUN, RedisUnavailable, ReplyError
from scalekit.redis.hearing import Hearing
from scalekit.redis.node import Node
from scalekit.redis.tracking import Tracking
from scalekit.redis.watch import ROLE, Watch


class SingleCall(Call):
    """One command for *node*."""

    __slots__ = ("node",)

    def __init__(
        self, node: Node, future: asyncio.Future[Any], packed: bytes, began: float, at: float, repeatable: bool
    ) -> None:
        self.node = node
        self.future = future  # as Call does, at a third of the cost
        self.packed = packed
        self.began = began
        self.at = at
        self.repeatable = repeatable

    def refuse(self, error: ReplyError) -> None:
        """Send the command again where the server did not run it, or fail it."""
        _doubt(self.node, error)
        if error.code not in NOT_RUN or not self.node.retries.later(self, self.node.put_again):
            super().refuse(error)


class SingleBatch(Batch):
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


class Single:
    """Carries every command to *node*."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._loop = asyncio.get_running_loop()

    def send(
        self, words: Words, key: Word | None, began: float, at: float, repeatable: bool, replica: bool
    ) -> asyncio.Future[Any]:
        """Send a command; return the future of its reply."""
        call = SingleCall(self.node, self._loop.create_future(), pack(words), began, at, repeatable)
        self.node.put(call)
        return call.future

    def send_packed(
        self, packed: bytes, key: Word | None, began: float, at: float, repeatable: bool, replica: bool
    ) -> asyncio.Future[Any]:
        """Send a command that is packed already; return the future of its reply."""
        call = SingleCall(self.node, self._loop.create_future(), packed, began, at, repeatable)
        self.node.put(call)
        return call.future

    async def send_all(self, commands: Sequence[Command], began: float, at: float) -> list[Any]:
        """Send commands together; return their replies in order, errors among them."""
        if not commands:
            return []
        packed = [pack(each.words) for each in commands]
        repeatable = all(each.repeatable for each in commands)
        batch = SingleBatch(self.node, self._loop.create_future(), packed, began, at, repeatable)
        self.node.put(batch)
        replies: list[Any] = await batch.future
        return replies

    def parted(self, keys: Sequence[Word]) -> list[list[int]]:
        """Return all places together."""
        return [list(range(len(keys)))] if keys else []

    @asynccontextmanager
    async def tracking(
        self, prefixes: Sequence[bytes], hearing: Hearing, replicas: bool
    ) -> AsyncGenerator[Tracking, None]:
        """Tell *hearing* of changed keys while inside."""
        tracking = Tracking(prefixes, hearing, ROLE, _leave)
        tracking.follow({None: self.node})
        try:
            yield tracking
        finally:
            await tracking.close()

    async def probe(self, at: float) -> None:
        """Return when the server answers that it takes writes."""
        try:
            role = await self.send(("ROLE",), None, monotonic(), at, True, False)
        except ReplyError as error:
            if error.code != "NOPERM":  # it answers, and does not tell everybody
                raise
        else:
            if role[0] != b"master":
                raise RedisUnavailable(f"{self.node.name}: the server is a replica and takes no writes", "refused")


def _leave(watch: Watch) -> None:
    """Leave a server that became a replica, or is none any more: another may have its address."""
    watch.end("the server has another role")
