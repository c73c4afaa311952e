"""Consume from RabbitMQ, and never cease to without a word.

Each consumer has a channel. That it lives is judged by progress: the broker counts it among the consumers of its
queue, and while there is something to take and room to hold it, deliveries advance. Where they do not, or the queue or
the channel is gone, the connection is made anew with all that belongs to it. Handlers go on meanwhile; what they settle
on a channel that is gone is dropped, for the broker delivers it again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiormq.abc import AbstractConnection, ChannelFrame, DeliveredMessage

from scalekit.contracts import PublishFailed
from scalekit_queue.amqp.connection import BrokerConnection, ConnectionLost, first_of
from scalekit_queue.amqp.frames import acknowledgement
from scalekit_queue.amqp.topology import QueueTopology
from scalekit_queue.envelope import Envelope, OnDelivery, SettlementFailed
from scalekit_queue.metrics import PublishMetrics

logger = logging.getLogger("scalekit.queue")

LIMIT = 5.0
"""Seconds that the broker has to answer a question."""
STALLED = 2
"""Looks in a row that find messages but no progress before the connection is given up."""

Send = Callable[[Envelope], Awaitable["PublishFailed | None"]]


class ConsumerChannel:
    """One channel of a consumer, for as long as it is open, and what has to be acknowledged on it."""

    def __init__(self, raw: Any) -> None:
        self.raw = raw
        self._tags: list[int] = []

    @property
    def closed(self) -> bool:
        """Whether nothing can be settled on it any more."""
        return bool(self.raw.is_closed)

    def acknowledge(self, tag: int) -> None:
        """Acknowledge the delivery *tag*, together with others of this turn of the loop."""
        if not self._tags:
            asyncio.get_running_loop().call_soon(self._flush)
        self._tags.append(tag)

    def _flush(self) -> None:
        if self.closed:
            return
        if self.raw.write_queue.full():
            asyncio.get_running_loop().call_later(0.001, self._flush)
            return
        payload = b"".join([acknowledgement(self.raw.number, tag) for tag in self._tags])
        self._tags.clear()
        self.raw.write_queue.put_nowait(ChannelFrame(payload=payload, should_close=False, drain_future=None))


class AmqpSubscription:
    """Who takes the messages of one queue, and how far it has come."""

    def __init__(self, name: str, queue: str, prefetch: int, take: OnDelivery) -> None:
        self.name = name
        self.queue = queue
        self.prefetch = prefetch
        self.take = take
        self.taken = 0
        self.held = 0
        self.channel: ConsumerChannel | None = None
        self.tag = ""
        self._seen = -1
        self._stalled = 0

    def begin(self, channel: ConsumerChannel) -> None:
        """Begin on another channel, where nothing is held yet."""
        self.channel, self.held, self._seen, self._stalled = channel, 0, -1, 0

    def refuse_stall(self, ready: int) -> None:
        """Raise Lost when *ready* messages could be taken and none have come for some looks."""
        idle = ready > 0 and self.held < self.prefetch and self.taken == self._seen
        self._stalled = self._stalled + 1 if idle else 0
        self._seen = self.taken
        if self._stalled >= STALLED:
            raise ConnectionLost(f"{self.name!r} has {ready} messages, and none is delivered")


class AmqpConsumer:
    """Consumes over one connection."""

    def __init__(
        self, link_of: Any, topology: QueueTopology, send: Send, check_interval: float, metrics: PublishMetrics
    ) -> None:
        self.link: BrokerConnection = link_of("consuming", self._serve, self._lose)
        self._topology = topology
        self._send = send
        self._check_interval = check_interval
        self._metrics = metrics
        self.subscriptions: list[AmqpSubscription] = []
        self._paused = False
        self._cancelled = asyncio.Event()

    def subscribe(self, name: str, prefetch: int, take: OnDelivery) -> None:
        """Have messages *name* delivered to *take*."""
        self.subscriptions.append(AmqpSubscription(name, self._topology.ready(name), prefetch, take))

    async def pause(self) -> None:
        """Take no more messages; channels stay open, so that what is held can be settled."""
        self._paused = True
        for subscription in self.subscriptions:
            channel = subscription.channel
            if channel is not None and not channel.closed:
                try:
                    await channel.raw.basic_cancel(subscription.tag, timeout=LIMIT)
                except Exception as error:
                    logger.debug("%s could not be cancelled: %s", subscription.name, error)

    async def _serve(self, connection: AbstractConnection) -> None:
        self._cancelled.clear()
        for subscription in self.subscriptions:
            await self._begin(connection, subscription)
        self.link.note_connected()
        closing = [each.channel.raw.closing for each in self.subscriptions if each.channel is not None]
        await first_of(self._look_on(connection), self._until_cancelled(), connection.closing, *closing)

    def _lose(self, error: Exception | None) -> None:
        self._metrics.reconnects["consuming"].inc()
        self._topology.learn_from(error)

    async def _begin(self, connection: AbstractConnection, subscription: AmqpSubscription) -> None:
        await self._topology.declare(connection, Envelope(subscription.name, "", b"", 0))
        raw = await connection.channel(publisher_confirms=False, timeout=LIMIT)
        await raw.basic_qos(prefetch_count=subscription.prefetch, timeout=LIMIT)
        raw.on_consumer_cancel_callbacks.add(self._on_cancel)
        channel = ConsumerChannel(raw)
        subscription.begin(channel)
        if self._paused:
            return

        async def deliver(message: DeliveredMessage) -> None:
            subscription.taken += 1
            subscription.held += 1
            subscription.take(AmqpDelivery(subscription, channel, message, self._send))

        answer = await raw.basic_consume(subscription.queue, deliver, timeout=LIMIT)
        subscription.tag = str(answer.consumer_tag)

    async def _on_cancel(self, frame: object) -> None:
        self._cancelled.set()

    async def _until_cancelled(self) -> None:
        await self._cancelled.wait()
        raise ConnectionLost("the broker has cancelled a consumer: its queue was deleted or moved")

    async def _look_on(self, connection: AbstractConnection) -> None:
        channel = await connection.channel(publisher_confirms=False, timeout=LIMIT)
        while True:
            await asyncio.sleep(self._check_interval)
            if self._paused:
                continue
            for subscription in self.subscriptions:
                answer = await channel.queue_declare(subscription.queue, passive=True, timeout=LIMIT)
                if not answer.consumer_count:
                    raise ConnectionLost(f"{subscription.name!r} has no consumer at the broker")
                subscription.refuse_stall(answer.message_count or 0)


class AmqpDelivery:
    """A message that a consumer holds, and the channel that it came from."""

    __slots__ = ("_channel", "_send", "_subscription", "_tag", "envelope")

    def __init__(
        self, subscription: AmqpSubscription, channel: ConsumerChannel, message: DeliveredMessage, send: Send
    ) -> None:
        self._subscription = subscription
        self._channel = channel
        self._tag: int = message.delivery.delivery_tag  # type: ignore[union-attr, assignment]
        self._send = send
        self.envelope = envelope_of(subscription.name, message)

    @property
    def lost(self) -> bool:
        """Whether its channel is gone, so that it is delivered again."""
        return self._channel.closed

    async def done(self) -> None:
        """Acknowledge it."""
        self._settle()
        self._channel.acknowledge(self._tag)

    async def retry(self, delay: float, headers: Mapping[str, str]) -> None:
        """Publish it to the queue of *delay*, then acknowledge it."""
        await self._replace(self.envelope.again(delay, headers))

    async def bury(self, headers: Mapping[str, str]) -> None:
        """Publish it to the dead letters, then acknowledge it."""
        await self._replace(self.envelope.buried(headers))

    async def release(self) -> None:
        """Have it delivered again."""
        self._settle()
        await self._channel.raw.basic_nack(self._tag, requeue=True, wait=False)

    async def _replace(self, envelope: Envelope) -> None:
        failed = await self._send(envelope)
        if failed is None:
            await self.done()
            return
        await self.release()
        raise SettlementFailed(str(failed))

    def _settle(self) -> None:
        if self._channel.closed:
            raise SettlementFailed("the channel that it came from is closed")
        if self._subscription.channel is self._channel:
            self._subscription.held -= 1


def envelope_of(name: str, message: DeliveredMessage) -> Envelope:
    """Return what *message* of the queue of *name* is."""
    properties = message.header.properties
    headers = {str(key): _text(value) for key, value in (properties.headers or {}).items()}
    published = properties.timestamp.timestamp() if properties.timestamp else 0.0
    return Envelope(name, properties.message_id or "", message.body, published, headers)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes | bytearray) else str(value)
