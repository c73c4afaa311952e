"""The commands ``scalekit pool migrate`` and ``scalekit pool alembic``."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import click

from scalekit import Context
from scalekit.contracts import DATABASE
from scalekit_pool.config import PoolConfig
from scalekit_pool.migrations.files import MigrationError, require_alembic, uses_alembic
from scalekit_pool.migrations.startup import BY_COMMAND

Check = Callable[[Context, str], Awaitable[int]]
"""Checks the pending migrations, and returns the number of warnings."""


def commands(context: Context) -> list[click.Command]:
    """Return the commands of the plugin."""
    migrations = context.config(PoolConfig).migrations

    @click.command()
    @click.option("--pending", is_flag=True, help="List pending migrations without applying them.")
    @click.option("--strict", is_flag=True, help="Fail, and apply none, when there is a warning.")
    def migrate(pending: bool, strict: bool) -> None:
        """Apply pending migrations in order: numbered SQL files, or Alembic's revisions. Warn of those that lock."""
        check = _refuse if strict else _warn
        names = asyncio.run(_pending(context, migrations, check) if pending else _migrate(context, migrations, check))
        for name in names:
            click.echo(name if pending else f"applied {name}")
        if not names:
            click.echo("no pending migrations")

    @click.command(add_help_option=False, context_settings={"ignore_unknown_options": True})
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    def alembic(arguments: tuple[str, ...]) -> None:
        """Run Alembic on the configured database, for upgrade, downgrade and stamp under the migration lock."""
        _alembic(context, arguments)

    return [migrate, alembic]


async def _migrate(context: Context, migrations: str, check: Check) -> list[str]:
    from scalekit_pool.migrations.source import migrate_database  # loads the drivers

    context.provide(BY_COMMAND, True)
    async with context.started():
        await check(context, migrations)
        return await migrate_database(context.get(DATABASE), migrations)


async def _pending(context: Context, migrations: str, check: Check) -> list[str]:
    from scalekit_pool.migrations.source import pending_migrations  # loads the drivers

    context.provide(BY_COMMAND, True)
    async with context.started():
        await check(context, migrations)
        return await pending_migrations(context.get(DATABASE), migrations)


async def _warn(context: Context, migrations: str) -> int:
    """Print the warnings, and return their number."""
    from scalekit_pool.migrations.lint_report import lint_pending  # loads the parser

    warnings = await lint_pending(context.get(DATABASE), migrations)
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
    return len(warnings)


async def _refuse(context: Context, migrations: str) -> int:
    """Print the warnings; raise MigrationError when there is one."""
    if count := await _warn(context, migrations):
        raise MigrationError(
            f"--strict: nothing is applied, since there are warnings ({count}): change the migrations, or silence a "
            "rule by a comment such as -- squawk-ignore ban-drop-column"
        )
    return 0


def _alembic(context: Context, arguments: tuple[str, ...]) -> None:
    config = context.config(PoolConfig)
    require_alembic(config.dialect)
    from scalekit_pool.migrations.alembic_command import AlembicCommand
    from scalekit_pool.migrations.source import alembic_session  # loads the drivers

    command = AlembicCommand(arguments, config.migrations if uses_alembic(config.migrations) else "")
    if not command.needs_connection:
        command.run_offline(config.dialect)
        return

    async def run() -> None:
        context.provide(BY_COMMAND, True)
        async with context.started():
            database = context.get(DATABASE)
            async with database.connection() as session:
                await command.run(alembic_session(database.dialect, session.raw_connection))

    asyncio.run(run())
