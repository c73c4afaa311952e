"""Which part of a cluster a key belongs to, and who has it (https://redis.io/docs/reference/cluster-spec)."""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from scalekit_redis.commands import Word
from scalekit_redis.url import Host

SLOTS = 16384


def slot_of(key: Word) -> int:
    """Return the slot of *key*: of what is between its first braces, where there is something."""
    data = key if isinstance(key, bytes) else str(key).encode()
    start = data.find(b"{")
    if start >= 0:
        end = data.find(b"}", start)
        if end > start + 1:
            data = data[start + 1 : end]
    return crc_hqx(data, 0) % SLOTS


def key_in(slot: int) -> bytes:
    """Return a key whose slot is *slot*."""
    return next(key for number in count() if slot_of(key := b"%d" % number) == slot)


@dataclass(frozen=True, slots=True)
class Shard:
    """Slots from *first* to *last*, the server that has them, and its replicas."""

    first: int
    last: int
    primary: Host
    replicas: tuple[Host, ...]


def shards(reply: Any, asked: Host) -> list[Shard]:
    """Return what CLUSTER SLOTS says; a server that does not know its own name is the one that was *asked*."""
    found = []
    for first, last, *servers in reply:
        hosts = list(_hosts(servers, asked))
        if hosts:
            found.append(Shard(first, last, hosts[0], tuple(hosts[1:])))
    return found


def _hosts(servers: Sequence[Any], asked: Host) -> Iterator[Host]:
    for name, port, *_ in servers:
        if name != b"?":  # it is to be told by a name that it does not have
            yield (name.decode() if name else asked[0], port or asked[1])
