"""Consume from RabbitMQ, and reconnect when a consumer makes no progress.

Each consumer has a channel. A monitor checks periodically that the broker counts the consumer, and that deliveries
advance while messages are ready and the prefetch is not exhausted. When a check fails, or the queue or the channel is
closed, the connection is replaced with all its channels. Running handlers continue; their settlements on a closed
channel are dropped, because the broker delivers those messages again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiormq.abc import AbstractConnection, ChannelFrame, DeliveredMessage

from scalekit.contracts import PublishFailed
from scalekit_queue.amqp.connection import BrokerConnection, ConnectionFactory, ConnectionLost, wait_first
from scalekit_queue.amqp.frames import ack_frame
from scalekit_queue.amqp.topology import QueueTopology
from scalekit_queue.envelope import Envelope
from scalekit_queue.metrics import PublishMetrics
from scalekit_queue.transport import MAX_DELIVERIES, OnDelivery, SettlementFailed

logger = logging.getLogger("scalekit.queue")

RPC_TIMEOUT = 5.0
"""Seconds for the broker to reply to a method."""
DELIVERY_COUNT = "x-delivery-count"
"""The header of quorum queues with the number of earlier deliveries."""
MAX_STALLED_CHECKS = 2
"""Consecutive checks without progress before the connection is replaced."""

Republish = Callable[[Envelope], Awaitable["PublishFailed | None"]]


class ConsumerChannel:
    """An open channel of a consumer, which sends acknowledgements in batches."""

    def __init__(self, raw: Any) -> None:
        self.raw = raw
        self._tags: list[int] = []

    @property
    def closed(self) -> bool:
        """Whether the channel is closed, so that deliveries can no longer be settled on it."""
        return bool(self.raw.is_closed)

    def ack(self, tag: int) -> None:
        """Acknowledge the delivery *tag*, in one write with the others of this iteration of the event loop."""
        if not self._tags:
            asyncio.get_running_loop().call_soon(self._flush)
        self._tags.append(tag)

    def _flush(self) -> None:
        if self.closed:
            return
        if self.raw.write_queue.full():
            asyncio.get_running_loop().call_later(0.001, self._flush)
            return
        payload = b"".join([ack_frame(self.raw.number, tag) for tag in self._tags])
        self._tags.clear()
        self.raw.write_queue.put_nowait(ChannelFrame(payload=payload, should_close=False, drain_future=None))


class AmqpSubscription:
    """The consumer of one queue, and its progress."""

    def __init__(self, name: str, queue: str, prefetch: int, on_delivery: OnDelivery) -> None:
        self.name = name
        self.queue = queue
        self.prefetch = prefetch
        self.on_delivery = on_delivery
        self.delivered = 0
        self.unacked = 0
        self.channel: ConsumerChannel | None = None
        self.consumer_tag = ""
        """Names the consumer at the broker; empty while there is none."""
        self.paused = False
        self.updating = asyncio.Lock()
        self._delivered_before = -1
        self._stalled_checks = 0

    def attach(self, channel: ConsumerChannel) -> None:
        """Continue on a new channel without unacknowledged deliveries."""
        self.channel, self.unacked, self.consumer_tag = channel, 0, ""

    def start(self, consumer_tag: str) -> None:
        """Expect deliveries to the consumer *consumer_tag*."""
        self.consumer_tag, self._delivered_before, self._stalled_checks = consumer_tag, -1, 0

    def check_progress(self, ready: int) -> None:
        """Raise ConnectionLost when *ready* messages exist but no delivery arrived between several checks."""
        stalled = ready > 0 and self.unacked < self.prefetch and self.delivered == self._delivered_before
        self._stalled_checks = self._stalled_checks + 1 if stalled else 0
        self._delivered_before = self.delivered
        if self._stalled_checks >= MAX_STALLED_CHECKS:
            raise ConnectionLost(f"{ready} messages of {self.name!r} are ready, and none is delivered")


class AmqpConsumer:
    """Consumes from all subscribed queues over one connection, which *connect* creates."""

    def __init__(
        self,
        connect: ConnectionFactory,
        topology: QueueTopology,
        republish: Republish,
        check_interval: float,
        metrics: PublishMetrics,
    ) -> None:
        self.connection: BrokerConnection = connect("consumer", self._serve, self._on_connection_lost)
        self._topology = topology
        self._republish = republish
        self._check_interval = check_interval
        self._metrics = metrics
        self.subscriptions: list[AmqpSubscription] = []
        self._stopped = False
        self._failure = ""
        self._failed = asyncio.Event()

    def subscribe(self, name: str, prefetch: int, on_delivery: OnDelivery) -> None:
        """Deliver messages named *name* to *on_delivery*."""
        self.subscriptions.append(AmqpSubscription(name, self._topology.ready_queue(name), prefetch, on_delivery))

    async def cancel(self) -> None:
        """Cancel the consumers; channels stay open, so that delivered messages can be settled."""
        self._stopped = True
        for subscription in self.subscriptions:
            try:
                await self._update(subscription)
            except Exception as error:
                logger.debug("consumer of %s could not be cancelled: %s", subscription.name, error)

    async def set_paused(self, name: str, paused: bool) -> None:
        """Cancel the consumer of *name*, or consume again; when the broker does not reply, replace the connection."""
        for subscription in self.subscriptions:
            if subscription.name != name:
                continue
            subscription.paused = paused
            try:
                await self._update(subscription)
            except Exception as error:
                self._fail(f"the consumer of {name!r} could not be {'cancelled' if paused else 'started'}: {error}")

    async def _serve(self, connection: AbstractConnection) -> None:
        self._failed.clear()
        for subscription in self.subscriptions:
            await self._consume(connection, subscription)
        self.connection.mark_connected()
        closing = [each.channel.raw.closing for each in self.subscriptions if each.channel is not None]
        await wait_first(self._monitor(connection), self._wait_failed(), connection.closing, *closing)

    def _on_connection_lost(self, error: Exception | None) -> None:
        self._metrics.reconnects["consumer"].inc()
        self._topology.detect_disabled_quorum(error)

    async def _consume(self, connection: AbstractConnection, subscription: AmqpSubscription) -> None:
        await self._topology.declare(connection, Envelope(subscription.name, "", b"", 0))
        raw = await connection.channel(publisher_confirms=False, timeout=RPC_TIMEOUT)
        await raw.basic_qos(prefetch_count=subscription.prefetch, timeout=RPC_TIMEOUT)
        raw.on_consumer_cancel_callbacks.add(self._on_cancel)
        channel = ConsumerChannel(raw)
        subscription.attach(channel)
        await self._update(subscription)

    async def _update(self, subscription: AmqpSubscription) -> None:
        """Let the broker have a consumer for *subscription*, unless it is paused or stopped."""
        async with subscription.updating:
            channel = subscription.channel
            if channel is None or channel.closed:
                return
            wanted = not (self._stopped or subscription.paused)
            if wanted and not subscription.consumer_tag:
                await self._start(subscription, channel)
            elif not wanted and subscription.consumer_tag:
                consumer_tag, subscription.consumer_tag = subscription.consumer_tag, ""
                await channel.raw.basic_cancel(consumer_tag, timeout=RPC_TIMEOUT)

    async def _start(self, subscription: AmqpSubscription, channel: ConsumerChannel) -> None:
        async def deliver(message: DeliveredMessage) -> None:
            subscription.delivered += 1
            subscription.unacked += 1
            subscription.on_delivery(AmqpDelivery(subscription, channel, message, self._republish))

        reply = await channel.raw.basic_consume(subscription.queue, deliver, timeout=RPC_TIMEOUT)
        subscription.start(str(reply.consumer_tag))

    async def _on_cancel(self, frame: object) -> None:
        self._fail("the broker cancelled a consumer: its queue was deleted or moved")

    def _fail(self, failure: str) -> None:
        """Replace the connection because of *failure*."""
        self._failure = failure
        self._failed.set()

    async def _wait_failed(self) -> None:
        await self._failed.wait()
        raise ConnectionLost(self._failure)

    async def _monitor(self, connection: AbstractConnection) -> None:
        channel = await connection.channel(publisher_confirms=False, timeout=RPC_TIMEOUT)
        while True:
            await asyncio.sleep(self._check_interval)
            for subscription in self.subscriptions:
                consumer_tag = subscription.consumer_tag
                reply = await channel.queue_declare(subscription.queue, passive=True, timeout=RPC_TIMEOUT)
                if not consumer_tag or subscription.consumer_tag != consumer_tag:
                    continue  # paused or stopped now or during the check
                if not reply.consumer_count:
                    raise ConnectionLost(f"the broker counts no consumer of {subscription.name!r}")
                subscription.check_progress(reply.message_count or 0)


class AmqpDelivery:
    """A message delivered on *channel*, not settled yet."""

    __slots__ = ("_channel", "_deliveries", "_republish", "_subscription", "_tag", "envelope")

    def __init__(
        self, subscription: AmqpSubscription, channel: ConsumerChannel, message: DeliveredMessage, republish: Republish
    ) -> None:
        self._subscription = subscription
        self._channel = channel
        self._tag: int = message.delivery.delivery_tag  # type: ignore[union-attr, assignment]  # a basic.deliver always has one
        self._republish = republish
        self._deliveries = earlier_deliveries(message)
        self.envelope = envelope_of(subscription.name, message)

    @property
    def redelivered(self) -> bool:
        """Whether its channel is closed, so that the broker delivers it again."""
        return self._channel.closed

    @property
    def is_exhausted(self) -> bool:
        """Whether a quorum queue has delivered the message too often; classic queues do not count deliveries."""
        return self._deliveries >= MAX_DELIVERIES

    async def ack(self) -> None:
        """Acknowledge the message."""
        self._mark_settled()
        self._channel.ack(self._tag)

    async def retry(self, delay: float, headers: Mapping[str, str]) -> None:
        """Publish the message to the delay queue of *delay*, then acknowledge it."""
        await self._move(self.envelope.as_retry(delay, headers))

    async def dead_letter(self, headers: Mapping[str, str]) -> None:
        """Publish the message to the dead-letter queue, then acknowledge it."""
        await self._move(self.envelope.as_dead_letter(headers))

    async def requeue(self) -> None:
        """Return the message to its queue with ``basic.nack``."""
        self._mark_settled()
        await self._channel.raw.basic_nack(self._tag, requeue=True, wait=False)

    async def _move(self, envelope: Envelope) -> None:
        failure = await self._republish(envelope)
        if failure is None:
            await self.ack()
            return
        await self.requeue()
        raise SettlementFailed(str(failure))

    def _mark_settled(self) -> None:
        if self._channel.closed:
            raise SettlementFailed("its channel is closed")
        if self._subscription.channel is self._channel:
            self._subscription.unacked -= 1


def earlier_deliveries(message: DeliveredMessage) -> int:
    """Return how often a quorum queue has delivered *message* before without its being settled."""
    count = (message.header.properties.headers or {}).get(DELIVERY_COUNT)
    return count if isinstance(count, int) else 0  # a text is the header of an earlier queue, republished


def envelope_of(name: str, message: DeliveredMessage) -> Envelope:
    """Return the envelope of *message* from the queue of *name*."""
    properties = message.header.properties
    headers = {str(key): _text(value) for key, value in (properties.headers or {}).items()}
    published = properties.timestamp.timestamp() if properties.timestamp else 0.0
    return Envelope(name, properties.message_id or "", message.body, published, headers)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes | bytearray) else str(value)
