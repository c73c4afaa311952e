"""The command ``scalekit pool migrate``."""

from __future__ import annotations

import asyncio
from importlib.resources import files
from pathlib import Path

import click

from scalekit import Context
from scalekit.contracts import DATABASE, Database
from scalekit_pool.migrations.files import MigrationError


def commands(context: Context, directory: str) -> list[click.Command]:
    """Return the commands of the plugin; the migrations are in *directory*."""

    @click.command()
    @click.option("--pending", is_flag=True, help="List pending migrations without applying them.")
    def migrate(pending: bool) -> None:
        """Apply pending SQL migrations in order."""
        names = asyncio.run(_pending(context, directory) if pending else _migrate(context, directory))
        for name in names:
            click.echo(name if pending else f"applied {name}")
        if not names:
            click.echo("no pending migrations")

    return [migrate]


async def _migrate(context: Context, directory: str) -> list[str]:
    async with context.started():
        return await migrate_database(context.get(DATABASE), directory)


# The imports below load the drivers, so they run only when a command does.
async def migrate_database(database: Database, directory: str) -> list[str]:
    """Apply pending migrations to *database*; return their names."""
    from scalekit_pool.migrations.backends import migration_backend
    from scalekit_pool.migrations.runner import migrate

    async with database.connection() as session:
        return await migrate(migration_backend(database.dialect, session.raw_connection), folder_of(directory))


def folder_of(text: str) -> Path:
    """Return the folder that *text* names: a path, or ``package:folder`` for a folder inside a package.

    Raise MigrationError when the package is not installed.
    """
    package, separator, folder = text.partition(":")
    if not separator:
        return Path(text)
    try:
        return Path(str(files(package))) / folder
    except ModuleNotFoundError:
        raise MigrationError(f"migrations: package {package!r} of {text!r} is not installed") from None


async def _pending(context: Context, directory: str) -> list[str]:
    from scalekit_pool.migrations.backends import migration_backend
    from scalekit_pool.migrations.runner import pending

    async with context.started():
        database = context.get(DATABASE)
        async with database.connection() as session:
            return await pending(migration_backend(database.dialect, session.raw_connection), folder_of(directory))
