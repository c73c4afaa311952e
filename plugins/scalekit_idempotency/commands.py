"""``scalekit idempotency list`` and ``purge``."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import click

from scalekit import Context, print_table
from scalekit.contracts import DATABASE, Database, Row
from scalekit_idempotency.config import IdempotencyConfig
from scalekit_idempotency.factory import choose_store

T = TypeVar("T")

NO_DATABASE = (
    "the commands need the database as store: turn on [plugins.pool]; Redis and memory delete responses after ttl"
)
_COLUMNS = ("created", "key", "subject", "method", "path", "status")
_LIST = f"""
SELECT {", ".join(_COLUMNS)} FROM scalekit_idempotency WHERE key = COALESCE(:key, key)
ORDER BY created DESC LIMIT :limit
"""
_PURGE = "DELETE FROM scalekit_idempotency WHERE key = :key RETURNING id"
_PURGE_ALL = "DELETE FROM scalekit_idempotency RETURNING id"


def commands(context: Context) -> list[click.Command]:
    """Return the commands of the plugin."""

    def run(work: Callable[[Database], Awaitable[T]]) -> T:
        async def once() -> T:
            async with context.started():
                if choose_store(config, context.has(DATABASE)) != "database":
                    raise click.ClickException(NO_DATABASE)
                return await work(context.get(DATABASE))

        config = context.config(IdempotencyConfig)
        return asyncio.run(once())

    return [_list(run), _purge(run)]


Run = Callable[[Callable[[Database], Awaitable[Any]]], Any]


def _list(run: Run) -> click.Command:
    @click.command("list")
    @click.option("--key", help="Only responses to requests with this key.")
    @click.option("--limit", default=20, type=click.IntRange(1, 10_000), help="Maximum number of responses.")
    def command(key: str | None, limit: int) -> None:
        """List the stored responses, the latest first."""

        async def work(database: Database) -> Sequence[Row]:
            return await database.fetch_all(_LIST, {"key": key, "limit": limit})

        rows = [(_time(row["created"]), *(row[column] for column in _COLUMNS[1:])) for row in run(work)]
        print_table(list(_COLUMNS), rows)

    return command


def _purge(run: Run) -> click.Command:
    @click.command("purge")
    @click.option("--key", help="Delete the responses to requests with this key.")
    @click.option("--all", "everything", is_flag=True, help="Delete all responses.")
    def command(key: str | None, everything: bool) -> None:
        """Delete stored responses: a repeated request is executed again."""
        if (key is None) is not everything:
            raise click.UsageError("give --key or --all")

        async def work(database: Database) -> int:
            rows = await (database.fetch_all(_PURGE, {"key": key}) if key else database.fetch_all(_PURGE_ALL))
            return len(rows)

        click.echo(f"deleted {run(work)} responses")

    return command


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
