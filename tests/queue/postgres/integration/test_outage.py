"""The queue recovers when its server hangs, cuts connections, cancels statements, or has a full disk."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from scalekit.contracts import QUEUE, Consumers, Message, PublishFailed, Queue
from scalekit.health.monitor import Status
from scalekit.host import Host
from scalekit_queue.service import SERVICE
from tests.queue.harness import LIMIT, open_queue_admin, serving, wait_until
from tests.servers import PgBouncer, Postgres
from tests.small_disk import small_disk

pytestmark = [pytest.mark.anyio, pytest.mark.needs("postgres")]
TABLE: dict[str, Any] = {"url": "database:", "visibility_timeout": "1s", "poll_interval": "20ms"}
MESSAGES = 2_000
CUTS = 8
CUT = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
"""


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


@pytest.fixture
def pool(postgres: Postgres) -> dict[str, Any]:
    postgres.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    # without TLS: when asyncpg is cancelled while it negotiates TLS, it drops an error that cannot be caught
    return {"url": postgres.url, "acquire_timeout": "500ms", "connect_timeout": "500ms", "sslmode": "disable"}


class CountingConsumer:
    """Counts the messages that it handles, with dedupe."""

    def __init__(self) -> None:
        self.consumers = Consumers()
        self.seen: Counter[int] = Counter()

        @self.consumers.on("work", prefetch=50, concurrency=20, retry=["10ms"] * 10)
        async def work(message: Message[int]) -> None:
            self.seen[message.body] += 1

    def has_seen(self, count: float) -> bool:
        """Return whether it has handled more than *count* different messages."""
        return len(self.seen) > count


async def queue_error(host: Host) -> str:
    await host.monitor.check_once()
    result = host.monitor.results["queue"]
    return "" if result.status is Status.HEALTHY else result.last_error


async def publish_all(host: Host) -> None:
    async def publish(first: int) -> None:
        for number in range(first, MESSAGES, 16):
            await host.context.get(QUEUE).publish("work", number, timeout=LIMIT)

    await asyncio.gather(*(publish(first) for first in range(16)))


async def test_cut_connections_lose_no_message(postgres: Postgres, pool: dict[str, Any]) -> None:
    consumer = CountingConsumer()
    async with serving(TABLE, consumer.consumers, pool=pool) as host:
        publishing = asyncio.create_task(publish_all(host))
        cut = 0
        for part in range(1, CUTS + 1):
            await wait_until(partial(consumer.has_seen, part * MESSAGES / (CUTS + 1)))
            cut += int(await asyncio.to_thread(postgres.sql, CUT))
        await publishing
        await wait_until(lambda: len(consumer.seen) == MESSAGES)
        await wait_until(lambda: not host.context.get(SERVICE).last_error)
    assert cut > CUTS
    async with open_queue_admin({**TABLE, "url": pool["url"]}) as admin:
        depth = await admin.depth("work")
    assert (depth.ready, depth.delayed, depth.in_flight, depth.dead) == (0, 0, 0, 0)


async def test_a_server_that_hangs_longer_than_the_visibility_timeout_loses_nothing(
    postgres: Postgres, pool: dict[str, Any]
) -> None:
    consumers, go, seen = Consumers(), asyncio.Event(), Counter[int]()

    @consumers.on("work", prefetch=4, concurrency=4)
    async def work(message: Message[int]) -> None:
        await go.wait()
        seen[message.body] += 1

    async with serving(TABLE, consumers, pool={**pool, "statement_timeout": "500ms"}) as host:
        queue = host.context.get(QUEUE)
        await queue.publish_many("work", range(8))
        async with open_queue_admin({**TABLE, "url": pool["url"]}) as admin, asyncio.timeout(LIMIT):
            while (await admin.depth("work")).in_flight != 4:
                await asyncio.sleep(0.01)
        postgres.pause()
        try:
            with pytest.raises(PublishFailed, match="not stored within"):
                await queue.publish("work", 100, timeout="300ms")
            go.set()
            await wait_until(lambda: sum(seen.values()) == 4)  # those that were delivered
            await wait_until(lambda: host.context.get(SERVICE).last_error)
            assert await queue_error(host)
        finally:
            postgres.resume()
        await queue.publish("work", 8, timeout=LIMIT)
        await wait_until(lambda: set(seen) >= set(range(9)))
        async with asyncio.timeout(LIMIT):
            while await queue_error(host):
                await asyncio.sleep(0.05)


