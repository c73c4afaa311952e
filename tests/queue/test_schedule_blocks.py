"""Schedules on the page of the queues, and their actions, over every transport."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from scalekit import Unavailable
from scalekit.contracts import Consumers
from scalekit_queue.schedules.scheduler import Scheduler
from tests.console.clients import Browser, console_app
from tests.queue.conftest import Tables
from tests.queue.harness import LIMIT, consumers_target
from tests.queue.test_pages import act, blocks, rows

pytestmark = pytest.mark.anyio


def console(tables: Tables, consumers: Consumers) -> Any:
    others = {name: table for name, table in tables.items() if name != "queue"}
    return console_app({**others, "queue": {**tables["queue"], "consumers": consumers_target(consumers)}})


async def wait_row(browser: Browser, column: str, value: str) -> dict[str, Any]:
    """Return the row of the only schedule once its *column* has *value*."""
    async with asyncio.timeout(LIMIT):
        while True:
            (row,) = rows(await blocks(browser), "Schedules")
            cell = row[column]
            if (cell["text"] if isinstance(cell, dict) else cell) == value:
                return row
            await asyncio.sleep(0.01)


async def test_a_schedule_is_paused_resumed_and_run_on_the_page(tables: Tables) -> None:
    consumers = Consumers()
    go = asyncio.Event()

    @consumers.cron("0 3 29 2 *", tz="Europe/Berlin")
    async def leap() -> None:
        await go.wait()

    async with console(tables, consumers) as browser:
        row = await wait_row(browser, "state", "active")
        assert (row["schedule"], row["rule"]) == ("leap", "cron 0 3 29 2 * Europe/Berlin")
        assert (row["last"], row["outcome"], row["duration"]) == ("", None, None)

        assert (await act(browser, "pause-schedule", schedule="leap"))["message"] == "paused leap"
        assert (await wait_row(browser, "state", "paused"))["next"] == ""
        assert (await act(browser, "trigger", schedule="leap"))["message"] == "triggered leap"
        await wait_row(browser, "outcome", "running")
        assert "leap is running" in (await act(browser, "trigger", schedule="leap"))["message"]
        go.set()
        ended = await wait_row(browser, "outcome", "done")
        assert ended["duration"] >= 0
        assert ended["last"]

        assert (await act(browser, "resume-schedule", schedule="leap"))["message"] == "resumed leap"
        assert (await wait_row(browser, "state", "active"))["next"].endswith("-02-29T02:00:00Z")
        assert "no schedule 'other'; expected leap" in (await act(browser, "trigger", schedule="other"))["message"]


async def test_a_service_without_schedules_has_no_table_and_no_action_of_them(sqlite_table: dict[str, Any]) -> None:
    async with console({"queue": sqlite_table}, Consumers()) as browser:
        assert "Schedules" not in [each.get("title") for each in await blocks(browser)]
        response = await browser.post_json("/-/queues/trigger", {"schedule": "leap"})
        assert response.body == b"/-/queues/trigger", "of the application: there is no such action"


async def test_schedules_that_cannot_be_read_are_reported(
    sqlite_table: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    consumers = Consumers()

    @consumers.every("7d")
    async def work() -> None: ...

    async def fail(self: Scheduler) -> Any:
        raise Unavailable("the database does not respond")

    async with console({"queue": sqlite_table}, consumers) as browser:
        monkeypatch.setattr(Scheduler, "states", fail)
        titles = [each.get("text") for each in await blocks(browser)]
    assert "The states of the schedules cannot be read." in titles
