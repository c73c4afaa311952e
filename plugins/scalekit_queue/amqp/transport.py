"""The RabbitMQ transport: one connection publishes, another consumes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import partial

from scalekit.contracts import PublishFailed
from scalekit_queue.amqp.connection import Broker, BrokerConnection
from scalekit_queue.amqp.consumer import AmqpConsumer
from scalekit_queue.amqp.publisher import AmqpPublisher
from scalekit_queue.amqp.topology import QueueTopology
from scalekit_queue.config import QueueConfig
from scalekit_queue.envelope import Envelope
from scalekit_queue.metrics import PublishMetrics
from scalekit_queue.task_group import BackgroundTaskGroup
from scalekit_queue.transport import OnDelivery

SETTLE_TIMEOUT = 10.0
"""Seconds within which a retried or dead-lettered message must be confirmed in its new queue."""
START_TIMEOUT = 3.0
"""Seconds that the start waits for the first connection."""


class AmqpTransport:
    """Implements :class:`scalekit_queue.transport.Transport` with RabbitMQ.

    A broker short of memory blocks connections that publish. Acknowledgements, which free memory, have a connection of
    their own and are not blocked.
    """

    system = "rabbitmq"
    transactional = None

    def __init__(self, config: QueueConfig, metrics: PublishMetrics) -> None:
        topology = QueueTopology(config.prefix, config.queue_type == "classic")
        connect = partial(BrokerConnection, Broker(config))
        self._publisher = AmqpPublisher(connect, topology, config.max_waiting, metrics)
        self._consumer = AmqpConsumer(connect, topology, self._republish, config.check_interval, metrics)
        self._consuming = BackgroundTaskGroup()

    @property
    def last_error(self) -> str:
        """The current errors of both connections; empty while they work."""
        consumer = self._consumer.connection.last_error if self._consuming else ""
        return "; ".join(filter(None, (self._publisher.connection.last_error, consumer)))

    @property
    def delay_queues(self) -> Sequence[str]:
        """The queues of delayed messages to which this process has published last."""
        return self._publisher.delay_queues

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None, None]:
        """Stay connected while inside; the broker may be unavailable at the start."""
        connections = BackgroundTaskGroup()
        connections.start(self._publisher.connection.run())
        await _wait_connected(self._publisher.connection.connected)
        try:
            yield
        finally:
            await asyncio.sleep(0)  # flushes the last acknowledgements
            await self._consuming.cancel()
            await connections.cancel()

    async def send(self, envelopes: Sequence[Envelope], timeout: float) -> list[PublishFailed | None]:
        """Publish *envelopes* and wait for the confirms."""
        return await self._publisher.send(envelopes, timeout)

    async def _republish(self, envelope: Envelope) -> PublishFailed | None:
        return (await self._publisher.send([envelope], SETTLE_TIMEOUT))[0]

    def schedule_store(self) -> None:
        """Return None: a broker has no transactions in which a state changes."""

    def job_database(self) -> None:
        """Return None: a broker has no place for them."""

    def subscribe(self, name: str, prefetch: int, on_delivery: OnDelivery) -> None:
        """Deliver messages named *name* to *on_delivery* once consuming has started."""
        self._consumer.subscribe(name, prefetch, on_delivery)

    def start_consuming(self) -> None:
        """Connect the consumers."""
        if self._consumer.subscriptions:
            self._consuming.start(self._consumer.connection.run())

    async def pause(self, name: str) -> None:
        """Cancel the consumer of *name* at the broker."""
        await self._consumer.set_paused(name, True)

    async def resume(self, name: str) -> None:
        """Consume messages named *name* again."""
        await self._consumer.set_paused(name, False)

    async def stop_consuming(self) -> None:
        """Cancel the consumers at the broker; messages already delivered can still be settled."""
        await self._consumer.cancel()


async def _wait_connected(connected: asyncio.Event) -> None:
    """Wait a moment for the first connection, so that messages published right after the start need not wait."""
    try:
        async with asyncio.timeout(START_TIMEOUT):
            await connected.wait()
    except TimeoutError:
        pass
