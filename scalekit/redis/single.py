"""One server, with nothing to decide."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import monotonic
from typing import Any

from scalekit.redis.calls import Batch, Call, pack
from scalekit.redis.commands import REPEATABLE, Word, Words, name_of
from scalekit.redis.node import Node


class Single:
    """Carries every command to *node*."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._loop = asyncio.get_running_loop()

    def send(
        self, words: Words, key: Word | None, began: float, at: float, repeatable: bool, replica: bool
    ) -> asyncio.Future[Any]:
        """Send a command; return the future of its reply."""
        call = Call(self._loop.create_future(), pack(words), began, at, repeatable)
        self.node.put(call)
        return call.future

    async def send_all(self, commands: Sequence[tuple[Words, Word | None]], began: float, at: float) -> list[Any]:
        """Send commands together, with their keys; return their replies in order, errors among them."""
        if not commands:
            return []
        repeatable = all(name_of(words) in REPEATABLE for words, _ in commands)
        packed = [pack(words) for words, _ in commands]
        batch = Batch(self._loop.create_future(), packed, began, at, repeatable)
        self.node.put(batch)
        replies: list[Any] = await batch.future
        return replies

    def parted(self, keys: Sequence[Word]) -> list[list[int]]:
        """Return all places together."""
        return [list(range(len(keys)))] if keys else []

    async def probe(self, at: float) -> None:
        """Return when the server answers."""
        await self.send(("PING",), None, monotonic(), at, True, False)
