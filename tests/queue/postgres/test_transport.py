"""The pool's database as the queue, wake-ups without polling, and the limits of a transport."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest

from scalekit.contracts import DATABASE, QUEUE, Consumers, Message, PublishFailed
from scalekit.errors import StartError
from scalekit_queue.envelope import REASON
from scalekit_queue.postgres.database import QUEUE_DATABASE
from scalekit_queue.postgres.store import PostgresStore, Received
from scalekit_queue.service import SERVICE
from scalekit_queue.transport import MAX_DELIVERIES
from tests.queue.harness import LIMIT, AnyMessage, open_queue_admin, serving, wait_dead_letters, wait_until
from tests.servers import Postgres

pytestmark = [pytest.mark.anyio, pytest.mark.needs("postgres")]
Table = dict[str, Any]


@pytest.fixture
def pool(queue_database: str) -> Table:
    return {"url": queue_database}


@pytest.fixture
def pool_table(postgresql_table: Table) -> Table:
    return {**postgresql_table, "url": "database:"}


async def test_a_message_stored_in_a_transaction_is_delivered_after_the_commit_without_an_outbox(
    pool_table: Table, pool: Table
) -> None:
    consumers = Consumers()
    seen: list[int] = []

    @consumers.on("data.created", dedupe="1h")
    async def take(message: Message[int]) -> None:
        seen.append(message.body)
        assert not [name for name in message.headers if name.startswith("scalekit-")]

    async with serving(pool_table, consumers, pool=pool) as host:
        database, queue = host.context.get(DATABASE), host.context.get(QUEUE)
        assert host.context.get(SERVICE).outbox is None
        async with database.transaction(force_rollback=True):
            await queue.publish_after(database, "data.created", 1)
        async with database.transaction():
            await queue.publish_after(database, "data.created", 2)
            await queue.publish("data.created", 3)
            await wait_until(lambda: seen == [3])
        await wait_until(lambda: seen == [3, 2])
        async with database.transaction(force_rollback=True):
            with pytest.raises(Exception, match="division by zero"):
                await database.execute("SELECT 1 / 0")
            with pytest.raises(Exception, match="current transaction is aborted"):
                await queue.publish_after(database, "data.created", 4)
        await queue.publish("data.created", 5)
        await wait_until(lambda: seen == [3, 2, 5])


async def test_database_needs_postgresql_in_the_pool(pool_table: Table) -> None:
    with pytest.raises(StartError, match=r'"database:" in \[plugins.queue\] needs PostgreSQL, .* has sqlite'):
        async with serving(pool_table, pool={"url": "sqlite:///:memory:"}):
            pass


async def test_notifications_wake_consumers_in_other_processes_which_do_not_poll(
    pool_table: Table, pool: Table
) -> None:
    table = {**pool_table, "poll_interval": "1h"}
    consumers = Consumers()
    seen: list[int] = []

    @consumers.on("data.created")
    async def take(message: Message[int]) -> None:
        seen.append(message.body)

    async with serving(table, consumers, pool=pool), serving(table, pool=pool) as publisher:
        queue, database = publisher.context.get(QUEUE), publisher.context.get(DATABASE)
        listens = "SELECT count(*) FROM pg_stat_activity WHERE query = 'LISTEN \"scalekit_queue\"'"
        async with asyncio.timeout(LIMIT):
            while not await database.fetch_val(listens):
                await asyncio.sleep(0.01)
        await queue.publish("data.created", 1)
        await wait_until(lambda: seen == [1])
        await queue.publish_after(database, "data.created", 2)
        await wait_until(lambda: seen == [1, 2])


async def test_one_connection_is_enough(pool_table: Table, pool: Table) -> None:
    consumers = Consumers()
    seen: list[int] = []

    @consumers.on("data.created", dedupe="1h")
    async def take(message: Message[int]) -> None:
        seen.append(message.body)
        if message.body == 1:
            await message.context.get(QUEUE).publish_after(message.context.get(DATABASE), "data.created", 2)

    async with serving(pool_table, consumers, pool={**pool, "max_size": 1}) as host:
        await host.context.get(QUEUE).publish("data.created", 1)
        await wait_until(lambda: seen == [1, 2])


async def test_services_with_different_prefixes_share_a_database(pool_table: Table, pool: Table) -> None:
    other = {**pool_table, "prefix": pool_table["prefix"] + "other."}
    async with serving(pool_table, pool=pool) as host, serving(other, pool=pool) as neighbour:
        await host.context.get(QUEUE).publish("data.created", 1)
        await neighbour.context.get(QUEUE).publish_many("data.created", [2, 3])
    standalone = {**other, "url": pool["url"]}
    async with open_queue_admin(standalone) as admin:
        assert await admin.names() == ["data.created"]
        assert (await admin.depth("data.created")).ready == 2


async def test_a_message_that_crashes_its_consumers_becomes_a_dead_letter(postgresql_table: Table) -> None:
    prefix = postgresql_table["prefix"]
    consumers = Consumers()

    @consumers.on("data.created")
    async def take(message: AnyMessage) -> None:
        raise AssertionError

    async with serving(postgresql_table) as host:
        await host.context.get(QUEUE).publish("data.created", 1)
        for lease in range(MAX_DELIVERIES):
            store = PostgresStore(host.context.get(QUEUE_DATABASE), prefix, 2**61 + lease)
            await store.renew_lease(60.0)
            assert len(await store.receive("data.created", 1)) == 1
            await store.end_lease()  # as if its process had been killed
    async with serving(postgresql_table, consumers):
        (letter,) = await wait_dead_letters(postgresql_table, "data.created", 1)
    assert letter.headers[REASON] == "delivered 20 times without being settled"


async def test_messages_that_a_lost_response_contained_are_delivered_while_others_are_handled(
    postgresql_table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    consumers = Consumers()
    go = asyncio.Event()
    seen: list[str] = []
    lost: list[Received] = []
    receive = PostgresStore.receive

    async def receive_and_lose(self: PostgresStore, name: str, limit: int) -> list[Received]:
        received = await receive(self, name, limit)
        if not received or received[0].envelope.id != "lost" or lost:
            return received
        lost.extend(received)
        raise TimeoutError

    @consumers.on("data.created")
    async def take(message: AnyMessage) -> None:
        seen.append(message.id)
        if message.id == "slow":
            await go.wait()

    monkeypatch.setattr(PostgresStore, "receive", receive_and_lose)
    async with serving(postgresql_table, consumers) as host:
        queue = host.context.get(QUEUE)
        await queue.publish("data.created", 1, key="slow")
        await wait_until(lambda: seen == ["slow"])
        await queue.publish("data.created", 2, key="lost")
        await wait_until(lambda: seen == ["slow", "lost"])
        go.set()
    assert [each.envelope.id for each in lost] == ["lost"]
    async with open_queue_admin(postgresql_table) as admin:
        assert await admin.names() == []


async def test_messages_that_wait_are_limited_and_those_of_publishers_that_timed_out_do_not_count(
    postgresql_table: Table, shared_postgres: Postgres
) -> None:
    async with serving({**postgresql_table, "max_waiting": 3}) as host:
        queue = host.context.get(QUEUE)
        await queue.publish("data.created", 0)
        shared_postgres.pause()
        try:
            for _ in range(2):
                await asyncio.gather(*(time_out(queue, number) for number in range(3)))
            publishes = [queue.publish("data.created", number, timeout=LIMIT) for number in (1, 2, 3)]
            waiting = [asyncio.create_task(publish) for publish in publishes]
            await asyncio.sleep(0)
            with pytest.raises(PublishFailed, match=r"3 messages already wait to be stored \(max_waiting\)"):
                await queue.publish("data.created", 4)
        finally:
            shared_postgres.resume()
        await asyncio.gather(*waiting)
    async with open_queue_admin(postgresql_table) as admin:
        bodies = {json.loads(each.body) for each in await admin.peek("data.created", False, 100)}
    assert bodies >= {0, 1, 2, 3}
    assert 4 not in bodies


async def time_out(queue: Any, number: int) -> None:
    with pytest.raises(PublishFailed, match="not stored within"):
        await queue.publish("data.created", 100 + number, timeout="100ms")


async def test_one_message_that_cannot_be_encoded_fails_alone(postgresql_table: Table) -> None:
    async with serving(postgresql_table) as host:
        queue = host.context.get(QUEUE)
        results = await asyncio.gather(
            queue.publish("data.created", 1),
            queue.publish("data.created", 2, headers={"name": "\ud800"}),
            queue.publish("data.created", 3, headers={"name": "\x00"}),
            return_exceptions=True,
        )
    assert [isinstance(result, BaseException) for result in results] == [False, True, False]


async def test_the_password_is_never_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "scalekit")
    table = {"url": "postgresql://app:open-sesame@127.0.0.1:9/queue", "poll_interval": "20ms"}
    pool = {"url": "sqlite:///:memory:", "acquire_timeout": "100ms"}
    async with serving(table, pool=pool) as host:
        await wait_until(lambda: host.context.get(SERVICE).last_error)
        await host.monitor.check_once()
        assert "open-sesame" not in host.monitor.results["queue"].last_error
        with pytest.raises(PublishFailed, match="not stored within"):
            await host.context.get(QUEUE).publish("data.created", 1, timeout="300ms")
    assert "open-sesame" not in caplog.text
    assert "the queue's database does not find due messages: " in caplog.text
