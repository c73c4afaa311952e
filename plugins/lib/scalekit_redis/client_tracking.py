"""What is changed in Redis by whomever, told while all of it is told.

A cluster has a connection for this to each of its servers that take writes, one server has one. Only when all of them
are on is every change told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from math import inf
from time import monotonic

from scalekit_redis.invalidation_listener import InvalidationListener
from scalekit_redis.node import Node
from scalekit_redis.pending import pack
from scalekit_redis.tracking_connection import LivenessProbe, TrackingConnection, tracking_command
from scalekit_redis.url import Host


class ClientTracking:
    """Changes of keys that begin with one of *prefixes*; while *on* is set, all of them are told."""

    def __init__(
        self,
        prefixes: Sequence[bytes],
        hearing: InvalidationListener,
        question: LivenessProbe,
        turned: Callable[[TrackingConnection], None],
    ) -> None:
        self.on = False
        self._first = pack(tracking_command(prefixes))
        self._hearing = hearing
        self._question = question
        self._turned = turned
        self._watches: dict[Host | None, TrackingConnection] = {}
        self._leaving: set[asyncio.Task[None]] = set()

    def follow(self, nodes: Mapping[Host | None, Node]) -> None:
        """Be told by *nodes*, and by no others."""
        for host in self._watches.keys() - nodes.keys():
            task = asyncio.create_task(self._watches.pop(host).close())
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)
        for host in nodes.keys() - self._watches.keys():
            self._watches[host] = self._watch(nodes[host])
        self._shift()

    @property
    def proved(self) -> float:
        """When, on the monotonic clock, every change until then is known to have been told; -inf for never."""
        return min((watch.proved for watch in self._watches.values()), default=-inf)

    async def close(self) -> None:
        """Be told nothing any more."""
        self.on = False
        watches, self._watches = list(self._watches.values()), {}
        await asyncio.gather(*(watch.close() for watch in watches), *self._leaving)

    def _watch(self, node: Node) -> TrackingConnection:
        return TrackingConnection(
            node.name, node.connector, node.metrics, self._first, self._question, self._shift, self._told, self._turned
        )

    def _shift(self) -> None:
        on = bool(self._watches) and all(watch.on for watch in self._watches.values())
        if on != self.on:
            self.on = on
            if on:
                self._hearing.begun()
            else:
                self._hearing.lost(self.proved)

    def _told(self, keys: list[bytes] | None) -> None:
        if not self.on:  # all that is known is forgotten when it is on again
            return
        if keys is None:
            self.on = False
            self._hearing.lost(monotonic())
            self._shift()
        else:
            self._hearing.invalidated(keys)
