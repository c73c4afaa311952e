"""Runs of scripts in a cluster: each goes by itself, as one command must not have keys of two slots."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Any, Protocol

from scalekit_redis.cluster_pending import ClusterCommand, RedirectHandler
from scalekit_redis.errors import ReplyError
from scalekit_redis.prepared_script import PackedScript
from scalekit_redis.slots import slot_of
from scalekit_redis.topology import Topology


class ClusterSender(RedirectHandler, Protocol):
    """Who sends calls to the servers of a cluster."""

    def begin(self, call: ClusterCommand) -> None:
        """Send *call* to its server, or fail it."""
        ...


class ClusterScript:
    """A script in a *form* that the servers of *topology* run, each time within *deadline* seconds."""

    def __init__(self, sender: ClusterSender, topology: Topology, form: PackedScript, deadline: float) -> None:
        self._create_future = asyncio.get_running_loop().create_future
        self._deadline = deadline
        self._form = form
        self._sender = sender
        self._topology = topology

    def begin(self, key: str) -> asyncio.Future[Any]:
        """Run it for *key*; return the future of its reply, or of its failure."""
        word, now = key.encode(), monotonic()
        slot = slot_of(word)
        call = ClusterScriptCommand(
            self._sender,
            slot,
            self._create_future(),
            self._form.pack(word),
            now,
            now + self._deadline,
            False,
            False,
            self._topology.primaries[slot],
        )
        call.source = partial(self._form.pack, word, True)
        self._sender.begin(call)
        return call.future


class ClusterScriptCommand(ClusterCommand):
    """A run of a script by a server that may not know it: *source* is the same command with the script in it."""

    __slots__ = ("source",)
    source: Callable[[], bytes] | None

    def refuse(self, error: ReplyError) -> None:
        """Send the source where the server does not know the script, or do as other commands do."""
        source = self.source
        if error.code != "NOSCRIPT" or source is None or self.node is None:
            super().refuse(error)
            return
        self.source = None
        self.packed = source()
        self.node.put_again(self)
