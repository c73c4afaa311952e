"""Count, show, replay and purge messages at RabbitMQ, for the commands and the console."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiormq
from aiormq.abc import AbstractConnection
from aiormq.exceptions import ChannelNotFoundEntity

from scalekit import ScalekitError, mask_passwords
from scalekit_queue.amqp.connection import Broker, close_connection
from scalekit_queue.amqp.consumer import envelope_of
from scalekit_queue.amqp.frames import basic_properties
from scalekit_queue.amqp.topology import QueueTopology
from scalekit_queue.config import QueueConfig
from scalekit_queue.envelope import REASON, Envelope
from scalekit_queue.transport import QueueDepth

RPC_TIMEOUT = 10.0
MAX_DELAY_QUEUES = 50
"""Delay queues of a name whose messages are counted."""
MAX_SEARCHED = 1000
"""Dead letters that are searched for an id."""


@asynccontextmanager
async def open_amqp_admin(config: QueueConfig) -> AsyncGenerator[AmqpAdmin, None]:
    """Connect to the broker while inside; raise ScalekitError when that fails."""
    connection = Broker(config).connection("admin")
    try:
        async with asyncio.timeout(RPC_TIMEOUT):
            await connection.connect()
    except (OSError, TimeoutError, aiormq.exceptions.AMQPError) as error:
        cause = mask_passwords(str(error)) or f"no reply within {RPC_TIMEOUT:g}s"
        raise ScalekitError(f"cannot connect to the broker: {cause}") from None
    try:
        delays = {consumer.name: consumer.retry for consumer in config.load()}
        yield AmqpAdmin(connection, QueueTopology(config.prefix), delays)
    finally:
        await close_connection(connection)


class AmqpAdmin:
    """Implements :class:`scalekit_queue.transport.QueueAdmin` with RabbitMQ; *retry_delays* are those of consumers."""

    def __init__(
        self, connection: AbstractConnection, topology: QueueTopology, retry_delays: Mapping[str, Sequence[float]]
    ) -> None:
        self._connection = connection
        self._topology = topology
        self._retry_delays = retry_delays

    async def names(self) -> list[str]:
        """Return the names of the consumers: AMQP cannot list queues."""
        return sorted(self._retry_delays)

    async def depth(self, name: str, delay_queues: Collection[str] = ()) -> QueueDepth:
        """Count the messages named *name*, the delayed ones in *delay_queues* and in those of its retries."""
        ready = await self._count(self._topology.ready_queue(name))
        dead = await self._count(self._topology.dead_letter_queue(name))
        retries = [self._topology.delay_queue(name, delay) for delay in self._retry_delays.get(name, ())]
        used = [queue for queue in delay_queues if self._topology.is_delay_queue(name, queue)]
        delayed = [await self._count(queue) for queue in list(dict.fromkeys([*retries, *used]))[:MAX_DELAY_QUEUES]]
        return QueueDepth(name, ready, sum(delayed), None, dead, is_partial=True)

    async def peek(self, name: str, dead: bool, limit: int, max_body: int | None = None) -> list[Envelope]:
        """Return the first messages named *name*; they stay in the queue, marked as redelivered."""
        found = []
        async with self._channel() as channel:  # closing it requeues unacknowledged messages
            async for _, envelope in self._messages(channel, name, dead, limit):
                envelope.body = envelope.body[:max_body]
                found.append(envelope)
        return found

    async def find_dead_letter(self, name: str, identifier: str) -> Envelope | None:
        """Return the first dead letter with the id *identifier* among the first MAX_SEARCHED."""
        async with self._channel() as channel:
            async for _, envelope in self._messages(channel, name, True, MAX_SEARCHED):
                if envelope.id == identifier:
                    return envelope
        return None

    async def replay(self, name: str, ids: Sequence[str], limit: int) -> int:
        """Publish dead letters to the queue of ready messages, and acknowledge each after its confirm."""
        queue = self._topology.ready_queue(name)
        replayed = 0
        async with self._channel() as channel:
            async for tag, envelope in self._dead_letters(channel, name, ids, limit):
                replay = envelope.as_replay()
                await channel.basic_publish(
                    replay.body,
                    routing_key=queue,
                    properties=basic_properties(replay),
                    mandatory=True,
                    timeout=RPC_TIMEOUT,
                )
                await channel.basic_ack(tag)
                replayed += 1
        return replayed

    async def purge(self, name: str, dead: bool, ids: Sequence[str] = ()) -> int:
        """Delete the messages named *name* that are not in flight, or the dead letters with *ids*."""
        if ids:
            return await self._delete(name, ids)
        try:
            async with self._channel() as channel:
                return int((await channel.queue_purge(self._queue(name, dead), timeout=RPC_TIMEOUT)).message_count or 0)
        except ChannelNotFoundEntity:
            return 0

    async def _delete(self, name: str, ids: Sequence[str]) -> int:
        deleted = 0
        async with self._channel() as channel:
            async for tag, _ in self._dead_letters(channel, name, ids, 0):
                await channel.basic_ack(tag)
                deleted += 1
        return deleted

    async def _dead_letters(
        self, channel: Any, name: str, ids: Sequence[str], limit: int
    ) -> AsyncGenerator[tuple[int, Envelope], None]:
        """Yield the dead letters with *ids*, or without them the first *limit*; the others are requeued."""
        count = await self._count(self._topology.dead_letter_queue(name)) if ids else limit
        async for tag, envelope in self._messages(channel, name, True, count):
            if not ids or envelope.id in ids:
                yield tag, envelope

    def _queue(self, name: str, dead: bool) -> str:
        return self._topology.dead_letter_queue(name) if dead else self._topology.ready_queue(name)

    @asynccontextmanager
    async def _channel(self) -> AsyncGenerator[Any, None]:
        channel = await self._connection.channel(publisher_confirms=True, timeout=RPC_TIMEOUT)
        try:
            yield channel
        finally:
            if not channel.is_closed:
                async with asyncio.timeout(RPC_TIMEOUT):
                    await channel.close()

    async def _count(self, queue: str) -> int:
        try:
            async with self._channel() as channel:
                reply = await channel.queue_declare(queue, passive=True, timeout=RPC_TIMEOUT)
                return int(reply.message_count or 0)
        except ChannelNotFoundEntity:
            return 0

    async def _messages(
        self, channel: Any, name: str, dead: bool, limit: int
    ) -> AsyncGenerator[tuple[int, Envelope], None]:
        """Yield the first *limit* messages with their delivery tags, one in memory at a time."""
        for _ in range(limit):
            try:
                message = await channel.basic_get(self._queue(name, dead), timeout=RPC_TIMEOUT)
            except ChannelNotFoundEntity:
                return
            if not isinstance(message.delivery, aiormq.spec.Basic.GetOk):
                return
            yield int(message.delivery.delivery_tag or 0), _with_broker_reason(envelope_of(name, message))


def _with_broker_reason(envelope: Envelope) -> Envelope:
    """Return *envelope* with the reason that the broker gave, when the broker itself dead-lettered the message."""
    reason = envelope.headers.get("x-first-death-reason")
    if reason is None or REASON in envelope.headers:
        return envelope
    headers = {**envelope.headers, REASON: f"dead-lettered by the broker: {reason}"}
    return Envelope(envelope.name, envelope.id, envelope.body, envelope.published, headers)