async def test_statements_that_wait_for_a_lock_too_long_are_repeated(postgres: Postgres, pool: dict[str, Any]) -> None:
    consumer = CountingConsumer()
    async with serving(TABLE, consumer.consumers, pool={**pool, "statement_timeout": "200ms"}) as host:
        queue = host.context.get(QUEUE)
        await queue.publish("work", 0)
        lock = "BEGIN; LOCK TABLE scalekit_queue_messages; SELECT pg_sleep(1.5); COMMIT"
        locking = asyncio.create_task(asyncio.to_thread(postgres.sql, lock))
        await wait_until(lambda: host.context.get(SERVICE).last_error)
        await queue.publish("work", 1, timeout=LIMIT)
        await wait_until(lambda: set(consumer.seen) == {0, 1})
        await locking


@pytest.mark.needs("pgbouncer")
async def test_messages_are_polled_behind_pgbouncer(postgres: Postgres, pool: dict[str, Any]) -> None:
    consumer = CountingConsumer()
    with PgBouncer(postgres) as bouncer:
        through = {**pool, "url": bouncer.url, "statement_cache_size": 0}
        async with serving(TABLE, consumer.consumers, pool=through), serving(TABLE, pool=through) as publisher:
            await publisher.context.get(QUEUE).publish_many("work", range(200))
            await publisher.context.get(QUEUE).publish("work", 200, delay="100ms")
            await wait_until(lambda: len(consumer.seen) == 201)
    assert set(consumer.seen.values()) == {1}


async def test_existing_tables_need_no_privilege_to_create_them(postgres: Postgres, pool: dict[str, Any]) -> None:
    async with serving(TABLE, pool=pool):
        pass
    postgres.sql("DROP ROLE IF EXISTS app; CREATE ROLE app LOGIN; GRANT USAGE ON SCHEMA public TO app")
    postgres.sql("GRANT ALL ON ALL TABLES IN SCHEMA public TO app")
    consumer = CountingConsumer()
    app = {**pool, "url": pool["url"].replace("postgres@", "app@")}
    async with serving(TABLE, consumer.consumers, pool=app) as host:
        await host.context.get(QUEUE).publish("work", 1)
        await wait_until(lambda: consumer.seen)
    postgres.sql("DROP OWNED BY app; DROP ROLE app")


async def test_the_tables_are_created_once_the_database_accepts_writes(
    postgres: Postgres, pool: dict[str, Any]
) -> None:
    consumer = CountingConsumer()
    await asyncio.to_thread(postgres.kill)
    async with serving(TABLE, consumer.consumers, pool={**pool, "acquire_timeout": "200ms"}) as host:
        queue = host.context.get(QUEUE)
        with pytest.raises(PublishFailed, match="nothing listens"):
            await queue.publish("work", 0, timeout="3s")
        publishing = asyncio.create_task(queue.publish("work", 1, timeout=LIMIT))
        await asyncio.to_thread(postgres.start)
        await publishing
        await wait_until(lambda: 1 in consumer.seen)


async def publish_until_it_fails(queue: Queue) -> None:
    while True:
        await queue.publish_many("work", range(500), timeout="1s")


async def test_a_full_disk_is_reported_and_the_messages_are_stored_once_there_is_space(
    postgres: Postgres, pool: dict[str, Any]
) -> None:
    consumer = CountingConsumer()
    with small_disk(postgres.box.directory, "2m") as disk:
        shutil.chown(disk, "postgres", "postgres")
        postgres.sql(f"CREATE TABLESPACE small LOCATION '{disk}'")
        async with serving(TABLE, consumer.consumers, pool=pool) as host:
            await asyncio.to_thread(postgres.sql, "ALTER TABLE scalekit_queue_messages SET TABLESPACE small")
            queue = host.context.get(QUEUE)
            (disk / "ballast").write_bytes(bytes(1_900_000))
            with pytest.raises(PublishFailed, match=r"not store messages: .*No space left on device"):
                await publish_until_it_fails(queue)
            publishing = asyncio.create_task(queue.publish("work", 1000, timeout=LIMIT))
            async with asyncio.timeout(LIMIT):
                while "No space left on device" not in await queue_error(host):
                    await asyncio.sleep(0.01)
            (disk / "ballast").unlink()
            await publishing
            await wait_until(lambda: 1000 in consumer.seen)
            await wait_until(lambda: not host.context.get(SERVICE).last_error)
        postgres.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        postgres.sql("DROP TABLESPACE small")
