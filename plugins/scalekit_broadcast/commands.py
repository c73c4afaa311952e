"""The commands ``scalekit broadcast publish`` and ``listen``."""

from __future__ import annotations

import asyncio

import click
import orjson

from scalekit import Context
from scalekit.contracts import BROADCAST
from scalekit_broadcast.channel_name import check_channel
from scalekit_broadcast.config import BroadcastConfig


def build_commands(context: Context) -> list[click.Command]:
    """Return the commands for the configuration of *context*."""

    @click.command()
    @click.argument("channel")
    @click.argument("message")
    def publish(channel: str, message: str) -> None:
        """Publish MESSAGE, JSON or plain text, to CHANNEL; print its id."""
        _check(context, channel)
        asyncio.run(_publish(context, channel, message))

    @click.command()
    @click.argument("channel")
    @click.option("--after", help="Begin after the message with this id.")
    @click.option("--count", type=click.IntRange(min=1), help="End after this number of messages.")
    def listen(channel: str, after: str | None, count: int | None) -> None:
        """Print the messages of CHANNEL, one in a line: id, missed messages, JSON."""
        _check(context, channel)
        try:
            asyncio.run(_listen(context, channel, after, count))
        except KeyboardInterrupt:
            pass

    return [publish, listen]


def _check(context: Context, channel: str) -> None:
    if context.config(BroadcastConfig).in_memory:
        raise click.ClickException(
            "plugins.broadcast.url is memory:, which a command cannot reach; set a redis:// URL to use commands"
        )
    try:
        check_channel(channel)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


async def _publish(context: Context, channel: str, message: str) -> None:
    try:
        data = orjson.loads(message)
    except ValueError:
        data = message
    async with context.started(BROADCAST):
        try:
            click.echo(await context.get(BROADCAST).publish(channel, data))
        except ValueError as error:
            raise click.ClickException(str(error)) from None


async def _listen(context: Context, channel: str, after: str | None, count: int | None) -> None:
    async with context.started(BROADCAST), context.get(BROADCAST).subscribe(channel, after=after) as messages:
        received = 0
        async for message in messages:
            click.echo(f"{message.id} {message.missed} {message.json.decode()}")
            received += 1
            if received == count:
                return
