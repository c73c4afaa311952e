"""Who has which slots of a cluster, read from the cluster itself, and the connections to them."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from time import monotonic

from scalekit_redis.errors import RedisUnavailable, ReplyError
from scalekit_redis.node import LONGEST_PAUSE, Node
from scalekit_redis.pending import pack
from scalekit_redis.slots import SLOTS, Shard, shards
from scalekit_redis.url import Host

logger = logging.getLogger("scalekit.redis")

REFRESH = 30.0
"""Seconds between two readings while nothing shows that the last is old."""
SOON = 0.1
"""Seconds between two readings while something does."""
PATIENCE = 1.0
"""Seconds that a server may take to tell."""
FAREWELL = 1.0
"""Seconds after which a server that left the cluster is left."""
Show = Callable[[Mapping[Host | None, Node]], None]
QUESTION = pack(("CLUSTER", "SLOTS"))


class Topology:
    """The map of a cluster that *seeds* know; *make* connects to one server, as a replica or not."""

    def __init__(self, seeds: tuple[Host, ...], make: Callable[[Host, bool], Node]) -> None:
        self.primaries: list[Node | None] = [None] * SLOTS
        self.refusal = ""
        self._replicas: list[tuple[Host, ...]] = [()] * SLOTS
        self._seeds = seeds
        self._make = make
        self._nodes: dict[tuple[Host, bool], Node] = {}
        self._leaving: dict[asyncio.Task[None], Node] = {}
        self._masters: dict[Host | None, Node] = {}
        self._shows: list[tuple[Show, bool]] = []
        self._turn = count()
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def nodes(self) -> list[Node]:
        """Every server that there is a connection to."""
        return list(self._nodes.values())

    @property
    def _writable(self) -> list[Node]:
        return [node for (_, replica), node in self._nodes.items() if not replica]

    async def open(self) -> None:
        """Read the map, once, and keep it up to date from then on."""
        await self._refresh()
        await asyncio.gather(*(node.attempted() for node in self.nodes))
        self._task = asyncio.create_task(self._keep(), name="scalekit: redis topology")

    async def close(self) -> None:
        """Leave every server."""
        nodes = [*self.nodes, *self._leaving.values()]
        tasks = [*self._leaving, *([self._task] if self._task else ())]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await asyncio.gather(*(node.close() for node in nodes))

    def node_of(self, slot: int | None, replica: bool) -> Node | None:
        """Return who has *slot*, or where a *replica* will do one that is well; anybody who is well for no slot."""
        if slot is None:
            return next(self._well(self._writable), None)
        if replica:
            node = next(self._well(self._replica_nodes(slot)), None)
            if node is not None:
                return node
        return self.primaries[slot]

    def another(self, slot: int | None, tried: Node | None, replica: bool) -> Node | None:
        """Return a server that is well and has *slot* too."""
        if slot is None:
            return next((node for node in self._well(self._writable) if node is not tried), None)
        primary = self.primaries[slot]
        candidates = [*(self._replica_nodes(slot) if replica else ()), *([primary] if primary else ())]
        return next((node for node in self._well(candidates) if node is not tried), None)

    def node(self, host: Host, replica: bool = False) -> Node:
        """Return the connection to *host*, to read as from a *replica* or not."""
        found = self._nodes.get((host, replica))
        if found is None:
            found = self._nodes[host, replica] = self._make(host, replica)
        return found

    def move(self, slot: int | None, host: Host) -> Node:
        """Note that *slot* is at *host* now, and return that."""
        node = self.importing(host)
        if slot is not None:
            self.primaries[slot] = node
        self.refresh_soon()
        return node

    def importing(self, host: Host) -> Node:
        """Return the connection to *host*, which takes writes of a slot that it has, or is about to."""
        node = self.node(host)
        if host not in self._masters:
            self._masters[host] = node
            self._show_all()
        return node

    @contextmanager
    def showing(self, show: Show, replicas: bool) -> Generator[None, None, None]:
        """Call *show* with all masters, and their *replicas*, now and after every change, until left."""
        self._shows.append((show, replicas))
        try:
            self._show_all()
            yield
        finally:
            self._shows.remove((show, replicas))

    def refresh_soon(self) -> None:
        """Read the map anew: it is old."""
        self._wanted.set()

    def _replica_nodes(self, slot: int) -> list[Node]:
        return [self.node(host, replica=True) for host in self._replicas[slot]]

    def _well(self, nodes: list[Node]) -> Iterator[Node]:
        """Yield those that are not in trouble, beginning with another each time."""
        first = next(self._turn)
        for place in range(len(nodes)):
            node = nodes[(first + place) % len(nodes)]
            if not node.trouble:
                yield node

    async def _keep(self) -> None:
        attempt = 0
        while True:
            try:
                async with asyncio.timeout(REFRESH):
                    await self._wanted.wait()
            except TimeoutError:
                pass
            self._wanted.clear()
            attempt = 0 if await self._refreshed() else attempt + 1
            if attempt:
                self._wanted.set()
            pause = min(max(SOON, 0.05 * attempt), LONGEST_PAUSE)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))

    async def _refreshed(self) -> bool:
        try:
            return await self._refresh()
        except Exception:  # a map that makes no sense; the next may
            logger.exception("the map of the cluster cannot be read")
            return False

    async def _refresh(self) -> bool:
        """Ask one server after the other, those that are well first; tell whether one knew of every slot."""
        well = list(self._well(self.nodes))
        others = [node for node in self.nodes if node.trouble]
        partial: list[Shard] = []
        for node in [*well, *others, *(self.node(seed) for seed in self._seeds)]:
            found = await self._ask(node)
            if sum(shard.last - shard.first + 1 for shard in found) == SLOTS:
                self._apply(found)
                return True
            partial = max(partial, found, key=len)
        if partial:
            self._apply(partial)
        return False

    async def _ask(self, node: Node) -> list[Shard]:
        await node.attempted()
        try:
            found = shards(await node.ask(QUESTION, monotonic() + PATIENCE), node.host or ("", 0))
        except ReplyError as error:
            self.refusal = str(error)
            return []
        except RedisUnavailable:
            self.refusal = self.refusal or (node.trouble if node.refused else "")
            return []
        self.refusal = ""
        return found

    def _apply(self, found: list[Shard]) -> None:
        primaries: list[Node | None] = [None] * SLOTS
        replicas: list[tuple[Host, ...]] = [()] * SLOTS
        for shard in found:
            size = shard.last - shard.first + 1
            primaries[shard.first : shard.last + 1] = [self.node(shard.primary)] * size
            replicas[shard.first : shard.last + 1] = [shard.replicas] * size
        self.primaries, self._replicas = primaries, replicas
        self._masters = {shard.primary: self.node(shard.primary) for shard in found}
        self._show_all()
        known = {(shard.primary, False) for shard in found}
        known |= {(host, True) for shard in found for host in shard.replicas}
        for key in self._nodes.keys() - known:
            self._leave(self._nodes.pop(key))

    def _show_all(self) -> None:
        for show, replicas in self._shows:
            show(self._copies() | self._masters if replicas else self._masters)

    def _copies(self) -> dict[Host | None, Node]:
        return {host: self.node(host, replica=True) for hosts in set(self._replicas) for host in hosts}

    def _leave(self, node: Node) -> None:
        """Leave *node* when what it was asked is answered."""

        async def leave() -> None:
            await asyncio.sleep(FAREWELL)
            await node.close()

        task = asyncio.create_task(leave())
        self._leaving[task] = node
        task.add_done_callback(self._leaving.pop)
