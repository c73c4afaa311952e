"""Client tracking over all servers: report changed keys while every server reports its changes.

A cluster has one tracking connection for each master, a standalone server has one. No change is missed while all
connections are active.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from math import inf
from time import monotonic

from scalekit_redis.invalidation_listener import InvalidationListener
from scalekit_redis.node import Node
from scalekit_redis.pending import pack
from scalekit_redis.push_connection import LivenessProbe, PushConnection
from scalekit_redis.tracking_connection import TrackingConnection, tracking_command
from scalekit_redis.url import HostPort


class ClientTracking:
    """Reports changes of keys that begin with one of *prefixes*; misses none while ``active`` is true."""

    def __init__(
        self,
        prefixes: Sequence[bytes],
        listener: InvalidationListener,
        probe_command: LivenessProbe,
        on_change: Callable[[PushConnection], None],
    ) -> None:
        self.active = False
        self._setup = pack(tracking_command(prefixes))
        self._listener = listener
        self._probe = probe_command
        self._on_change = on_change
        self._connections: dict[HostPort | None, TrackingConnection] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def set_nodes(self, nodes: Mapping[HostPort | None, Node]) -> None:
        """Track changes on *nodes*, and on no others."""
        for host in self._connections.keys() - nodes.keys():
            task = asyncio.create_task(self._connections.pop(host).close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        for host in nodes.keys() - self._connections.keys():
            self._connections[host] = self._connect(nodes[host])
        self._update()

    @property
    def confirmed_until(self) -> float:
        """The point in time on the monotonic clock up to which every change has been reported; -inf for never."""
        return min((connection.confirmed_until for connection in self._connections.values()), default=-inf)

    async def close(self) -> None:
        """Close all tracking connections."""
        self.active = False
        connections, self._connections = list(self._connections.values()), {}
        await asyncio.gather(*(connection.close() for connection in connections), *self._closing)

    def _connect(self, node: Node) -> TrackingConnection:
        return TrackingConnection(
            node,
            self._setup,
            self._probe,
            on_state=self._update,
            on_keys=self._on_keys,
            on_change=self._on_change,
        )

    def _update(self) -> None:
        active = bool(self._connections) and all(connection.active for connection in self._connections.values())
        if active != self.active:
            self.active = active
            if active:
                self._listener.on_start()
            else:
                self._listener.on_lost(self.confirmed_until)

    def _on_keys(self, keys: list[bytes] | None) -> None:
        if not self.active:  # the listener removes everything when tracking starts again
            return
        if keys is None:
            self.active = False
            self._listener.on_lost(monotonic())
            self._update()
        else:
            self._listener.on_invalidate(keys)
