"""Publish with confirms, whatever becomes of the connection meanwhile.

What concurrent tasks publish goes out in one write. A message that was not confirmed when the connection was lost is
sent again on the next, under the same id, until its sender's time is over.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from time import time
from typing import Any

from aiormq.abc import AbstractConnection, ChannelFrame
from aiormq.exceptions import PublishError

from scalekit.contracts import PublishFailed
from scalekit_queue.amqp.connection import BrokerConnection, ConnectionLost, first_of
from scalekit_queue.amqp.frames import publication
from scalekit_queue.amqp.topology import QueueTopology
from scalekit_queue.envelope import Envelope
from scalekit_queue.metrics import PublishMetrics

logger = logging.getLogger("scalekit.queue")

WINDOW = 1000
"""Messages on their way that are not confirmed yet, at most."""
AT_ONCE = 256
"""Messages in one write, at most."""
AT_ONCE_LIMIT = 0.05
"""Seconds after which a connection that is not ready is blocked."""
WATCH_EVERY = 0.5
REFUSED_PAUSE = 0.1
"""Seconds before a message that the broker refused is sent again."""
DECLARED_FOR = 120.0
"""Seconds for which a queue of a delay counts as declared: it goes by itself when it is not used for long."""


class PublishBatch:
    """What one caller publishes; *future* is done when every message is safe or given up."""

    def __init__(self, count: int) -> None:
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._left = count

    def settle(self) -> None:
        """Note that one more message is safe."""
        self._left -= 1
        if not self._left and not self.future.done():
            self.future.set_result(None)


class UnconfirmedMessage:
    """One message on its way. It stands where aiormq keeps a future for the broker's confirm."""

    __slots__ = ("batch", "envelope", "lost", "maybe_sent", "publishing", "safe", "why")

    def __init__(self, envelope: Envelope, batch: PublishBatch, publishing: AmqpPublisher) -> None:
        self.envelope = envelope
        self.batch = batch
        self.publishing = publishing
        self.maybe_sent = self.lost = False
        self.safe = False
        self.why = ""

    @property
    def given_up(self) -> bool:
        """Whether its publisher no longer waits for the confirm."""
        return self.batch.future.done()

    def drop_body(self) -> None:
        """Release the body's memory: the message is not sent again."""
        self.envelope = replace(self.envelope, body=b"")

    def done(self) -> bool:
        """Tell aiormq that the broker's word is welcome at any time."""
        return False

    def set_result(self, result: Any) -> None:
        """Take the broker's word that it is safe."""
        self.safe = True
        self.publishing.settled(self)
        self.batch.settle()

    def set_exception(self, error: BaseException) -> None:
        """Send it again: the broker refused it, or has no such queue."""
        self.publishing.refused(self, error)


