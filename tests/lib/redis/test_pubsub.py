"""Sharded pub/sub: messages of subscribed channels arrive, over one connection, and again after a loss."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from scalekit_redis import ChannelSubscriptions, Connections, PubSubListener, Redis, RedisUnavailable, ReplyError
from tests.lib.redis.conftest import cluster_url
from tests.lib.redis.poll import until, until_available
from tests.lib.redis.proxy import open_proxy
from tests.servers import Redis as Server
from tests.servers import RedisCluster

pytestmark = pytest.mark.anyio
TIMEOUT = 30.0


class Received:
    """Records messages and interrupted channels."""

    def __init__(self) -> None:
        self.messages: list[tuple[bytes, bytes]] = []
        self.interrupted: list[bytes] = []

    def listener(self) -> PubSubListener:
        return PubSubListener(lambda channel, data: self.messages.append((channel, data)), self.interrupted.append)


@asynccontextmanager
async def subscribed(redis: Redis, *channels: bytes) -> AsyncGenerator[tuple[ChannelSubscriptions, Received], None]:
    received = Received()
    async with redis.pubsub(received.listener()) as pubsub:
        for channel in channels:
            await pubsub.subscribe(channel, TIMEOUT)
        yield pubsub, received


async def test_messages_of_subscribed_channels_arrive_in_order(redis: Redis, server: Server) -> None:
    async with subscribed(redis, b"a", b"\xff") as (_, received):
        for number in range(5):
            await redis.call("SPUBLISH", "a", number)
        await redis.call("SPUBLISH", b"\xff", b"\x00")
        await redis.call("SPUBLISH", "other", "x")
        await until("messages", lambda: len(received.messages) == 6)
        assert received.messages == [*((b"a", b"%d" % number) for number in range(5)), (b"\xff", b"\x00")]
        assert received.interrupted == []


async def test_all_channels_share_one_connection(redis: Redis, server: Server) -> None:
    before = int(server.cli("CLIENT", "LIST").count("id="))
    async with subscribed(redis, *(b"%d" % number for number in range(50))):
        assert server.cli("CLIENT", "LIST").count("id=") == before + 1


async def test_an_unsubscribed_channel_is_silent_and_can_be_subscribed_again(redis: Redis) -> None:
    async with subscribed(redis, b"a", b"b") as (pubsub, received):
        pubsub.unsubscribe(b"a")
        pubsub.unsubscribe(b"never subscribed")
        await redis.call("SPUBLISH", "a", "unheard")
        for number in range(20):  # while the server still confirms the end of the subscription before
            await pubsub.subscribe(b"a", TIMEOUT)
            await redis.call("SPUBLISH", "a", number)
            await until("the message", lambda: (b"a", b"%d" % number) in received.messages)  # noqa: B023 - awaited here
            pubsub.unsubscribe(b"a")
        assert (b"a", b"unheard") not in received.messages


async def test_an_error_reply_is_the_error_of_the_subscription(server: Server, connections: Connections) -> None:
    server.cli("ACL", "SETUSER", "limited", "on", ">secret", "+@all", "~*", "resetchannels", "&allowed")
    url = server.url.replace("redis://", "redis://limited:secret@")
    async with connections.open(url) as redis, subscribed(redis, b"allowed") as (pubsub, received):
        with pytest.raises(ReplyError, match="NOPERM"):
            await pubsub.subscribe(b"forbidden", TIMEOUT)
        await redis.call("SPUBLISH", "allowed", "x")
        await until("the message", lambda: received.messages)


async def test_a_killed_connection_is_opened_again_and_reported(redis: Redis, server: Server) -> None:
    async with subscribed(redis, b"a", b"b") as (_, received):
        server.cli("CLIENT", "KILL", "TYPE", "pubsub")
        await until("both channels", lambda: sorted(received.interrupted) == [b"a", b"b"])
        await redis.call("SPUBLISH", "b", "after")
        await until("the message", lambda: received.messages == [(b"b", b"after")])


async def test_a_subscription_without_a_server_fails_and_begins_when_it_is_back(
    server: Server, connections: Connections
) -> None:
    async with (
        open_proxy(server.port) as proxy,
        connections.open(proxy.url) as redis,
        subscribed(redis, b"a") as (pubsub, received),
    ):
        proxy.refuses = True
        proxy.cut()

        async def subscribe() -> None:
            await pubsub.subscribe(b"b", 0.05)

        with pytest.raises(RedisUnavailable):
            await subscribe()
        proxy.refuses = False
        await until_available(subscribe)
        await until("the interrupted channel", lambda: received.interrupted == [b"a"])
        server.cli("SPUBLISH", "b", "x")
        await until("the message", lambda: received.messages == [(b"b", b"x")])


async def test_a_cancelled_subscription_leaves_the_others_alone(redis: Redis) -> None:
    async with subscribed(redis) as (pubsub, received):
        waiting = [asyncio.create_task(pubsub.subscribe(b"a", TIMEOUT)) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.gather(*waiting[1:])
        await redis.call("SPUBLISH", "a", "x")
        await until("the message", lambda: received.messages == [(b"a", b"x")])


CHANNELS = [b"%d" % number for number in range(30)]


async def publish_to_all(redis: Redis, data: bytes) -> None:
    for channel in CHANNELS:
        await until_available(lambda: redis.call("SPUBLISH", channel, data, key=channel))  # noqa: B023 - awaited here


async def test_a_cluster_has_one_connection_to_each_master(clustered: Redis, cluster: RedisCluster) -> None:
    async with subscribed(clustered, *CHANNELS) as (_, received):
        await publish_to_all(clustered, b"x")
        await until("all messages", lambda: len(received.messages) == len(CHANNELS))
        listed = [node.cli("CLIENT", "LIST", "TYPE", "pubsub").count("id=") for node in cluster.nodes]
        assert sorted(listed) == [0, 0, 0, 1, 1, 1]


async def test_channels_follow_their_slot_to_another_server(cluster: RedisCluster, connections: Connections) -> None:
    async with (
        connections.open(cluster_url(cluster), timeout=5) as redis,
        subscribed(redis, *CHANNELS) as (_, received),
    ):
        moved = CHANNELS[0].decode()
        await asyncio.to_thread(cluster.hand_over, moved)
        await until("the moved channel", lambda: CHANNELS[0] in received.interrupted)
        received.messages.clear()
        await publish_to_all(redis, b"after")
        await until("all messages", lambda: {channel for channel, _ in received.messages} == set(CHANNELS))


async def test_channels_of_a_killed_master_continue_on_its_replica(
    cluster: RedisCluster, connections: Connections
) -> None:
    async with (
        connections.open(cluster_url(cluster), timeout=5) as redis,
        subscribed(redis, *CHANNELS) as (_, received),
    ):
        victim = cluster.owner(CHANNELS[0].decode())
        victim.kill()
        try:
            await until("the channel", lambda: CHANNELS[0] in received.interrupted)
            await publish_to_all(redis, b"after")
            await until("all messages", lambda: {channel for channel, _ in received.messages} == set(CHANNELS))
        finally:
            await asyncio.to_thread(cluster.start)
