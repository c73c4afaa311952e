"""Report on the masters of a cluster: slots, keys and the hottest slots."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from heapq import nlargest
from typing import Any

from scalekit_redis import HostPort, Redis, RedisUnavailable, ReplyError, Shard, parse_cluster_slots

NODE_TIMEOUT = 5.0
"""Timeout of each command in seconds."""
SLOTS_PER_PIPELINE = 1000
"""Slots that are counted by one pipeline, so that other clients of the node are not delayed."""
MICROSECONDS, KEYS = "\u00b5s", "keys"

OpenNode = Callable[[HostPort], AbstractAsyncContextManager[Redis]]


@dataclass(slots=True)
class MasterReport:
    """A master; *hottest* are its hottest slots with their amounts of *unit*, *error* is why it is unavailable."""

    node: HostPort
    replicas: tuple[HostPort, ...]
    ranges: list[tuple[int, int]] = field(default_factory=list)
    keys: int = 0
    unit: str = KEYS
    hottest: list[tuple[int, int]] = field(default_factory=list)
    error: str = ""

    @property
    def slots(self) -> int:
        """The number of its slots."""
        return sum(last - first + 1 for first, last in self.ranges)


async def query_masters(cluster: Redis, seed: HostPort, open_node: OpenNode, hottest: int) -> list[MasterReport]:
    """Return a report on each master with its *hottest* slots; an unavailable master has an error."""
    found = parse_cluster_slots(await cluster.call("CLUSTER", "SLOTS", timeout=NODE_TIMEOUT), seed)
    masters = by_master(found)
    for master in masters:
        try:
            async with open_node(master.node) as node:
                await _query_master(node, master, hottest)
        except (RedisUnavailable, ReplyError) as error:
            master.error = str(error)
    return masters


def by_master(found: Sequence[Shard]) -> list[MasterReport]:
    """Return a report for each master in *found*, in the order of their first slots."""
    masters: dict[HostPort, MasterReport] = {}
    for shard in sorted(found, key=lambda shard: shard.first):
        master = masters.setdefault(shard.primary, MasterReport(shard.primary, shard.replicas))
        master.ranges.append((shard.first, shard.last))
    return list(masters.values())


async def _query_master(node: Redis, master: MasterReport, hottest: int) -> None:
    master.keys = int(await node.call("DBSIZE", timeout=NODE_TIMEOUT))
    times = await _cpu_times(node, hottest)
    if times:
        master.unit, master.hottest = MICROSECONDS, times
        return
    counts: list[tuple[int, int]] = []
    slots = [slot for first, last in master.ranges for slot in range(first, last + 1)]
    for start in range(0, len(slots), SLOTS_PER_PIPELINE):
        part = slots[start : start + SLOTS_PER_PIPELINE]
        replies = await node.pipeline([("CLUSTER", "COUNTKEYSINSLOT", slot) for slot in part], timeout=NODE_TIMEOUT)
        counts += [(int(count), slot) for slot, count in zip(part, replies, strict=True) if isinstance(count, int)]
    master.hottest = [(slot, count) for count, slot in nlargest(hottest, counts) if count]


async def _cpu_times(node: Redis, hottest: int) -> list[tuple[int, int]]:
    """Return the slots with most CPU time, where the node measures it (Valkey 8, cluster-slot-stats-enabled)."""
    try:
        args = ("CLUSTER", "SLOT-STATS", "ORDERBY", "CPU-USEC", "LIMIT", hottest, "DESC")
        reply = await node.call(*args, timeout=NODE_TIMEOUT)
    except ReplyError:
        return []
    times = [(int(slot), int(_statistics(values)[b"cpu-usec"])) for slot, values in reply]
    return [(slot, microseconds) for slot, microseconds in times if microseconds]


def _statistics(reply: Any) -> dict[bytes, Any]:
    return dict(reply) if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))
