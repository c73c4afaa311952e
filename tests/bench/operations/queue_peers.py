"""The libraries that the queue is compared with: aio-pika on RabbitMQ, and procrastinate on PostgreSQL."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
import procrastinate
from aio_pika.abc import AbstractIncomingMessage

BODY = {"id": 7, "name": "a message of usual size", "value": 1.5}
ENCODED = b'{"id":7,"name":"a message of usual size","value":1.5}'
CONCURRENT = 64
PREFETCH = 100
CONNECTIONS = 20
"""Connections to PostgreSQL of each side: the default of the pool."""
ARGUMENTS: dict[str, Any] = {"x-queue-type": "quorum"}
numbers = itertools.count()

Publish = Callable[[], Awaitable[object]]


async def by_tasks(count: int, publish: Publish) -> float:
    """Return the seconds that CONCURRENT tasks take to publish *count* messages."""

    async def some() -> None:
        for _ in range(count // CONCURRENT):
            await publish()

    began = time.perf_counter()
    await asyncio.gather(*(some() for _ in range(CONCURRENT)))
    return time.perf_counter() - began


@asynccontextmanager
async def aio_pika_queue(url: str) -> AsyncGenerator[tuple[Any, Publish], None]:
    """Yield a new queue, and the function that publishes a message to it."""
    connection = await aio_pika.connect(url)
    async with connection, connection.channel(publisher_confirms=True) as channel:
        await channel.set_qos(prefetch_count=PREFETCH)
        name = f"aio-pika-{next(numbers)}"
        queue = await channel.declare_queue(name, durable=True, arguments=ARGUMENTS)

        async def publish() -> None:
            message = aio_pika.Message(ENCODED, delivery_mode=aio_pika.DeliveryMode.PERSISTENT, timestamp=time.time())
            await channel.default_exchange.publish(message, routing_key=name, mandatory=True)

        yield queue, publish


async def aio_pika_publishes(url: str, count: int) -> float:
    async with aio_pika_queue(url) as (_, publish):
        return await by_tasks(count, publish)


async def aio_pika_consumes(url: str, count: int) -> float:
    async with aio_pika_queue(url) as (queue, publish):
        await by_tasks(count, publish)
        done = asyncio.Event()
        left = count // CONCURRENT * CONCURRENT

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


class ProcrastinateQueue:
    """A queue of procrastinate with one task, and the number of its jobs that are done."""

    def __init__(self, url: str) -> None:
        self.name = f"procrastinate-{next(numbers)}"
        self.app = procrastinate.App(
            connector=procrastinate.PsycopgConnector(conninfo=url, min_size=CONNECTIONS, max_size=CONNECTIONS)
        )
        self.done = 0
        self.changed = asyncio.Event()

        @self.app.task(queue=self.name, name=self.name)
        async def take(**body: object) -> None:
            self.done += 1
            self.changed.set()

        self.task = take

    async def publish(self) -> None:
        """Defer a job."""
        await self.task.defer_async(**BODY)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None, None]:
        """Connect, and create the tables when they are missing."""
        logging.getLogger("procrastinate").setLevel(logging.CRITICAL)
        async with self.app.open_async():
            if not await self.app.check_connection_async():
                await self.app.schema_manager.apply_schema_async()
            yield

    async def consume(self, count: int) -> None:
        """Run a worker until *count* jobs are done; finished jobs are deleted, as acknowledged messages are."""
        options: Any = {"concurrency": PREFETCH, "install_signal_handlers": False, "delete_jobs": "always"}
        worker = asyncio.create_task(self.app.run_worker_async(queues=[self.name], **options))
        while self.done < count:
            self.changed.clear()
            await self.changed.wait()
        worker.cancel()
        await asyncio.wait([worker])


async def procrastinate_publishes(url: str, count: int) -> float:
    queue = ProcrastinateQueue(url)
    async with queue.open():
        return await by_tasks(count, queue.publish)


async def procrastinate_consumes(url: str, count: int) -> float:
    queue = ProcrastinateQueue(url)
    async with queue.open():
        await by_tasks(count, queue.publish)
        began = time.perf_counter()
        await queue.consume(count)
        return time.perf_counter() - began


async def procrastinate_does_both(url: str, count: int) -> float:
    queue = ProcrastinateQueue(url)
    async with queue.open():
        began = time.perf_counter()
        await asyncio.gather(by_tasks(count, queue.publish), queue.consume(count))
        return time.perf_counter() - began
