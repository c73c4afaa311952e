"""Messages that wait for a locked SQLite file, and deliveries whose file cannot be read or written for a time."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from scalekit.contracts import QUEUE, Consumers, Message, PublishFailed
from scalekit_queue.envelope import Envelope
from scalekit_queue.service import SERVICE
from scalekit_queue.sqlite.store import DeliveryTag, MessageStore
from scalekit_queue.sqlite.transport import SqliteDelivery
from tests.queue.harness import LIMIT, AnyMessage, serving, wait_until

pytestmark = pytest.mark.anyio


async def test_messages_of_publishers_that_timed_out_no_longer_count_towards_max_waiting(
    sqlite_table: dict[str, Any],
) -> None:
    async with serving({**sqlite_table, "max_waiting": 3}) as host:
        queue = host.context.get(QUEUE)
        await queue.publish("data.created", 0)
        with closing(sqlite3.connect(sqlite_table["url"].removeprefix("sqlite:///"), timeout=LIMIT)) as other:
            other.execute("BEGIN IMMEDIATE")
            for _ in range(2):
                await asyncio.gather(*(_time_out(queue, number) for number in range(3)))
            cancelled = [asyncio.create_task(queue.publish("data.created", number)) for number in range(3)]
            await asyncio.sleep(0)
            for task in cancelled:
                task.cancel()
            await asyncio.wait(cancelled)
            waiting = asyncio.create_task(queue.publish("data.created", 7, timeout=LIMIT))
            await asyncio.sleep(0)
            assert not waiting.done(), "it waits instead of failing"
            other.rollback()
        await waiting


async def test_a_message_whose_settlement_timed_out_is_delivered_again_while_others_are_handled(
    sqlite_table: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scalekit_queue.sqlite.transport.SETTLE_TIMEOUT", 0.1)
    consumers = Consumers()
    go = asyncio.Event()
    seen: list[str] = []
    ack = MessageStore.ack

    def fail(self: MessageStore, tag: DeliveryTag) -> bool:
        number, _, deliveries = tag
        if (number, deliveries) == (2, 1):
            raise sqlite3.OperationalError("disk I/O error")
        return ack(self, tag)

    @consumers.on("data.created")
    async def take(message: Message[str]) -> None:
        seen.append(message.body)
        if message.body == "slow":
            await go.wait()

    monkeypatch.setattr(MessageStore, "ack", fail)
    async with serving({**sqlite_table, "visibility_timeout": "600ms"}, consumers) as host:
        queue = host.context.get(QUEUE)
        await queue.publish("data.created", "slow")
        await queue.publish("data.created", "fast")
        await wait_until(lambda: seen.count("fast") == 2)
        go.set()
    assert seen.count("slow") == 1


async def test_a_consumer_continues_when_its_file_could_not_be_read(
    sqlite_table: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    consumers = Consumers()
    seen: list[str] = []
    next_due = MessageStore.next_due
    is_broken = True

    def fail(self: MessageStore, name: str) -> float | None:
        if is_broken:
            raise sqlite3.OperationalError("disk I/O error")
        return next_due(self, name)

    @consumers.on("data.created")
    async def take(message: AnyMessage) -> None:
        seen.append(message.id)

    monkeypatch.setattr(MessageStore, "next_due", fail)
    async with serving(sqlite_table, consumers) as host:
        service = host.context.get(SERVICE)
        await wait_until(lambda: service.last_error)
        assert service.last_error.endswith("disk I/O error")
        await host.context.get(QUEUE).publish("data.created", 1)
        is_broken = False
        await wait_until(lambda: seen and not service.last_error)


async def test_handlers_are_cancelled_at_shutdown_while_messages_cannot_be_requeued(
    sqlite_table: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    consumers = Consumers()
    began, cancelled = asyncio.Event(), asyncio.Event()
    requeue = SqliteDelivery.requeue

    async def wait_and_requeue(self: SqliteDelivery) -> None:
        await cancelled.wait()
        await requeue(self)

    @consumers.on("data.created", concurrency=1)
    async def take(message: AnyMessage) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    monkeypatch.setattr(SqliteDelivery, "requeue", wait_and_requeue)
    async with serving({**sqlite_table, "drain_timeout": "200ms"}, consumers) as host:
        await host.context.get(QUEUE).publish_many("data.created", [1, 2, 3])
        await began.wait()
    assert cancelled.is_set()


async def test_a_message_without_an_id_has_no_status_and_cannot_be_cancelled(sqlite_table: dict[str, Any]) -> None:
    consumers = Consumers()
    seen: list[int] = []

    @consumers.on("data.created", result_ttl="1h")
    async def take(message: Message[int]) -> None:
        seen.append(message.body)

    store = MessageStore(sqlite_table["url"].removeprefix("sqlite:///"), "normal")
    store.open()
    async with serving(sqlite_table, consumers) as host:
        queue = host.context.get(QUEUE)
        for number in (1, 2):
            store.insert([Envelope("data.created", "", b"%d" % number, 0.0)])
            await wait_until(lambda number=number: number in seen)  # type: ignore[misc]  # a loop variable
            assert await queue.cancel("") is False
        assert await queue.status("") is None
    store.close()


async def _time_out(queue: Any, number: int) -> None:
    with pytest.raises(PublishFailed, match="not stored within"):
        await queue.publish("data.created", number, timeout="100ms")
