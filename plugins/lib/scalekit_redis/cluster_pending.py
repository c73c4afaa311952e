"""Commands on their way through a cluster, which may send them on."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from scalekit_redis.errors import NOT_RUN, RedisUnavailable, ReplyError, explained
from scalekit_redis.node import Node
from scalekit_redis.pending import PendingCommand, pack
from scalekit_redis.url import Host

MOST_HOPS = 5
"""Servers that may send a command on before it is given up."""
ELSEWHERE = NOT_RUN | {"MOVED", "ASK"}
"""Codes of error replies that say where a command belongs, or that it is not there."""
ASKING = pack(("ASKING",))


class RedirectHandler(Protocol):
    """Who knows where commands belong."""

    def redirect(self, call: ClusterCommand, error: ReplyError) -> bool:
        """Send *call* on as *error* says; tell whether that could be done."""
        ...

    def reroute(self, call: ClusterCommand, error: RedisUnavailable) -> bool:
        """Send *call*, which failed with *error*, to another server; tell whether there is one, and it is safe."""
        ...


class ClusterCommand(PendingCommand):
    """One command for *slot*; *node* is who has it now, and *replica* tells whether its replicas will do."""

    __slots__ = ("hops", "node", "replica", "routes", "slot")

    def __init__(
        self,
        routes: RedirectHandler,
        slot: int | None,
        future: asyncio.Future[Any],
        packed: bytes,
        began: float,
        at: float,
        repeatable: bool,
        replica: bool,
        node: Node | None,
    ) -> None:
        self.future = future  # as PendingCommand does, at a third of the cost
        self.packed = packed
        self.began = began
        self.at = at
        self.repeatable = repeatable
        self.routes = routes
        self.slot = slot
        self.replica = replica
        self.node = node
        self.hops = 0

    def refuse(self, error: ReplyError) -> None:
        """Go where the cluster says, or tell who waits."""
        if error.code in ELSEWHERE and self.routes.redirect(self, error):
            return
        self.future.set_exception(explained(error))

    def fail(self, error: RedisUnavailable) -> None:
        """Go to another server where that is safe, or tell who waits."""
        if self.future.done() or (error.kind in ("gone", "lost", "closed") and self.routes.reroute(self, error)):
            return
        self.future.set_exception(error)

    @property
    def host(self) -> Host:
        """The server that has it now."""
        return self.node.host if self.node and self.node.host else ("", 0)


class AskRedirect(PendingCommand):
    """A command for a server that does not have its slot yet, but the key already."""

    __slots__ = ("_call", "_half")

    def __init__(self, call: ClusterCommand) -> None:
        super().__init__(call.future, ASKING + call.packed, call.began, call.at, call.repeatable)
        self._call = call
        self._half = False

    @property
    def commands(self) -> int:
        """ASKING, and the command."""
        return 2

    def take(self, reply: Any) -> bool:
        """Take the reply to ASKING, then the command's."""
        if self._half:
            return self._call.take(reply)
        self._half = True
        self.repeatable = False  # half of it would be there twice
        return False

    def fail(self, error: RedisUnavailable) -> None:
        """Fail as the command does."""
        self._call.fail(error)
