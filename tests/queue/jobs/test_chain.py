"""Messages that follow others, on every transport."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from scalekit.contracts import DATABASE, QUEUE, Consumers, JobState, Then
from tests.queue.conftest import BROKER_AND_SERVER, POSTGRES, Tables
from tests.queue.harness import AnyMessage, serving, wait_until
from tests.queue.jobs.harness import serve, wait_state

pytestmark = pytest.mark.anyio
SEQUENCE = [Then("notify", {"user": 7}), Then("log")]


class Recorded(Consumers):
    """The consumers of three messages that follow each other; they deduplicate within *dedupe*."""

    def __init__(self, dedupe: str | None = None) -> None:
        super().__init__()
        self.seen: list[tuple[str, str, Any]] = []
        self.failures = 0
        self.on("resize", retry=["100ms"], dedupe=dedupe)(self.resize)
        self.on("notify", dedupe=dedupe)(self.notify)
        self.on("log", result_ttl="1h", dedupe=dedupe)(self.log)

    async def resize(self, message: AnyMessage) -> dict[str, int]:
        self.seen.append((message.name, message.id, message.body))
        if self.failures:
            self.failures -= 1
            raise ValueError("no picture")
        return {"width": 9}

    async def notify(self, message: AnyMessage) -> str:
        self.seen.append((message.name, message.id, message.body))
        return "sent"

    async def log(self, message: AnyMessage) -> None:
        self.seen.append((message.name, message.id, message.body))

    def expected(self, identifier: str) -> list[tuple[str, str, Any]]:
        return [
            ("resize", identifier, "a"),
            ("notify", f"{identifier}.1", {"user": 7, "result": {"width": 9}}),
            ("log", f"{identifier}.2", "sent"),
        ]


async def test_messages_follow_each_other_with_the_result_of_the_one_before(tables: Tables) -> None:
    consumers = Recorded()
    async with serve(tables, consumers) as host:
        queue = host.context.get(QUEUE)
        identifier = await queue.publish("resize", "a", then=SEQUENCE)
        await wait_state(queue, f"{identifier}.2", JobState.SUCCEEDED)
    assert consumers.seen == consumers.expected(identifier)


async def test_a_message_follows_once_the_handler_has_succeeded(tables: Tables) -> None:
    consumers = Recorded()
    consumers.failures = 1
    async with serve(tables, consumers) as host:
        queue = host.context.get(QUEUE)
        identifier = await queue.publish("resize", "a", then=SEQUENCE)
        await wait_state(queue, f"{identifier}.2", JobState.SUCCEEDED)
    assert consumers.seen == [("resize", identifier, "a"), *consumers.expected(identifier)]


async def test_nothing_follows_a_dead_letter(tables: Tables) -> None:
    consumers = Recorded()
    consumers.failures = 2
    async with serve(tables, consumers) as host:
        queue = host.context.get(QUEUE)
        await queue.publish("resize", "a", then=SEQUENCE)
        await wait_until(lambda: not consumers.failures)
        other = await queue.publish("log", "end")
        await wait_state(queue, other, JobState.SUCCEEDED)
    assert [name for name, _, _ in consumers.seen] == ["resize", "resize", "log"]


async def test_the_transaction_of_the_handler_stores_what_follows(tables: Tables, tmp_path: Path) -> None:
    consumers = Recorded(dedupe="1h")
    with_database: Tables = {"pool": {"url": f"sqlite:///{tmp_path}/other.db"}, **tables}
    async with serve(with_database, consumers) as host:
        queue, database = host.context.get(QUEUE), host.context.get(DATABASE)
        async with database.transaction():
            identifier = await queue.publish_after(database, "resize", "a", then=SEQUENCE)
        await wait_state(queue, f"{identifier}.2", JobState.SUCCEEDED)
    assert consumers.seen == consumers.expected(identifier)


async def test_a_handler_whose_result_cannot_follow_is_rolled_back(tables: Tables, tmp_path: Path) -> None:
    consumers = Consumers()

    @consumers.on("resize", retry=[], dedupe="1h", result_ttl="1h")
    async def resize(message: AnyMessage) -> object:
        await message.context.get(DATABASE).execute("INSERT INTO effects VALUES (1)")
        return object()

    with_database: Tables = {"pool": {"url": f"sqlite:///{tmp_path}/other.db"}, **tables}
    async with serve(with_database, consumers) as host:
        queue, database = host.context.get(QUEUE), host.context.get(DATABASE)
        await database.execute("CREATE TABLE effects (number INTEGER)")
        identifier = await queue.publish("resize", "a", then=Then("log"))
        failed = await wait_state(queue, identifier, JobState.FAILED)
        assert "JSON cannot represent the value" in failed.error
        assert await database.fetch_val("SELECT count(*) FROM effects") == 0


@pytest.mark.parametrize("tables", [POSTGRES, BROKER_AND_SERVER], indirect=True)
async def test_nothing_follows_a_handler_whose_transaction_is_not_committed(tables: Tables) -> None:
    consumers = Consumers()
    seen: list[str] = []

    @consumers.on("resize", retry=["100ms"], dedupe="1h", result_ttl="1h")
    async def resize(message: AnyMessage) -> None:
        for _ in range(3 - message.attempt):
            await message.context.get(DATABASE).execute("INSERT INTO effects VALUES (1)")

    @consumers.on("log", concurrency=1)
    async def log(message: AnyMessage) -> None:
        seen.append(message.id)

    async with serve(tables, consumers) as host:
        queue, database = host.context.get(QUEUE), host.context.get(DATABASE)
        await database.execute("CREATE TABLE effects (number INTEGER UNIQUE DEFERRABLE INITIALLY DEFERRED)")
        identifier = await queue.publish("resize", "a", then=Then("log"))
        assert (await wait_state(queue, identifier, JobState.SUCCEEDED)).attempt == 2
        await wait_until(lambda: seen)
        last = await queue.publish("log", "end")
        await wait_until(lambda: last in seen)
    assert seen == [f"{identifier}.1", last]


async def test_a_message_that_is_handled_twice_is_followed_by_one_id(
    tables: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    consumers = Consumers()
    seen: list[str] = []

    @consumers.on("resize")
    async def resize(message: AnyMessage) -> None:
        seen.append(message.id)

    @consumers.on("log", dedupe="1h", concurrency=1)
    async def log(message: AnyMessage) -> None:
        seen.append(message.id)

    async def never(*arguments: object) -> bool:
        ending.set()
        await asyncio.Event().wait()
        return True

    ending = asyncio.Event()
    with_database: Tables = {"pool": {"url": f"sqlite:///{tmp_path}/other.db"}, **tables}
    with monkeypatch.context() as patch:  # the process ends before the message is settled
        patch.setattr("scalekit_queue.consumer.ConsumerRunner._end", never)
        async with serve(with_database, consumers, drain_timeout="100ms") as host:
            identifier = await host.context.get(QUEUE).publish("resize", "a", then=Then("log"))
            await ending.wait()
    async with serve(with_database, consumers) as host:
        await wait_until(lambda: seen.count(identifier) == 2)
        last = await host.context.get(QUEUE).publish("log", "end", delay="500ms")
        await wait_until(lambda: last in seen)
    assert sorted(seen) == sorted([identifier, identifier, f"{identifier}.1", last])


@pytest.mark.parametrize(
    ("then", "options", "message"),
    [
        (Then("no spaces"), {}, "expected a name of letters"),
        (Then("log", [1]), {}, "must be an object without 'result'"),
        (Then("log", {"result": 1}), {}, "must be an object without 'result'"),
        (Then("log", priority=10), {}, "expected a priority from 0 to 9"),
        (Then("log", delay="31d"), {}, "not between 0 and 30 days"),
        (Then("log", {"long": "x" * 17_000}), {}, "more than 16384 bytes"),
        ([Then("log")] * 101, {}, "more than 100"),
        (Then("log"), {"key": "k" * 121}, "a key of at most 120 characters"),
    ],
)
async def test_an_invalid_message_cannot_follow(
    sqlite_table: dict[str, Any], then: Any, options: dict[str, Any], message: str
) -> None:
    async with serving(sqlite_table) as host:
        with pytest.raises(ValueError, match=message):
            await host.context.get(QUEUE).publish("resize", 1, then=then, **options)
