"""Command router of a standalone server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from time import monotonic

from scalekit_redis.acknowledged_writes import AcknowledgedWrites
from scalekit_redis.client_tracking import ClientTracking
from scalekit_redis.commands import Arg, Command, CommandArgs, Reply, eval_command
from scalekit_redis.errors import RedisUnavailable, ReplyError
from scalekit_redis.invalidation_listener import InvalidationListener
from scalekit_redis.node import Node
from scalekit_redis.pending import pack
from scalekit_redis.prepared_script import PackedScript, PreparedScript
from scalekit_redis.pubsub import PubSub
from scalekit_redis.pubsub_listener import PubSubListener
from scalekit_redis.push_connection import ROLE_PROBE, PushConnection
from scalekit_redis.script import Script
from scalekit_redis.standalone_pending import StandaloneCommand, StandalonePipeline, StandaloneScriptCommand
from scalekit_redis.standalone_scripts import StandaloneScript


class StandaloneRouter:
    """Sends every command to *node*; *connect* opens another connection to its server, for acknowledged writes."""

    def __init__(self, node: Node, connect: Callable[[], Node]) -> None:
        self.node = node
        self._writes = AcknowledgedWrites(node, connect)
        self._loop = asyncio.get_running_loop()

    def send(
        self, args: CommandArgs, key: Arg | None, started: float, deadline: float, *, retryable: bool, replica: bool
    ) -> asyncio.Future[Reply]:
        """Send a command; return the future of its reply."""
        command = StandaloneCommand(
            self.node, self._loop.create_future(), pack(args), started, deadline, retryable=retryable
        )
        self.node.send(command)
        return command.future

    def run(
        self, script: Script, keys: Sequence[Arg], args: Sequence[Arg], started: float, deadline: float
    ) -> asyncio.Future[Reply]:
        """Run *script*; return the future of its reply."""
        packed = pack(eval_command(script, False, keys, args))
        command = StandaloneScriptCommand(
            self.node, self._loop.create_future(), packed, started, deadline, retryable=False
        )
        command.source = lambda: pack(eval_command(script, True, keys, args))
        self.node.send(command)
        return command.future

    def prepare(self, script: PackedScript, timeout: float) -> PreparedScript:
        """Return an object that runs *script*, each run within *timeout* seconds."""
        return StandaloneScript(self.node, script, timeout)

    async def send_all(self, commands: Sequence[Command], started: float, deadline: float) -> list[Reply]:
        """Send commands together; return their replies in order, errors among them."""
        if not commands:
            return []
        packed = [pack(each.args) for each in commands]
        retryable = all(each.retryable for each in commands)
        batch = StandalonePipeline(
            self.node, self._loop.create_future(), packed, started, deadline, retryable=retryable
        )
        self.node.send(batch)
        replies: list[Reply] = await batch.future
        return replies

    async def send_acknowledged(
        self, commands: Sequence[Command], replicas: int, ack_timeout: float, deadline: float
    ) -> list[Reply]:
        """Send writes, none of them twice; return their replies when *replicas* replicas have acknowledged them."""
        return await self._writes.send(commands, replicas, ack_timeout, deadline)

    def group_keys(self, keys: Sequence[Arg]) -> list[list[int]]:
        """Return all indexes in one group."""
        return [list(range(len(keys)))] if keys else []

    @asynccontextmanager
    async def tracking(
        self, prefixes: Sequence[bytes], listener: InvalidationListener, replicas: bool
    ) -> AsyncGenerator[ClientTracking, None]:
        """Report changed keys to *listener* while inside."""
        tracking = ClientTracking(prefixes, listener, ROLE_PROBE, _reconnect)
        tracking.set_nodes({None: self.node})
        try:
            yield tracking
        finally:
            await tracking.close()

    @asynccontextmanager
    async def pubsub(self, listener: PubSubListener) -> AsyncGenerator[PubSub, None]:
        """Pass the messages of subscribed channels to *listener* while inside."""
        pubsub = PubSub(lambda channel: self.node, listener, ROLE_PROBE, _reconnect)
        pubsub.set_nodes({None: self.node})
        try:
            yield pubsub
        finally:
            await pubsub.close()

    async def probe(self, deadline: float) -> None:
        """Return when the server is a master that takes writes."""
        try:
            role = await self.send(("ROLE",), None, monotonic(), deadline, retryable=True, replica=False)
        except ReplyError as error:
            if error.code != "NOPERM":  # the ACL forbids ROLE, but the server replies
                raise
        else:
            if role[0] != b"master":
                raise RedisUnavailable(f"{self.node.name}: the server is a replica and takes no writes", "refused")


def _reconnect(connection: PushConnection) -> None:
    """Reconnect when the role of the server has changed: another may have its address."""
    connection.end("the role of the server changed")
