"""The command ``scalekit pool migrate``."""

from __future__ import annotations

import asyncio

import click

from scalekit import Context
from scalekit.contracts import DATABASE


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
    from scalekit_pool.migrations.backends import migrate_database  # loads the drivers

    async with context.started():
        return await migrate_database(context.get(DATABASE), directory)


async def _pending(context: Context, directory: str) -> list[str]:
    from scalekit_pool.migrations.backends import pending_migrations  # loads the drivers

    async with context.started():
        return await pending_migrations(context.get(DATABASE), directory)
