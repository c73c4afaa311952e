"""The connection of Alembic's migrations: SQLAlchemy's interface of a connection of the pool, under the migration lock.

Alembic commits as its environment says, once or after each revision, so no lock of a transaction covers a run. The
lock is a session's advisory lock on PostgreSQL, and a lock of a file beside the database on SQLite; both end with
their process.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING

from sqlalchemy import Connection, StaticPool, event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from scalekit import lock_file
from scalekit_pool.connections.driver import RawConnection
from scalekit_pool.migrations.backends import BUSY_INTERVAL, LOCK_ID
from scalekit_pool.migrations.files import MigrationError
from scalekit_pool.migrations.runner import LOCKED

if TYPE_CHECKING:
    import aiosqlite

URLS = {"postgresql": "postgresql+asyncpg://", "sqlite": "sqlite+aiosqlite://"}
"""URLs that name the dialect only."""
LOCK_FILE_SUFFIX = "-migration-lock"
# How soon the server sees that the process of a running statement has died; since PostgreSQL 14.
_CHECK_CLIENT = "SELECT set_config(name, '2s', false) FROM pg_settings WHERE name = 'client_connection_check_interval'"


@asynccontextmanager
async def alembic_connection(
    dialect: str, raw_connection: RawConnection, limit: float, *, exclusive: bool
) -> AsyncGenerator[AsyncConnection, None]:
    """Return SQLAlchemy's interface of *raw_connection*, if *exclusive* under the migration lock.

    *limit* is the number of seconds that a statement, or the wait for the lock, may take. Raise MigrationError when
    another process holds the lock for longer. The session must be reset before its next use.
    """
    postgres = dialect == "postgresql"
    set_up = _postgres_session(raw_connection, limit) if postgres else _sqlite_session(raw_connection)
    lock: AbstractAsyncContextManager[None] = nullcontext()
    if exclusive:
        lock = _advisory_lock(raw_connection, limit) if postgres else _file_lock(raw_connection, limit)
    async with set_up, lock, _engine(dialect, raw_connection, exclusive).connect() as connection:
        yield connection


def _engine(dialect: str, raw_connection: RawConnection, exclusive: bool) -> AsyncEngine:
    """Return an engine whose only connection is *raw_connection*; it is never disposed of, which would close that."""

    async def borrow() -> RawConnection:
        return raw_connection

    # The values of a statement may be secrets, so no error shows them.
    engine = create_async_engine(URLS[dialect], async_creator=borrow, poolclass=StaticPool, hide_parameters=True)
    if dialect == "sqlite":
        begin = "BEGIN IMMEDIATE" if exclusive else "BEGIN"

        # The connection begins no transaction itself, and DDL is to be part of one.
        @event.listens_for(engine.sync_engine, "begin")
        def begin_transaction(connection: Connection) -> None:
            if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
                connection.exec_driver_sql(begin)

        if exclusive:
            event.listen(engine.sync_engine, "commit", _check_foreign_keys)
    return engine


def _check_foreign_keys(connection: Connection) -> None:
    for table, _, parent, _ in connection.exec_driver_sql("PRAGMA foreign_key_check"):
        raise MigrationError(
            f"rows of {table} refer to missing rows of {parent}; foreign keys are off during a migration, "
            "so it must change both tables"
        )


@asynccontextmanager
async def _postgres_session(raw_connection: RawConnection, limit: float) -> AsyncGenerator[None, None]:
    """Let statements take *limit* seconds: the pool's limit is meant for requests."""
    await raw_connection.execute(f"SET statement_timeout = '{limit:g}s'", timeout=limit)
    await raw_connection.execute(_CHECK_CLIENT, timeout=limit)
    yield


@asynccontextmanager
async def _sqlite_session(raw_connection: aiosqlite.Connection) -> AsyncGenerator[None, None]:
    """Turn foreign keys off, as for SQL migrations: with them on, a rebuilt table would lose rows that refer to it."""
    ((foreign_keys,),) = await raw_connection.execute_fetchall("PRAGMA foreign_keys")
    raw_connection.row_factory = None  # SQLAlchemy expects tuples
    await raw_connection.execute_fetchall("PRAGMA foreign_keys = OFF")
    try:
        yield
    finally:
        if raw_connection._connection is not None:  # SQLAlchemy closes it when its first statement is cancelled
            await raw_connection.rollback()
            await raw_connection.execute_fetchall(f"PRAGMA foreign_keys = {foreign_keys:d}")


@asynccontextmanager
async def _advisory_lock(raw_connection: RawConnection, limit: float) -> AsyncGenerator[None, None]:
    # A statement that waits for the lock has a snapshot, for which CREATE INDEX CONCURRENTLY of the holder would wait.
    async with _deadline(limit):
        while not await raw_connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK_ID):  # noqa: ASYNC110 - another process ends the wait
            await asyncio.sleep(BUSY_INTERVAL)
    try:
        yield
    finally:
        if not raw_connection.is_closed():
            await raw_connection.execute("SELECT pg_advisory_unlock($1)", LOCK_ID, timeout=limit)


@asynccontextmanager
async def _file_lock(raw_connection: aiosqlite.Connection, limit: float) -> AsyncGenerator[None, None]:
    # Not the database itself: closing any descriptor of that file would end SQLite's own locks in this process.
    databases = await raw_connection.execute_fetchall("PRAGMA database_list")
    path = next(file for _, name, file in databases if name == "main")
    if not path:  # in memory
        yield
        return
    try:
        descriptor = os.open(path + LOCK_FILE_SUFFIX, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise MigrationError(
            f"cannot lock {path}{LOCK_FILE_SUFFIX}: {error.strerror}: make the folder writable for this user"
        ) from None
    try:
        async with _deadline(limit):
            while not _try_lock(descriptor):  # noqa: ASYNC110 - another process ends the wait
                await asyncio.sleep(BUSY_INTERVAL)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        lock_file(descriptor, wait=False)
    except BlockingIOError:
        return False
    return True


@asynccontextmanager
async def _deadline(limit: float) -> AsyncGenerator[None, None]:
    try:
        async with asyncio.timeout(limit):
            yield
    except TimeoutError:
        raise MigrationError(LOCKED.format(limit)) from None
