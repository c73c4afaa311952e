"""Create the transport that the URL names, and verify that its plugin, library and file are there."""

from __future__ import annotations

import importlib
from collections.abc import AsyncGenerator, Container
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from scalekit import Context, Key, StartError
from scalekit.contracts import DATABASE, LIMITS, Consumer
from scalekit_queue.config import QueueConfig
from scalekit_queue.metrics import PublishMetrics
from scalekit_queue.propagation import committed_headers
from scalekit_queue.schedules.plan import plan_schedules
from scalekit_queue.transport import Transport


@asynccontextmanager
async def create_transport(
    config: QueueConfig, context: Context, metrics: PublishMetrics
) -> AsyncGenerator[Transport, None]:
    """Return the transport, not yet open, while its database is open."""
    if config.system == "sqlite":
        from scalekit_queue.sqlite.transport import SqliteTransport

        yield SqliteTransport(config)
    elif config.system == "postgresql":
        from scalekit_queue.postgres.database import provided_database
        from scalekit_queue.postgres.transport import PostgresTransport

        async with provided_database(config, context) as database:
            application = context.get(DATABASE) if config.uses_pool else None
            yield PostgresTransport(config, database, application, partial(committed_headers, context))
    else:
        from scalekit_queue.amqp.transport import AmqpTransport

        yield AmqpTransport(config, metrics)


def verify_config(config: QueueConfig, context: Context, provided: Container[Key[Any]]) -> None:
    """Raise ImportError without the client library, ConfigError or StartError when the configuration cannot work."""
    if config.system == "sqlite":
        importlib.import_module("scalekit_queue.sqlite.transport")
    elif config.system == "postgresql":
        from scalekit_queue.postgres.database import verify_database

        verify_database(config, provided)
    else:
        importlib.import_module("scalekit_queue.amqp.transport")
        from scalekit_queue.amqp.connection import Broker

        Broker(config)
    has_inbox = config.outbox and DATABASE in provided
    for consumer in config.load() if consumes(config, context) else ():
        if consumer.dedupe is not None and not has_inbox:
            raise inbox_missing(consumer)
        if consumer.result_ttl is not None and config.system == "rabbitmq" and not has_inbox:
            raise StartError(
                f"the consumer of {consumer.name!r} has result_ttl, which needs a database when the queue is RabbitMQ:"
                " turn on [plugins.pool] and set outbox = true in [plugins.queue]"
            )
        if consumer.limit_policy is not None and LIMITS not in provided:
            raise StartError(
                f"the consumer of {consumer.name!r} has limit_policy {consumer.limit_policy!r}: turn on"
                ' [plugins.ratelimit] with a policy of this name and key = "application"'
            )
    plan_schedules(config, has_inbox or config.system != "rabbitmq")


def consumes(config: QueueConfig, context: Context) -> bool:
    """Return whether this process consumes messages."""
    return config.consume_in == "everywhere" or context.server.role == "worker"


def inbox_missing(consumer: Consumer) -> StartError:
    """Return the error of a consumer with dedupe that has no inbox."""
    return StartError(
        f"the consumer of {consumer.name!r} has dedupe, which needs a database:"
        " turn on [plugins.pool] and set outbox = true in [plugins.queue]"
    )
