"""Prepared scripts on a cluster: each run is a command, because a command must not name keys of two slots."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Protocol

from scalekit_redis.cluster_pending import ClusterCommand, RedirectHandler
from scalekit_redis.commands import Reply
from scalekit_redis.errors import ReplyError
from scalekit_redis.prepared_script import PackedScript
from scalekit_redis.slots import slot_of
from scalekit_redis.topology import Topology


class ClusterSender(RedirectHandler, Protocol):
    """Sends commands to the servers of a cluster."""

    def dispatch(self, command: ClusterCommand) -> None:
        """Send *command* to its server, or fail it."""
        ...


class ClusterScript:
    """A prepared script that the servers of *topology* run, each run within *timeout* seconds."""

    def __init__(self, router: ClusterSender, topology: Topology, script: PackedScript, timeout: float) -> None:
        self._create_future = asyncio.get_running_loop().create_future
        self._timeout = timeout
        self._script = script
        self._router = router
        self._topology = topology

    def run(self, key: str) -> asyncio.Future[Reply]:
        """Run the script for *key*; return the future of its reply, or of its failure."""
        data, now = key.encode(), monotonic()
        slot = slot_of(data)
        command = ClusterScriptCommand(
            self._router,
            self._topology.primaries[slot],
            slot,
            self._create_future(),
            self._script.pack(data),
            started=now,
            deadline=now + self._timeout,
            retryable=False,
            replica=False,
        )
        command.source = partial(self._script.pack, data, True)
        self._router.dispatch(command)
        return command.future


class ClusterScriptCommand(ClusterCommand):
    """An EVALSHA; *source* packs the same run as an EVAL, for a server that replies NOSCRIPT."""

    __slots__ = ("source",)
    source: Callable[[], bytes] | None

    def reject(self, error: ReplyError) -> None:
        """Send EVAL after NOSCRIPT; other errors as for any command."""
        source = self.source
        if error.code != "NOSCRIPT" or source is None or self.node is None:
            super().reject(error)
            return
        self.source = None
        self.packed = source()
        self.node.resend(self)
