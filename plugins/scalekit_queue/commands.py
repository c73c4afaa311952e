"""``scalekit queue list``, ``peek``, ``dead``, ``replay`` and ``purge``."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import click

from scalekit import Context
from scalekit.contracts import validate_message_name
from scalekit_queue.admin import open_admin
from scalekit_queue.command_output import json_option, print_rows
from scalekit_queue.config import QueueConfig
from scalekit_queue.envelope import FAILURE_HEADERS, FIRST_FAILED, LAST_FAILED, REASON, STACK, Envelope
from scalekit_queue.transport import QueueAdmin, QueueDepth

T = TypeVar("T")

COUNTS = ("name", "ready", "delayed", "in-flight", "dead")
MESSAGES = ("id", "published", "bytes", "body")
DEAD_LETTERS = ("id", "published", "attempts", "last_failed", "reason")

MAX_BODY_SHOWN = 2000
"""Characters of a body that are printed."""


def commands(context: Context) -> list[click.Command]:
    """Return the commands of the plugin; none of them consumes."""
    config = context.config(QueueConfig)

    def run(work: Callable[[QueueAdmin], Awaitable[T]]) -> T:
        async def once() -> T:
            async with open_admin(config, context) as admin:
                return await work(admin)

        return asyncio.run(once())

    return [_list(run), _peek(run), _dead(run), _replay(run), _purge(run)]


Run = Callable[[Callable[[QueueAdmin], Awaitable[Any]]], Any]


def _name(ctx: click.Context, parameter: click.Parameter, value: Any) -> Any:
    try:
        return tuple(map(validate_message_name, value)) if isinstance(value, tuple) else validate_message_name(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


name_argument = click.argument("name", callback=_name)
limit_option = click.option("--limit", default=10, type=click.IntRange(1, 10_000), help="Maximum number of messages.")


def _list(run: Run) -> click.Command:
    @click.command("list")
    @click.argument("names", nargs=-1, callback=_name)
    @json_option
    def command(names: tuple[str, ...], as_json: bool) -> None:
        """Count the messages named NAMES, by default of every consumer, or of every name in SQLite and PostgreSQL."""

        async def work(admin: QueueAdmin) -> list[QueueDepth]:
            return [await admin.depth(name) for name in names or await admin.names()]

        print_rows([_counts(depth, as_json) for depth in run(work)], COUNTS, as_json)

    return command


def _peek(run: Run) -> click.Command:
    @click.command("peek")
    @name_argument
    @limit_option
    @json_option
    def command(name: str, limit: int, as_json: bool) -> None:
        """Print the first ready messages named NAME without removing them."""
        _print(run(lambda admin: admin.peek(name, False, limit)), MESSAGES, as_json)

    return command


def _dead(run: Run) -> click.Command:
    @click.command("dead")
    @name_argument
    @limit_option
    @click.option("--stack", is_flag=True, help="Print the stack traces too.")
    @json_option
    def command(name: str, limit: int, stack: bool, as_json: bool) -> None:
        """Print the first dead letters named NAME with reason, attempts and times."""
        letters = run(lambda admin: admin.peek(name, True, limit))
        _print(letters, DEAD_LETTERS, as_json)
        if stack:
            for letter in letters:
                click.echo(f"\n{letter.id}\n{letter.headers.get(STACK, '').rstrip()}")

    return command


def _replay(run: Run) -> click.Command:
    @click.command("replay")
    @name_argument
    @click.argument("ids", nargs=-1)
    @click.option(
        "--limit", default=1000, type=click.IntRange(1, 10_000), help="Maximum number of messages, without IDS."
    )
    def command(name: str, ids: tuple[str, ...], limit: int) -> None:
        """Return dead letters named NAME to the queue at attempt 1: those with IDS, by default the first ones."""
        count = run(lambda admin: admin.replay(name, ids, limit))
        click.echo(f"replayed {count} of {name}")

    return command


def _purge(run: Run) -> click.Command:
    @click.command("purge")
    @name_argument
    @click.argument("ids", nargs=-1)
    @click.option("--dead", is_flag=True, help="Delete the dead letters instead of the ready messages.")
    @click.confirmation_option(prompt="Deleted messages cannot be restored. Continue?")
    def command(name: str, ids: tuple[str, ...], dead: bool) -> None:
        """Delete the messages named NAME that are not in flight, or the dead letters; with IDS only those."""
        if ids and not dead:
            raise click.UsageError("IDS select dead letters; add --dead")
        count = run(lambda admin: admin.purge(name, dead, ids))
        click.echo(f"deleted {count} {'dead letters' if dead else 'messages'} of {name}")

    return command


def _print(envelopes: list[Envelope], columns: Sequence[str], as_json: bool) -> None:
    if envelopes:
        print_rows([_row(envelope) for envelope in envelopes], columns, as_json)
    else:
        click.echo("no messages", err=True)


def _counts(depth: QueueDepth, as_json: bool) -> dict[str, object]:
    delayed = f"{depth.delayed}+" if depth.is_partial and not as_json else depth.delayed
    counts = {"ready": depth.ready, "delayed": delayed, "in-flight": depth.in_flight, "dead": depth.dead}
    return {"name": depth.name, **counts, "partial": depth.is_partial}


def _row(envelope: Envelope) -> dict[str, object]:
    headers = envelope.headers
    row: dict[str, object] = {"id": envelope.id, "published": _time(envelope.published)}
    if envelope.dead or REASON in headers:
        row |= {"reason": headers.get(REASON, ""), "attempts": envelope.attempt}
        row |= {"first_failed": _time(headers.get(FIRST_FAILED, 0)), "last_failed": _time(headers.get(LAST_FAILED, 0))}
    others = {name: value for name, value in headers.items() if name not in FAILURE_HEADERS}
    body = envelope.body[:MAX_BODY_SHOWN].decode("utf-8", "replace")
    return {**row, "headers": others, "bytes": len(envelope.body), "body": body}


def _time(seconds: str | float) -> str:
    """Return *seconds* since the epoch in ISO 8601, or an empty string for an invalid header of a publisher."""
    try:
        moment = float(seconds)
        return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds") if moment else ""
    except (ValueError, OverflowError, OSError):
        return ""
