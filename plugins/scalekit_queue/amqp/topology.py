"""The queues of a message name at RabbitMQ: ready messages, dead letters, and one delay queue per delay.

Messages in a delay queue expire (``x-message-ttl``) and are dead-lettered into the queue of ready messages. RabbitMQ
expires only the message at the head, so each delay has a queue of its own. Queues are quorum queues where the broker
supports them, unless the configuration demands classic ones.
"""

from __future__ import annotations

import asyncio
import logging
from math import ceil, log10
from typing import Any

from aiormq.abc import AbstractConnection
from aiormq.exceptions import ChannelPreconditionFailed, ConnectionInternalError

from scalekit_queue.envelope import MAX_PRIORITY, Envelope
from scalekit_queue.transport import MAX_DELIVERIES

logger = logging.getLogger("scalekit.queue")

QUORUM_MIN_VERSION = (3, 10)
"""The first RabbitMQ whose quorum queues support message TTL and at-least-once dead-lettering."""
DELIVERY_LIMIT_MAJOR = 4
"""The major version from which quorum queues have a delivery limit by default."""
UNUSED_QUEUE_TTL_MS = 10 * 60_000
"""Milliseconds that a delay queue outlives the last message that can be in it."""
DECLARE_TIMEOUT = 5.0


def version_of(connection: Any) -> tuple[int, ...]:
    """Return the version of RabbitMQ, or an empty tuple for another broker."""
    properties = connection.server_properties
    if properties.get("product") != "RabbitMQ":
        return ()
    return tuple(int(part) for part in str(properties.get("version", "")).split(".")[:2] if part.isdigit())


def rounded_delay_ms(delay: float) -> int:
    """Return *delay* in milliseconds, rounded up to 0.1 s below 10 s, else to two digits, to limit the delay queues."""
    if not delay:
        return 0
    whole = ceil(delay * 1000)
    step = 100 if whole < 10_000 else 10 ** (int(log10(whole)) - 1)
    return -(-whole // step) * step


class QueueTopology:
    """Names and declares the queues, whose names start with *prefix*; *is_classic* is whether they are classic ones."""

    def __init__(self, prefix: str, is_classic: bool = False) -> None:
        self._prefix = prefix
        self._is_classic = is_classic
        self._quorum_disabled = False

    def detect_disabled_quorum(self, error: Exception | None) -> None:
        """Declare classic queues from now on when *error* says that quorum queues are disabled at the broker."""
        if isinstance(error, ConnectionInternalError) and "quorum_queue" in str(error) and not self._quorum_disabled:
            logger.warning("quorum queues are disabled at the broker, new queues are classic: %s", error)
            self._quorum_disabled = True

    def ready_queue(self, name: str) -> str:
        """Return the queue of the ready messages named *name*."""
        return f"{self._prefix}{name}"

    def dead_letter_queue(self, name: str) -> str:
        """Return the queue of the dead letters named *name*."""
        return f"{self._prefix}{name}.dead"

    def queue_of(self, envelope: Envelope) -> str:
        """Return the queue that *envelope* is published to."""
        if envelope.dead:
            return self.dead_letter_queue(envelope.name)
        return self.delay_queue(envelope.name, envelope.delay)

    def delay_queue(self, name: str, delay: float) -> str:
        """Return the queue of messages named *name* that are delivered after *delay* seconds."""
        rounded = rounded_delay_ms(delay)
        return f"{self._delay_prefix(name)}{rounded}" if rounded else self.ready_queue(name)

    def is_delay_queue(self, name: str, queue: str) -> bool:
        """Return whether *queue* has delayed messages named *name*."""
        prefix = self._delay_prefix(name)
        return queue.startswith(prefix) and queue[len(prefix) :].isdecimal()

    def _delay_prefix(self, name: str) -> str:
        return f"{self._prefix}{name}.delay."

    async def declare(self, connection: AbstractConnection, envelope: Envelope) -> None:
        """Declare the queues that *envelope* needs; raise aiormq's error when that fails."""
        name = envelope.name
        version = () if self._quorum_disabled or self._is_classic else version_of(connection)
        await _declare(connection, self.dead_letter_queue(name), self._dead_letter_arguments(version))
        await _declare(connection, self.ready_queue(name), self._ready_arguments(name, version))
        delay = rounded_delay_ms(envelope.delay)
        if delay and not envelope.dead:
            await _declare(connection, self.queue_of(envelope), self._delay_arguments(name, delay, version))

    def _ready_arguments(self, name: str, version: tuple[int, ...]) -> dict[str, Any]:
        dead_lettering = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": self.dead_letter_queue(name)}
        if version < QUORUM_MIN_VERSION:
            return {**self._classic, **dead_lettering, **({"x-max-priority": MAX_PRIORITY} if self._is_classic else {})}
        return {**_QUORUM, **dead_lettering, **_AT_LEAST_ONCE, "x-delivery-limit": MAX_DELIVERIES}

    def _delay_arguments(self, name: str, delay: int, version: tuple[int, ...]) -> dict[str, Any]:
        expiring = {
            "x-message-ttl": delay,
            "x-expires": delay + UNUSED_QUEUE_TTL_MS,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": self.ready_queue(name),
        }
        if version < QUORUM_MIN_VERSION:
            return {**self._classic, **expiring}
        return {**_QUORUM, **expiring, **_AT_LEAST_ONCE}

    def _dead_letter_arguments(self, version: tuple[int, ...]) -> dict[str, Any]:
        if version < QUORUM_MIN_VERSION:
            return self._classic
        return {**_QUORUM, "x-delivery-limit": -1} if version[0] >= DELIVERY_LIMIT_MAJOR else _QUORUM

    @property
    def _classic(self) -> dict[str, Any]:
        """The argument of classic queues that were asked for: a virtual host may have another type by default."""
        return {"x-queue-type": "classic"} if self._is_classic else {}


_QUORUM = {"x-queue-type": "quorum"}
_AT_LEAST_ONCE = {"x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"}


async def _declare(connection: AbstractConnection, queue: str, arguments: dict[str, Any]) -> None:
    channel = await connection.channel(publisher_confirms=False, timeout=DECLARE_TIMEOUT)
    try:
        await channel.queue_declare(queue, durable=True, arguments=arguments, timeout=DECLARE_TIMEOUT)
    except ChannelPreconditionFailed:
        pass  # the queue exists with other arguments: declared by an older version, or by hand
    finally:
        if not channel.is_closed:
            async with asyncio.timeout(DECLARE_TIMEOUT):
                await channel.close()
