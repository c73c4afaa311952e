"""The queues behind each name: one of messages, one of dead letters, and one for each delay.

A delayed message lies in a queue whose messages expire, and goes from there to the queue of its name. One queue for
each delay, since in a queue only the first message expires. Queues are quorum queues where the broker has them.
"""

from __future__ import annotations

import logging
from math import ceil, log10
from typing import Any

from aiormq.abc import AbstractConnection
from aiormq.exceptions import ChannelPreconditionFailed, ConnectionInternalError

from scalekit_queue.envelope import Envelope

logger = logging.getLogger("scalekit.queue")

QUORUM_SINCE = (3, 10)
"""RabbitMQ's first version whose quorum queues have a time to live, and pass on dead letters safely."""
NO_LIMIT_SINCE = 4
"""The major version from which quorum queues drop what is delivered often, unless told otherwise."""
DELIVERIES = 20
"""How often a message may be delivered without an outcome, for it may be what ends its consumers."""
KEPT_UNUSED = 10 * 60_000
"""Milliseconds that the queue of a delay outlives the messages that can be in it."""
DECLARE_LIMIT = 5.0


def version_of(connection: Any) -> tuple[int, ...]:
    """Return the version of RabbitMQ, or nothing for a broker that is another."""
    properties = connection.server_properties
    if properties.get("product") != "RabbitMQ":
        return ()
    return tuple(int(part) for part in str(properties.get("version", "")).split(".")[:2] if part.isdigit())


def milliseconds(delay: float) -> int:
    """Return *delay* rounded up: to 0.1 s below 10 s, else to two digits, so that there are few different ones."""
    if not delay:
        return 0
    whole = ceil(delay * 1000)
    step = 100 if whole < 10_000 else 10 ** (int(log10(whole)) - 1)
    return -(-whole // step) * step


class QueueTopology:
    """The queues of all names, which begin with *prefix*; where each is and how it is declared."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._quorum_refused = False

    def learn_from(self, error: Exception | None) -> None:
        """Notice by *error* that ended a connection that the broker's quorum queues are turned off."""
        if isinstance(error, ConnectionInternalError) and "quorum_queue" in str(error) and not self._quorum_refused:
            logger.warning("the broker's quorum queues are turned off, and new queues are classic: %s", error)
            self._quorum_refused = True

    def ready(self, name: str) -> str:
        """Return the queue of the messages *name*."""
        return f"{self._prefix}{name}"

    def dead(self, name: str) -> str:
        """Return the queue of the dead letters *name*."""
        return f"{self._prefix}{name}.dead"

    def queue_of(self, envelope: Envelope) -> str:
        """Return the queue that *envelope* goes to."""
        if envelope.dead:
            return self.dead(envelope.name)
        wait = milliseconds(envelope.delay)
        return f"{self._prefix}{envelope.name}.wait.{wait}" if wait else self.ready(envelope.name)

    async def declare(self, connection: AbstractConnection, envelope: Envelope) -> None:
        """Declare the queues that *envelope* needs; raises what aiormq raises when that fails."""
        version = () if self._quorum_refused else version_of(connection)
        await _declare(connection, self.dead(envelope.name), _dead_arguments(version))
        await _declare(connection, self.ready(envelope.name), self._ready_arguments(envelope.name, version))
        wait = milliseconds(envelope.delay)
        if wait and not envelope.dead:
            await _declare(connection, self.queue_of(envelope), self._wait_arguments(envelope.name, wait, version))

    def _ready_arguments(self, name: str, version: tuple[int, ...]) -> dict[str, Any]:
        passed_on = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": self.dead(name)}
        if version < QUORUM_SINCE:
            return passed_on
        return {**_QUORUM, **passed_on, **_SAFELY, "x-delivery-limit": DELIVERIES}

    def _wait_arguments(self, name: str, wait: int, version: tuple[int, ...]) -> dict[str, Any]:
        expiring = {
            "x-message-ttl": wait,
            "x-expires": wait + KEPT_UNUSED,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": self.ready(name),
        }
        return expiring if version < QUORUM_SINCE else {**_QUORUM, **expiring, **_SAFELY}


_QUORUM = {"x-queue-type": "quorum"}
_SAFELY = {"x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"}


def _dead_arguments(version: tuple[int, ...]) -> dict[str, Any]:
    if version < QUORUM_SINCE:
        return {}
    return {**_QUORUM, "x-delivery-limit": -1} if version[0] >= NO_LIMIT_SINCE else _QUORUM


async def _declare(connection: AbstractConnection, queue: str, arguments: dict[str, Any]) -> None:
    channel = await connection.channel(publisher_confirms=False, timeout=DECLARE_LIMIT)
    try:
        await channel.queue_declare(queue, durable=True, arguments=arguments, timeout=DECLARE_LIMIT)
    except ChannelPreconditionFailed:
        pass  # somebody has declared it in another way, by an older version of this or by hand
    finally:
        if not channel.is_closed:
            await channel.close()
