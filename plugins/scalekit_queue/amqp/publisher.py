"""Publish to RabbitMQ with confirms, across reconnections.

Messages of concurrent tasks are written together. A message that was not confirmed when the connection was lost is
published again on the next one, under the same id, until the timeout of its publisher.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from time import monotonic
from typing import Any

from aiormq.abc import AbstractConnection, ChannelFrame
from aiormq.exceptions import PublishError

from scalekit.contracts import PublishFailed
from scalekit_queue.amqp.connection import BrokerConnection, ConnectionFactory, ConnectionLost, wait_first
from scalekit_queue.amqp.frames import publish_frames
from scalekit_queue.amqp.topology import QueueTopology
from scalekit_queue.envelope import Envelope
from scalekit_queue.metrics import PublishMetrics

logger = logging.getLogger("scalekit.queue")

MAX_UNCONFIRMED = 1000
"""Maximum number of messages that are sent and not confirmed."""
MAX_DELAY_QUEUES = 200
"""Delay queues whose names are kept, so that an operator sees how many messages are in them."""
MAX_BATCH = 256
"""Maximum number of messages in one write."""
CHANNEL_TIMEOUT = 5.0
BLOCKED_AFTER = 0.05
"""Seconds after which a connection that accepts no writes is reported as blocked."""
CHECK_INTERVAL = 0.5
REJECTED_RETRY_DELAY = 0.1
"""Seconds before a message that the broker rejected is published again."""
DECLARATION_TTL = 120.0
"""Seconds after which a delay queue is declared again: the broker deletes it when it is not used."""


class PublishBatch:
    """The messages of one ``send`` call; *future* is done when all are confirmed or the caller stops waiting."""

    def __init__(self, count: int) -> None:
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._unconfirmed = count

    def count_confirm(self) -> None:
        """Count the confirm of one message."""
        self._unconfirmed -= 1
        if not self._unconfirmed and not self.future.done():
            self.future.set_result(None)


class UnconfirmedMessage:
    """One message until its confirm; aiormq holds it in place of the future that it resolves with the confirm."""

    __slots__ = ("batch", "confirmed", "connection_lost", "envelope", "maybe_sent", "publisher", "reason")

    def __init__(self, envelope: Envelope, batch: PublishBatch, publisher: AmqpPublisher) -> None:
        self.envelope = envelope
        self.batch = batch
        self.publisher = publisher
        self.maybe_sent = self.connection_lost = False
        self.confirmed = False
        self.reason = ""

    @property
    def abandoned(self) -> bool:
        """Whether the publisher no longer waits for the confirm."""
        return self.batch.future.done()

    def release_body(self) -> None:
        """Free the body's memory; the message is not sent again."""
        self.envelope = replace(self.envelope, body=b"")

    def done(self) -> bool:
        """Return False: aiormq may set the result at any time."""
        return False

    def set_result(self, result: Any) -> None:
        """Record the broker's ack."""
        self.confirmed = True
        self.publisher.on_confirmed(self)
        self.batch.count_confirm()

    def set_exception(self, error: BaseException) -> None:
        """Publish the message again after the broker's nack or ``basic.return``."""
        self.publisher.on_rejected(self, error)


