"""A message that is delivered again and again without being settled ends: its status, its key and its group, too."""

from __future__ import annotations

import asyncio
from pathlib import Path
from time import time
from typing import Any

import pytest

from scalekit.contracts import DATABASE, QUEUE, Consumers, JobState, Then
from scalekit.host import Host
from scalekit.telemetry import TELEMETRY
from scalekit_queue.admin import open_admin
from scalekit_queue.config import QueueConfig
from scalekit_queue.envelope import REASON
from scalekit_queue.metrics import DEAD_LETTERED
from scalekit_queue.postgres.database import QUEUE_DATABASE
from scalekit_queue.postgres.store import PostgresStore
from scalekit_queue.sqlite.store import MessageStore
from scalekit_queue.transport import MAX_DELIVERIES
from tests.queue.conftest import BROKER4, TABLES, Tables
from tests.queue.harness import LIMIT, AnyMessage, open_queue_admin, wait_until
from tests.queue.jobs.harness import serve, wait_state

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("tables", [*TABLES, BROKER4], indirect=True)]
INBOX = "INSERT INTO scalekit_queue_inbox (name, id, seen) VALUES (:name, :id, :now)"
ERROR = "delivered 20 times without being settled"


async def deliver_unsettled(host: Host, table: dict[str, Any], name: str) -> None:
    """Deliver the first message named *name* as often as allowed, as if its consumers were killed each time."""
    if table["url"].startswith("sqlite"):
        store = MessageStore(table["url"].removeprefix("sqlite:///"), "normal")
        for _ in range(MAX_DELIVERIES):
            assert store.receive(name, "killed", 1, visibility_timeout=-1.0)
        store.close()
    elif table["url"] == "database:":
        for lease in range(MAX_DELIVERIES):
            postgres = PostgresStore(host.context.get(QUEUE_DATABASE), table.get("prefix", ""), 2**61 + lease)
            await postgres.renew_lease(60.0)
            assert await postgres.receive(name, 1)
            await postgres.end_lease()
    else:
        async with open_queue_admin(table) as admin:
            for _ in range(MAX_DELIVERIES):  # each is a delivery whose channel is closed
                assert await admin.peek(name, False, 1)


async def test_a_message_that_crashes_its_consumers_fails_and_completes_its_group(tables: Tables) -> None:
    consumers = Consumers()
    handled: list[AnyMessage] = []
    completed: list[Any] = []

    @consumers.on("resize", result_ttl="1h", retry=["1h"])
    async def resize(message: AnyMessage) -> None:
        handled.append(message)

    @consumers.on("complete")
    async def complete(message: AnyMessage) -> None:
        completed.append(message.body)

    async with serve(tables, consumers, consume_in="workers") as host:
        queue = host.context.get(QUEUE)
        group = await queue.publish_group([("resize", "a")], then=Then("complete"))
        await deliver_unsettled(host, tables["queue"], "resize")
    async with serve(tables, consumers) as host:
        queue = host.context.get(QUEUE)
        status = await wait_state(queue, f"{group}:1", JobState.FAILED)
        assert (status.error, status.result) == (ERROR, None)
        await wait_until(lambda: completed)
        assert host.context.get(TELEMETRY).recorded(DEAD_LETTERED)["resize", "unsettled"].value == 1
        async with open_admin(host.context.config(QueueConfig), host.context) as admin, asyncio.timeout(LIMIT):
            while not (letters := await admin.peek("resize", True, 10)):
                await asyncio.sleep(0.02)
        assert [each.headers[REASON] for each in letters] == [ERROR]
    assert completed == [{"succeeded": 0, "failed": 1, "cancelled": 0}]
    assert handled == []


async def test_a_message_whose_handler_has_committed_succeeds_although_it_was_not_settled(
    tables: Tables, tmp_path: Path
) -> None:
    consumers = Consumers()

    @consumers.on("resize", result_ttl="1h", dedupe="1h")
    async def resize(message: AnyMessage) -> None:
        raise AssertionError("it is handled already")

    with_database: Tables = {"pool": {"url": f"sqlite:///{tmp_path}/other.db"}, **tables}
    async with serve(with_database, consumers, consume_in="workers") as host:
        identifier = await host.context.get(QUEUE).publish("resize", "a")
        await deliver_unsettled(host, tables["queue"], "resize")
        values = {"name": tables["queue"].get("prefix", "") + "resize", "id": identifier, "now": time()}
        await host.context.get(DATABASE).execute(INBOX, values)
    async with serve(with_database, consumers) as host:
        status = await wait_state(host.context.get(QUEUE), identifier, JobState.SUCCEEDED)
        assert status.error == ""
        assert ("resize", "unsettled") not in host.context.get(TELEMETRY).recorded(DEAD_LETTERED)


async def test_the_key_of_a_message_that_crashes_its_consumers_is_free_again(tables: Tables) -> None:
    consumers = Consumers()
    bodies: list[Any] = []

    @consumers.on("resize", retry=["1h"])
    async def resize(message: AnyMessage) -> None:
        bodies.append(message.id)

    async with serve(tables, consumers, consume_in="workers") as host:
        queue = host.context.get(QUEUE)
        crashing = await queue.publish("resize", "a", unique_for="1h")
        assert await queue.publish("resize", "a", unique_for="1h") == crashing
        await deliver_unsettled(host, tables["queue"], "resize")
    async with serve(tables, consumers) as host:
        queue = host.context.get(QUEUE)
        published = crashing
        while published == crashing:
            published = await queue.publish("resize", "a", unique_for="1h")
        await wait_until(lambda: bodies)
    assert bodies == [published]
