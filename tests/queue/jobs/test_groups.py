"""Groups of messages, and the message that is published once all of them have ended, on every transport."""

from __future__ import annotations

import asyncio
from pathlib import Path
from time import time
from typing import Any

import pytest

from scalekit.contracts import DATABASE, QUEUE, Consumers, JobState, PublishFailed, Then
from scalekit_queue.envelope import GROUP, Envelope
from scalekit_queue.metrics import ConsumeOutcome
from scalekit_queue.service import SERVICE
from tests.queue.conftest import Tables
from tests.queue.harness import AnyMessage, serving, wait_until
from tests.queue.jobs.harness import serve, wait_state

pytestmark = pytest.mark.anyio
UNREACHABLE: dict[str, Any] = {"url": "amqp://guest@127.0.0.1:1", "outbox_interval": "1h"}


class Recorded(Consumers):
    """The consumers of the messages of a group, of the one that follows it, and of the one after that."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.completed: list[tuple[str, Any]] = []
        self.on("resize", retry=[])(self.resize)
        self.on("scan")(self.scan)
        self.on("complete")(self.complete)
        self.on("log", result_ttl="1h")(self.scan)

    async def resize(self, message: AnyMessage) -> None:
        self.ids.append(message.id)
        if message.body == "fails":
            raise ValueError("no picture")

    async def scan(self, message: AnyMessage) -> None:
        self.ids.append(message.id)

    async def complete(self, message: AnyMessage) -> str:
        self.completed.append((message.id, message.body))
        return "complete"


async def test_a_message_follows_once_all_of_a_group_have_ended(tables: Tables) -> None:
    consumers = Recorded()
    messages = [("resize", "a"), ("resize", "fails"), ("scan", "b"), *(("resize", "c") for _ in range(17))]
    result = {"succeeded": 19, "failed": 1, "cancelled": 0}
    groups = []
    async with serve(tables, consumers) as host:
        queue = host.context.get(QUEUE)
        for _ in range(3):
            group = await queue.publish_group(messages, then=[Then("complete", {"album": 7}), Then("log")])
            await wait_state(queue, f"{group}.1", JobState.SUCCEEDED)
            groups.append(group)
    assert consumers.completed == [(group, {"album": 7, "result": result}) for group in groups]
    members = {f"{group}:{number}" for group in groups for number in range(1, 21)}
    assert set(consumers.ids) == members | {f"{group}.1" for group in groups}


async def test_a_message_that_ends_twice_is_counted_once(tables: Tables) -> None:
    consumers = Recorded()
    async with serve(tables, consumers, consume_in="workers") as host:
        messages = [("elsewhere", each) for each in range(3)]
        group = await host.context.get(QUEUE).publish_group(messages, then=Then("complete"))
        stores = host.context.get(SERVICE).stores
        assert stores is not None
        a, b, c = (Envelope("elsewhere", f"{group}:{each}", b"", time(), {GROUP: group}) for each in (1, 2, 3))
        repeated = [(a, "done"), (a, "duplicate"), (b, "retried"), (c, "requeued")]
        together = [(b, "cancelled"), (c, "dead_lettered")]
        for envelope, outcome in repeated:
            await stores.groups.on_end(envelope, ConsumeOutcome(outcome), 0.0)
        ends = (stores.groups.on_end(envelope, ConsumeOutcome(outcome), 0.0) for envelope, outcome in together)
        await asyncio.gather(*ends)
        await stores.groups.on_end(c, ConsumeOutcome.DEAD_LETTERED, 0.0)
    async with serve(tables, consumers) as host:
        await wait_until(lambda: consumers.completed)
        queue = host.context.get(QUEUE)
        await wait_state(queue, await queue.publish("log", "end"), JobState.SUCCEEDED)
    assert consumers.completed == [(group, {"succeeded": 1, "failed": 1, "cancelled": 1})]


async def test_the_message_after_a_group_has_a_status_from_its_publication_and_can_be_cancelled(
    tables: Tables,
) -> None:
    consumers = Recorded()
    consumers.on("report", result_ttl="1h")(consumers.complete)
    async with serve(tables, consumers, consume_in="workers") as host:
        queue = host.context.get(QUEUE)
        groups = [await queue.publish_group([("scan", "a"), ("scan", "b")], then=Then("report")) for _ in range(2)]
        states = [await queue.status(group) for group in groups]
        assert [(each.name, each.state, each.attempt) for each in states if each] == [
            ("report", JobState.QUEUED, 0),
            ("report", JobState.QUEUED, 0),
        ]
        assert await queue.cancel(groups[0])
    async with serve(tables, consumers) as host:
        queue = host.context.get(QUEUE)
        assert (await wait_state(queue, groups[1], JobState.SUCCEEDED)).result == "complete"
        last = await queue.publish("log", "end")
        await wait_state(queue, last, JobState.SUCCEEDED)
        assert (await wait_state(queue, groups[0], JobState.CANCELLED)).attempt == 0
    assert [identifier for identifier, _ in consumers.completed] == [groups[1]]


async def test_nothing_follows_a_group_that_could_not_be_published(tmp_path: Path, no_start_wait: None) -> None:
    async with serving(UNREACHABLE, Recorded(), pool={"url": f"sqlite:///{tmp_path}/test.db"}) as host:
        queue, database = host.context.get(QUEUE), host.context.get(DATABASE)
        with pytest.raises(PublishFailed):
            await queue.publish_group([("resize", "a")], then=Then("log"), timeout="500ms")
        assert await database.fetch_val("SELECT count(*) FROM scalekit_queue_jobs_groups") == 0
        assert await database.fetch_val("SELECT count(*) FROM scalekit_queue_jobs") == 0


async def test_groups_need_a_store_a_message_and_one_that_follows(
    sqlite_table: dict[str, Any], no_start_wait: None
) -> None:
    async with serving(UNREACHABLE) as host:
        with pytest.raises(RuntimeError, match="no store of jobs: turn on"):
            await host.context.get(QUEUE).publish_group([("resize", "a")], then=Then("complete"))
    async with serving(sqlite_table) as host:
        for messages, then in (([], Then("complete")), ([("resize", "a")], []), ([("a", 1)] * 10_001, Then("b"))):
            with pytest.raises(ValueError, match="a group has 1 to 10000 messages, and one that follows"):
                await host.context.get(QUEUE).publish_group(messages, then=then)
