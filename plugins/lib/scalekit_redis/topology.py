"""The map of slots to servers, read from the cluster itself, and the connections to those servers."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from time import monotonic

from scalekit_redis.errors import RedisUnavailable, ReplyError
from scalekit_redis.node import MAX_RECONNECT_INTERVAL, Node
from scalekit_redis.pending import pack
from scalekit_redis.slots import SLOTS, Shard, parse_cluster_slots
from scalekit_redis.url import HostPort

logger = logging.getLogger("scalekit.redis")

REFRESH_INTERVAL = 30.0
"""Seconds between two reads of the map while nothing shows that it is outdated."""
MIN_REFRESH_INTERVAL = 0.1
"""Minimum seconds between two reads of an outdated map."""
QUERY_TIMEOUT = 1.0
"""Timeout in seconds of CLUSTER SLOTS."""
CLOSE_DELAY = 1.0
"""Seconds until the connection to a server that left the cluster is closed."""
MastersCallback = Callable[[Mapping[HostPort | None, Node]], None]
CLUSTER_SLOTS = pack(("CLUSTER", "SLOTS"))


class Topology:
    """The slot map of the cluster at *seeds*; *connect* opens the connection to a server, as a replica or not."""

    def __init__(self, seeds: tuple[HostPort, ...], connect: Callable[[HostPort, bool], Node]) -> None:
        self.primaries: list[Node | None] = [None] * SLOTS
        self.rejection = ""
        self._replicas: list[tuple[HostPort, ...]] = [()] * SLOTS
        self._seeds = seeds
        self._connect = connect
        self._nodes: dict[tuple[HostPort, bool], Node] = {}
        self._closing: dict[asyncio.Task[None], Node] = {}
        self._masters: dict[HostPort | None, Node] = {}
        self._subscribers: list[tuple[MastersCallback, bool]] = []
        self._round_robin = count()
        self._refresh_requested = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def nodes(self) -> list[Node]:
        """Every server with a connection."""
        return list(self._nodes.values())

    @property
    def _writable(self) -> list[Node]:
        return [node for (_, replica), node in self._nodes.items() if not replica]

    async def open(self) -> None:
        """Read the map once, then keep it up to date in the background."""
        await self._refresh()
        await asyncio.gather(*(node.first_attempt() for node in self.nodes))
        self._task = asyncio.create_task(self._refresh_loop(), name="scalekit: redis topology")

    async def close(self) -> None:
        """Close all connections."""
        nodes = [*self.nodes, *self._closing.values()]
        tasks = [*self._closing, *([self._task] if self._task else ())]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await asyncio.gather(*(node.close() for node in nodes))

    def node_of(self, slot: int | None, replica: bool) -> Node | None:
        """Return the master of *slot*, or with *replica* a healthy replica; any healthy server for None."""
        if slot is None:
            return next(self._healthy(self._writable), None)
        if replica:
            node = next(self._healthy(self._replica_nodes(slot)), None)
            if node is not None:
                return node
        return self.primaries[slot]

    def alternative(self, slot: int | None, tried: Node | None, replica: bool) -> Node | None:
        """Return another healthy server of *slot* than *tried*, or None."""
        if slot is None:
            return next((node for node in self._healthy(self._writable) if node is not tried), None)
        primary = self.primaries[slot]
        candidates = [*(self._replica_nodes(slot) if replica else ()), *([primary] if primary else ())]
        return next((node for node in self._healthy(candidates) if node is not tried), None)

    def node(self, host: HostPort, replica: bool = False) -> Node:
        """Return the connection to *host*; with *replica* it reads from a replica (READONLY)."""
        found = self._nodes.get((host, replica))
        if found is None:
            found = self._nodes[host, replica] = self._connect(host, replica)
        return found

    def move_slot(self, slot: int | None, host: HostPort) -> Node:
        """Assign *slot* to *host* and return its connection."""
        node = self.node_for_writes(host)
        if slot is not None:
            self.primaries[slot] = node
        self.refresh_soon()
        return node

    def node_for_writes(self, host: HostPort) -> Node:
        """Return the connection to *host*, a master of a slot or about to become one."""
        node = self.node(host)
        if host not in self._masters:
            self._masters[host] = node
            self._notify()
        return node

    @contextmanager
    def notify_masters(self, callback: MastersCallback, replicas: bool) -> Generator[None, None, None]:
        """Call *callback* with all masters, and with *replicas* those too, now and after every change, while inside."""
        self._subscribers.append((callback, replicas))
        try:
            self._notify()
            yield
        finally:
            self._subscribers.remove((callback, replicas))

    def refresh_soon(self) -> None:
        """Read the map again soon: it is outdated."""
        self._refresh_requested.set()

    def _replica_nodes(self, slot: int) -> list[Node]:
        return [self.node(host, replica=True) for host in self._replicas[slot]]

    def _healthy(self, nodes: list[Node]) -> Iterator[Node]:
        """Yield the healthy ones of *nodes*, round robin."""
        first = next(self._round_robin)
        for offset in range(len(nodes)):
            node = nodes[(first + offset) % len(nodes)]
            if not node.unavailable_reason:
                yield node

    async def _refresh_loop(self) -> None:
        attempt = 0
        while True:
            try:
                async with asyncio.timeout(REFRESH_INTERVAL):
                    await self._refresh_requested.wait()
            except TimeoutError:
                pass
            self._refresh_requested.clear()
            attempt = 0 if await self._try_refresh() else attempt + 1
            if attempt:
                self._refresh_requested.set()
            pause = min(max(MIN_REFRESH_INTERVAL, 0.05 * attempt), MAX_RECONNECT_INTERVAL)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))

    async def _try_refresh(self) -> bool:
        try:
            return await self._refresh()
        except Exception:  # an invalid map; the next may be valid
            logger.exception("the slot map of the cluster cannot be read")
            return False

    async def _refresh(self) -> bool:
        """Query servers in turn, healthy ones first, until one knows all slots; return whether one does."""
        healthy = list(self._healthy(self.nodes))
        others = [node for node in self.nodes if node.unavailable_reason]
        partial: list[Shard] = []
        for node in [*healthy, *others, *(self.node(seed) for seed in self._seeds)]:
            found = await self._query_slots(node)
            if sum(shard.last - shard.first + 1 for shard in found) == SLOTS:
                self._apply(found)
                return True
            partial = max(partial, found, key=len)
        if partial:
            self._apply(partial)
        return False

    async def _query_slots(self, node: Node) -> list[Shard]:
        await node.first_attempt()
        try:
            found = parse_cluster_slots(
                await node.request(CLUSTER_SLOTS, monotonic() + QUERY_TIMEOUT), node.host or ("", 0)
            )
        except ReplyError as error:
            self.rejection = str(error)
            return []
        except RedisUnavailable:
            self.rejection = self.rejection or (node.unavailable_reason if node.rejected else "")
            return []
        self.rejection = ""
        return found

    def _apply(self, found: list[Shard]) -> None:
        primaries: list[Node | None] = [None] * SLOTS
        replicas: list[tuple[HostPort, ...]] = [()] * SLOTS
        for shard in found:
            size = shard.last - shard.first + 1
            primaries[shard.first : shard.last + 1] = [self.node(shard.primary)] * size
            replicas[shard.first : shard.last + 1] = [shard.replicas] * size
        self.primaries, self._replicas = primaries, replicas
        self._masters = {shard.primary: self.node(shard.primary) for shard in found}
        self._notify()
        current = {(shard.primary, False) for shard in found}
        current |= {(host, True) for shard in found for host in shard.replicas}
        for key in self._nodes.keys() - current:
            self._close_later(self._nodes.pop(key))

    def _notify(self) -> None:
        for callback, replicas in self._subscribers:
            callback(self._replica_nodes_by_host() | self._masters if replicas else self._masters)

    def _replica_nodes_by_host(self) -> dict[HostPort | None, Node]:
        return {host: self.node(host, replica=True) for hosts in set(self._replicas) for host in hosts}

    def _close_later(self, node: Node) -> None:
        """Close *node* when its pending commands have had time to complete."""

        async def close() -> None:
            await asyncio.sleep(CLOSE_DELAY)
            await node.close()

        task = asyncio.create_task(close())
        self._closing[task] = node
        task.add_done_callback(self._closing.pop)
