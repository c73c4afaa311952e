"""Publish messages and subscribe to channels, over any transport."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from scalekit import Unavailable, encode_json
from scalekit.contracts import Subscription
from scalekit_broadcast.channel import LocalChannel
from scalekit_broadcast.channel_name import check_channel
from scalekit_broadcast.metrics import BroadcastMetrics
from scalekit_broadcast.subscription import ChannelSubscription
from scalekit_broadcast.transport import BroadcastTransport, StoredMessage

logger = logging.getLogger("scalekit.broadcast")

MAX_SYNCHRONISATIONS = 16
"""Channels whose history is read at the same time."""
RETRY_INTERVAL, MAX_RETRY_INTERVAL = 0.05, 2.0
"""Shortest and longest pause in seconds between two attempts to read a history."""


@dataclass(frozen=True, slots=True)
class BroadcastLimits:
    """Bounds of messages, channels and subscribers; durations are in seconds."""

    history: int
    history_ttl: float
    max_message_size: int
    max_channels: int
    max_subscribers: int
    subscribe_timeout: float
    disconnect_slow: bool


class Broadcaster:
    """The broadcasts of one application. It receives the messages of its transport, which :meth:`use` sets."""

    def __init__(self, limits: BroadcastLimits, metrics: BroadcastMetrics) -> None:
        self._limits = limits
        self.metrics = metrics
        self._transport: BroadcastTransport | None = None
        self._channels: dict[str, LocalChannel] = {}
        self._subscriptions: dict[ChannelSubscription, None] = {}
        self._synchronisations = asyncio.Semaphore(MAX_SYNCHRONISATIONS)
        self._subscribers = 0
        self._ended = False

    @property
    def transport(self) -> BroadcastTransport:
        """The transport; raises Unavailable before the plugin has started and after it has stopped."""
        if self._transport is None:
            raise Unavailable("broadcasts are stopped")
        return self._transport

    def use(self, transport: BroadcastTransport) -> None:
        """Publish and receive through *transport*."""
        self._transport = transport

    def close(self) -> None:
        """End all subscriptions and leave all channels."""
        self.end_subscriptions()
        for channel in list(self._channels.values()):
            self._close(channel)
        self._transport = None

    @property
    def channels(self) -> Collection[LocalChannel]:
        """The channels with subscribers in this process."""
        return self._channels.values()

    def count_subscribers(self) -> int:
        """Return the number of subscribers in this process."""
        return self._subscribers

    def count_channels(self) -> int:
        """Return the number of channels with subscribers in this process."""
        return len(self._channels)

    async def publish(self, channel: str, data: Any) -> str:
        """Publish *data* to the subscribers of *channel*; return the id of the message."""
        check_channel(channel)
        json = encode_json(data)
        if len(json) > self._limits.max_message_size:
            raise ValueError(
                f"a message for {channel!r} has {len(json)} bytes, more than plugins.broadcast.max_message_size"
                f" ({self._limits.max_message_size}); publish a reference to the data instead"
            )
        try:
            message_id = await self.transport.publish(channel, json)
        except Unavailable:
            self.metrics.count_error("publish")
            raise
        self.metrics.published.inc()
        return message_id

    @asynccontextmanager
    async def subscribe(self, channel: str, *, after: str | None = None) -> AsyncGenerator[Subscription, None]:
        """Subscribe to *channel* while inside, with the messages after the id *after* first."""
        check_channel(channel)
        opened = self._open(channel)
        try:
            await self._wait_until_synchronised(opened)
            subscription = ChannelSubscription(opened, after, self.metrics, self._limits.disconnect_slow)
            self._subscriptions[subscription] = None
            if self._ended:
                subscription.end()
            try:
                yield subscription
            finally:
                del self._subscriptions[subscription]
        finally:
            self._release(opened)

    def end_subscriptions(self) -> None:
        """End the iteration of all subscriptions, and of later ones: the process drains."""
        self._ended = True
        for subscription in self._subscriptions:
            subscription.end()
        for channel in self._channels.values():
            channel.wake_subscribers()

    def on_message(self, channel: str, message: StoredMessage) -> None:
        """Pass a message to the subscribers of *channel*."""
        opened = self._channels.get(channel)
        if opened is not None:
            opened.receive(message)

    def on_interrupted(self, channel: str | None) -> None:
        """Complete *channel*, or all channels, from the history."""
        names = list(self._channels) if channel is None else [channel]
        for opened in [self._channels[name] for name in names if name in self._channels]:
            was_synchronised = opened.synchronised
            opened.interrupt()
            if was_synchronised:
                self.metrics.reconnections.inc()
                opened.task = asyncio.create_task(self._synchronise(opened))

    def _open(self, name: str) -> LocalChannel:
        limits = self._limits
        channel = self._channels.get(name)
        if self._subscribers >= limits.max_subscribers:
            raise self._refuse("subscribers", f"{limits.max_subscribers} subscribers", "max_subscribers")
        if channel is None:
            if len(self._channels) >= limits.max_channels:
                raise self._refuse("channels", f"{limits.max_channels} channels", "max_channels")
            channel = self._channels[name] = LocalChannel(name, limits.history, limits.history_ttl)
            channel.task = asyncio.create_task(self._synchronise(channel))
        channel.subscribers += 1
        self._subscribers += 1
        return channel

    def _refuse(self, reason: str, bound: str, key: str) -> Unavailable:
        self.metrics.count_error(reason)
        return Unavailable(f"this process has {bound} already; raise plugins.broadcast.{key}, or add processes")

    async def _wait_until_synchronised(self, channel: LocalChannel) -> None:
        try:
            async with asyncio.timeout(self._limits.subscribe_timeout):
                await channel.wait_until_synchronised()
        except TimeoutError:
            self.metrics.count_error("subscribe")
            raise Unavailable(
                f"no history of channel {channel.name!r} within {self._limits.subscribe_timeout:g}s"
            ) from None
        except Unavailable:
            self.metrics.count_error("subscribe")
            raise

    def _release(self, channel: LocalChannel) -> None:
        channel.subscribers -= 1
        self._subscribers -= 1
        if not channel.subscribers and self._channels.get(channel.name) is channel:
            self._close(channel)

    def _close(self, channel: LocalChannel) -> None:
        del self._channels[channel.name]
        if channel.task is not None:
            channel.task.cancel()
        if self._transport is not None:
            self._transport.leave(channel.name)

    async def _synchronise(self, channel: LocalChannel) -> None:
        """Join *channel* and read its history until it is synchronised."""
        pause = RETRY_INTERVAL
        while not channel.synchronised:
            try:
                async with self._synchronisations:
                    await self._try_to_synchronise(channel)
            except Exception as error:
                channel.fail(_as_unavailable(channel.name, error))
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))
                pause = min(2 * pause, MAX_RETRY_INTERVAL)

    async def _try_to_synchronise(self, channel: LocalChannel) -> None:
        transport = self.transport
        await transport.join(channel.name)
        interruptions = channel.interruptions
        history = await transport.history(channel.name)
        if channel.interruptions == interruptions:
            lost = channel.synchronise(history)
            if lost:
                self.metrics.count_missed("lost", lost * channel.subscribers)


def _as_unavailable(channel: str, error: Exception) -> Unavailable:
    if isinstance(error, Unavailable):
        return error
    logger.exception("the history of channel %r cannot be read", channel)
    return Unavailable(f"the history of channel {channel!r} cannot be read: {error}")
