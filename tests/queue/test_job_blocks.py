"""Jobs on the page of the queues, and their cancellation, over every transport."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from scalekit import Unavailable
from scalekit.contracts import QUEUE, Consumers, JobState
from scalekit_queue.jobs.store import JobStore
from tests.console.clients import Browser, console_app
from tests.queue.conftest import Tables
from tests.queue.harness import AnyMessage, consumers_target
from tests.queue.jobs.harness import wait_state, wait_status
from tests.queue.test_pages import act, blocks, rows

pytestmark = pytest.mark.anyio
SECRET = "hunter2-9f8e7d"


def console(tables: Tables, consumers: Consumers) -> Any:
    others = {name: table for name, table in tables.items() if name != "queue"}
    return console_app({**others, "queue": {**tables["queue"], "consumers": consumers_target(consumers)}})


async def jobs(browser: Browser) -> dict[str, dict[str, Any]]:
    return {row["job"]: row for row in rows(await blocks(browser), "Jobs")}


async def test_running_and_recent_jobs_are_shown_and_cancelled(tables: Tables) -> None:
    consumers = Consumers()

    @consumers.on("resize", result_ttl="1h", retry=[], concurrency=2)
    async def resize(message: AnyMessage) -> str:
        if message.body == "fails":
            raise ValueError(f"no picture: password={SECRET}")
        if message.body == "waits":
            message.progress(0.4, f"resizing, password={SECRET}")
            await asyncio.Event().wait()
        return "done"

    @consumers.on("later", result_ttl="1h")
    async def later(message: AnyMessage) -> None: ...

    async with console(tables, consumers) as browser:
        queue = browser.app.context.get(QUEUE)
        done = await queue.publish("resize", "a")
        await wait_state(queue, done, JobState.SUCCEEDED)
        failed = await queue.publish("resize", "fails")
        await wait_state(queue, failed, JobState.FAILED)
        running, delayed = await queue.publish("resize", "waits"), await queue.publish("later", "b", delay="1h")
        await wait_status(queue, running, lambda status: status.progress)
        assert SECRET.encode() not in (await browser.get("/-/queues")).body
        found = await jobs(browser)
        assert list(found) == [delayed, running, failed, done], "the latest first, those that have not ended before all"
        states = {each: found[each]["state"]["text"] for each in found}
        assert states == {running: "running", delayed: "queued", done: "succeeded", failed: "failed"}
        assert (found[running]["consumer"], found[running]["progress"], found[running]["attempt"]) == ("resize", 0.4, 1)
        assert found[delayed]["progress"] is None
        assert found[done]["action"] is None
        assert found[running]["age"] >= found[running]["duration"] >= 0
        assert found[failed]["error"].startswith("ValueError: no picture")

        assert (await act(browser, "cancel-job", job=running))["message"] == f"cancelled {running}"
        assert (await act(browser, "cancel-job", job=delayed))["message"] == f"cancelled {delayed}"
        await wait_state(queue, running, JobState.CANCELLED)
        assert (await act(browser, "cancel-job", job=done))["message"] == f"{done} had ended, or is unknown"
        assert {row["state"]["text"] for row in (await jobs(browser)).values()} == {"succeeded", "failed", "cancelled"}


async def test_a_service_without_jobs_has_no_table_of_them(sqlite_table: dict[str, Any]) -> None:
    consumers = Consumers()

    @consumers.on("resize")
    async def resize(message: AnyMessage) -> None: ...

    async with console({"queue": sqlite_table}, consumers) as browser:
        assert "Jobs" not in [each.get("title") for each in await blocks(browser)]
        response = await browser.post_json("/-/queues/cancel-job", {"job": "a"})
        assert response.body == b"/-/queues/cancel-job", "of the application: there is no such action"


async def test_jobs_that_cannot_be_read_are_reported(
    sqlite_table: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    consumers = Consumers()

    @consumers.on("resize", result_ttl="1h")
    async def resize(message: AnyMessage) -> None: ...

    async def fail(self: JobStore, limit: int) -> Any:
        raise Unavailable("the store of jobs does not respond")

    monkeypatch.setattr(JobStore, "read_recent", fail)
    async with console({"queue": sqlite_table}, consumers) as browser:
        titles = [each.get("text") for each in await blocks(browser)]
    assert "The states of the jobs cannot be read." in titles
