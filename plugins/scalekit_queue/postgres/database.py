"""The database of the queue: that of the pool, or another PostgreSQL, behind a pool of the queue's own.

Transactions of the application may hold every connection of DATABASE for longer than a lease lasts; the statements of
the queue, which are short, do not wait for them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Container
from contextlib import asynccontextmanager
from typing import Any

from scalekit import ConfigError, Context, Key, Problem, StartError
from scalekit.contracts import DATABASE, DATABASES, Database
from scalekit_queue.config import QueueConfig

QUEUE_DATABASE: Key[Database] = Key("queue database", plugin="queue")
"""The database of the queue, provided while the transport is open."""


def verify_database(config: QueueConfig, provided: Container[Key[Any]]) -> None:
    """Raise ConfigError when the pool, which opens the database, is off."""
    if DATABASES not in provided:
        raise ConfigError([Problem(f"{str(config.url)!r} needs [plugins.pool]; turn it on", "plugins.queue.url")])


@asynccontextmanager
async def open_database(config: QueueConfig, context: Context) -> AsyncGenerator[Database, None]:
    """Return the database while inside; raise StartError when the pool's database is not PostgreSQL."""
    databases = context.get(DATABASES)
    if config.uses_pool:
        _require_postgresql(context.get(DATABASE))
        opened = databases.open_primary("queue", max_size=config.max_connections)
    else:
        opened = databases.open(config.url.reveal(), "queue", read_only=False, max_size=config.max_connections)
    async with opened as database:
        yield database


@asynccontextmanager
async def provided_database(config: QueueConfig, context: Context) -> AsyncGenerator[Database, None]:
    """Open the database, and provide it under QUEUE_DATABASE, while inside."""
    async with open_database(config, context) as database:
        context.provide(QUEUE_DATABASE, database)
        try:
            yield database
        finally:
            context.withdraw(QUEUE_DATABASE)


@asynccontextmanager
async def running_database(config: QueueConfig, context: Context) -> AsyncGenerator[Database, None]:
    """Return the database of the running transport, or open it while inside, as commands do."""
    if context.has(QUEUE_DATABASE):
        yield context.get(QUEUE_DATABASE)
    elif context.has(DATABASES):
        async with open_database(config, context) as database:
            yield database
    else:
        async with context.started(DATABASE), open_database(config, context) as database:
            yield database


def _require_postgresql(database: Database) -> None:
    if database.dialect != "postgresql":
        raise StartError(
            f'url = "database:" in [plugins.queue] needs PostgreSQL, and [plugins.pool] has {database.dialect};'
            ' write url = "sqlite:///queue.db" there, or a postgresql:// URL in [plugins.pool]'
        )
