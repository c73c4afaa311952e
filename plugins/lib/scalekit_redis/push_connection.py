"""A connection on which a server sends push messages, separate from the connection for commands.

It reconnects when it is lost. A silent server may have nothing to send, hang, or be unreachable: it is probed four
times a second and has half a second to reply.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from time import monotonic
from typing import ClassVar

from scalekit_redis.commands import Reply
from scalekit_redis.errors import RedisUnavailable, ReplyError
from scalekit_redis.node import Node
from scalekit_redis.pending import PendingCommand, pack
from scalekit_redis.protocol import RedisProtocol

logger = logging.getLogger("scalekit.redis")

PROBE_INTERVAL = 0.25
"""Seconds between a reply and the next probe."""
PROBE_TIMEOUT = 0.5
"""Timeout in seconds of a probe. A silent loss is detected within 0.8 seconds."""
READ_GRACE = 0.05
"""Seconds more for a reply that arrived while the event loop was blocked."""
MAX_RECONNECT_INTERVAL = 1.0
"""Maximum pause in seconds between two attempts to connect."""


@dataclass(frozen=True, slots=True)
class LivenessProbe:
    """A command that checks that a server replies; *fingerprint* returns the part that shows changes."""

    packed: bytes
    fingerprint: Callable[[Reply], object]


class PushConnection:
    """A connection to *node* on which it sends messages of a feature; ``active`` while it sends all of them.

    ``confirmed_until`` is the time on the monotonic clock up to which every message has been received. *on_change* is
    called when the reply to the probe changes and after each connection that ended or could not be opened.
    """

    FEATURE: ClassVar[str]
    """Name of the feature in messages."""
    REASON: ClassVar[str]
    """Label of its connection errors in metrics."""

    def __init__(self, node: Node, probe_command: LivenessProbe, on_change: Callable[[PushConnection], None]) -> None:
        self.active = False
        self.confirmed_until = -inf
        self._name = node.name
        self._connector = node.connector
        self._metrics = node.metrics
        self._probe = probe_command
        self._on_change = on_change
        self._connection: RedisProtocol | None = None
        self._lost = asyncio.Event()
        self._warned = False
        self._task = asyncio.create_task(self._run(), name=f"scalekit: {self.FEATURE} on {node.name}")

    async def set_up(self) -> None:
        """Make the server send messages on the connection that has just been opened."""
        raise NotImplementedError

    def on_active(self) -> None:
        """Handle that ``active`` has changed."""
        raise NotImplementedError

    def on_push(self, push: list[Reply]) -> None:
        """Handle a push message."""
        raise NotImplementedError

    def on_probe(self) -> None:
        """Handle that the server has replied to a probe."""

    async def close(self) -> None:
        """Close the connection without a callback."""
        self.active = False
        self._task.cancel()
        await asyncio.wait([self._task])
        self.end("it is not needed any more")

    def end(self, reason: str) -> None:
        """Close the current connection; the next one follows."""
        if self._connection is not None:
            self._connection.close(reason)

    def on_lost(self, connection: RedisProtocol, reason: str) -> None:
        """Report at once that messages are no longer complete."""
        self._connection = None
        was_active, self.active = self.active, False
        self._lost.set()
        if was_active:
            self.on_active()
            self._warn(reason)
        for command in [command for commands in connection.take_pending() for command in commands]:
            command.fail(RedisUnavailable(f"{self._name}: {reason}", "disconnected"))

    def on_blocked(self, connection: RedisProtocol) -> None:
        """Do nothing: this connection has no other callers."""

    def on_unblocked(self, connection: RedisProtocol) -> None:
        """Do nothing: this connection is never detached."""

    async def _run(self) -> None:
        attempt = 0
        while True:
            try:
                await self._open()
                attempt = 0
                await self._listen()
            except Exception as error:
                self._metrics.count_errors(self.REASON)
                self._warn(self._connector.describe(error))
            self.end("the server does not reply")
            self._on_change(self)
            attempt += 1
            await asyncio.sleep(min(0.05 * attempt, MAX_RECONNECT_INTERVAL) * random.uniform(0.5, 1.0))

    async def _open(self) -> None:
        transport = await self._connector.open()
        self._lost.clear()
        self._connection = RedisProtocol(transport, self, self._metrics)
        await self.set_up()
        self.active = True
        if self._warned:
            self._warned = False
            logger.warning("%s: %s resumed", self._name, self.FEATURE)
        self.on_active()

    async def _listen(self) -> None:
        """Return when the connection is lost; raises RedisUnavailable when the server does not reply."""
        last = await self._fingerprint()
        while not self._lost.is_set():
            try:
                async with asyncio.timeout(PROBE_INTERVAL):
                    await self._lost.wait()
                return
            except TimeoutError:
                state = await self._fingerprint()
            self.on_probe()
            if state != last:
                last = state
                self._on_change(self)

    async def _fingerprint(self) -> object:
        try:
            return self._probe.fingerprint(await self.request(self._probe.packed))
        except ReplyError:  # the ACL forbids the command, but the server replies
            return None

    async def request(self, packed: bytes) -> Reply:
        """Send a command and return its reply; raises ReplyError and RedisUnavailable."""
        command = self._start(packed)
        try:
            for seconds in (PROBE_TIMEOUT, READ_GRACE):
                await asyncio.wait([command.future], timeout=seconds)
                if command.future.done():
                    reply = command.future.result()
                    self.confirmed_until = command.started
                    return reply
        finally:
            command.future.cancel()  # its reply is dropped
        raise RedisUnavailable(f"{self._name}: no reply within {PROBE_TIMEOUT:g}s", "timeout")

    def _start(self, packed: bytes) -> PendingCommand:
        connection = self._connection
        if connection is None:
            raise RedisUnavailable(f"{self._name}: the connection was lost", "disconnected")
        now = monotonic()
        command = PendingCommand(asyncio.get_running_loop().create_future(), packed, now, now + PROBE_TIMEOUT)
        connection.send(command)
        return command

    def _warn(self, reason: str) -> None:
        if not self._warned:
            self._warned = True
            logger.warning("%s: %s lost: %s", self._name, self.FEATURE, reason)


def _role(reply: Reply) -> object:
    return reply[0]


def _cluster_fingerprint(reply: Reply) -> object:
    """Return those lines of CLUSTER INFO that change when slots move to another server."""
    parts = (b"cluster_current_epoch", b"cluster_my_epoch", b"cluster_known_nodes", b"cluster_size", b"cluster_state")
    return [line for line in bytes(reply).splitlines() if line.startswith(parts)]


ROLE_PROBE = LivenessProbe(pack(("ROLE",)), _role)
CLUSTER_INFO_PROBE = LivenessProbe(pack(("CLUSTER", "INFO")), _cluster_fingerprint)
