"""Health, metrics and the drain."""

from __future__ import annotations

import asyncio

import pytest

from scalekit import create_app
from scalekit.contracts import BROADCAST
from scalekit.testing import request, running
from scalekit.testing.conformance import bare_application
from scalekit_broadcast.plugin import scalekit_health
from scalekit_redis import RedisUnavailable
from tests.broadcast.conftest import broadcasts, host_of, take
from tests.lib.redis.poll import until, until_available
from tests.servers import Redis, SentinelGroup

pytestmark = pytest.mark.anyio


def value_of(page: str, name: str) -> float:
    (line,) = [line for line in page.splitlines() if line.startswith((f"{name} ", f"{name}{{"))]
    return float(line.rpartition(" ")[2])


async def test_metrics_count_messages_subscribers_and_what_is_missed(channel: str) -> None:
    host = create_app({"plugins": {"broadcast": {"history": 5}, "metrics": {}}}, app=bare_application)
    async with running(host) as state:
        broadcast = host.context.get(BROADCAST)

        async def metrics() -> str:
            return (await request(host, "/metrics", state=state)).body.decode()

        async with broadcast.subscribe(channel) as messages, broadcast.subscribe(channel, after="nonsense"):
            for number in range(12):
                await broadcast.publish(channel, number)
            await take(messages, 5)
            page = await metrics()
            assert value_of(page, "scalekit_broadcast_published_total") == 12
            assert value_of(page, "scalekit_broadcast_delivered_total") == 5
            assert value_of(page, 'scalekit_broadcast_missed_total{reason="slow"}') == 7
            assert value_of(page, 'scalekit_broadcast_missed_total{reason="history"}') == 1
            assert value_of(page, "scalekit_broadcast_subscribers") == 2
            assert value_of(page, "scalekit_broadcast_channels") == 1
        page = await metrics()
        assert value_of(page, "scalekit_broadcast_subscribers") == 0


@pytest.mark.needs("redis")
async def test_health_reports_that_redis_is_gone_and_back() -> None:
    with Redis() as server:
        host = host_of(server.url)
        async with running(host):
            (check,) = scalekit_health(host.context)
            assert not check.critical
            await check.probe()
            await asyncio.to_thread(server.kill)
            with pytest.raises(RedisUnavailable):
                await check.probe()
            await asyncio.to_thread(server.start)
            await until_available(check.probe)


async def test_a_drain_ends_subscriptions_and_those_that_follow(channel: str) -> None:
    host = host_of("memory:")
    async with running(host):
        broadcast = host.context.get(BROADCAST)
        async with broadcast.subscribe(channel) as messages:
            waiting = asyncio.ensure_future(anext(messages, None))
            await asyncio.sleep(0)
            await host.lifecycle.notify_drain()
            assert await waiting is None
        position = await broadcast.publish(channel, 1)
        async with broadcast.subscribe(channel, after=position) as messages:
            assert [message async for message in messages] == []


@pytest.mark.needs("redis")
async def test_subscribers_follow_the_master_of_sentinels(channel: str) -> None:
    with SentinelGroup() as group:
        async with broadcasts(group.url) as broadcast, broadcast.subscribe(channel) as messages:
            await broadcast.publish(channel, 1)
            assert (await take(messages, 1))[0].data == 1
            key = f"broadcast:{channel}"
            await until("replication", lambda: all(server.cli("EXISTS", key) == "1" for server in group.servers))
            await asyncio.to_thread(group.fail_over)
            await until_available(lambda: broadcast.publish(channel, 2))
            (message,) = await take(messages, 1)
            assert (message.data, message.missed) == (2, 0)
