"""One server, with nothing to decide."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

from scalekit_redis.client_tracking import ClientTracking
from scalekit_redis.commands import Command, Word, Words, eval_command
from scalekit_redis.errors import RedisUnavailable, ReplyError
from scalekit_redis.invalidation_listener import InvalidationListener
from scalekit_redis.node import Node
from scalekit_redis.pending import pack
from scalekit_redis.prepared_script import PackedScript, PreparedScript
from scalekit_redis.script import Script
from scalekit_redis.standalone_pending import StandaloneCommand, StandalonePipeline, StandaloneScriptCommand
from scalekit_redis.standalone_scripts import StandaloneScript
from scalekit_redis.tracking_connection import ROLE, TrackingConnection


class StandaloneRouter:
    """Carries every command to *node*."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._loop = asyncio.get_running_loop()

    def send(
        self, words: Words, key: Word | None, began: float, at: float, repeatable: bool, replica: bool
    ) -> asyncio.Future[Any]:
        """Send a command; return the future of its reply."""
        call = StandaloneCommand(self.node, self._loop.create_future(), pack(words), began, at, repeatable)
        self.node.put(call)
        return call.future

    def run(
        self, script: Script, keys: Sequence[Word], args: Sequence[Word], began: float, at: float
    ) -> asyncio.Future[Any]:
        """Run *script*; return the future of its reply."""
        packed = pack(eval_command(script, False, keys, args))
        call = StandaloneScriptCommand(self.node, self._loop.create_future(), packed, began, at, False)
        call.source = lambda: pack(eval_command(script, True, keys, args))
        self.node.put(call)
        return call.future

    def prepare(self, form: PackedScript, deadline: float) -> PreparedScript:
        """Return what runs the script of *form*, each time within *deadline* seconds."""
        return StandaloneScript(self.node, form, deadline)

    async def send_all(self, commands: Sequence[Command], began: float, at: float) -> list[Any]:
        """Send commands together; return their replies in order, errors among them."""
        if not commands:
            return []
        packed = [pack(each.words) for each in commands]
        repeatable = all(each.repeatable for each in commands)
        batch = StandalonePipeline(self.node, self._loop.create_future(), packed, began, at, repeatable)
        self.node.put(batch)
        replies: list[Any] = await batch.future
        return replies

    def parted(self, keys: Sequence[Word]) -> list[list[int]]:
        """Return all places together."""
        return [list(range(len(keys)))] if keys else []

    @asynccontextmanager
    async def tracking(
        self, prefixes: Sequence[bytes], hearing: InvalidationListener, replicas: bool
    ) -> AsyncGenerator[ClientTracking, None]:
        """Tell *hearing* of changed keys while inside."""
        tracking = ClientTracking(prefixes, hearing, ROLE, _leave)
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


def _leave(watch: TrackingConnection) -> None:
    """Leave a server that became a replica, or is none any more: another may have its address."""
    watch.end("the server has another role")
