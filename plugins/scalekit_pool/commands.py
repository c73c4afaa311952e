"""``scalekit pool migrate``."""

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
    @click.option("--pending", is_flag=True, help="Only list what would be applied.")
    def migrate(pending: bool) -> None:
        """Apply the SQL files that have not been applied yet, in order."""
        names = asyncio.run(_pending(context, directory) if pending else _migrate(context, directory))
        for name in names:
            click.echo(name if pending else f"applied {name}")
        if not names:
            click.echo("nothing to apply")

    return [migrate]


async def _migrate(context: Context, directory: str) -> list[str]:
    async with context.started():
        return await migrate_database(context.get(DATABASE), directory)


# What follows imports the drivers, which only these commands need to know of.
async def migrate_database(database: Database, directory: str) -> list[str]:
    """Apply what has not been applied yet to *database*; return the names of the files."""
    from scalekit_pool.migrations.backends import migrating
    from scalekit_pool.migrations.runner import migrate

    async with database.connection() as session:
        return await migrate(migrating(database.dialect, session.raw_connection), folder_of(directory))


def folder_of(text: str) -> Path:
    """Return the folder that *text* names: a path, or ``package:folder`` for one inside a package.

    Raises MigrationError when there is no such package.
    """
    package, separator, folder = text.partition(":")
    if not separator:
        return Path(text)
    try:
        return Path(str(files(package))) / folder
    except ModuleNotFoundError:
        raise MigrationError(f"migrations: there is no package {package!r} for {text!r}") from None


async def _pending(context: Context, directory: str) -> list[str]:
    from scalekit_pool.migrations.backends import migrating
    from scalekit_pool.migrations.runner import pending

    async with context.started():
        database = context.get(DATABASE)
        async with database.connection() as session:
            return await pending(migrating(database.dialect, session.raw_connection), folder_of(directory))
