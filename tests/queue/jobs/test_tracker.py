"""The status, the result and the cancellation of messages, in every store of jobs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from time import time

import pytest

from scalekit.contracts import DATABASE, QUEUE, Consumers, JobState, Message
from scalekit.host import Host
from scalekit.telemetry import TELEMETRY
from scalekit_queue.jobs.job import Job
from scalekit_queue.metrics import CONSUMED, ConsumeOutcome
from tests.queue.conftest import BROKER, BROKER_AND_SERVER, Tables
from tests.queue.harness import LIMIT, AnyMessage, wait_until
from tests.queue.jobs.harness import serve, wait_state, wait_status

pytestmark = pytest.mark.anyio


def settled_as_cancelled(host: Host) -> bool:
    series = host.context.get(TELEMETRY).recorded(CONSUMED).get(("resize", "cancelled"))
    return series is not None and series.value == 1


async def test_a_job_is_queued_then_runs_with_progress_and_keeps_its_result(tables: Tables) -> None:
    consumers = Consumers()
    go = asyncio.Event()

    @consumers.on("resize", result_ttl="1h", concurrency=1)
    async def resize(message: Message[str]) -> dict[str, str]:
        message.progress(0.4, "resizing")
        await go.wait()
        return {"done": message.body}

    before = time()
    async with serve(tables, consumers) as host:
        queue = host.context.get(QUEUE)
        first, second = await queue.publish("resize", "a"), await queue.publish("resize", "b")
        running = await wait_status(queue, first, lambda status: status.progress)
        assert (running.state, running.attempt, running.note) == (JobState.RUNNING, 1, "resizing")
        assert (running.progress, running.result, running.ended, running.name) == (0.4, None, None, "resize")
        waiting = await queue.status(second)
        assert waiting is not None
        assert (waiting.state, waiting.attempt, waiting.started) == (JobState.QUEUED, 0, None)
        go.set()
        done = await wait_state(queue, second, JobState.SUCCEEDED)
        assert (done.result, done.progress, done.error) == ({"done": "b"}, 1.0, "")
        assert done.started is not None
        assert done.ended is not None
        assert before - 1 <= done.published <= done.started <= done.ended <= time()
        assert await queue.cancel(second) is False
        for unknown in ("unknown", "\0", "\ud800"):
            assert await queue.status(unknown) is None
            assert await queue.cancel(unknown) is False


async def test_a_failing_job_is_retrying_then_failed_with_the_error(tables: Tables) -> None:
    consumers = Consumers()
    attempts: list[int] = []

    @consumers.on("resize", result_ttl="1h", retry=["1s"])
    async def resize(message: AnyMessage) -> None:
        attempts.append(message.attempt)
        raise ValueError("no picture \udcff\0")

    async with serve(tables, consumers) as host:
        queue = host.context.get(QUEUE)
        identifier = await queue.publish("resize", "a")
        retrying = await wait_state(queue, identifier, JobState.RETRYING)
        assert (retrying.attempt, retrying.error, retrying.ended) == (1, "ValueError: no picture ?", None)
        failed = await wait_state(queue, identifier, JobState.FAILED)
        assert (failed.attempt, failed.error, failed.result) == (2, "ValueError: no picture ?", None)
    assert attempts == [1, 2]


async def test_a_running_handler_is_cancelled_and_its_message_is_removed(tables: Tables) -> None:
    consumers = Consumers()
    events: list[str] = []
    go = asyncio.Event()

    @consumers.on("resize", result_ttl="1h")
    async def resize(message: AnyMessage) -> None:
        events.append("began")
        try:
            await asyncio.Event().wait()
        finally:
            await go.wait()
            events.append("ended")

    async with serve(tables, consumers) as host:
        queue = host.context.get(QUEUE)
        identifier = await queue.publish("resize", "a")
        await wait_state(queue, identifier, JobState.RUNNING)
        assert await queue.cancel(identifier) is True
        assert await queue.cancel(identifier) is True  # it has not ended
        go.set()
        cancelled = await wait_state(queue, identifier, JobState.CANCELLED)
        assert cancelled.ended is not None
        assert await queue.cancel(identifier) is False
        await wait_until(lambda: settled_as_cancelled(host))
    assert events == ["began", "ended"]
    async with serve(tables, consumers, drain_timeout="100ms") as host:
        await host.context.get(QUEUE).publish("resize", "b")
        await wait_until(lambda: len(events) == 3)
    assert events == ["began", "ended", "began", "ended"]  # the other message only


async def test_a_queued_message_that_is_cancelled_is_not_handled(tables: Tables) -> None:
    consumers = Consumers()
    seen: list[str] = []

    @consumers.on("resize", result_ttl="1h")
    async def resize(message: Message[str]) -> None:
        seen.append(message.body)

    async with serve(tables, consumers, consume_in="workers") as host:
        queue = host.context.get(QUEUE)
        identifier = await queue.publish("resize", "cancelled")
        again = await queue.publish("resize", "again", key="again")
        assert await queue.cancel(identifier)
        assert await queue.cancel(again)
        await queue.publish("resize", "published again", key="again")
    async with serve(tables, consumers) as host:
        queue = host.context.get(QUEUE)
        await wait_status(queue, identifier, lambda status: status.attempt == 0 and status.ended)
        await wait_until(lambda: seen)
        cancelled = await queue.status(identifier)
        assert cancelled is not None
        assert (cancelled.state, cancelled.started) == (JobState.CANCELLED, None)
    assert "cancelled" not in seen
    assert "published again" in seen


@pytest.mark.parametrize("tables", [BROKER, BROKER_AND_SERVER], indirect=True)
async def test_a_message_in_the_outbox_that_is_cancelled_is_not_handled(tables: Tables, no_start_wait: None) -> None:
    consumers = Consumers()
    seen: list[str] = []

    @consumers.on("resize", result_ttl="1h", concurrency=1)
    async def resize(message: AnyMessage) -> None:
        seen.append(message.id)

    unreachable: Tables = {**tables, "queue": {**tables["queue"], "url": "amqp://guest@127.0.0.1:1"}}
    async with serve(unreachable, consumers) as host:
        queue, database = host.context.get(QUEUE), host.context.get(DATABASE)
        async with database.transaction():
            ids = [await queue.publish_after(database, "resize", each) for each in "ab"]
        assert await queue.cancel(ids[0])
    async with serve(tables, consumers) as host:
        queue = host.context.get(QUEUE)
        await wait_state(queue, ids[1], JobState.SUCCEEDED)
        last = await queue.publish("resize", "c")
        await wait_state(queue, last, JobState.SUCCEEDED)
        await wait_until(lambda: settled_as_cancelled(host))
        await wait_state(queue, ids[0], JobState.CANCELLED)
    assert seen == [ids[1], last]


async def test_a_retry_is_not_delivered_once_it_is_cancelled(tables: Tables) -> None:
    consumers = Consumers()
    attempts: list[int] = []

    @consumers.on("resize", result_ttl="1h", retry=["500ms"])
    async def resize(message: AnyMessage) -> None:
        attempts.append(message.attempt)
        raise ValueError

    async with serve(tables, consumers) as host:
        queue = host.context.get(QUEUE)
        identifier = await queue.publish("resize", "a")
        await wait_state(queue, identifier, JobState.RETRYING)
        assert await queue.cancel(identifier)
        await wait_until(lambda: settled_as_cancelled(host))
        assert (await wait_state(queue, identifier, JobState.CANCELLED)).attempt == 1
    assert attempts == [1]


async def test_a_handler_interrupted_by_the_shutdown_runs_again(tables: Tables) -> None:
    consumers = Consumers()
    attempts: list[int] = []

    @consumers.on("resize", result_ttl="1h")
    async def resize(message: AnyMessage) -> int:
        attempts.append(message.attempt)
        if len(attempts) == 1:
            await asyncio.Event().wait()
        return len(attempts)

    async with serve(tables, consumers, drain_timeout="100ms") as host:
        identifier = await host.context.get(QUEUE).publish("resize", "a")
        await wait_until(lambda: attempts)
    async with serve(tables, consume_in="workers") as host:
        assert (await wait_state(host.context.get(QUEUE), identifier, JobState.RETRYING)).attempt == 1
    async with serve(tables, consumers) as host:
        done = await wait_state(host.context.get(QUEUE), identifier, JobState.SUCCEEDED)
    assert (done.result, attempts) == (2, [1, 1])


async def test_a_status_expires_after_result_ttl(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scalekit_queue.jobs.tracker.CLEANUP_INTERVAL", 0.1)
    consumers = Consumers()

    @consumers.on("resize", result_ttl="300ms")
    async def resize(message: AnyMessage) -> None:
        pass

    async with serve(tables, consumers) as host:
        queue = host.context.get(QUEUE)
        identifier = await queue.publish("resize", "a")
        await wait_state(queue, identifier, JobState.SUCCEEDED)
        async with asyncio.timeout(LIMIT):
            while await queue.status(identifier) is not None:
                await asyncio.sleep(0.05)


async def test_a_job_is_stored_with_the_transaction_that_publishes_it(tables: Tables, tmp_path: Path) -> None:
    consumers = Consumers()

    @consumers.on("resize", result_ttl="1h")
    async def resize(message: AnyMessage) -> str:
        return "done"

    with_database: Tables = {"pool": {"url": f"sqlite:///{tmp_path}/other.db"}, **tables}
    async with serve(with_database, consumers) as host:
        queue, database = host.context.get(QUEUE), host.context.get(DATABASE)
        async with database.transaction(force_rollback=True):
            lost = await queue.publish_after(database, "resize", "a")
        async with database.transaction():
            identifier = await queue.publish_after(database, "resize", "b")
        await wait_state(queue, identifier, JobState.SUCCEEDED)
        assert await queue.status(lost) is None


async def test_a_consumer_without_result_ttl_has_no_status(tables: Tables) -> None:
    consumers = Consumers()
    seen: list[str] = []

    @consumers.on("resize")
    async def resize(message: AnyMessage) -> str:
        message.progress(0.5)
        seen.append(message.id)
        return "unused"

    async with serve(tables, consumers) as host:
        queue = host.context.get(QUEUE)
        identifier = await queue.publish("resize", "a")
        await wait_until(lambda: seen)
        assert await queue.status(identifier) is None
        assert await queue.cancel(identifier) is False


async def test_a_result_is_kept_of_a_handler_whose_process_ends_before_it_records_the_end(
    tables: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    consumers = Consumers()
    runs: list[str] = []

    @consumers.on("resize", result_ttl="1h", dedupe="1h")
    async def resize(message: AnyMessage) -> str:
        runs.append(message.id)
        return "done"

    async def never(job: Job, outcome: ConsumeOutcome, error: str) -> bool:
        ending.set()
        await asyncio.Event().wait()
        return True

    ending = asyncio.Event()
    with_database: Tables = {"pool": {"url": f"sqlite:///{tmp_path}/other.db"}, **tables}
    with monkeypatch.context() as patch:
        patch.setattr(Job, "end", never)
        async with serve(with_database, consumers, drain_timeout="100ms") as host:
            identifier = await host.context.get(QUEUE).publish("resize", "a")
            await ending.wait()
    async with serve(with_database, consumers) as host:
        done = await wait_state(host.context.get(QUEUE), identifier, JobState.SUCCEEDED)
    assert runs == [identifier]
    assert done.result == ("done" if "pool" in tables else None)  # a file commits apart from the pool's database


async def test_a_message_that_is_published_again_with_its_key_has_no_earlier_result(
    tables: Tables,
) -> None:
    consumers = Consumers()

    @consumers.on("resize", result_ttl="200ms")
    async def resize(message: Message[str | None]) -> str | None:
        return message.body

    async with serve(tables, consumers) as host:
        queue = host.context.get(QUEUE)
        await queue.publish("resize", "first", key="seven")
        assert (await wait_state(queue, "seven", JobState.SUCCEEDED)).result == "first"
        async with asyncio.timeout(LIMIT):
            while await queue.status("seven") is not None:
                await asyncio.sleep(0.05)
        await queue.publish("resize", None, key="seven")
        assert (await wait_state(queue, "seven", JobState.SUCCEEDED)).result is None
