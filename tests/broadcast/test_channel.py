"""The ring of a channel is complete after any order of history and new messages."""

from __future__ import annotations

import asyncio

import pytest

from scalekit.telemetry import NullTelemetry
from scalekit_broadcast.channel import LocalChannel
from scalekit_broadcast.message_id import first_position
from scalekit_broadcast.metrics import BroadcastMetrics
from scalekit_broadcast.subscription import ChannelSubscription
from scalekit_broadcast.transport import StoredMessage

pytestmark = pytest.mark.anyio
NOW = first_position().milliseconds


def message(number: int, milliseconds: int = NOW) -> StoredMessage:
    return StoredMessage(f"{milliseconds}-{number}", b"%d" % number)


def messages(first: int, last: int) -> list[StoredMessage]:
    return [message(number) for number in range(first, last + 1)]


@pytest.fixture
async def channel() -> LocalChannel:
    channel = LocalChannel("a", 10, 3600)
    channel.synchronise([])
    return channel


def numbers(channel: LocalChannel) -> list[int]:
    return [int(channel.message_at(index).json) for index in range(channel.first, channel.end)]


async def test_a_message_that_the_history_had_is_not_repeated_however_late_it_arrives(channel: LocalChannel) -> None:
    channel.interrupt()
    channel.receive(message(1))
    channel.synchronise(messages(1, 3))
    for each in messages(2, 5):
        channel.receive(each)
    assert numbers(channel) == [1, 2, 3, 4, 5]
    assert channel.missed == 0


async def test_messages_older_than_a_short_history_are_not_appended_late() -> None:
    channel = LocalChannel("a", 3, 3600)
    channel.synchronise(messages(8, 10))
    for each in messages(5, 12):
        channel.receive(each)
    assert numbers(channel) == [10, 11, 12]


async def test_an_interrupted_channel_holds_messages_until_it_has_the_history(channel: LocalChannel) -> None:
    channel.receive(message(1))
    channel.interrupt()
    channel.receive(message(4))
    assert numbers(channel) == [1]
    channel.synchronise(messages(1, 3))
    assert numbers(channel) == [1, 2, 3, 4]
    assert channel.missed == 0


async def test_a_history_that_begins_later_is_a_gap(channel: LocalChannel) -> None:
    channel.receive(message(1))
    channel.interrupt()
    assert channel.synchronise(messages(5, 7)) == 3
    assert [channel.missed_before(index) for index in range(channel.first, channel.end)] == [0, 3, 3, 3]


@pytest.mark.parametrize("history", [[], [message(1, NOW + 5)], [message(1, NOW + 5), message(2, NOW + 6)]])
async def test_another_history_is_a_gap_of_unknown_size(channel: LocalChannel, history: list[StoredMessage]) -> None:
    channel.receive(message(1))
    channel.interrupt()
    assert channel.synchronise(history) == 1


async def test_a_history_that_has_expired_is_no_gap() -> None:
    channel = LocalChannel("a", 10, 60)
    channel.synchronise([message(7, NOW - 61_000)])
    channel.interrupt()
    assert channel.synchronise([]) == 0
    channel.interrupt()
    assert channel.synchronise([message(1)]) == 0
    assert numbers(channel) == [7, 1]


async def test_a_server_that_has_lost_its_last_messages_continues_without_a_gap(channel: LocalChannel) -> None:
    for each in messages(1, 5):
        channel.receive(each)
    channel.interrupt()
    replaced = [*messages(1, 3), message(4, NOW + 9), message(5, NOW + 9)]
    assert channel.synchronise(replaced) == 0
    channel.receive(message(6, NOW + 9))
    assert numbers(channel) == [1, 2, 3, 4, 5, 4, 5, 6]


async def test_messages_before_the_first_of_an_empty_channel_are_missed(channel: LocalChannel) -> None:
    channel.interrupt()
    assert channel.synchronise(messages(3, 4)) == 2


async def test_too_many_held_messages_are_a_gap(channel: LocalChannel) -> None:
    channel.interrupt()
    for each in messages(1, 15):
        channel.receive(each)
    assert channel.synchronise([]) == 5
    assert numbers(channel) == list(range(6, 16))


async def test_a_second_interruption_does_not_lose_held_messages(channel: LocalChannel) -> None:
    channel.interrupt()
    channel.receive(message(1))
    channel.interrupt()
    channel.receive(message(2))
    channel.synchronise([message(1)])
    assert numbers(channel) == [1, 2]


async def test_a_subscriber_that_continues_before_a_gap_is_told(channel: LocalChannel) -> None:
    for each in messages(1, 2):
        channel.receive(each)
    channel.interrupt()
    channel.synchronise(messages(6, 8))
    assert channel.start_after(message(1).id) == (1, 0, 0)
    assert channel.start_after(message(2).id) == (2, 0, 0)
    assert channel.start_after(message(6).id) == (3, 0, 3)
    subscription = ChannelSubscription(channel, message(2).id, BroadcastMetrics(NullTelemetry()), False)
    assert subscription.missed == 3
    received = [await anext(subscription) for _ in range(3)]
    assert [(int(each.json), each.missed) for each in received] == [(6, 3), (7, 0), (8, 0)]


async def test_a_gap_at_the_end_is_told_to_a_subscriber_that_continues_there(channel: LocalChannel) -> None:
    channel.receive(message(1))
    channel.interrupt()
    channel.synchronise([])
    subscription = ChannelSubscription(channel, message(1).id, BroadcastMetrics(NullTelemetry()), False)
    assert subscription.missed == 1


async def test_an_idle_channel_is_interrupted_without_a_gap() -> None:
    channel = LocalChannel("a", 10, 0.0)
    channel.synchronise([])
    await asyncio.sleep(0.01)
    channel.interrupt()
    assert channel.synchronise([]) == 0
    channel.interrupt()
    assert channel.synchronise([message(1)]) == 0
