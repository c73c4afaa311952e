"""Messages per second, compared with aio-pika on the same RabbitMQ, and the cost of retries, dedupe and outbox.

Every side publishes, or consumes, the same number of messages in each round; sides take turns.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from statistics import median
from types import ModuleType
from typing import Any

import aio_pika
import uvloop
from aio_pika.abc import AbstractIncomingMessage

from scalekit import create_app
from scalekit.contracts import DATABASE, QUEUE
from scalekit.contracts.consumers import Consumers, Message
from scalekit.host import Host
from scalekit.testing import running
from scalekit.testing.conformance import bare_application
from tests.bench.row import Goal, Row
from tests.servers import RabbitMQ

BODY = {"id": 7, "name": "a message of usual size", "value": 1.5}
ENCODED = b'{"id":7,"name":"a message of usual size","value":1.5}'
CONCURRENT = 64
PREFETCH = 100
ARGUMENTS: dict[str, Any] = {"x-queue-type": "quorum"}
_numbers = itertools.count()

Side = Callable[[str, int], Awaitable[float]]


@dataclass(frozen=True, slots=True)
class Measured:
    """A case and its goal: *at_least* times the messages per second of *over*, or a minimum of its own."""

    title: str
    side: Side
    over: str = ""
    at_least: float = 0.0
    embedded: bool = False


async def by_tasks(count: int, publish: Callable[[], Awaitable[object]]) -> float:
    """Return the seconds that CONCURRENT tasks take to publish *count* messages."""

    async def some() -> None:
        for _ in range(count // CONCURRENT):
            await publish()

    began = time.perf_counter()
    await asyncio.gather(*(some() for _ in range(CONCURRENT)))
    return time.perf_counter() - began


async def aio_pika_publishes(url: str, count: int) -> float:
    connection = await aio_pika.connect(url)
    async with connection, connection.channel(publisher_confirms=True) as channel:
        name = f"aio-pika-{next(_numbers)}"
        await channel.declare_queue(name, durable=True, arguments=ARGUMENTS)

        async def publish() -> None:
            message = aio_pika.Message(ENCODED, delivery_mode=aio_pika.DeliveryMode.PERSISTENT, timestamp=time.time())
            await channel.default_exchange.publish(message, routing_key=name, mandatory=True)

        return await by_tasks(count, publish)


async def aio_pika_consumes(url: str, count: int) -> float:
    connection = await aio_pika.connect(url)
    async with connection, connection.channel(publisher_confirms=True) as channel:
        await channel.set_qos(prefetch_count=PREFETCH)
        name = f"aio-pika-{next(_numbers)}"
        queue = await channel.declare_queue(name, durable=True, arguments=ARGUMENTS)
        async with serving(url) as host:
            await host.context.get(QUEUE).publish_many(name, [BODY] * count, timeout=60)
        done = asyncio.Event()
        left = count

        async def take(message: AbstractIncomingMessage) -> None:
            nonlocal left
            await message.ack()
            left -= 1
            if not left:
                done.set()

        began = time.perf_counter()
        await queue.consume(take)
        await done.wait()
        return time.perf_counter() - began


@asynccontextmanager
async def serving(url: str, consumers: Consumers | None = None) -> AsyncGenerator[Host, None]:
    """Run an application with a queue at *url* and a database of its own."""
    table: dict[str, Any] = {"url": url}
    if consumers is not None:
        module = ModuleType(f"bench_{next(_numbers)}")
        module.consumers = consumers  # type: ignore[attr-defined]
        sys.modules[module.__name__] = module
        table["consumers"] = f"{module.__name__}:consumers"
    with tempfile.TemporaryDirectory() as folder:
        pool = {"url": f"sqlite:///{folder}/bench.db"}
        async with running(host := create_app({"plugins": {"pool": pool, "queue": table}}, app=bare_application)):
            yield host


async def publishes(url: str, count: int) -> float:
    async with serving(url) as host:
        queue, name = host.context.get(QUEUE), f"published-{next(_numbers)}"
        await queue.publish(name, BODY)
        return await by_tasks(count, lambda: queue.publish(name, BODY))


async def publishes_many(url: str, count: int) -> float:
    async with serving(url) as host:
        queue, name = host.context.get(QUEUE), f"published-{next(_numbers)}"
        await queue.publish(name, BODY)
        began = time.perf_counter()
        await queue.publish_many(name, [BODY] * count, timeout=60)
        return time.perf_counter() - began


async def publishes_after(url: str, count: int) -> float:
    async with serving(url) as host:
        queue, name = host.context.get(QUEUE), f"published-{next(_numbers)}"
        database = host.context.get(DATABASE)
        began = time.perf_counter()
        await by_tasks(count, lambda: queue.publish_after(database, name, BODY))
        while await database.fetch_val("SELECT count(*) FROM scalekit_queue_outbox"):
            await asyncio.sleep(0.01)
        return time.perf_counter() - began


def consumes(fails: bool = False, **options: Any) -> Side:
    async def side(url: str, count: int) -> float:
        name = f"consumed-{next(_numbers)}"
        async with serving(url) as host:
            await host.context.get(QUEUE).publish_many(name, [BODY] * count, timeout=60)
        consumers, done, left = Consumers(), asyncio.Event(), count

        @consumers.on(name, prefetch=PREFETCH, concurrency=PREFETCH, retry=["1ms"], **options)
        async def take(message: Message[Any]) -> None:
            nonlocal left
            if fails and message.attempt == 1:
                raise ConnectionError
            left -= 1
            if not left:
                done.set()

        began = time.perf_counter()
        async with serving(url, consumers):
            await done.wait()
            return time.perf_counter() - began

    return side


SIDES = [
    Measured("publish with confirm, 64 at once: aio-pika", aio_pika_publishes),
    Measured("the same: queue", publishes, "publish with confirm, 64 at once: aio-pika", 1.2),
    Measured("publish_many: queue", publishes_many, "publish with confirm, 64 at once: aio-pika", 2.0),
    Measured("publish_after, until all are published: queue", publishes_after, "the same: queue"),
    Measured("consume with ack, prefetch 100: aio-pika", aio_pika_consumes),
    Measured("the same consuming: queue", consumes(), "consume with ack, prefetch 100: aio-pika", 1.2),
    Measured("consume with dedupe: queue", consumes(dedupe="1h"), "the same consuming: queue"),
    Measured("consume at the second attempt: queue", consumes(fails=True), "the same consuming: queue"),
    Measured("embedded: publish, 64 at once", publishes, at_least=5000, embedded=True),
    Measured("embedded: publish_many", publishes_many, "embedded: publish, 64 at once", embedded=True),
    Measured("embedded: consume", consumes(), embedded=True),
    Measured("embedded: consume with dedupe", consumes(dedupe="1h"), "embedded: consume", embedded=True),
]


async def rates_of(url: str, rounds: int, count: int) -> dict[str, list[float]]:
    """Return the messages per second of every row in each round."""
    rates: dict[str, list[float]] = {row.title: [] for row in SIDES}
    for _ in range(rounds):
        for row in SIDES:
            with tempfile.TemporaryDirectory() as folder:
                address = f"sqlite:///{folder}/queue.db" if row.embedded else url
                rates[row.title].append(count / await row.side(address, count))
    return rates


def measure(rounds: int, count: int = 6400) -> list[Row]:
    """Return a row for each side."""
    logging.getLogger("scalekit").setLevel(logging.CRITICAL)  # of every message that is tried again
    with RabbitMQ() as server:
        rates = uvloop.run(rates_of(server.url, rounds, count))
    return [_row(side, rates) for side in SIDES]


def _row(side: Measured, rates: Mapping[str, Sequence[float]]) -> Row:
    figure = median(rates[side.title])
    if not side.over:
        goal = Goal("figure", side.at_least, "at least") if side.at_least else None
        return Row("queue", side.title, figure, "messages/s", goal=goal)
    pairs = list(zip(rates[side.title], rates[side.over], strict=True))
    more, ratio = median(mine - theirs for mine, theirs in pairs), median(mine / theirs for mine, theirs in pairs)
    goal = Goal("ratio", side.at_least, "at least") if side.at_least else None
    return Row("queue", side.title, figure, "messages/s", side.over, more, ratio, goal)
