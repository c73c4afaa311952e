"""The inbox drops duplicates in the transaction of the handler, on both databases."""

from __future__ import annotations

from typing import Any

import pytest

from scalekit.contracts import DATABASE, QUEUE, Consumers, DatabaseSchema, Message
from scalekit.errors import ConfigError
from scalekit_queue.inbox import DELETE_BATCH, INBOX_TABLE, Inbox
from tests.queue.harness import AnyMessage, serving, wait_until

pytestmark = pytest.mark.anyio
Table = dict[str, Any]


async def test_a_duplicate_message_has_its_effect_once(table: Table, database_url: str) -> None:
    consumers = Consumers()
    calls: list[int] = []

    @consumers.on("data.created", dedupe="1h", retry=["50ms"])
    async def take(message: Message[int]) -> None:
        calls.append(message.body)
        await message.context.get(DATABASE).execute("INSERT INTO effects VALUES (:n)", {"n": message.body})
        if calls.count(2) == 1 and message.body == 2:
            raise ConnectionError  # rolls back its write together with the inbox row

    async with serving(table, pool={"url": database_url}) as host:
        await host.context.get(DATABASE).execute("CREATE TABLE effects (number integer)")
    async with serving(table, consumers, pool={"url": database_url}) as host:
        queue = host.context.get(QUEUE)
        for number in (1, 1, 2, 1, 3):
            await queue.publish("data.created", number, key=f"item-{number}")
        await wait_until(lambda: calls.count(2) == 2 and 3 in calls)
        await queue.publish("data.created", 1, key="item-1")
    async with serving(table, pool={"url": database_url}) as host:
        rows = await host.context.get(DATABASE).fetch_all("SELECT number FROM effects ORDER BY number")
    assert [row[0] for row in rows] == [1, 2, 3]
    assert sorted(calls) == [1, 2, 2, 3]


async def test_services_with_different_prefixes_do_not_drop_each_others_messages(
    sqlite_table: Table, database_url: str
) -> None:
    seen: list[str] = []

    def consumers_of(service: str) -> Consumers:
        consumers = Consumers()

        @consumers.on("data.created", dedupe="1h")
        async def take(message: AnyMessage) -> None:
            seen.append(service)

        return consumers

    for service in ("shop.", "bank."):
        table = {"url": f"{sqlite_table['url']}.{service}", "prefix": service}
        async with serving(table, consumers_of(service), pool={"url": database_url}) as host:
            await host.context.get(QUEUE).publish("data.created", 1, key="order-7")
            await wait_until(lambda service=service: service in seen)  # type: ignore[misc]  # a loop variable
    assert seen == ["shop.", "bank."]


async def test_all_expired_ids_are_deleted_in_batches(
    sqlite_table: Table, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scalekit_queue.inbox.BATCH_INTERVAL", 0.0)
    consumers = Consumers()

    @consumers.on("data.created", dedupe="1h")
    async def take(message: AnyMessage) -> None: ...

    async with serving(sqlite_table, consumers, pool={"url": database_url}) as host:
        database = host.context.get(DATABASE)
        rows = [{"name": "data.created", "id": str(number), "seen": 1.0} for number in range(2 * DELETE_BATCH)]
        await database.insert_many("scalekit_queue_inbox", [*rows, {"name": "other", "id": "1", "seen": 1.0}])
        await Inbox(database, DatabaseSchema("queue", database, INBOX_TABLE), "data.created", 3600.0).delete_expired()
        assert [row[0] for row in await database.fetch_all("SELECT name FROM scalekit_queue_inbox")] == ["other"]


async def test_a_consumer_with_dedupe_needs_a_database(sqlite_table: Table) -> None:
    consumers = Consumers()

    @consumers.on("data.created", dedupe="1h")
    async def take(message: AnyMessage) -> None: ...

    with pytest.raises(ConfigError, match=r"'data\.created' has dedupe, which needs a database"):
        async with serving(sqlite_table, consumers):
            pass
