"""Messages through RabbitMQ."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import partial

from scalekit.contracts import PublishFailed
from scalekit_queue.amqp.broker import Broker
from scalekit_queue.amqp.connection import BrokerConnection
from scalekit_queue.amqp.consumer import AmqpConsumer
from scalekit_queue.amqp.publisher import AmqpPublisher
from scalekit_queue.amqp.topology import QueueTopology
from scalekit_queue.envelope import Envelope, OnDelivery
from scalekit_queue.metrics import PublishMetrics
from scalekit_queue.task_group import BackgroundTaskGroup

SETTLE_LIMIT = 10.0
"""Seconds that a message which is retried or buried has to be safe in its new queue."""

START_LIMIT = 3.0
"""Seconds that a start waits for the broker."""


class AmqpTransport:
    """Carries messages through a broker; see :class:`scalekit_queue.envelope.Transport`.

    What is published and what is consumed have a connection each, so that a broker which blocks the one, since it is
    short of memory, still takes the acknowledgements that relieve it.
    """

    def __init__(
        self,
        broker: Broker,
        heartbeat: int,
        prefix: str,
        check_interval: float,
        max_waiting: int,
        metrics: PublishMetrics,
    ) -> None:
        self._topology = QueueTopology(prefix)
        link_of = partial(BrokerConnection, broker, heartbeat)
        self._publishing = AmqpPublisher(link_of, self._topology, max_waiting, metrics)
        self._takers = BackgroundTaskGroup()
        self._consuming = AmqpConsumer(link_of, self._topology, self._replace, check_interval, metrics)

    @property
    def trouble(self) -> str:
        """What is wrong with a connection now; empty while all is well."""
        consuming = self._consuming.link.trouble if self._takers else ""
        return "; ".join(filter(None, (self._publishing.link.trouble, consuming)))

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """Stay connected while inside; the broker need not be there when it begins."""
        links = BackgroundTaskGroup()
        links.begin(self._publishing.link.run())
        await wait_for_first(self._publishing.link.connected)
        try:
            yield
        finally:
            await asyncio.sleep(0)  # what was acknowledged last goes out
            await self._takers.cancel()
            await links.cancel()

    async def send(self, envelopes: Sequence[Envelope], timeout: float) -> list[PublishFailed | None]:
        """Publish *envelopes* with confirms."""
        return await self._publishing.send(envelopes, timeout)

    async def _replace(self, envelope: Envelope) -> PublishFailed | None:
        return (await self._publishing.send([envelope], SETTLE_LIMIT))[0]

    def subscribe(self, name: str, prefetch: int, take: OnDelivery) -> None:
        """Have messages *name* delivered to *take* while running."""
        self._consuming.subscribe(name, prefetch, take)

    def begin(self) -> None:
        """Begin to consume what was subscribed to."""
        if self._consuming.subscriptions:
            self._takers.begin(self._consuming.link.run())

    async def pause(self) -> None:
        """Take no more messages."""
        await self._consuming.pause()


async def wait_for_first(connected: asyncio.Event) -> None:
    """Wait a moment for the first connection, so that what is published at once does not have to."""
    try:
        async with asyncio.timeout(START_LIMIT):
            await connected.wait()
    except TimeoutError:
        pass
