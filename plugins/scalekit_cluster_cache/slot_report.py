"""What the nodes of a cluster have: slots, keys, and the slots that stand out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from heapq import nlargest
from typing import Any

from scalekit_redis import Redis, RedisUnavailable, ReplyError
from scalekit_redis.slots import Shard, shards
from scalekit_redis.url import Host

PATIENCE = 5.0
"""Seconds that a node may take for each answer."""
AT_ONCE = 1000
"""Slots that are counted in one go, so that a node has turns for others in between."""
MICROSECONDS, KEYS = "\u00b5s", "keys"

Open = Callable[[Host], AbstractAsyncContextManager[Redis]]


@dataclass(slots=True)
class Share:
    """What one master has; *hottest* are its slots that stand out, each with how much of *unit*."""

    host: Host
    replicas: tuple[Host, ...]
    ranges: list[tuple[int, int]] = field(default_factory=list)
    keys: int = 0
    unit: str = KEYS
    hottest: list[tuple[int, int]] = field(default_factory=list)
    trouble: str = ""

    @property
    def slots(self) -> int:
        """How many slots it has."""
        return sum(last - first + 1 for first, last in self.ranges)


async def survey(cluster: Redis, seed: Host, open_node: Open, most: int) -> list[Share]:
    """Return what each master has, with *most* of its hottest slots; a node that does not answer is in trouble."""
    found = shards(await cluster.call("CLUSTER", "SLOTS", deadline=PATIENCE), seed)
    shares = by_master(found)
    for share in shares:
        try:
            async with open_node(share.host) as node:
                await _look(node, share, most)
        except (RedisUnavailable, ReplyError) as error:
            share.trouble = str(error)
    return shares


def by_master(found: Sequence[Shard]) -> list[Share]:
    """Return a share for each master in *found*, by its first slot."""
    shares: dict[Host, Share] = {}
    for shard in sorted(found, key=lambda shard: shard.first):
        share = shares.setdefault(shard.primary, Share(shard.primary, shard.replicas))
        share.ranges.append((shard.first, shard.last))
    return list(shares.values())


async def _look(node: Redis, share: Share, most: int) -> None:
    share.keys = int(await node.call("DBSIZE", deadline=PATIENCE))
    spent = await _time_spent(node, most)
    if spent:
        share.unit, share.hottest = MICROSECONDS, spent
        return
    counts: list[tuple[int, int]] = []
    slots = [slot for first, last in share.ranges for slot in range(first, last + 1)]
    for start in range(0, len(slots), AT_ONCE):
        part = slots[start : start + AT_ONCE]
        replies = await node.pipeline([("CLUSTER", "COUNTKEYSINSLOT", slot) for slot in part], deadline=PATIENCE)
        counts += [(int(count), slot) for slot, count in zip(part, replies, strict=True) if isinstance(count, int)]
    share.hottest = [(slot, count) for count, slot in nlargest(most, counts) if count]


async def _time_spent(node: Redis, most: int) -> list[tuple[int, int]]:
    """Return the slots that took most time, where the node counts it (Valkey 8, cluster-slot-stats-enabled)."""
    try:
        words = ("CLUSTER", "SLOT-STATS", "ORDERBY", "CPU-USEC", "LIMIT", most, "DESC")
        reply = await node.call(*words, deadline=PATIENCE)
    except ReplyError:
        return []
    spent = [(int(slot), int(_stats(stats)[b"cpu-usec"])) for slot, stats in reply]
    return [(slot, microseconds) for slot, microseconds in spent if microseconds]


def _stats(reply: Any) -> dict[bytes, Any]:
    return dict(reply) if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))
