"""One timer keeps many deadlines."""

from __future__ import annotations

import asyncio
import time
from time import monotonic

import pytest

from scalekit_redis import Connections
from scalekit_redis.deadline_timer import NEVER, DeadlineTimer
from tests.lib.redis.poll import failure, until
from tests.lib.redis.proxy import proxy
from tests.servers import Redis as Server

pytestmark = pytest.mark.anyio


async def test_it_looks_when_the_earliest_has_come_and_again_when_it_is_told_to() -> None:
    started = monotonic()
    looks: list[float] = []

    def look(now: float) -> float:
        looks.append(now - started)
        return started + 0.06 if len(looks) == 1 else NEVER

    lookout = DeadlineTimer(look)
    lookout.schedule(started + 5)
    lookout.schedule(started + 0.03)
    await until("two looks", lambda: len(looks) == 2)
    assert looks[0] >= 0.025
    assert looks[1] >= 0.055
    assert lookout.due == NEVER


async def test_it_looks_no_more_when_it_was_stopped() -> None:
    looks: list[float] = []

    def look(now: float) -> float:
        looks.append(now)
        return NEVER

    stopped, other = DeadlineTimer(look), DeadlineTimer(look)
    stopped.schedule(monotonic())
    stopped.stop()
    other.schedule(monotonic() + 0.02)
    await until("the other's look", lambda: other.due == NEVER)
    assert len(looks) == 1


async def test_each_call_has_its_own_deadline_whatever_the_order(server: Server, connections: Connections) -> None:
    async with proxy(server.port) as between, connections.open(between.url, timeout=10) as redis:
        await redis.get("key")
        between.open.clear()
        long = redis.call("ECHO", "long")
        ended: list[str] = []

        async def end(name: str, timeout: float) -> None:
            await failure(lambda: redis.call("ECHO", name, timeout=timeout))
            ended.append(name)

        timeouts = {"c": 0.16, "a": 0.02, "b": 0.08}
        await asyncio.gather(*(end(name, timeout) for name, timeout in timeouts.items()))
        assert ended == ["a", "b", "c"]
        between.open.set()
        assert await long == b"long"


async def test_calls_that_wait_for_a_connection_have_theirs_too(server: Server, connections: Connections) -> None:
    async with proxy(server.port) as between, connections.open(between.url) as redis:
        await redis.get("key")
        between.open.clear()  # a connection can be made, and is not greeted
        between.cut()
        await until("another attempt", lambda: between.accepted == 2)
        assert (await failure(lambda: redis.get("key", timeout=0.05))).kind == "timeout"
        between.open.set()


async def test_what_could_not_be_sent_or_read_while_the_loop_was_held_up_is_not_late(
    server: Server, connections: Connections
) -> None:
    async with connections.open(server.url) as redis:
        await redis.set("key", "value", timeout=5)
        reading = redis.get("key", timeout=0.02)
        time.sleep(0.7)  # noqa: ASYNC251
        assert await reading == b"value"


@pytest.mark.parametrize("timeout", [float("inf"), float("nan"), 1e9])
async def test_there_is_no_command_without_a_timeout(server: Server, connections: Connections, timeout: float) -> None:
    async with connections.open(server.url) as redis:
        with pytest.raises(ValueError, match="a timeout is at most 3600 seconds"):
            await redis.get("key", timeout=timeout)
        with pytest.raises(ValueError, match="a timeout is at most 3600 seconds"):
            async with connections.open(server.url, timeout=timeout):
                pass
