"""Publish and subscribe, the same over every transport."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel

from scalekit import Unavailable
from scalekit.contracts import SubscriberTooSlow
from scalekit_broadcast.broadcaster import Broadcaster
from tests.broadcast.conftest import broadcasts, data_of, take
from tests.lib.redis.poll import until

pytestmark = pytest.mark.anyio


class Item(BaseModel):
    id: int


@pytest.mark.parametrize("data", ["text", 'ä\n"', 7, None, [1, {"a": None}], {"a": [True, 1.5]}])
async def test_a_message_arrives_as_it_was_published(url: str, channel: str, data: Any) -> None:
    async with broadcasts(url) as broadcast, broadcast.subscribe(channel) as messages:
        message_id = await broadcast.publish(channel, data)
        (message,) = await take(messages, 1)
        assert (message.id, message.channel, message.data, message.missed) == (message_id, channel, data, 0)
        assert b"\n" not in message.json


async def test_a_pydantic_model_is_published_as_json(url: str, channel: str) -> None:
    async with broadcasts(url) as broadcast, broadcast.subscribe(channel) as messages:
        await broadcast.publish(channel, Item(id=7))
        assert await data_of(messages, 1) == [{"id": 7}]


async def test_every_subscriber_receives_every_message_in_order(url: str, channel: str) -> None:
    async with (
        broadcasts(url) as broadcast,
        broadcast.subscribe(channel) as first,
        broadcast.subscribe(channel) as second,
    ):
        ids = await asyncio.gather(*(broadcast.publish(channel, number) for number in range(50)))
        received = await take(first, 50)
        assert [message.id for message in received] == [message.id for message in await take(second, 50)]
        assert sorted(ids) == sorted(message.id for message in received)
        assert {message.missed for message in received} == {0}


async def test_channels_are_apart(url: str, channel: str) -> None:
    others = [channel + "x", channel.upper(), "{" + channel + "}", channel + "}", "äöü " + channel]
    async with broadcasts(url) as broadcast, broadcast.subscribe(channel) as messages:
        for other in others:
            async with broadcast.subscribe(other) as theirs:
                await broadcast.publish(other, other)
                assert await data_of(theirs, 1) == [other]
        await broadcast.publish(channel, "own")
        assert await data_of(messages, 1) == ["own"]


async def test_a_subscriber_receives_nothing_from_before(url: str, channel: str) -> None:
    async with broadcasts(url) as broadcast:
        await broadcast.publish(channel, "before")
        async with broadcast.subscribe(channel) as messages:
            await broadcast.publish(channel, "after")
            assert await data_of(messages, 1) == ["after"]


async def test_a_subscriber_continues_after_an_id_without_gap_or_duplicate(url: str, channel: str) -> None:
    async with broadcasts(url) as broadcast:
        ids = [await broadcast.publish(channel, number) for number in range(10)]
        async with broadcast.subscribe(channel, after=ids[3]) as messages:
            assert messages.missed == 0
            await broadcast.publish(channel, 10)
            received = await take(messages, 7)
        assert [message.data for message in received] == [4, 5, 6, 7, 8, 9, 10]
        assert {message.missed for message in received} == {0}
        async with broadcast.subscribe(channel, after=messages.last_id) as messages:
            await broadcast.publish(channel, 11)
            assert await data_of(messages, 1) == [11]


async def test_a_subscriber_continues_while_messages_are_published(url: str, channel: str) -> None:
    async with broadcasts(url, history=1000) as broadcast:
        position, seen = await broadcast.publish(channel, -1), list[int]()

        async def publish() -> None:
            for number in range(300):
                await broadcast.publish(channel, number)

        publishing = asyncio.create_task(publish())
        while len(seen) < 300:
            async with broadcast.subscribe(channel, after=position) as messages:
                for message in await take(messages, min(7, 300 - len(seen))):
                    seen.append(message.data)
                    position = message.id
                    assert not message.missed
        await publishing
        assert seen == list(range(300))


async def test_the_position_before_the_first_message_is_a_position(url: str, channel: str) -> None:
    async with broadcasts(url) as broadcast:
        async with broadcast.subscribe(channel) as messages:
            position = messages.last_id
        await broadcast.publish(channel, 1)
        await broadcast.publish(channel, 2)
        async with broadcast.subscribe(channel, after=position) as messages:
            received = await take(messages, 2)
        assert [(message.data, message.missed) for message in received] == [(1, 0), (2, 0)]


async def test_an_id_that_is_too_old_shows_how_many_are_missed(url: str, channel: str) -> None:
    async with broadcasts(url, history=5) as broadcast:
        ids = [await broadcast.publish(channel, number) for number in range(10)]
        async with broadcast.subscribe(channel, after=ids[1]) as messages:
            assert messages.missed == 3
            received = await take(messages, 5)
        assert [(message.data, message.missed) for message in received] == [(5, 3), (6, 0), (7, 0), (8, 0), (9, 0)]


NONSENSE = [
    "",
    "x",
    "0",
    "-",
    "1-1-1",
    "-1-2",
    "1-" + "9" * 40,
    "9" * 15 + "-1",
    "\x00",
    "\ud800",
    "\u0661-\u0662",
    "+",
    "$",
    "(1-1",
    "a" * 10_000,
]


@pytest.mark.parametrize("after", NONSENSE)
async def test_an_id_that_is_no_id_is_a_gap(url: str, channel: str, after: str) -> None:
    async with broadcasts(url) as broadcast:
        async with broadcast.subscribe(channel, after=after) as messages:
            assert messages.missed >= 1
        await broadcast.publish(channel, 1)
        async with broadcast.subscribe(channel, after=after) as messages:
            ((first),) = await take(messages, 1)
            assert (first.data, first.missed >= 1) == (1, True)


async def test_the_history_expires(url: str, channel: str) -> None:
    async with broadcasts(url, history_ttl="100ms") as broadcast:
        first = await broadcast.publish(channel, 1)
        await broadcast.publish(channel, 2)

        async def missed() -> int:
            async with broadcast.subscribe(channel, after=first) as messages:
                return messages.missed

        async with asyncio.timeout(30):
            while not await missed():
                await asyncio.sleep(0.02)
        async with broadcast.subscribe(channel, after=first) as messages:
            await broadcast.publish(channel, 3)
            ((message),) = await take(messages, 1)
            assert (message.data, message.missed) == (3, 1)


async def test_a_slow_subscriber_skips_the_oldest_messages(url: str, channel: str) -> None:
    async with broadcasts(url, history=5) as broadcast:
        async with broadcast.subscribe(channel) as slow, broadcast.subscribe(channel) as fast:
            for number in range(12):
                await broadcast.publish(channel, number)
                assert await data_of(fast, 1) == [number]
            assert slow.missed == 7
            received = await take(slow, 5)
        assert [(message.data, message.missed) for message in received] == [(7, 7), (8, 0), (9, 0), (10, 0), (11, 0)]


async def test_a_slow_subscriber_fails_when_that_is_the_policy(url: str, channel: str) -> None:
    options = {"history": 5, "slow_subscribers": "disconnect"}
    async with broadcasts(url, **options) as broadcast, broadcast.subscribe(channel) as slow:
        for number in range(6):
            await broadcast.publish(channel, number)
        await until("all messages", lambda: slow.missed == 1)
        with pytest.raises(SubscriberTooSlow, match=r"raise history"):
            await anext(slow)


async def test_a_cancelled_wait_loses_no_message(url: str, channel: str) -> None:
    async with broadcasts(url) as broadcast, broadcast.subscribe(channel) as messages:
        for number in range(20):
            waiting = asyncio.ensure_future(anext(messages))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
            await broadcast.publish(channel, number)
            assert await data_of(messages, 1) == [number]


async def test_a_cancelled_subscriber_is_released(url: str, channel: str) -> None:
    async with broadcasts(url) as broadcast:
        assert isinstance(broadcast, Broadcaster)

        async def listen() -> None:
            async with broadcast.subscribe(channel) as messages:
                async for _ in messages:
                    pass

        tasks = [asyncio.create_task(listen()) for _ in range(20)]
        await until("subscriptions", lambda: broadcast.count_subscribers() == 20)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert (broadcast.count_subscribers(), broadcast.count_channels()) == (0, 0)
        opening = asyncio.create_task(listen())
        await asyncio.sleep(0)
        opening.cancel()
        await asyncio.wait([opening])
        assert (broadcast.count_subscribers(), broadcast.count_channels()) == (0, 0)
        async with broadcast.subscribe(channel) as messages:  # the channel opens again at once
            await broadcast.publish(channel, 1)
            assert await data_of(messages, 1) == [1]


async def test_the_number_of_subscribers_and_channels_is_bounded(url: str, channel: str) -> None:
    async with broadcasts(url, max_subscribers=3, max_channels=2) as broadcast:
        async with broadcast.subscribe(channel), broadcast.subscribe(channel + "2"):
            with pytest.raises(Unavailable, match="max_channels"):
                await broadcast.subscribe(channel + "3").__aenter__()
            async with broadcast.subscribe(channel):
                with pytest.raises(Unavailable, match="max_subscribers"):
                    await broadcast.subscribe(channel).__aenter__()
        async with broadcast.subscribe(channel + "3"):
            pass


@pytest.mark.parametrize("name", ["", "x" * 201, "\ud800"])
async def test_an_invalid_channel_is_refused(url: str, name: str) -> None:
    async with broadcasts(url) as broadcast:
        with pytest.raises(ValueError, match="1 to 200 characters"):
            await broadcast.publish(name, 1)
        with pytest.raises(ValueError, match="1 to 200 characters"):
            await broadcast.subscribe(name).__aenter__()


async def test_an_invalid_message_is_refused(url: str, channel: str) -> None:
    async with broadcasts(url, max_message_size="10B") as broadcast:
        await broadcast.publish(channel, "x" * 8)
        with pytest.raises(ValueError, match=r"11 bytes.*max_message_size"):
            await broadcast.publish(channel, "x" * 9)
        for data in (object(), float("nan"), b"bytes"):
            with pytest.raises(ValueError, match="JSON"):
                await broadcast.publish(channel, data)


async def test_subscriptions_end_when_the_plugin_stops(url: str, channel: str) -> None:
    async with broadcasts(url) as broadcast:
        subscription = broadcast.subscribe(channel)
        messages = await subscription.__aenter__()
        await broadcast.publish(channel, 1)
        await take(messages, 1)
    assert [message async for message in messages] == []
    await subscription.__aexit__(None, None, None)
    with pytest.raises(Unavailable):
        await broadcast.publish(channel, 2)
