"""The inbox drops duplicates in the transaction of the handler, on both databases."""

from __future__ import annotations

from typing import Any

import pytest

from scalekit.contracts import DATABASE, QUEUE, Consumers, Message
from scalekit.errors import ConfigError
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


async def test_a_consumer_with_dedupe_needs_a_database(sqlite_table: Table) -> None:
    consumers = Consumers()

    @consumers.on("data.created", dedupe="1h")
    async def take(message: AnyMessage) -> None: ...

    with pytest.raises(ConfigError, match=r"'data\.created' has dedupe, which needs a database"):
        async with serving(sqlite_table, consumers):
            pass