class AmqpPublisher:
    """Publishes over one connection."""

    def __init__(self, link_of: Any, topology: QueueTopology, max_waiting: int, metrics: PublishMetrics) -> None:
        self.link: BrokerConnection = link_of("publishing", self._serve, self._lose)
        self._topology = topology
        self._max_waiting = max_waiting
        self._metrics = metrics
        self._waiting: OrderedDict[UnconfirmedMessage, None] = OrderedDict()
        self._wake = asyncio.Event()
        self._declared: dict[str, float] = {}
        self._channel: Any = None

    async def send(self, envelopes: Sequence[Envelope], timeout: float) -> list[PublishFailed | None]:
        """Publish *envelopes*; return for each None once it is confirmed, or why it is not."""
        if len(self._waiting) >= self._max_waiting:
            return [PublishFailed("too many messages wait for the broker", False)] * len(envelopes)
        batch = PublishBatch(len(envelopes))
        pending = [UnconfirmedMessage(envelope, batch, self) for envelope in envelopes]
        self._waiting.update(dict.fromkeys(pending))
        self._wake.set()
        try:
            async with asyncio.timeout(timeout):
                await batch.future
        except TimeoutError:
            self._remove(pending)
            return [self._failure(each, timeout) for each in pending]
        except asyncio.CancelledError:
            self._remove(pending)
            raise
        return [None] * len(envelopes)

    def _remove(self, pending: Iterable[UnconfirmedMessage]) -> None:
        """Remove messages whose publisher has given up: they count no longer, and hold no memory."""
        for each in pending:
            self._waiting.pop(each, None)
            each.drop_body()
        self._wake.set()

    def _requeue(self, pending: Sequence[UnconfirmedMessage]) -> None:
        """Put messages back at the head, in their order, to be sent first."""
        for each in reversed(pending):
            if not each.given_up:
                self._waiting[each] = None
                self._waiting.move_to_end(each, last=False)
        self._wake.set()

    def _failure(self, pending: UnconfirmedMessage, timeout: float) -> PublishFailed | None:
        if pending.safe:
            return None
        why = pending.why or self.link.trouble or "the broker is slow"
        return PublishFailed(f"not confirmed within {timeout:g}s: {why}", pending.maybe_sent)

    async def _serve(self, connection: AbstractConnection) -> None:
        channel = await connection.channel(publisher_confirms=True, timeout=5.0)
        self._declared.clear()
        self._channel = channel
        self.link.note_connected()
        await first_of(
            self._publish_on(connection, channel),
            self._watch_blocked(connection),
            self._watch_silence(connection),
            channel.closing,
            connection.closing,
        )

    def _lose(self, error: Exception | None) -> None:
        """Take back what was not confirmed, to be sent again on the next connection."""
        self._metrics.reconnects["publishing"].inc()
        self._topology.learn_from(error)
        if self._channel is not None:
            lost = [each for each in self._channel.confirmations.values() if isinstance(each, UnconfirmedMessage)]
            for pending in lost:
                pending.lost = True
            self._channel.confirmations.clear()
            self._channel = None
            self._requeue(lost)

    async def _publish_on(self, connection: AbstractConnection, channel: Any) -> None:
        while True:
            while not self._waiting or len(channel.confirmations) >= WINDOW:
                self._wake.clear()
                await self._wake.wait()
            await self._unblocked(connection)
            batch = list(self._next_batch(channel))
            try:
                await self._declare(connection, batch)
            except BaseException:
                self._requeue(batch)
                raise
            if batch:
                await self._write(channel, batch)
            elif self._waiting:  # for what is on its way under the same ids
                self._wake.clear()
                await self._wake.wait()

    async def _watch_silence(self, connection: Any) -> None:
        """Raise Lost when the broker has fallen silent, of which aiormq's ``closing`` does not always tell."""
        while True:
            if not connection.is_opened or connection.is_connection_was_stuck:
                raise ConnectionLost("the broker has fallen silent")
            await asyncio.sleep(WATCH_EVERY)

    async def _watch_blocked(self, connection: AbstractConnection) -> None:
        """Notice that the broker has blocked the connection, also while nothing is published."""
        while True:
            await self._unblocked(connection)
            await asyncio.sleep(WATCH_EVERY)

    async def _unblocked(self, connection: AbstractConnection) -> None:
        """Wait while the broker takes nothing, for it is short of memory or disk."""
        try:
            async with asyncio.timeout(AT_ONCE_LIMIT):
                await connection.ready()
            return
        except TimeoutError:
            self.link.trouble = "publishing: the broker has blocked the connection: it is short of memory or disk"
            logger.warning("%s", self.link.trouble)
        await connection.ready()
        self.link.trouble = ""

    def _next_batch(self, channel: Any) -> Iterator[UnconfirmedMessage]:
        known: set[str] = set()
        room = min(AT_ONCE, WINDOW - len(channel.confirmations))
        for _ in range(len(self._waiting)):
            if len(known) >= room:
                return
            pending, _ = self._waiting.popitem(last=False)
            if pending.given_up:  # and its publisher has not been resumed yet
                continue
            identifier = pending.envelope.id
            if identifier in known or identifier in channel.message_id_delivery_tag:
                self._waiting[pending] = None  # the broker returns messages by their id alone
                continue
            known.add(identifier)
            yield pending

    async def _declare(self, connection: AbstractConnection, batch: Sequence[UnconfirmedMessage]) -> None:
        for pending in batch:
            queue = self._topology.queue_of(pending.envelope)
            declared = self._declared.get(queue)
            if declared is None or (pending.envelope.delay and time() - declared > DECLARED_FOR):
                await self._topology.declare(connection, pending.envelope)
                self._declared[queue] = time()

    async def _write(self, channel: Any, batch: Sequence[UnconfirmedMessage]) -> None:
        frames = []
        for pending in batch:
            if pending.given_up:  # while its queue was declared
                continue
            channel.delivery_tag += 1
            channel.confirmations[channel.delivery_tag] = pending
            channel.message_id_delivery_tag[pending.envelope.id] = channel.delivery_tag
            pending.maybe_sent = True
            queue = self._topology.queue_of(pending.envelope)
            frames.append(publication(channel.number, queue, pending.envelope, channel.max_content_size))
        await channel.write_queue.put(ChannelFrame(payload=b"".join(frames), should_close=False, drain_future=None))

    def settled(self, pending: UnconfirmedMessage) -> None:
        """Note that *pending* is on its way no more."""
        if self._channel is not None:
            self._channel.message_id_delivery_tag.pop(pending.envelope.id, None)
            if self._waiting:
                self._wake.set()

    def refused(self, pending: UnconfirmedMessage, error: BaseException) -> None:
        """Send *pending* again after a pause, with its queues declared anew."""
        self.settled(pending)
        self._declared.pop(self._topology.queue_of(pending.envelope), None)
        pending.maybe_sent = pending.lost
        pending.why = "there is no such queue" if isinstance(error, PublishError) else "the broker refused it"
        asyncio.get_running_loop().call_later(REFUSED_PAUSE, self._send_again, pending)

    def _send_again(self, pending: UnconfirmedMessage) -> None:
        if not pending.given_up:
            self._waiting[pending] = None
            self._wake.set()
