"""One timer for the deadlines of many commands."""

from __future__ import annotations

import asyncio
import time
from time import monotonic

import pytest

from scalekit_redis import Connections
from scalekit_redis.deadline_timer import NEVER, DeadlineTimer
from tests.lib.redis.poll import failure, until
from tests.lib.redis.proxy import open_proxy
from tests.servers import Redis as Server

pytestmark = pytest.mark.anyio


async def test_the_timer_fires_at_the_earliest_deadline_and_at_the_returned_one() -> None:
    started = monotonic()
    calls: list[float] = []

    def on_due(now: float) -> float:
        calls.append(now - started)
        return started + 0.06 if len(calls) == 1 else NEVER

    timer = DeadlineTimer(on_due)
    timer.schedule(started + 5)
    timer.schedule(started + 0.03)
    await until("two calls", lambda: len(calls) == 2)
    assert calls[0] >= 0.025
    assert calls[1] >= 0.055
    assert timer.due == NEVER


async def test_a_stopped_timer_does_not_fire() -> None:
    calls: list[float] = []

    def on_due(now: float) -> float:
        calls.append(now)
        return NEVER

    stopped, other = DeadlineTimer(on_due), DeadlineTimer(on_due)
    stopped.schedule(monotonic())
    stopped.stop()
    other.schedule(monotonic() + 0.02)
    await until("the call of the other timer", lambda: other.due == NEVER)
    assert len(calls) == 1


async def test_each_command_has_its_own_deadline_in_any_order(server: Server, connections: Connections) -> None:
    async with open_proxy(server.port) as proxy, connections.open(proxy.url, timeout=10) as redis:
        await redis.get("key")
        proxy.open.clear()
        long = redis.call("ECHO", "long")
        ended: list[str] = []

        async def end(name: str, timeout: float) -> None:
            await failure(lambda: redis.call("ECHO", name, timeout=timeout))
            ended.append(name)

        timeouts = {"c": 0.16, "a": 0.02, "b": 0.08}
        await asyncio.gather(*(end(name, timeout) for name, timeout in timeouts.items()))
        assert ended == ["a", "b", "c"]
        proxy.open.set()
        assert await long == b"long"


async def test_commands_that_wait_for_a_connection_have_a_deadline(server: Server, connections: Connections) -> None:
    async with open_proxy(server.port) as proxy, connections.open(proxy.url) as redis:
        await redis.get("key")
        proxy.open.clear()  # connections are accepted, and the handshake gets no reply
        proxy.cut()
        await until("another attempt", lambda: proxy.accepted == 2)
        assert (await failure(lambda: redis.get("key", timeout=0.05))).kind == "timeout"
        proxy.open.set()


async def test_a_reply_that_arrives_while_the_event_loop_is_blocked_is_no_timeout(
    server: Server, connections: Connections
) -> None:
    async with connections.open(server.url) as redis:
        await redis.set("key", "value", timeout=5)
        reading = redis.get("key", timeout=0.02)
        time.sleep(0.7)  # noqa: ASYNC251 - blocks the event loop
        assert await reading == b"value"


@pytest.mark.parametrize("timeout", [float("inf"), float("nan"), 1e9])
async def test_a_timeout_of_more_than_an_hour_is_rejected(
    server: Server, connections: Connections, timeout: float
) -> None:
    async with connections.open(server.url) as redis:
        with pytest.raises(ValueError, match="a timeout is at most 3600 seconds"):
            await redis.get("key", timeout=timeout)
        with pytest.raises(ValueError, match="a timeout is at most 3600 seconds"):
            async with connections.open(server.url, timeout=timeout):
                pass
