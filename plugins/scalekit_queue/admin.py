"""The administration of a queue of any transport, for the commands and the console."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from scalekit import Context
from scalekit_queue.config import QueueConfig
from scalekit_queue.transport import QueueAdmin


@asynccontextmanager
async def open_admin(config: QueueConfig, context: Context) -> AsyncGenerator[QueueAdmin, None]:
    """Connect to the queue of *config*, in the application of *context*, while inside."""
    if config.system == "sqlite":
        from scalekit_queue.sqlite.admin import open_sqlite_admin

        async with open_sqlite_admin(config) as sqlite:
            yield sqlite
    elif config.system == "postgresql":
        from scalekit_queue.postgres.admin import open_postgres_admin

        async with open_postgres_admin(config, context) as postgres:
            yield postgres
    else:
        from scalekit_queue.amqp.admin import open_amqp_admin

        async with open_amqp_admin(config) as amqp:
            yield amqp
