"""``scalekit queue status`` and ``cancel``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TypeVar

import click

from scalekit import Context
from scalekit.contracts import DATABASE
from scalekit_queue.command_output import json_option, print_rows
from scalekit_queue.config import QueueConfig
from scalekit_queue.jobs.database import JobTable
from scalekit_queue.jobs.store import JobStore

T = TypeVar("T")
MOMENTS = ("published", "started", "ended")
COLUMNS = ("id", "name", "state", "attempt", "progress", "note", "error")


@asynccontextmanager
async def open_job_store(config: QueueConfig, context: Context) -> AsyncGenerator[JobStore, None]:
    """Open the store of the jobs of *config* while inside."""
    if config.system == "sqlite":
        from scalekit_queue.sqlite.group_commit import GroupCommitWriter
        from scalekit_queue.sqlite.jobs import JobFile
        from scalekit_queue.sqlite.store import MessageStore

        writer = GroupCommitWriter(MessageStore(config.file, config.synchronous))
        async with writer.open():
            yield JobStore(JobFile(writer, lambda: None), config.prefix)
    elif config.system == "postgresql":
        from scalekit_queue.postgres.database import running_database

        async with running_database(config, context) as database:
            yield JobStore(JobTable(database, config.uses_pool), config.prefix)
    else:
        async with context.started(DATABASE):
            yield JobStore(JobTable(context.get(DATABASE), is_transactional=True), config.prefix)


def job_commands(context: Context) -> list[click.Command]:
    """Return the commands of jobs, which read and change the store of the queue."""
    config = context.config(QueueConfig)

    def run(work: Callable[[JobStore], Awaitable[T]]) -> T:
        async def once() -> T:
            async with open_job_store(config, context) as store:
                return await work(store)

        return asyncio.run(once())

    @click.command("status")
    @click.argument("id")
    @json_option
    def status(id: str, as_json: bool) -> None:
        """Show the state, the progress and the result of the message ID, whose consumer has result_ttl."""
        found = run(lambda store: store.read(id))
        if found is None:
            raise click.ClickException(f"no message {id!r} has a status: its consumer has no result_ttl, or it expired")
        row = asdict(found)
        row |= {name: _moment(row[name]) for name in MOMENTS}
        shown = row if as_json else {**row, "progress": f"{found.progress:.0%}"}
        print_rows([shown], COLUMNS, as_json)

    @click.command("cancel")
    @click.argument("id")
    def cancel(id: str) -> None:
        """Cancel the message ID, whose consumer has result_ttl: it is not handled, or its handler is cancelled."""
        if not run(lambda store: store.cancel(id)):
            raise click.ClickException(f"no message {id!r} is queued or running: it is unknown, or has ended")
        click.echo(f"cancelled {id}")

    return [status, cancel]


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
