"""Messages per second, compared with aio-pika on the same RabbitMQ and with procrastinate on the same PostgreSQL.

Every side publishes, or consumes, the same number of messages in each round; sides take turns.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from statistics import median
from types import ModuleType
from typing import Any, Literal

import uvloop

from scalekit import create_app
from scalekit.contracts import DATABASE, QUEUE, Consumers, Message
from scalekit.host import Host
from scalekit.testing import running
from scalekit.testing.conformance import bare_application
from scalekit_queue.service import SERVICE
from tests.bench.operations.queue_peers import (
    BODY,
    PREFETCH,
    aio_pika_consumes,
    aio_pika_publishes,
    by_tasks,
    numbers,
    procrastinate_consumes,
    procrastinate_does_both,
    procrastinate_publishes,
)
from tests.bench.row import Goal, Row
from tests.servers import Postgres, RabbitMQ

DURABLE = ("fsync=on", "full_page_writes=on", "autovacuum=on", "shared_buffers=128MB")
"""Settings of PostgreSQL as in production; those of the tests do not wait for the disk."""
Side = Callable[[str, int], Awaitable[float]]


@dataclass(frozen=True, slots=True)
class Measured:
    """A case and its goal: *at_least* times the messages per second of *over*, or a minimum of its own."""

    title: str
    side: Side
    over: str = ""
    at_least: float = 0.0
    server: Literal["rabbitmq", "sqlite", "postgresql"] = "rabbitmq"
    fraction: int = 1
    """A slow side measures the number of messages divided by this."""


@asynccontextmanager
async def serving(url: str, consumers: Consumers | None = None) -> AsyncGenerator[Host, None]:
    """Run an application with a queue at *url* and a database of its own."""
    table: dict[str, Any] = {"url": "database:" if url.startswith("postgresql") else url}
    if consumers is not None:
        module = ModuleType(f"bench_{next(numbers)}")
        module.consumers = consumers  # type: ignore[attr-defined]
        sys.modules[module.__name__] = module
        table["consumers"] = f"{module.__name__}:consumers"
    with tempfile.TemporaryDirectory() as folder:
        pool = {"url": url if url.startswith("postgresql") else f"sqlite:///{folder}/bench.db"}
        async with running(host := create_app({"plugins": {"pool": pool, "queue": table}}, app=bare_application)):
            yield host


async def publishes(url: str, count: int) -> float:
    async with serving(url) as host:
        queue, name = host.context.get(QUEUE), f"published-{next(numbers)}"
        await queue.publish(name, BODY)
        return await by_tasks(count, lambda: queue.publish(name, BODY))


async def publishes_many(url: str, count: int) -> float:
    async with serving(url) as host:
        queue, name = host.context.get(QUEUE), f"published-{next(numbers)}"
        await queue.publish(name, BODY)
        began = time.perf_counter()
        await queue.publish_many(name, [BODY] * count, timeout=60)
        return time.perf_counter() - began


async def publishes_after(url: str, count: int) -> float:
    async with serving(url) as host:
        queue, name = host.context.get(QUEUE), f"published-{next(numbers)}"
        database = host.context.get(DATABASE)
        began = time.perf_counter()
        await by_tasks(count, lambda: queue.publish_after(database, name, BODY))
        outbox = host.context.get(SERVICE).outbox
        while outbox is not None and await outbox.depth():
            await asyncio.sleep(0.01)
        return time.perf_counter() - began


def consumes(fails: bool = False, **options: Any) -> Side:
    async def side(url: str, count: int) -> float:
        name = f"consumed-{next(numbers)}"
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


async def does_both(url: str, count: int) -> float:
    name = f"both-{next(numbers)}"
    consumers, done, left = Consumers(), asyncio.Event(), count

    @consumers.on(name, prefetch=PREFETCH, concurrency=PREFETCH)
    async def take(message: Message[Any]) -> None:
        nonlocal left
        left -= 1
        if not left:
            done.set()

    async with serving(url, consumers) as host:
        queue = host.context.get(QUEUE)
        began = time.perf_counter()
        await asyncio.gather(by_tasks(count, lambda: queue.publish(name, BODY)), done.wait())
        return time.perf_counter() - began


def on_postgres(title: str, side: Side, over: str = "", at_least: float = 0.0, *, fraction: int = 1) -> Measured:
    """Return a case on PostgreSQL."""
    return Measured(f"PostgreSQL: {title}", side, over and f"PostgreSQL: {over}", at_least, "postgresql", fraction)


SIDES = [
    Measured("publish with confirm, 64 at once: aio-pika", aio_pika_publishes),
    Measured("the same: queue", publishes, "publish with confirm, 64 at once: aio-pika", 1.2),
    Measured("publish_many: queue", publishes_many, "publish with confirm, 64 at once: aio-pika", 2.0),
    Measured("publish_after, until all are published: queue", publishes_after, "the same: queue"),
    Measured("consume with ack, prefetch 100: aio-pika", aio_pika_consumes),
    Measured("the same consuming: queue", consumes(), "consume with ack, prefetch 100: aio-pika", 1.2),
    Measured("consume with dedupe: queue", consumes(dedupe="1h"), "the same consuming: queue"),
    Measured("consume at the second attempt: queue", consumes(fails=True), "the same consuming: queue"),
    Measured("embedded: publish, 64 at once", publishes, at_least=5000, server="sqlite"),
    Measured("embedded: publish_many", publishes_many, "embedded: publish, 64 at once", server="sqlite"),
    Measured("embedded: consume", consumes(), server="sqlite"),
    Measured("embedded: consume with dedupe", consumes(dedupe="1h"), "embedded: consume", server="sqlite"),
    on_postgres("publish, 64 at once: procrastinate", procrastinate_publishes, fraction=10),
    on_postgres("the same: queue", publishes, "publish, 64 at once: procrastinate", 2.0),
    on_postgres("publish_many: queue", publishes_many, "publish, 64 at once: procrastinate", 2.0),
    on_postgres("publish_after, each in its own transaction: queue", publishes_after, "the same: queue"),
    on_postgres("consume: procrastinate", procrastinate_consumes, fraction=10),
    on_postgres("the same consuming: queue", consumes(), "consume: procrastinate", 2.0),
    on_postgres("consume with dedupe: queue", consumes(dedupe="1h"), "the same consuming: queue"),
    on_postgres("consume at the second attempt: queue", consumes(fails=True), "the same consuming: queue"),
    on_postgres("publish and consume in one process: procrastinate", procrastinate_does_both, fraction=10),
    on_postgres("publish and consume: queue", does_both, "publish and consume in one process: procrastinate", 2.0),
    on_postgres("published and consumed, a second: queue", does_both, at_least=5000),
]


async def rates_of(urls: Mapping[str, str], rounds: int, count: int) -> dict[str, list[float]]:
    """Return the messages per second of every row in each round, with the servers of *urls*."""
    rates: dict[str, list[float]] = {row.title: [] for row in SIDES}
    for _ in range(rounds):
        for row in SIDES:
            with tempfile.TemporaryDirectory() as folder:
                address = urls.get(row.server, f"sqlite:///{folder}/queue.db")
                measured = count // row.fraction
                rates[row.title].append(measured / await row.side(address, measured))
    return rates


def measure(rounds: int, count: int = 6400) -> list[Row]:
    """Return a row for each side."""
    logging.getLogger("scalekit").setLevel(logging.CRITICAL)  # of every message that is tried again
    with RabbitMQ() as rabbit, Postgres(*DURABLE) as postgres:
        rates = uvloop.run(rates_of({"rabbitmq": rabbit.url, "postgresql": postgres.url}, rounds, count))
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
