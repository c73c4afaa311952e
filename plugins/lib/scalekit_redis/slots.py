"""Hash slots of a Redis Cluster and the servers that have them (https://redis.io/docs/reference/cluster-spec)."""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

from scalekit_redis.commands import Arg, Reply
from scalekit_redis.url import HostPort

SLOTS = 16384


def slot_of(key: Arg) -> int:
    """Return the slot of *key*, or of its hash tag (the part in its first braces) when it has one."""
    data = key if isinstance(key, bytes) else str(key).encode()
    start = data.find(b"{")
    if start >= 0:
        end = data.find(b"}", start)
        if end > start + 1:
            data = data[start + 1 : end]
    return crc_hqx(data, 0) % SLOTS


def key_in_slot(slot: int) -> bytes:
    """Return a key whose slot is *slot*."""
    return next(key for number in count() if slot_of(key := b"%d" % number) == slot)


@dataclass(frozen=True, slots=True)
class Shard:
    """The slots from *first* to *last*, their master and its replicas."""

    first: int
    last: int
    primary: HostPort
    replicas: tuple[HostPort, ...]


def parse_cluster_slots(reply: Reply, queried: HostPort) -> list[Shard]:
    """Parse a reply to CLUSTER SLOTS; a server without a host in it is the *queried* one."""
    shards = []
    for first, last, *servers in reply:
        hosts = list(_hosts(servers, queried))
        if hosts:
            shards.append(Shard(first, last, hosts[0], tuple(hosts[1:])))
    return shards


def _hosts(servers: Sequence[Reply], queried: HostPort) -> Iterator[HostPort]:
    for name, port, *_ in servers:
        if name != b"?":  # the server has no announced hostname yet
            yield (name.decode() if name else queried[0], port or queried[1])