class AmqpPublisher:
    """Publishes over one connection, which *connect* creates."""

    def __init__(
        self, connect: ConnectionFactory, topology: QueueTopology, max_waiting: int, metrics: PublishMetrics
    ) -> None:
        self.connection: BrokerConnection = connect("publisher", self._serve, self._on_connection_lost)
        self._topology = topology
        self._max_waiting = max_waiting
        self._metrics = metrics
        self._waiting: OrderedDict[UnconfirmedMessage, None] = OrderedDict()
        self._wake = asyncio.Event()
        self._declared: dict[str, float] = {}
        self._delay_queues: OrderedDict[str, None] = OrderedDict()
        self._channel: Any = None

    @property
    def delay_queues(self) -> Sequence[str]:
        """The delay queues that were used last, at most MAX_DELAY_QUEUES."""
        return list(self._delay_queues)

    async def send(self, envelopes: Sequence[Envelope], timeout: float) -> list[PublishFailed | None]:
        """Publish *envelopes*; return for each None once it is confirmed, or the failure after *timeout* seconds."""
        if len(self._waiting) >= self._max_waiting:
            reason = f"{self._max_waiting} messages already wait to be sent (max_waiting)"
            return [PublishFailed(reason, False)] * len(envelopes)
        batch = PublishBatch(len(envelopes))
        messages = [UnconfirmedMessage(envelope, batch, self) for envelope in envelopes]
        self._waiting.update(dict.fromkeys(messages))
        self._wake.set()
        try:
            async with asyncio.timeout(timeout):
                await batch.future
        except TimeoutError:
            self._remove(messages)
            return [self._failure(each, timeout) for each in messages]
        except asyncio.CancelledError:
            self._remove(messages)
            raise
        return [None] * len(envelopes)

    def _remove(self, messages: Iterable[UnconfirmedMessage]) -> None:
        """Remove abandoned messages: they no longer count towards max_waiting, and hold no memory."""
        for each in messages:
            self._waiting.pop(each, None)
            each.release_body()
        self._wake.set()

    def _requeue(self, messages: Sequence[UnconfirmedMessage]) -> None:
        """Put messages back at the head of the queue, in their order."""
        for each in reversed(messages):
            if not each.abandoned:
                self._waiting[each] = None
                self._waiting.move_to_end(each, last=False)
        self._wake.set()

    def _failure(self, message: UnconfirmedMessage, timeout: float) -> PublishFailed | None:
        if message.confirmed:
            return None
        reason = message.reason or self.connection.last_error or "the broker sends no confirm"
        return PublishFailed(f"not confirmed within {timeout:g}s: {reason}", message.maybe_sent)

    async def _serve(self, connection: AbstractConnection) -> None:
        channel = await connection.channel(publisher_confirms=True, timeout=CHANNEL_TIMEOUT)
        self._declared.clear()
        self._channel = channel
        self.connection.mark_connected()
        await wait_first(
            self._publish_loop(connection, channel),
            self._watch_blocked(connection),
            self._watch_heartbeats(connection),
            channel.closing,
            connection.closing,
        )

    def _on_connection_lost(self, error: Exception | None) -> None:
        """Requeue the unconfirmed messages for the next connection."""
        self._metrics.reconnects["publisher"].inc()
        self._topology.detect_disabled_quorum(error)
        if self._channel is not None:
            unconfirmed = [
                each for each in self._channel.confirmations.values() if isinstance(each, UnconfirmedMessage)
            ]
            for message in unconfirmed:
                message.connection_lost = True
            self._channel.confirmations.clear()
            self._channel = None
            self._requeue(unconfirmed)

    async def _publish_loop(self, connection: AbstractConnection, channel: Any) -> None:
        while True:
            while not self._waiting or len(channel.confirmations) >= MAX_UNCONFIRMED:
                self._wake.clear()
                await self._wake.wait()
            await self._wait_unblocked(connection)
            batch = list(self._next_batch(channel))
            try:
                await self._declare(connection, batch)
            except BaseException:
                self._requeue(batch)
                raise
            if batch:
                await self._write(channel, batch)
            elif self._waiting:  # every waiting message has the id of one that is not confirmed yet
                self._wake.clear()
                await self._wake.wait()

    async def _watch_heartbeats(self, connection: Any) -> None:
        """Raise ConnectionLost when heartbeats are missing, which does not always complete aiormq's ``closing``."""
        while True:
            if not connection.is_opened or connection.is_connection_was_stuck:
                raise ConnectionLost("the broker missed its heartbeats")
            await asyncio.sleep(CHECK_INTERVAL)

    async def _watch_blocked(self, connection: AbstractConnection) -> None:
        """Detect that the broker blocks the connection, also without messages to publish."""
        while True:
            await self._wait_unblocked(connection)
            await asyncio.sleep(CHECK_INTERVAL)

    async def _wait_unblocked(self, connection: AbstractConnection) -> None:
        """Wait while the broker blocks the connection for lack of memory or disk."""
        try:
            async with asyncio.timeout(BLOCKED_AFTER):
                await connection.ready()
            return
        except TimeoutError:
            self.connection.last_error = "publisher: the broker blocked the connection: it is short of memory or disk"
            logger.warning("%s", self.connection.last_error)
        await connection.ready()
        self.connection.last_error = ""

    def _next_batch(self, channel: Any) -> Iterator[UnconfirmedMessage]:
        ids: set[str] = set()
        limit = min(MAX_BATCH, MAX_UNCONFIRMED - len(channel.confirmations))
        for _ in range(len(self._waiting)):
            if len(ids) >= limit:
                return
            message, _ = self._waiting.popitem(last=False)
            if message.abandoned:  # its publisher has not been resumed yet
                continue
            identifier = message.envelope.id
            if identifier in ids or identifier in channel.message_id_delivery_tag:
                self._waiting[message] = None  # a basic.return names the message id only
                continue
            ids.add(identifier)
            yield message

    async def _declare(self, connection: AbstractConnection, batch: Sequence[UnconfirmedMessage]) -> None:
        for message in batch:
            queue = self._topology.queue_of(message.envelope)
            declared = self._declared.get(queue)
            if declared is None or (message.envelope.delay and monotonic() - declared > DECLARATION_TTL):
                await self._topology.declare(connection, message.envelope)
                self._declared[queue] = monotonic()
                if message.envelope.delay:
                    self._add_delay_queue(queue)

    def _add_delay_queue(self, queue: str) -> None:
        self._delay_queues[queue] = None
        self._delay_queues.move_to_end(queue)
        if len(self._delay_queues) > MAX_DELAY_QUEUES:
            self._delay_queues.popitem(last=False)

    async def _write(self, channel: Any, batch: Sequence[UnconfirmedMessage]) -> None:
        frames = []
        for message in batch:
            if message.abandoned:  # while its queue was declared
                continue
            channel.delivery_tag += 1
            channel.confirmations[channel.delivery_tag] = message
            channel.message_id_delivery_tag[message.envelope.id] = channel.delivery_tag
            message.maybe_sent = True
            queue = self._topology.queue_of(message.envelope)
            frames.append(publish_frames(channel.number, queue, message.envelope, channel.max_content_size))
        await channel.write_queue.put(ChannelFrame(payload=b"".join(frames), should_close=False, drain_future=None))

    def on_confirmed(self, message: UnconfirmedMessage) -> None:
        """Forget the id of *message*, so that another message may use it."""
        if self._channel is not None:
            self._channel.message_id_delivery_tag.pop(message.envelope.id, None)
            if self._waiting:
                self._wake.set()

    def on_rejected(self, message: UnconfirmedMessage, error: BaseException) -> None:
        """Publish *message* again after a delay, with its queues declared again."""
        self.on_confirmed(message)
        self._declared.pop(self._topology.queue_of(message.envelope), None)
        message.maybe_sent = message.connection_lost
        message.reason = "the queue does not exist" if isinstance(error, PublishError) else "rejected by the broker"
        asyncio.get_running_loop().call_later(REJECTED_RETRY_DELAY, self._publish_again, message)

    def _publish_again(self, message: UnconfirmedMessage) -> None:
        if not message.abandoned:
            self._waiting[message] = None
            self._wake.set()
