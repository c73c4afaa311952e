"""Messages that are unique while they are queued or running, on every transport."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from scalekit.contracts import DATABASE, QUEUE, Consumers, Database, Message, PublishFailed, Queue, Then
from tests.queue.conftest import Tables
from tests.queue.harness import LIMIT, AnyMessage, serving, wait_until
from tests.queue.jobs.harness import serve

pytestmark = pytest.mark.anyio
UNREACHABLE: dict[str, Any] = {"url": "amqp://guest@127.0.0.1:1", "outbox_interval": "1h"}


async def wait_released(queue: Queue, identifier: str, body: Any, **options: Any) -> str:
    """Publish *body* until another message than that with *identifier* is stored; return its id."""
    async with asyncio.timeout(LIMIT):
        while (found := await queue.publish("resize", body, unique_for="10m", **options)) == identifier:
            await asyncio.sleep(0.02)
    return found


async def test_a_unique_message_is_stored_once_until_it_has_been_handled(tables: Tables) -> None:
    consumers = Consumers()
    go = asyncio.Event()
    seen: list[int] = []

    @consumers.on("resize")
    async def resize(message: Message[dict[str, int]]) -> None:
        seen.append(message.body["id"])
        await go.wait()

    async with serve(tables, consumers) as host:
        queue = host.context.get(QUEUE)
        publishing = (queue.publish("resize", {"id": 7}, unique_for="10m") for _ in range(5))
        (first,) = set(await asyncio.gather(*publishing))
        assert await queue.publish("resize", {"id": 8}, unique_for="10m") != first
        await wait_until(lambda: len(seen) == 2)
        assert await queue.publish("resize", {"id": 7}, unique_for="10m") == first
        go.set()
        await wait_released(queue, first, {"id": 7})
        await wait_until(lambda: len(seen) == 3)
    assert sorted(seen) == [7, 7, 8]


async def test_many_messages_are_stored_once_each_and_followed_by_others(tables: Tables) -> None:
    consumers = Consumers()
    seen: list[tuple[str, Any]] = []

    @consumers.on("resize")
    async def resize(message: Message[int]) -> int:
        seen.append((message.id, message.body))
        return message.body

    @consumers.on("log")
    async def log(message: Message[int]) -> None:
        seen.append((message.id, message.body))

    async with serve(tables, consumers, consume_in="workers") as host:
        queue = host.context.get(QUEUE)
        first = await queue.publish("resize", 3, unique_for="10m")
        ids = await queue.publish_many("resize", [*range(20), 5], unique_for="10m", then=Then("log"))
        assert ids[3] == first
        assert ids[20] == ids[5]
        assert len(set(ids)) == 20
        assert await queue.publish_many("resize", range(5), unique_for="10m") == ids[:5]
        assert await queue.publish_many("resize", [], unique_for="10m") == []
    async with serve(tables, consumers):
        await wait_until(lambda: len(seen) == 39)
    expected = [(identifier, body) for body, identifier in enumerate(ids[:20])]
    followed = [(f"{identifier}.1", body) for identifier, body in expected if identifier != first]
    assert sorted(seen) == sorted(expected + followed)


async def test_many_messages_are_published_inside_a_transaction_of_the_application(
    tables: Tables, tmp_path: Path
) -> None:
    with_database: Tables = {"pool": {"url": f"sqlite:///{tmp_path}/other.db"}, **tables}
    async with serve(with_database) as host:
        queue, database = host.context.get(QUEUE), host.context.get(DATABASE)
        async with database.transaction():
            await database.execute("CREATE TABLE held (number INTEGER)")
            first = await queue.publish_many("resize", range(20), unique_for="10m")
        assert await queue.publish_many("resize", range(20), unique_for="10m") == first


@pytest.mark.parametrize("cancelled", [False, True])
async def test_many_messages_that_cannot_be_published_do_not_claim_their_keys(
    tmp_path: Path, no_start_wait: None, cancelled: bool
) -> None:
    async with serving(UNREACHABLE, pool={"url": f"sqlite:///{tmp_path}/test.db"}) as host:
        queue, database = host.context.get(QUEUE), host.context.get(DATABASE)
        publishing = asyncio.create_task(
            queue.publish_many("resize", range(20), unique_for="10m", timeout=60 if cancelled else "500ms")
        )
        if cancelled:
            async with asyncio.timeout(LIMIT):
                while not await _claims(database):
                    await asyncio.sleep(0.01)
            publishing.cancel()
        with pytest.raises(asyncio.CancelledError if cancelled else PublishFailed):
            await publishing
        async with asyncio.timeout(LIMIT):
            while await _claims(database):
                await asyncio.sleep(0.01)


async def test_keys_that_are_stored_after_the_publisher_has_given_up_are_free(sqlite_table: dict[str, Any]) -> None:
    async with serving(sqlite_table) as host:
        queue = host.context.get(QUEUE)
        await queue.publish("resize", -1, unique_for="10m")
        with closing(sqlite3.connect(sqlite_table["url"].removeprefix("sqlite:///"), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(PublishFailed):
                await queue.publish("resize", 0, unique_for="10m", timeout="300ms")
            with pytest.raises(PublishFailed, match="0 of 20 unique keys were stored within"):
                await queue.publish_many("resize", range(20), unique_for="10m", timeout="300ms")
            other.execute("ROLLBACK")
        async with asyncio.timeout(LIMIT):
            while await _stored(sqlite_table) != 1:
                await asyncio.sleep(0.02)


async def _stored(table: dict[str, Any]) -> int:
    with closing(sqlite3.connect(table["url"].removeprefix("sqlite:///"))) as file:
        return int(file.execute("SELECT count(*) FROM jobs_unique_keys").fetchone()[0])


async def _claims(database: Database) -> int:
    try:
        return int(await database.fetch_val("SELECT count(*) FROM scalekit_queue_jobs_unique_keys"))
    except sqlite3.OperationalError:  # no table yet
        return 0


async def test_a_key_is_unique_for_the_messages_of_one_name(tables: Tables) -> None:
    consumers = Consumers()
    seen: list[str] = []

    async def record(message: Message[str]) -> None:
        seen.append(f"{message.name} {message.body}")

    consumers.on("resize", concurrency=1)(record)
    consumers.on("scan")(record)
    async with serve(tables, consumers, consume_in="workers") as host:
        queue = host.context.get(QUEUE)
        for name, body in (("resize", "a"), ("resize", "b"), ("scan", "c")):
            assert await queue.publish(name, body, key="seven", unique_for="10m") == "seven"
        await queue.publish("resize", "end")
    async with serve(tables, consumers):
        await wait_until(lambda: len(seen) == 3)
    assert sorted(seen) == ["resize a", "resize end", "scan c"]


async def test_a_message_that_waits_for_its_retry_is_unique_and_a_dead_letter_is_not(tables: Tables) -> None:
    consumers = Consumers()
    attempts: list[str] = []

    @consumers.on("resize", retry=["300ms"])
    async def resize(message: AnyMessage) -> None:
        attempts.append(message.id)
        if message.body == "fails":
            raise ValueError

    async with serve(tables, consumers) as host:
        queue = host.context.get(QUEUE)
        first = await queue.publish("resize", "fails", unique_for="10m")
        again = await wait_released(queue, first, "fails")
        await wait_until(lambda: again in attempts)
    assert attempts[:3] == [first, first, again]


async def test_a_message_is_unique_for_a_time(tables: Tables) -> None:
    async with serve(tables) as host:
        queue = host.context.get(QUEUE)
        first = await queue.publish("resize", "a", unique_for="1s")
        assert await queue.publish("resize", "a", unique_for="1s") == first
        assert await wait_released(queue, first, "a") != first


async def test_a_cancelled_message_is_not_unique(tables: Tables) -> None:
    consumers = Consumers()

    @consumers.on("resize", result_ttl="1h")
    async def resize(message: AnyMessage) -> None:
        """Handle nothing: the consumer is off."""

    async with serve(tables, consumers, consume_in="workers") as host:
        queue = host.context.get(QUEUE)
        first = await queue.publish("resize", "a", unique_for="10m")
        assert await queue.cancel(first)
        assert await queue.publish("resize", "a", unique_for="10m") != first


async def test_a_claim_is_committed_with_the_transaction_that_publishes(tables: Tables, tmp_path: Path) -> None:
    with_database: Tables = {"pool": {"url": f"sqlite:///{tmp_path}/other.db"}, **tables}
    async with serve(with_database) as host:
        queue, database = host.context.get(QUEUE), host.context.get(DATABASE)
        if "pool" not in tables:
            with pytest.raises(RuntimeError, match="unique_for in publish_after needs url"):
                await queue.publish_after(database, "resize", "a", unique_for="10m")
            return
        async with database.transaction(force_rollback=True):
            lost = await queue.publish_after(database, "resize", "a", unique_for="10m")
        async with database.transaction():
            first = await queue.publish_after(database, "resize", "a", unique_for="10m")
            assert await queue.publish_after(database, "resize", "a", unique_for="10m") == first
        assert first != lost
        assert await queue.publish("resize", "a", unique_for="10m") == first


async def test_a_message_that_cannot_be_published_does_not_claim_its_key(tmp_path: Path, no_start_wait: None) -> None:
    async with serving(UNREACHABLE, pool={"url": f"sqlite:///{tmp_path}/test.db"}) as host:
        queue, database = host.context.get(QUEUE), host.context.get(DATABASE)
        with pytest.raises(PublishFailed):
            await queue.publish("resize", "a", unique_for="10m", timeout="500ms")
        assert await database.fetch_val("SELECT count(*) FROM scalekit_queue_jobs_unique_keys") == 0


async def test_expired_claims_are_deleted(tmp_path: Path, no_start_wait: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scalekit_queue.jobs.unique_keys.CLEANUP_INTERVAL", 0.0)
    async with serving(UNREACHABLE, pool={"url": f"sqlite:///{tmp_path}/test.db"}) as host:
        queue, database = host.context.get(QUEUE), host.context.get(DATABASE)
        async with database.transaction():
            await queue.publish_after(database, "resize", "a", unique_for="1ms")
            await queue.publish_after(database, "resize", "b", unique_for="10m")
        with pytest.raises(PublishFailed):
            await queue.publish("resize", "c", unique_for="10m", timeout="500ms")
        assert await database.fetch_val("SELECT count(*) FROM scalekit_queue_jobs_unique_keys") == 1


async def test_unique_messages_need_a_store_and_a_time(sqlite_table: dict[str, Any], no_start_wait: None) -> None:
    async with serving(UNREACHABLE) as host:
        with pytest.raises(RuntimeError, match="no store of jobs: turn on"):
            await host.context.get(QUEUE).publish("resize", "a", unique_for="10m")
    async with serving(sqlite_table) as host:
        with pytest.raises(ValueError, match="unique_for must be greater than zero"):
            await host.context.get(QUEUE).publish("resize", "a", unique_for=0)
