"""Broadcasts over Redis that is killed, loses its data, or moves slots."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from scalekit import Unavailable
from scalekit.contracts import Broadcast, Subscription
from tests.broadcast.conftest import broadcasts, data_of, take, url_of
from tests.lib.redis.poll import until_available
from tests.lib.redis.proxy import open_proxy
from tests.servers import Redis, RedisCluster

pytestmark = [pytest.mark.anyio, pytest.mark.needs("redis")]


@pytest.fixture
def server() -> Iterator[Redis]:
    with Redis() as server:
        yield server


async def publish_when_available(broadcast: Broadcast, channel: str, data: object) -> None:
    await until_available(lambda: broadcast.publish(channel, data))


async def test_subscribers_catch_up_after_a_lost_connection(server: Redis, channel: str) -> None:
    async with (
        broadcasts(server.url) as others,
        open_proxy(server.port) as proxy,
        broadcasts(proxy.url) as broadcast,
        broadcast.subscribe(channel) as messages,
    ):
        await others.publish(channel, 0)
        assert await data_of(messages, 1) == [0]
        proxy.refuses = True
        proxy.cut()
        for number in range(1, 6):
            await others.publish(channel, number)
        with pytest.raises(Unavailable):
            await broadcast.publish("other", 1)
        proxy.refuses = False
        received = await take(messages, 5)
        assert [(message.data, message.missed) for message in received] == [(each, 0) for each in range(1, 6)]
        await others.publish(channel, 6)
        assert await data_of(messages, 1) == [6]


async def test_a_history_that_is_too_short_is_a_gap(server: Redis, channel: str) -> None:
    async with (
        broadcasts(server.url, history=3) as others,
        open_proxy(server.port) as proxy,
        broadcasts(proxy.url, history=3) as broadcast,
        broadcast.subscribe(channel) as messages,
    ):
        await others.publish(channel, 0)
        assert await data_of(messages, 1) == [0]
        proxy.refuses = True
        proxy.cut()
        for number in range(1, 8):
            await others.publish(channel, number)
        proxy.refuses = False
        received = await take(messages, 3)
        assert [(message.data, message.missed) for message in received] == [(5, 4), (6, 0), (7, 0)]


async def test_a_killed_redis_without_its_data_is_a_gap(server: Redis, channel: str) -> None:
    async with broadcasts(server.url) as broadcast, broadcast.subscribe(channel) as messages:
        await broadcast.publish(channel, "before")
        assert await data_of(messages, 1) == ["before"]
        await asyncio.to_thread(server.kill)
        with pytest.raises(Unavailable):
            await broadcast.publish(channel, "meanwhile")
        with pytest.raises(Unavailable):
            await broadcast.subscribe("new").__aenter__()
        await asyncio.to_thread(server.start)
        await publish_when_available(broadcast, channel, "after")
        (message,) = await take(messages, 1)
        assert (message.data, message.missed >= 1) == ("after", True)
        await broadcast.publish(channel, "next")
        (message,) = await take(messages, 1)
        assert (message.data, message.missed) == ("next", 0)


async def test_nothing_is_lost_while_connections_are_cut_again_and_again(server: Redis, channel: str) -> None:
    async with (
        broadcasts(server.url, history=1000) as others,
        open_proxy(server.port) as proxy,
        broadcasts(proxy.url, history=1000) as broadcast,
        broadcast.subscribe(channel) as messages,
    ):

        async def publish() -> None:
            for number in range(500):
                await others.publish(channel, number)
                if number % 50 == 25:
                    proxy.cut()
                await asyncio.sleep(0.001)

        publishing = asyncio.create_task(publish())
        received = await take(messages, 500)
        assert [(message.data, message.missed) for message in received] == [(each, 0) for each in range(500)]
        await publishing


async def read(messages: Subscription, seen: list[object], last: object) -> None:
    async for message in messages:
        seen.append(message.data)
        if message.data == last:
            return


async def test_messages_after_a_failover_of_the_cluster_arrive(channel: str) -> None:
    with RedisCluster() as cluster:
        async with broadcasts(url_of(cluster)) as broadcast, broadcast.subscribe(channel) as messages:
            seen: list[object] = []
            reading = asyncio.create_task(read(messages, seen, "last"))
            for number in range(20):
                await broadcast.publish(channel, number)
            victim = cluster.owner(f"broadcast:{channel}")
            await asyncio.to_thread(victim.kill)
            for number in range(20, 40):
                await publish_when_available(broadcast, channel, number)
            await publish_when_available(broadcast, channel, "last")
            async with asyncio.timeout(60):
                await reading
            assert seen[20:] == [*range(20, 40), "last"]
