"""Sharded pub/sub (SSUBSCRIBE, Redis 7.0): one connection to each server, whatever the number of channels.

A channel is subscribed on the master of its slot, and again on another one when the slot moves, or when the connection
was lost. Standalone servers know the commands too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from math import inf
from time import monotonic

from scalekit_redis.commands import Reply
from scalekit_redis.errors import NOT_EXECUTED, RedisUnavailable, ReplyError, to_caller_error
from scalekit_redis.node import Node
from scalekit_redis.pending import PendingCommand, pack
from scalekit_redis.pubsub_listener import PubSubListener
from scalekit_redis.push_connection import LivenessProbe, PushConnection
from scalekit_redis.url import HostPort

PING = pack(("PING",))
RETRIED = NOT_EXECUTED | {"MOVED", "ASK"}
"""Error codes of subscriptions that another server, or the same one later, accepts."""


class SubscribeCommand(PendingCommand):
    """A command that is confirmed by a push message, with a PING behind it: only an error precedes its reply.

    It has no deadline, because its connection is probed and closed when the server does not reply.
    """

    __slots__ = ("_error",)

    def __init__(self, name: str, channel: bytes) -> None:
        future = asyncio.get_running_loop().create_future()
        super().__init__(future, pack((name, channel)) + PING, monotonic(), inf)
        self._error: ReplyError | None = None

    def receive(self, reply: Reply) -> bool:
        """Receive an error reply, or that of the PING, which is the last."""
        if isinstance(reply, ReplyError) and self._error is None:
            self._error = reply
            return False
        if not self.future.done():
            if self._error is None:
                self.future.set_result(None)
            else:
                self.future.set_exception(self._error)
        return True


class PubSubConnection(PushConnection):
    """The subscriptions on *node*.

    *on_confirmed* is called when the server has confirmed a channel, *on_rejected* with its error reply, or with None
    when it has ended the subscription because the slot moved.
    """

    FEATURE = "pub/sub"
    REASON = "pubsub"

    def __init__(
        self,
        node: Node,
        probe_command: LivenessProbe,
        *,
        on_message: Callable[[bytes, bytes], None],
        on_confirmed: Callable[[bytes], None],
        on_rejected: Callable[[bytes, ReplyError | None], None],
        on_change: Callable[[PushConnection], None],
    ) -> None:
        self._on_message = on_message
        self._on_confirmed = on_confirmed
        self._on_rejected = on_rejected
        self._confirmed: dict[bytes, bool] = {}
        self._in_flight: dict[bytes, SubscribeCommand] = {}
        super().__init__(node, probe_command, on_change)

    def add(self, channel: bytes) -> None:
        """Subscribe to *channel* now or when the connection is open."""
        self._confirmed[channel] = False
        self._in_flight.pop(channel, None)
        if self.active:
            self._subscribe(channel)

    def remove(self, channel: bytes) -> None:
        """Unsubscribe from *channel*."""
        self._in_flight.pop(channel, None)
        if self._confirmed.pop(channel, None) is not None and self._connection is not None:
            command = SubscribeCommand("SUNSUBSCRIBE", channel)
            command.future.add_done_callback(_retrieve)
            self._connection.send(command)

    def is_confirmed(self, channel: bytes) -> bool:
        """Return whether every new message of *channel* is received."""
        return self.active and self._confirmed.get(channel, False)

    async def set_up(self) -> None:
        """Do nothing: channels are subscribed when the connection is active."""

    def on_active(self) -> None:
        """Subscribe to every channel again."""
        self._in_flight.clear()
        for channel in self._confirmed:
            self._confirmed[channel] = False
            if self.active:
                self._subscribe(channel)

    def on_probe(self) -> None:
        """Subscribe again to channels that the server has rejected."""
        for channel, confirmed in self._confirmed.items():
            if not confirmed and channel not in self._in_flight:
                self._subscribe(channel)

    def on_push(self, push: list[Reply]) -> None:
        """Handle a message, or that a subscription has begun or ended."""
        kind, channel = push[0], push[1]
        if kind == b"smessage":
            self._on_message(channel, push[2])
        elif kind == b"ssubscribe" and self._confirmed.get(channel) is False:
            self._confirmed[channel] = True
            self._on_confirmed(channel)
        elif kind == b"sunsubscribe" and self._confirmed.get(channel):
            self._confirmed[channel] = False
            self._on_rejected(channel, None)

    def _subscribe(self, channel: bytes) -> None:
        if self._connection is None:
            return
        command = self._in_flight[channel] = SubscribeCommand("SSUBSCRIBE", channel)
        command.future.add_done_callback(lambda future: self._finish(channel, command))
        self._connection.send(command)

    def _finish(self, channel: bytes, command: SubscribeCommand) -> None:
        error = None if command.future.cancelled() else command.future.exception()
        if self._in_flight.get(channel) is command:
            del self._in_flight[channel]
            if isinstance(error, ReplyError):
                self._on_rejected(channel, error)


class PubSub:
    """The channels of *listener*, each on the connection to the node that *find_node* returns."""

    def __init__(
        self,
        find_node: Callable[[bytes], Node | None],
        listener: PubSubListener,
        probe_command: LivenessProbe,
        on_change: Callable[[PushConnection], None],
    ) -> None:
        self._find_node = find_node
        self._listener = listener
        self._probe = probe_command
        self._on_change = on_change
        self._connections: dict[HostPort | None, PubSubConnection] = {}
        self._by_node: dict[Node, PubSubConnection] = {}
        self._channels: dict[bytes, _ChannelState] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def subscribe(self, channel: bytes, timeout: float) -> None:
        """Subscribe to *channel*, as :class:`ChannelSubscriptions` says."""
        state = self._channels.get(channel)
        if state is None:
            state = self._channels[channel] = _ChannelState()
            self._assign(channel, state)
        if state.connection is not None and state.connection.is_confirmed(channel):
            return
        node = self._find_node(channel)
        if node is not None and node.unavailable_reason:
            raise RedisUnavailable(f"{node.name}: {node.unavailable_reason}", "unavailable")
        future = state.confirmation()
        await asyncio.wait([future], timeout=timeout)
        if not future.done():
            raise RedisUnavailable(f"no confirmation of SSUBSCRIBE within {timeout:g}s", "timeout")
        future.result()

    def unsubscribe(self, channel: bytes) -> None:
        """Receive no more messages of *channel*."""
        state = self._channels.pop(channel, None)
        if state is not None:
            if state.connection is not None:
                state.connection.remove(channel)
            state.fail(RedisUnavailable("the channel was unsubscribed", "closed"))

    def set_nodes(self, nodes: Mapping[HostPort | None, Node]) -> None:
        """Use connections to *nodes*, and to no others; move channels to the node of their slot."""
        for host in self._connections.keys() - nodes.keys():
            task = asyncio.create_task(self._connections.pop(host).close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        for host in nodes.keys() - self._connections.keys():
            self._connections[host] = self._connect(nodes[host])
        self._by_node = {nodes[host]: connection for host, connection in self._connections.items()}
        for channel, state in self._channels.items():
            self._assign(channel, state)

    async def close(self) -> None:
        """Close all connections."""
        connections, self._connections, self._by_node = list(self._connections.values()), {}, {}
        for channel in list(self._channels):
            self.unsubscribe(channel)
        await asyncio.gather(*(connection.close() for connection in connections), *self._closing)

    def _assign(self, channel: bytes, state: _ChannelState) -> None:
        node = self._find_node(channel)
        connection = None if node is None else self._by_node.get(node)
        if connection is not state.connection:
            if state.connection is not None:
                state.connection.remove(channel)
            state.connection = connection
            if connection is not None:
                connection.add(channel)

    def _connect(self, node: Node) -> PubSubConnection:
        return PubSubConnection(
            node,
            self._probe,
            on_message=self._listener.on_message,
            on_confirmed=self._on_confirmed,
            on_rejected=self._on_rejected,
            on_change=self._on_change,
        )

    def _on_confirmed(self, channel: bytes) -> None:
        state = self._channels.get(channel)
        if state is None:
            return
        if state.was_confirmed:
            self._listener.on_interrupted(channel)
        state.was_confirmed = True
        state.confirm()

    def _on_rejected(self, channel: bytes, error: ReplyError | None) -> None:
        state = self._channels.get(channel)
        if state is None:
            return
        if error is None or error.code in RETRIED:
            if state.connection is not None:
                self._on_change(state.connection)  # the channel moves when the map of slots has been read
        else:
            state.fail(to_caller_error(error))


class _ChannelState:
    """The connection of a channel, and the future of its confirmation while a caller waits for it."""

    def __init__(self) -> None:
        self.connection: PubSubConnection | None = None
        self.was_confirmed = False
        self._future: asyncio.Future[None] | None = None

    def confirmation(self) -> asyncio.Future[None]:
        """Return the future of the next confirmation, which several callers may wait for."""
        if self._future is None:
            self._future = asyncio.get_running_loop().create_future()
            self._future.add_done_callback(_retrieve)
        return self._future

    def confirm(self) -> None:
        """Complete the future."""
        future, self._future = self._future, None
        if future is not None:
            future.set_result(None)

    def fail(self, error: Exception) -> None:
        """Fail the future."""
        future, self._future = self._future, None
        if future is not None:
            future.set_exception(error)


def _retrieve(future: asyncio.Future[Reply]) -> None:
    """Retrieve the exception: the caller may have timed out meanwhile."""
    if not future.cancelled():
        future.exception()
