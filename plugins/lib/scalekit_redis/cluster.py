"""A cluster: commands go straight to the server that has their key, and where a server sends them on.

A map of all slots says who has a key. It is read anew every 30 seconds, and soon after anything that shows that it is
old: a command that was sent on, a server that is gone. Until then each MOVED mends it in one place.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

from scalekit_redis.client_tracking import ClientTracking
from scalekit_redis.cluster_pending import MOST_HOPS, AskRedirect, ClusterCommand
from scalekit_redis.cluster_scripts import ClusterScript, ClusterScriptCommand
from scalekit_redis.commands import Command, Word, Words, eval_command
from scalekit_redis.errors import RedisUnavailable, ReplyError
from scalekit_redis.invalidation_listener import InvalidationListener
from scalekit_redis.node import Node
from scalekit_redis.pending import PendingCommand, pack
from scalekit_redis.prepared_script import PackedScript, PreparedScript
from scalekit_redis.retries import RetryQueue
from scalekit_redis.script import Script
from scalekit_redis.slots import SLOTS, slot_of
from scalekit_redis.topology import Topology
from scalekit_redis.tracking_connection import CLUSTER_INFO, TrackingConnection
from scalekit_redis.url import Host

PING = pack(("PING",))


class ClusterRouter:
    """Carries commands to the servers of *topology*."""

    def __init__(self, name: str, topology: Topology) -> None:
        self.name = name
        self._topology = topology
        self._loop = asyncio.get_running_loop()
        self._retries = RetryQueue()

    def send(
        self, words: Words, key: Word | None, began: float, at: float, repeatable: bool, replica: bool
    ) -> asyncio.Future[Any]:
        """Send a command; return the future of its reply, or of its failure."""
        future = self._loop.create_future()
        if key is None or replica:
            slot = None if key is None else slot_of(key)
            node = self._topology.node_of(slot, replica)
        else:
            slot = slot_of(key)
            node = self._topology.primaries[slot]
        self.begin(ClusterCommand(self, slot, future, pack(words), began, at, repeatable, replica, node))
        return future

    def run(
        self, script: Script, keys: Sequence[Word], args: Sequence[Word], began: float, at: float
    ) -> asyncio.Future[Any]:
        """Run *script* where the first of *keys* is; return the future of its reply, or of its failure."""
        slot = slot_of(keys[0]) if keys else None
        node = self._topology.node_of(slot, False)
        packed = pack(eval_command(script, False, keys, args))
        call = ClusterScriptCommand(self, slot, self._loop.create_future(), packed, began, at, False, False, node)
        call.source = lambda: pack(eval_command(script, True, keys, args))
        self.begin(call)
        return call.future

    def prepare(self, form: PackedScript, deadline: float) -> PreparedScript:
        """Return what runs the script of *form*, each time within *deadline* seconds."""
        return ClusterScript(self, self._topology, form, deadline)

    def begin(self, call: ClusterCommand) -> None:
        """Send *call* to its server, or fail it."""
        if call.node is None:
            call.fail(self._nobody(call.slot))
            return
        try:
            call.node.put(call)
        except RedisUnavailable as error:
            call.fail(error)

    async def send_all(self, commands: Sequence[Command], began: float, at: float) -> list[Any]:
        """Send commands together; return their replies in order, errors among them."""
        futures = [self.send(each.words, each.key, began, at, each.repeatable, False) for each in commands]
        replies = await asyncio.gather(*futures, return_exceptions=True)
        if replies and all(isinstance(reply, RedisUnavailable) for reply in replies):
            raise replies[0]
        return replies

    def parted(self, keys: Sequence[Word]) -> list[list[int]]:
        """Return the places of *keys* by slot: no command may name keys of two."""
        by_slot: dict[int, list[int]] = {}
        for place, key in enumerate(keys):
            by_slot.setdefault(slot_of(key), []).append(place)
        return list(by_slot.values())

    @asynccontextmanager
    async def tracking(
        self, prefixes: Sequence[bytes], hearing: InvalidationListener, replicas: bool
    ) -> AsyncGenerator[ClientTracking, None]:
        """Tell *hearing* of changed keys while inside, whoever has them, and again when *replicas* have it."""

        def look_again(watch: TrackingConnection) -> None:
            self._topology.refresh_soon()

        tracking = ClientTracking(prefixes, hearing, CLUSTER_INFO, look_again)
        try:
            with self._topology.showing(tracking.follow, replicas):
                yield tracking
        finally:
            await tracking.close()

    async def probe(self, at: float) -> None:
        """Return when every slot is somebody's and they all answer."""
        nodes = set(self._topology.primaries)
        if None in nodes:
            raise self._nobody(self._topology.primaries.index(None))
        for node in filter(None, nodes):
            await node.ask(PING, at)

    def redirect(self, call: ClusterCommand, error: ReplyError) -> bool:
        """Send *call* on as *error* says; tell whether that could be done."""
        if error.code not in ("MOVED", "ASK"):
            return self._retry(call)
        call.hops += 1
        if call.hops > MOST_HOPS:
            return False
        host = _host(error, call.host)
        if error.code == "ASK":
            self._put(call, self._topology.importing(host), AskRedirect(call))
        else:
            self._put(call, self._topology.move(call.slot, host))
        return True

    def _retry(self, call: ClusterCommand) -> bool:
        """Send *call*, which was not run, to another server at once or to its own after a pause."""
        self._topology.refresh_soon()
        hops = call.hops
        if call.repeatable and self.reroute(call, None):
            return True
        call.hops = hops
        return self._retries.later(call, self._again)

    def reroute(self, call: ClusterCommand, error: RedisUnavailable | None) -> bool:
        """Send *call*, which failed with *error*, to another server; tell whether there is one, and it is safe."""
        self._topology.refresh_soon()
        call.hops += 1
        safe = call.repeatable or (error is not None and error.kind == "gone")
        if not safe or call.hops > MOST_HOPS or call.at <= monotonic():
            return False
        node = self._topology.another(call.slot, call.node, call.replica)
        if node is None:
            return False
        self._put(call, node)
        return True

    def _again(self, call: ClusterCommand) -> None:
        node = self._topology.node_of(call.slot, call.replica)
        if node is None:
            call.fail(self._nobody(call.slot))
        else:
            self._put(call, node)

    def _put(self, call: ClusterCommand, node: Node, carrier: PendingCommand | None = None) -> None:
        call.node = node
        try:
            node.put(carrier or call)
        except RedisUnavailable as error:
            call.fail(error)

    def _nobody(self, slot: int | None) -> RedisUnavailable:
        self._topology.refresh_soon()
        what = "no server is known" if slot is None else f"no server is known to have slot {slot} of {SLOTS}"
        return RedisUnavailable(f"{self.name}: {what}", "gone")


def _host(error: ReplyError, asked: Host) -> Host:
    """Return the server that MOVED or ASK names, which leaves out the name of the one that was *asked*."""
    name, _, port = str(error).split()[2].rpartition(":")
    return (name.strip("[]") or asked[0], int(port))
