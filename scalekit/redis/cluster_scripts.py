"""Runs of scripts in a cluster: each goes by itself, as one command must not have keys of two slots."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any, Protocol

from scalekit.redis.cluster_calls import ClusterCall, Routes
from scalekit.redis.errors import ReplyError
from scalekit.redis.prepared import ScriptForm
from scalekit.redis.slots import slot_of
from scalekit.redis.topology import Topology


class Sender(Routes, Protocol):
    """Who sends calls to the servers of a cluster."""

    def begin(self, call: ClusterCall) -> None:
        """Send *call* to its server, or fail it."""
        ...


class ClusterScript:
    """A script in a *form* that the servers of *topology* run, each time within *deadline* seconds."""

    def __init__(self, sender: Sender, topology: Topology, form: ScriptForm, deadline: float) -> None:
        self._create_future = asyncio.get_running_loop().create_future
        self._deadline = deadline
        self._form = form
        self._sender = sender
        self._topology = topology

    def begin(self, key: str) -> asyncio.Future[Any]:
        """Run it for *key*; return the future of its reply, or of its failure."""
        word, now = key.encode(), monotonic()
        slot = slot_of(word)
        call = ClusterScriptCall(
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
        call.form, call.key = self._form, word
        self._sender.begin(call)
        return call.future


class ClusterScriptCall(ClusterCall):
    """A run of a script in a *form* for *key*, by a server that may not know it."""

    __slots__ = ("form", "key")
    form: ScriptForm | None
    key: bytes

    def refuse(self, error: ReplyError) -> None:
        """Send the source where the server does not know the script, or do as other commands do."""
        form = self.form
        if error.code != "NOSCRIPT" or form is None or self.node is None:
            super().refuse(error)
            return
        self.form = None
        self.packed = form.pack(self.key, by_source=True)
        self.node.put_again(self)
