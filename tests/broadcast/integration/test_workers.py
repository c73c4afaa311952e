"""Broadcasts between the workers of one supervisor, which crash, hang and are replaced."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx2
import pytest

from tests.broadcast.live_service import APPLICATION, EventSource, event_source, new_client, publish
from tests.service import Service
from tests.workers import supervised, wait_for_new_workers, workers_of

pytestmark = pytest.mark.anyio
HISTORY = '[plugins.broadcast]\nhistory = 1000\nkeep_alive = "200ms"\n'
WITH_PID = (
    APPLICATION
    + """

@app.middleware("http")
async def add_pid(request, call_next):
    response = await call_next(request)
    response.headers["x-pid"] = str(os.getpid())
    return response
"""
)


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with supervised(4, 'hang_timeout = "300s"\n' + HISTORY, WITH_PID) as service:
        yield service


def pid_of(source: EventSource) -> int:
    return int(source.response.headers["x-pid"])


@asynccontextmanager
async def sources_on_all_workers(service: Service, channel: str) -> AsyncGenerator[dict[int, EventSource], None]:
    """Open streams until every worker has one; yield them by process id."""
    sources: dict[int, EventSource] = {}
    async with AsyncExitStack() as stack:
        async with asyncio.timeout(60):
            while len(sources) < 4:
                source = await stack.enter_async_context(event_source(service, channel))
                sources.setdefault(pid_of(source), source)
        yield sources


async def ids_of(source: EventSource, number: int) -> list[str]:
    events = [await source.next() for _ in range(number)]
    return [event.id for event in events if event is not None]


async def publish_many(service: Service, channel: str, number: int) -> None:
    """Publish *number* messages through changing workers, one after the other."""
    for each in range(number):
        await publish(service, channel, each)


async def follow(service: Service, channel: str, last_id: str, number: int) -> list[int]:
    """Return the data of *number* messages after *last_id*, reconnecting as EventSource does."""
    data: list[int] = []
    position: str | None = last_id
    while len(data) < number:
        try:
            async with event_source(service, channel, position) as source:
                while len(data) < number and (event := await source.next()) is not None:
                    assert event.event == "message"
                    data.append(event.json)
                    position = source.last_id
        except httpx2.TransportError:
            await asyncio.sleep(0.01)
    return data


async def test_a_message_reaches_subscribers_on_all_workers_in_one_order(service: Service, channel: str) -> None:
    async with sources_on_all_workers(service, channel) as sources:
        await asyncio.gather(*(publish_many(service, channel, 10) for _ in range(3)))
        received = [
            [event and event.id for event in [await each.next() for _ in range(30)]] for each in sources.values()
        ]
    assert all(ids == received[0] and len(set(ids)) == 30 for ids in received)


async def test_a_client_continues_on_another_worker(service: Service, channel: str) -> None:
    first = await publish(service, channel, 0)
    await publish_many(service, channel, 5)
    for _ in range(8):
        async with event_source(service, channel, first) as source:
            assert await source.take(5) == list(range(5))


async def test_nothing_is_lost_when_workers_are_killed(service: Service, channel: str) -> None:
    start = await publish(service, channel, -1)
    clients = [asyncio.create_task(follow(service, channel, start, 60)) for _ in range(8)]
    published = 0
    while published < 60:
        if published == 30:
            victim = workers_of(service)[0]
            os.kill(victim, signal.SIGKILL)
        try:
            await publish(service, channel, published)
            published += 1
        except httpx2.TransportError:  # the connection reached the killed worker before it published
            await asyncio.sleep(0.01)
    async with asyncio.timeout(60):
        for client in clients:
            assert await client == list(range(60))


async def test_nothing_is_lost_when_workers_are_replaced(service: Service, channel: str) -> None:
    start = await publish(service, channel, -1)
    clients = [asyncio.create_task(follow(service, channel, start, 40)) for _ in range(8)]
    old = workers_of(service)
    service.signal(signal.SIGHUP)
    for number in range(40):
        await publish(service, channel, number)
        await asyncio.sleep(0.05)
    await asyncio.to_thread(wait_for_new_workers, service, old, 4)
    async with asyncio.timeout(60):
        for client in clients:
            assert await client == list(range(40))


async def test_a_stopped_worker_delays_no_other_and_continues_from_the_history(service: Service, channel: str) -> None:
    number, large = 300, "x" * 50_000
    async with sources_on_all_workers(service, channel) as sources, new_client() as publisher:
        publishing_pid = (await publisher.get(f"{service.url}/pid")).json()
        stopped = next(pid for pid in sources if pid != publishing_pid)
        os.kill(stopped, signal.SIGSTOP)
        try:
            others = [source for pid, source in sources.items() if pid != stopped]
            reading = [asyncio.create_task(source.take(number)) for source in others]
            for each in range(number):  # over the connection of the first request
                await publisher.post(f"{service.url}/publish/{channel}", json=[each, large])
            for task in reading:
                assert [each for each, _ in await task] == list(range(number))
        finally:
            os.kill(stopped, signal.SIGCONT)
        assert [each for each, _ in await sources[stopped].take(number)] == list(range(number))
