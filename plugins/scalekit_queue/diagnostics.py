"""Diagnostics of the queue: dead letters, the store of messages, and RabbitMQ."""

from __future__ import annotations

from collections.abc import Sequence

from scalekit import CONNECTION_USES, ConnectionUse, Context, Diagnostic, Finding, Severity, separate_stores
from scalekit_queue.admin import open_admin
from scalekit_queue.config import QueueConfig

TIMEOUT = 10.0
"""Seconds for all requests of a diagnostic."""
MAX_NAMES = 200
"""Names of messages that are examined."""


def queue_diagnostics(context: Context) -> Sequence[Diagnostic]:
    """Return the diagnostics of the queue of ``[plugins.queue]``."""
    config = context.config(QueueConfig)

    async def dead_letters() -> Sequence[Finding]:
        async with open_admin(config, context) as admin:
            depths = [await admin.depth(name) for name in (await admin.names())[:MAX_NAMES]]
        return [_dead_letter_finding(each.name, each.dead) for each in depths if each.dead]

    found = [Diagnostic("dead letters", dead_letters, timeout=TIMEOUT)]
    if config.system == "postgresql":
        from scalekit_queue.postgres.database import QUEUE_DATABASE

        database = None if config.uses_pool else QUEUE_DATABASE
        uses = context.shared(CONNECTION_USES, list[ConnectionUse])
        uses.append(ConnectionUse("plugins.queue.max_connections", config.max_connections, database))
    elif config.system == "sqlite":
        message = "each has messages of its own, in a file"
        remedy = "set url to a PostgreSQL or a RabbitMQ"
        found += separate_stores(context, Severity.ERROR, message, "plugins.queue.url", remedy)
    elif config.system == "rabbitmq":
        from scalekit_queue.amqp.diagnostics import rabbitmq_diagnostics

        found += rabbitmq_diagnostics(config)
    return found


def _dead_letter_finding(name: str, count: int) -> Finding:
    return Finding(
        "dead-letters",
        Severity.WARNING,
        f"{count} messages {name!r} have failed for good, and wait for somebody to look",
        f"scalekit queue dead {name} shows them; scalekit queue replay or purge ends the finding",
        name,
        str(count),
    )
