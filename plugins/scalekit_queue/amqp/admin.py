"""Show and move the messages of a broker, for commands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiormq
from aiormq.abc import AbstractConnection
from aiormq.exceptions import ChannelNotFoundEntity

from scalekit import ScalekitError, mask_passwords
from scalekit_queue.amqp.broker import Broker
from scalekit_queue.amqp.consumer import envelope_of
from scalekit_queue.amqp.frames import properties_of
from scalekit_queue.amqp.topology import QueueTopology
from scalekit_queue.envelope import REASON, Envelope, QueueDepth

LIMIT = 10.0


@asynccontextmanager
async def open_admin(broker: Broker, prefix: str, names: Sequence[str]) -> AsyncGenerator[AmqpAdmin, None]:
    """Connect to the broker while inside; raises ScalekitError when that fails. It knows the queues of *names*."""
    connection = broker.connection()
    try:
        async with asyncio.timeout(LIMIT):
            await connection.connect()
    except (OSError, TimeoutError, aiormq.exceptions.AMQPError) as error:
        raise ScalekitError(f"the broker cannot be reached: {mask_passwords(str(error)) or 'it is silent'}") from None
    try:
        yield AmqpAdmin(connection, QueueTopology(prefix), names)
    finally:
        await connection.close()


class AmqpAdmin:
    """See :class:`scalekit_queue.envelope.QueueAdmin`."""

    def __init__(self, connection: AbstractConnection, topology: QueueTopology, names: Sequence[str]) -> None:
        self._connection = connection
        self._topology = topology
        self._names = names

    async def names(self) -> list[str]:
        """Return the names of the consumers: a broker lists its queues to nobody."""
        return sorted(self._names)

    async def depth(self, name: str) -> QueueDepth:
        """Count the messages *name*."""
        ready = await self._count(self._topology.ready(name))
        return QueueDepth(name, ready, None, None, await self._count(self._topology.dead(name)))

    async def peek(self, name: str, dead: bool, limit: int) -> list[Envelope]:
        """Return the first messages *name*; they stay, marked as delivered before."""
        async with self._channel() as channel:  # what is not acknowledged when it closes goes back
            return [envelope for _, envelope in await self._get(channel, name, dead, limit)]

    async def replay(self, name: str, ids: Sequence[str], limit: int) -> int:
        """Publish dead letters again, each before it is dropped as a dead letter."""
        queue = self._topology.ready(name)
        async with self._channel() as channel:
            found = await self._get(channel, name, True, await self._count(self._topology.dead(name)) if ids else limit)
            chosen = [(tag, envelope) for tag, envelope in found if not ids or envelope.id in ids]
            for tag, envelope in chosen:
                again = envelope.replayed()
                properties = properties_of(again)
                await channel.basic_publish(
                    again.body, routing_key=queue, properties=properties, mandatory=True, timeout=LIMIT
                )
                await channel.basic_ack(tag)
        return len(chosen)

    async def purge(self, name: str, dead: bool) -> int:
        """Drop the messages *name* that no consumer holds."""
        queue = self._topology.dead(name) if dead else self._topology.ready(name)
        try:
            async with self._channel() as channel:
                return int((await channel.queue_purge(queue, timeout=LIMIT)).message_count or 0)
        except ChannelNotFoundEntity:
            return 0

    @asynccontextmanager
    async def _channel(self) -> AsyncGenerator[Any, None]:
        channel = await self._connection.channel(publisher_confirms=True, timeout=LIMIT)
        try:
            yield channel
        finally:
            if not channel.is_closed:
                await channel.close()

    async def _count(self, queue: str) -> int:
        try:
            async with self._channel() as channel:
                answer = await channel.queue_declare(queue, passive=True, timeout=LIMIT)
                return int(answer.message_count or 0)
        except ChannelNotFoundEntity:
            return 0

    async def _get(self, channel: Any, name: str, dead: bool, limit: int) -> list[tuple[int, Envelope]]:
        queue = self._topology.dead(name) if dead else self._topology.ready(name)
        found: list[tuple[int, Envelope]] = []
        while len(found) < limit:
            try:
                message = await channel.basic_get(queue, timeout=LIMIT)
            except ChannelNotFoundEntity:
                break
            if not isinstance(message.delivery, aiormq.spec.Basic.GetOk):
                break
            found.append((int(message.delivery.delivery_tag or 0), _explained(envelope_of(name, message))))
        return found


def _explained(envelope: Envelope) -> Envelope:
    """Say of a dead letter that the broker itself made why it did."""
    reason = envelope.headers.get("x-first-death-reason")
    if reason is None or REASON in envelope.headers:
        return envelope
    headers = {**envelope.headers, REASON: f"the broker: {reason}"}
    return Envelope(envelope.name, envelope.id, envelope.body, envelope.published, headers)
