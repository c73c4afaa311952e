"""Command router of a Redis Cluster: send each command to the server of its slot and follow MOVED and ASK.

A map of all 16384 slots names the server of each key. It is read again every 30 seconds, and soon after a redirect or
a lost server shows that it is outdated. Until then each MOVED corrects one slot.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from time import monotonic

from scalekit_redis.client_tracking import ClientTracking
from scalekit_redis.cluster_pending import MAX_REDIRECTS, AskRedirect, ClusterCommand
from scalekit_redis.cluster_scripts import ClusterScript, ClusterScriptCommand
from scalekit_redis.commands import Arg, Command, CommandArgs, Reply, eval_command
from scalekit_redis.errors import RedisUnavailable, ReplyError
from scalekit_redis.invalidation_listener import InvalidationListener
from scalekit_redis.node import Node
from scalekit_redis.pending import PendingCommand, pack
from scalekit_redis.prepared_script import PackedScript, PreparedScript
from scalekit_redis.pubsub import PubSub
from scalekit_redis.pubsub_listener import PubSubListener
from scalekit_redis.push_connection import CLUSTER_INFO_PROBE, PushConnection
from scalekit_redis.retries import RetryQueue
from scalekit_redis.script import Script
from scalekit_redis.slots import SLOTS, slot_of
from scalekit_redis.topology import Topology
from scalekit_redis.url import HostPort

PING = pack(("PING",))


class ClusterRouter:
    """Routes commands to the servers of *topology*."""

    def __init__(self, name: str, topology: Topology) -> None:
        self.name = name
        self._topology = topology
        self._loop = asyncio.get_running_loop()
        self._retries = RetryQueue()

    def send(
        self, args: CommandArgs, key: Arg | None, started: float, deadline: float, *, retryable: bool, replica: bool
    ) -> asyncio.Future[Reply]:
        """Send a command; return the future of its reply, or of its failure."""
        future = self._loop.create_future()
        if key is None or replica:
            slot = None if key is None else slot_of(key)
            node = self._topology.node_of(slot, replica)
        else:
            slot = slot_of(key)
            node = self._topology.primaries[slot]
        command = ClusterCommand(
            self,
            node,
            slot,
            future,
            pack(args),
            started=started,
            deadline=deadline,
            retryable=retryable,
            replica=replica,
        )
        self.dispatch(command)
        return future

    def run(
        self, script: Script, keys: Sequence[Arg], args: Sequence[Arg], started: float, deadline: float
    ) -> asyncio.Future[Reply]:
        """Run *script* on the server of the first of *keys*; return the future of its reply, or of its failure."""
        slot = slot_of(keys[0]) if keys else None
        node = self._topology.node_of(slot, False)
        packed = pack(eval_command(script, False, keys, args))
        command = ClusterScriptCommand(
            self,
            node,
            slot,
            self._loop.create_future(),
            packed,
            started=started,
            deadline=deadline,
            retryable=False,
            replica=False,
        )
        command.source = lambda: pack(eval_command(script, True, keys, args))
        self.dispatch(command)
        return command.future

    def prepare(self, script: PackedScript, timeout: float) -> PreparedScript:
        """Return an object that runs *script*, each run within *timeout* seconds."""
        return ClusterScript(self, self._topology, script, timeout)

    def dispatch(self, command: ClusterCommand) -> None:
        """Send *command* to its server, or fail it."""
        if command.node is None:
            command.fail(self._no_node(command.slot))
            return
        try:
            command.node.send(command)
        except RedisUnavailable as error:
            command.fail(error)

    async def send_all(self, commands: Sequence[Command], started: float, deadline: float) -> list[Reply]:
        """Send commands together; return their replies in order, errors among them."""
        futures = [
            self.send(each.args, each.key, started, deadline, retryable=each.retryable, replica=False)
            for each in commands
        ]
        replies = await asyncio.gather(*futures, return_exceptions=True)
        if replies and all(isinstance(reply, RedisUnavailable) for reply in replies):
            raise replies[0]
        return replies

    async def send_acknowledged(
        self, commands: Sequence[Command], replicas: int, ack_timeout: float, deadline: float
    ) -> list[Reply]:
        """Raise ValueError: the commands may have keys of several masters."""
        raise ValueError(f"{self.name} is a cluster; acknowledged writes need one server or Sentinel")

    def group_keys(self, keys: Sequence[Arg]) -> list[list[int]]:
        """Return the indexes of *keys* by slot: a command may not name keys of two slots (CROSSSLOT)."""
        by_slot: dict[int, list[int]] = {}
        for index, key in enumerate(keys):
            by_slot.setdefault(slot_of(key), []).append(index)
        return list(by_slot.values())

    @asynccontextmanager
    async def tracking(
        self, prefixes: Sequence[bytes], listener: InvalidationListener, replicas: bool
    ) -> AsyncGenerator[ClientTracking, None]:
        """Report changed keys of all masters to *listener* while inside, and again when *replicas* have the change."""

        def refresh(connection: PushConnection) -> None:
            self._topology.refresh_soon()

        tracking = ClientTracking(prefixes, listener, CLUSTER_INFO_PROBE, refresh)
        try:
            with self._topology.notify_masters(tracking.set_nodes, replicas):
                yield tracking
        finally:
            await tracking.close()

    @asynccontextmanager
    async def pubsub(self, listener: PubSubListener) -> AsyncGenerator[PubSub, None]:
        """Pass the messages of subscribed channels to *listener* while inside, each from the master of its slot."""

        def refresh(connection: PushConnection) -> None:
            self._topology.refresh_soon()

        pubsub = PubSub(
            lambda channel: self._topology.primaries[slot_of(channel)], listener, CLUSTER_INFO_PROBE, refresh
        )
        try:
            with self._topology.notify_masters(pubsub.set_nodes, False):
                yield pubsub
        finally:
            await pubsub.close()

    async def probe(self, deadline: float) -> None:
        """Return when every slot has a server and all of those reply."""
        nodes = set(self._topology.primaries)
        if None in nodes:
            raise self._no_node(self._topology.primaries.index(None))
        for node in filter(None, nodes):
            await node.request(PING, deadline)

    def redirect(self, command: ClusterCommand, error: ReplyError) -> bool:
        """Send *command* to the server that *error* names; return whether that was possible."""
        if error.code not in ("MOVED", "ASK"):
            return self._retry(command)
        command.redirects += 1
        if command.redirects > MAX_REDIRECTS:
            return False
        host = _host(error, command.host)
        if error.code == "ASK":
            self._send_to(command, self._topology.node_for_writes(host), AskRedirect(command))
        else:
            self._send_to(command, self._topology.move_slot(command.slot, host))
        return True

    def _retry(self, command: ClusterCommand) -> bool:
        """Send *command*, which was not executed, to another server at once or to its own after a delay."""
        self._topology.refresh_soon()
        redirects = command.redirects
        if command.retryable and self.reroute(command, None):
            return True
        command.redirects = redirects
        return self._retries.schedule(command, self._retry_now)

    def reroute(self, command: ClusterCommand, error: RedisUnavailable | None) -> bool:
        """Send *command*, which failed with *error*, to another server; return whether one exists and it is safe."""
        self._topology.refresh_soon()
        command.redirects += 1
        safe = command.retryable or (error is not None and error.kind == "unavailable")
        if not safe or command.redirects > MAX_REDIRECTS or command.deadline <= monotonic():
            return False
        node = self._topology.alternative(command.slot, command.node, command.replica)
        if node is None:
            return False
        self._send_to(command, node)
        return True

    def _retry_now(self, command: ClusterCommand) -> None:
        node = self._topology.node_of(command.slot, command.replica)
        if node is None:
            command.fail(self._no_node(command.slot))
        else:
            self._send_to(command, node)

    def _send_to(self, command: ClusterCommand, node: Node, wrapper: PendingCommand | None = None) -> None:
        command.node = node
        try:
            node.send(wrapper or command)
        except RedisUnavailable as error:
            command.fail(error)

    def _no_node(self, slot: int | None) -> RedisUnavailable:
        self._topology.refresh_soon()
        reason = "no server is reachable" if slot is None else f"no server has slot {slot} of {SLOTS}"
        return RedisUnavailable(f"{self.name}: {reason}", "unavailable")


def _host(error: ReplyError, sender: HostPort) -> HostPort:
    """Return the server that MOVED or ASK names; an empty host means the *sender* of the error."""
    name, _, port = str(error).split()[2].rpartition(":")
    return (name.strip("[]") or sender[0], int(port))
