"""The administration of a queue of either transport, for the commands and the console."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from scalekit_queue.config import QueueConfig
from scalekit_queue.transport import QueueAdmin


@asynccontextmanager
async def open_admin(config: QueueConfig) -> AsyncGenerator[QueueAdmin, None]:
    """Connect to the queue of *config* while inside."""
    if config.url.scheme == "sqlite":
        from scalekit_queue.sqlite.admin import open_sqlite_admin

        async with open_sqlite_admin(config) as sqlite:
            yield sqlite
        return
    from scalekit_queue.amqp.admin import open_amqp_admin

    async with open_amqp_admin(config) as amqp:
        yield amqp
