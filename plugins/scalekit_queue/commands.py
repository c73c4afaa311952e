"""``scalekit queue list``, ``peek``, ``dead``, ``replay`` and ``purge``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

import click
import orjson

from scalekit.contracts import validate_message_name
from scalekit_queue.config import QueueConfig
from scalekit_queue.envelope import ATTEMPT, FIRST, LAST, REASON, STACK, Envelope, QueueAdmin, QueueDepth

T = TypeVar("T")

LONGEST_SHOWN = 2000
"""Characters of a body that are shown."""


def commands(config: QueueConfig) -> list[click.Command]:
    """Return the commands of the plugin; none of them consumes."""

    def run(work: Callable[[QueueAdmin], Awaitable[T]]) -> T:
        async def once() -> T:
            async with open_admin(config) as found:
                return await work(found)

        return asyncio.run(once())

    return [_list(run), _peek(run), _dead(run), _replay(run), _purge(run)]


@asynccontextmanager
async def open_admin(config: QueueConfig) -> AsyncGenerator[QueueAdmin, None]:
    """Be connected to the queue that *config* names while inside."""
    if config.url.scheme == "sqlite":
        from scalekit_queue.sqlite.admin import SqliteAdmin
        from scalekit_queue.sqlite.store import MessageStore

        store = MessageStore(config.file, config.synchronous)
        store.open()
        try:
            yield SqliteAdmin(store)
        finally:
            store.close()
        return
    from scalekit_queue.amqp import admin as amqp_admin
    from scalekit_queue.amqp.broker import Broker

    names = [consumer.name for consumer in config.load()]
    async with amqp_admin.open_admin(Broker(config), config.prefix, names) as found:
        yield found


Run = Callable[[Callable[[QueueAdmin], Awaitable[Any]]], Any]


def _name(ctx: click.Context, parameter: click.Parameter, value: Any) -> Any:
    try:
        return tuple(map(validate_message_name, value)) if isinstance(value, tuple) else validate_message_name(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


name_argument = click.argument("name", callback=_name)
limit_option = click.option("--limit", default=10, type=click.IntRange(1, 10_000), help="How many at most.")


def _list(run: Run) -> click.Command:
    @click.command("list")
    @click.argument("names", nargs=-1, callback=_name)
    def command(names: tuple[str, ...]) -> None:
        """Count the messages of NAMES, by default of all consumers; a SQLite queue knows all its names."""

        async def work(found: QueueAdmin) -> list[QueueDepth]:
            return [await found.depth(name) for name in names or await found.names()]

        row = "{:<32} {:>9} {:>9} {:>9} {:>9}"
        click.echo(row.format("name", "ready", "waiting", "taken", "dead"))
        for depth in run(work):
            counts = (depth.ready, depth.waiting, depth.taken, depth.dead)
            click.echo(row.format(depth.name, *("-" if count is None else count for count in counts)))

    return command


def _peek(run: Run) -> click.Command:
    @click.command("peek")
    @name_argument
    @limit_option
    def command(name: str, limit: int) -> None:
        """Show the first messages NAME that are ready, and leave them there."""
        _show(run(lambda found: found.peek(name, False, limit)))

    return command


def _dead(run: Run) -> click.Command:
    @click.command("dead")
    @name_argument
    @limit_option
    @click.option("--stack", is_flag=True, help="Show where handlers failed, too.")
    def command(name: str, limit: int, stack: bool) -> None:
        """Show the first dead letters NAME: why they failed, how often and when."""
        letters = run(lambda found: found.peek(name, True, limit))
        _show(letters)
        if stack:
            for letter in letters:
                click.echo(f"\n{letter.id}\n{letter.headers.get(STACK, '').rstrip()}")

    return command


def _replay(run: Run) -> click.Command:
    @click.command("replay")
    @name_argument
    @click.argument("ids", nargs=-1)
    @click.option("--limit", default=1000, type=click.IntRange(1, 10_000), help="How many at most, without IDS.")
    def command(name: str, ids: tuple[str, ...], limit: int) -> None:
        """Let the dead letters NAME with IDS, by default the first ones, be consumed again from attempt 1."""
        count = run(lambda found: found.replay(name, ids, limit))
        click.echo(f"replayed {count} of {name}")

    return command


def _purge(run: Run) -> click.Command:
    @click.command("purge")
    @name_argument
    @click.option("--dead", is_flag=True, help="Drop the dead letters, not the messages that are ready.")
    @click.confirmation_option(prompt="What is dropped is gone. Go on?")
    def command(name: str, dead: bool) -> None:
        """Drop the messages NAME that no consumer holds, or its dead letters."""
        count = run(lambda found: found.purge(name, dead))
        click.echo(f"dropped {count} {'dead letters' if dead else 'messages'} of {name}")

    return command


def _show(envelopes: list[Envelope]) -> None:
    for envelope in envelopes:
        click.echo(orjson.dumps(_shown(envelope)).decode())
    if not envelopes:
        click.echo("nothing there", err=True)


def _shown(envelope: Envelope) -> dict[str, Any]:
    headers = envelope.headers
    shown: dict[str, Any] = {"id": envelope.id, "published": _time(envelope.published)}
    if envelope.dead or REASON in headers:
        shown |= {"reason": headers.get(REASON, ""), "attempts": envelope.attempt}
        shown |= {"first": _time(headers.get(FIRST, 0)), "last": _time(headers.get(LAST, 0))}
    others = {name: value for name, value in headers.items() if name not in (ATTEMPT, REASON, STACK, FIRST, LAST)}
    body = envelope.body[:LONGEST_SHOWN].decode("utf-8", "replace")
    return {**shown, "headers": others, "bytes": len(envelope.body), "body": body}


def _time(seconds: str | float) -> str:
    """Return *seconds* since the epoch as a date; empty where it is none, for any publisher writes headers."""
    try:
        moment = float(seconds)
        return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds") if moment else ""
    except (ValueError, OverflowError, OSError):
        return ""
