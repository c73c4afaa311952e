"""Commands sent to a cluster that wait for their replies, and follow redirects."""

from __future__ import annotations

import asyncio
from typing import Protocol

from scalekit_redis.commands import Reply
from scalekit_redis.errors import NOT_EXECUTED, RedisUnavailable, ReplyError, to_caller_error
from scalekit_redis.node import Node
from scalekit_redis.pending import PendingCommand, pack
from scalekit_redis.url import HostPort

MAX_REDIRECTS = 5
"""Redirects of one command before it fails."""
REDIRECT_CODES = NOT_EXECUTED | {"MOVED", "ASK"}
"""Error codes that redirect a command, or say that the server did not execute it."""
ASKING = pack(("ASKING",))


class RedirectHandler(Protocol):
    """Finds the server of a redirected or failed command."""

    def redirect(self, command: ClusterCommand, error: ReplyError) -> bool:
        """Send *command* to the server that *error* names; return whether that was possible."""
        ...

    def reroute(self, command: ClusterCommand, error: RedisUnavailable) -> bool:
        """Send *command*, which failed with *error*, to another server; return whether one exists and it is safe."""
        ...


class ClusterCommand(PendingCommand):
    """A command for *slot*, sent to *node*; with *replica* the replicas of the slot may serve it."""

    __slots__ = ("node", "redirects", "replica", "router", "slot")

    def __init__(
        self,
        router: RedirectHandler,
        node: Node | None,
        slot: int | None,
        future: asyncio.Future[Reply],
        packed: bytes,
        *,
        started: float,
        deadline: float,
        retryable: bool,
        replica: bool,
    ) -> None:
        self.future = future  # inlined PendingCommand.__init__, at a third of its cost
        self.packed = packed
        self.started = started
        self.deadline = deadline
        self.retryable = retryable
        self.router = router
        self.slot = slot
        self.replica = replica
        self.node = node
        self.redirects = 0

    def reject(self, error: ReplyError) -> None:
        """Follow a redirect, or fail with the error."""
        if error.code in REDIRECT_CODES and self.router.redirect(self, error):
            return
        self.future.set_exception(to_caller_error(error))

    def fail(self, error: RedisUnavailable) -> None:
        """Retry on another server where that is safe, or fail."""
        if self.future.done() or (
            error.kind in ("unavailable", "disconnected", "closed") and self.router.reroute(self, error)
        ):
            return
        self.future.set_exception(error)

    @property
    def host(self) -> HostPort:
        """The server that the command was sent to."""
        return self.node.host if self.node and self.node.host else ("", 0)


class AskRedirect(PendingCommand):
    """A command after ASKING, for a server that is importing its slot."""

    __slots__ = ("_asking_replied", "_command")

    def __init__(self, command: ClusterCommand) -> None:
        super().__init__(command.future, ASKING + command.packed, command.started, command.deadline, command.retryable)
        self._command = command
        self._asking_replied = False

    def receive(self, reply: Reply) -> bool:
        """Receive the reply to ASKING, then that of the command."""
        if self._asking_replied:
            return self._command.receive(reply)
        self._asking_replied = True
        self.retryable = False  # the server may have executed it
        return False

    def fail(self, error: RedisUnavailable) -> None:
        """Fail as the command does."""
        self._command.fail(error)
