"""The migrations of a project: a folder of numbered SQL files, or the configuration of Alembic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scalekit.contracts import Database
from scalekit_pool.connections.driver import Driver, RawConnection
from scalekit_pool.migrations.backends import STATEMENT_TIMEOUT, migration_backend
from scalekit_pool.migrations.files import migrations_folder, require_alembic, uses_alembic
from scalekit_pool.migrations.runner import MigrationStatus, migrate, pending, read_status

if TYPE_CHECKING:
    from scalekit_pool.database import PooledDatabase
    from scalekit_pool.migrations.alembic_environment import AlembicSession
    from scalekit_pool.migrations.alembic_revisions import AlembicMigrations

STATUS_TIMEOUT = 3.0
"""Seconds that one statement which only reads may take."""


async def migrate_database(database: Database, migrations: str) -> list[str]:
    """Apply the pending migrations to *database*; return their names. Raise MigrationError."""
    async with database.connection() as session:
        if uses_alembic(migrations):
            return await _alembic(alembic_session(database.dialect, session.raw_connection), migrations).upgrade()
        return await migrate(migration_backend(database.dialect, session.raw_connection), migrations_folder(migrations))


async def pending_migrations(database: Database, migrations: str) -> list[str]:
    """Return the names of the migrations that are not applied to *database*; raise MigrationError."""
    async with database.connection() as session:
        if uses_alembic(migrations):
            alembic = _alembic(alembic_session(database.dialect, session.raw_connection), migrations)
            return list((await alembic.read()).pending)
        return await pending(migration_backend(database.dialect, session.raw_connection), migrations_folder(migrations))


async def migration_status(database: PooledDatabase, migrations: str) -> MigrationStatus:
    """Return which migrations are applied to *database*; nothing counts as written."""
    session = database.detached_session(database.driver.readers)
    await session.enter()
    try:
        return await session.command(lambda driver, raw: _status(driver, raw, migrations))
    finally:
        # SQLAlchemy, which Alembic uses, changes how the connection reads values.
        session.leave(dirty=uses_alembic(migrations))


async def _status(driver: Driver, raw_connection: RawConnection, migrations: str) -> MigrationStatus:
    if uses_alembic(migrations):
        return await _alembic(alembic_session(driver.dialect, raw_connection, STATUS_TIMEOUT), migrations).status()
    backend = migration_backend(driver.dialect, raw_connection, STATUS_TIMEOUT)
    return await read_status(backend, migrations_folder(migrations))


def alembic_session(dialect: str, raw_connection: RawConnection, limit: float = STATEMENT_TIMEOUT) -> AlembicSession:
    """Return what runs Alembic on *raw_connection*; raise StartError when it is not installed, or cannot be used."""
    require_alembic(dialect)
    from scalekit_pool.migrations.alembic_environment import AlembicSession

    return AlembicSession(dialect, raw_connection, limit)


def _alembic(session: AlembicSession, migrations: str) -> AlembicMigrations:
    from scalekit_pool.migrations.alembic_revisions import AlembicMigrations

    return AlembicMigrations(session, migrations)
