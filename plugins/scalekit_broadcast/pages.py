"""The page of the broadcasts: channels with their subscribers and messages in every worker, and the transport."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import time
from typing import Any

from scalekit import Unavailable
from scalekit.pages import Badge, Block, Column, ConsolePage, DataTable, Facts, PageView, Tone, Unit
from scalekit_broadcast.broadcaster import Broadcaster
from scalekit_broadcast.channel import LocalChannel
from scalekit_broadcast.message_id import parse_message_id

MAX_CHANNELS = 200
"""Channels of a worker that are shown: those with the most subscribers."""
MINUTE = 60_000
"""Milliseconds."""
CHANNELS = (
    Column("channel"),
    Column("worker"),
    Column("subscribers"),
    Column("published in the last minute"),
    Column("since the last message", Unit.SECONDS),
    Column("kept messages"),
    Column("size of kept messages", Unit.BYTES),
    Column("missed by this worker"),
    Column("state"),
)
WORKERS = (
    Column("worker"),
    Column("state"),
    Column("channels"),
    Column("subscribers"),
    Column("published since the start"),
    Column("delivered since the start"),
    Column("error"),
)


def broadcast_page(running: Callable[[], Broadcaster | None], transport: str) -> ConsolePage:
    """Return the page of the broadcaster that *running* returns while the plugin runs."""

    async def collect(query: Mapping[str, str]) -> dict[str, Any] | None:
        broadcaster = running()
        return None if broadcaster is None else await _describe(broadcaster)

    async def render(view: PageView) -> Sequence[Block]:
        workers = {worker: each for worker, each in view.workers.items() if each is not None}
        return [_summary(transport, workers), _workers(workers), _channels(workers)]

    description = "Channels with their subscribers by worker, messages of the last minute, and the transport."
    return ConsolePage("broadcast", "Broadcast", render, collect, live=True, description=description)


async def _describe(broadcaster: Broadcaster) -> dict[str, Any]:
    busiest = sorted(broadcaster.channels, key=lambda channel: channel.subscribers, reverse=True)[:MAX_CHANNELS]
    return {
        "error": await _error(broadcaster),
        "channels": broadcaster.count_channels(),
        "subscribers": broadcaster.count_subscribers(),
        "published": broadcaster.metrics.published.value,
        "delivered": broadcaster.metrics.delivered,
        "shown": {channel.name: _describe_channel(channel) for channel in busiest},
    }


async def _error(broadcaster: Broadcaster) -> str:
    try:
        await broadcaster.transport.check_health()
    except Unavailable as error:
        return error.reason
    return ""


def _describe_channel(channel: LocalChannel) -> dict[str, Any]:
    last = parse_message_id(channel.last_id)
    return {
        "subscribers": channel.subscribers,
        "rate": _published_in_the_last_minute(channel),
        "age": max(0.0, time() - last.milliseconds / 1000) if last is not None and last.number else None,
        "messages": len(channel.messages),
        "bytes": sum(len(message.json) for message in channel.messages),
        "missed": channel.missed,
        "synchronised": channel.synchronised,
    }


def _published_in_the_last_minute(channel: LocalChannel) -> int:
    """Return how many messages in the ring are of the last minute; when all are, estimate those before from their pace.

    Ids have the time of publication and count the messages of the channel, so nothing needs to be recorded.
    """
    now = int(time() * 1000)
    times = [found.milliseconds for message in channel.messages if (found := parse_message_id(message.id))]
    recent = [each for each in times if each > now - MINUTE]
    if len(recent) < (channel.messages.maxlen or 0):
        return len(recent)
    return round(len(recent) * MINUTE / max(1, now - recent[0]))


def _summary(transport: str, workers: Mapping[str, Mapping[str, Any]]) -> Facts:
    failing = any(each["error"] for each in workers.values())
    return Facts(
        {
            "transport": transport,
            "state": Badge("failing", Tone.BAD) if failing else Badge("working", Tone.GOOD),
            "subscribers": sum(each["subscribers"] for each in workers.values()),
            "published since the start": sum(each["published"] for each in workers.values()),
            "delivered since the start": sum(each["delivered"] for each in workers.values()),
        }
    )


def _workers(workers: Mapping[str, Mapping[str, Any]]) -> DataTable:
    rows = [
        (
            worker,
            Badge("failing", Tone.BAD) if each["error"] else Badge("working", Tone.GOOD),
            each["channels"],
            each["subscribers"],
            each["published"],
            each["delivered"],
            each["error"] or None,
        )
        for worker, each in workers.items()
    ]
    return DataTable(WORKERS, rows, "Workers")


def _channels(workers: Mapping[str, Mapping[str, Any]]) -> DataTable:
    rows = [
        (
            name,
            worker,
            channel["subscribers"],
            channel["rate"],
            channel["age"],
            channel["messages"],
            channel["bytes"],
            channel["missed"],
            Badge("synchronised", Tone.GOOD) if channel["synchronised"] else Badge("synchronising", Tone.WARNING),
        )
        for worker, each in workers.items()
        for name, channel in each["shown"].items()
    ]
    rows.sort(key=lambda row: (row[0], row[1]))
    hidden = sum(each["channels"] - len(each["shown"]) for each in workers.values())
    return DataTable(
        CHANNELS,
        rows,
        "Channels",
        more=hidden,
        empty="no channel has subscribers; a channel is listed while one is connected",
    )
