"""One message to many subscribers of a process, and messages published per second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from statistics import median

import uvloop

from scalekit import create_app
from scalekit.contracts import BROADCAST, Broadcast, BroadcastMessage
from scalekit.testing import running
from scalekit.testing.conformance import bare_application
from scalekit_broadcast.event_stream import encode_event
from tests.bench.row import Goal, Row
from tests.servers import Redis

SUBSCRIBERS = 10_000
PUBLISHED = 6400
CONCURRENT = 64
DATA = {"id": 7, "name": "a message of usual size", "value": 1.5}
CHANNEL = "room:7"

Handle = Callable[[BroadcastMessage], object]


def measure(rounds: int) -> list[Row]:
    """Return the time to deliver one message to all subscribers, and the rates of publishers."""
    with Redis() as redis:
        return uvloop.run(_measure(redis.url, rounds))


async def _measure(redis_url: str, rounds: int) -> list[Row]:
    fan_out = f"one message to {SUBSCRIBERS} subscribers of a process"
    goal = Goal("figure", 50)
    return [
        Row("broadcast", fan_out, await _fan_out("memory:", id, rounds), "ms", goal=goal),
        Row("broadcast", f"{fan_out}, JSON decoded", await _fan_out("memory:", _decode, rounds), "ms", goal=goal),
        Row("broadcast", f"{fan_out}, encoded as events", await _fan_out("memory:", encode_event, rounds), "ms"),
        Row("broadcast", f"{fan_out}: Redis", await _fan_out(redis_url, id, rounds), "ms", goal=goal),
        Row("broadcast", "publish, 64 at once", await _rate("memory:", rounds), "messages/s"),
        Row("broadcast", "publish, 64 at once: Redis", await _rate(redis_url, rounds), "messages/s"),
    ]


@asynccontextmanager
async def _broadcast(url: str) -> AsyncGenerator[Broadcast, None]:
    host = create_app({"plugins": {"broadcast": {"url": url}}}, app=bare_application)
    async with running(host):
        yield host.context.get(BROADCAST)


async def _fan_out(url: str, handle: Handle, rounds: int) -> float:
    """Return the median of the milliseconds from the call of publish until every subscriber has the message."""
    taken: list[float] = []
    async with _broadcast(url) as broadcast:
        received, subscribed, ready, all_subscribed = 0, 0, asyncio.Event(), asyncio.Event()

        async def listen() -> None:
            nonlocal received, subscribed
            async with broadcast.subscribe(CHANNEL) as messages:
                subscribed += 1
                if subscribed == SUBSCRIBERS:
                    all_subscribed.set()
                async for message in messages:
                    handle(message)
                    received += 1
                    if received == SUBSCRIBERS:
                        ready.set()

        tasks = [asyncio.create_task(listen()) for _ in range(SUBSCRIBERS)]
        await all_subscribed.wait()
        for _ in range(rounds + 1):
            await asyncio.sleep(0.01)
            received = 0
            ready.clear()
            began = time.perf_counter()
            await broadcast.publish(CHANNEL, DATA)
            await ready.wait()
            taken.append(time.perf_counter() - began)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    return median(taken[1:]) * 1e3


async def _rate(url: str, rounds: int) -> float:
    rates: list[float] = []
    async with _broadcast(url) as broadcast, broadcast.subscribe(CHANNEL):
        for _ in range(max(1, rounds // 4)):
            began = time.perf_counter()
            await _publish_all(lambda: broadcast.publish(CHANNEL, DATA))
            rates.append(PUBLISHED / (time.perf_counter() - began))
    return median(rates)


async def _publish_all(publish: Callable[[], Awaitable[object]]) -> None:
    async def publish_share() -> None:
        for _ in range(PUBLISHED // CONCURRENT):
            await publish()

    await asyncio.gather(*(publish_share() for _ in range(CONCURRENT)))


def _decode(message: BroadcastMessage) -> object:
    return message.data
