from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import pytest

from scalekit.host_pages.tasks import MAX_FRAMES, MAX_STACKS, TaskWatch, suspended_frames
from tests.console.clients import console_app
from tests.host.host_pages.page_json import blocks_of, rows

pytestmark = pytest.mark.anyio

LEAK = "hunter2-of-a-local-variable"


@asynccontextmanager
async def tasks(count: int) -> AsyncGenerator[list[asyncio.Task[None]], None]:
    """Run tasks that wait inside of two coroutines."""
    found = [asyncio.create_task(waits_outside(LEAK), name=f"<b>{number}</b>") for number in range(count)]
    await asyncio.sleep(0)
    try:
        yield found
    finally:
        for task in found:
            task.cancel()
        await asyncio.wait(found)


async def waits_outside(password: str) -> None:
    await waits_inside(password)


async def waits_inside(password: str) -> None:
    await asyncio.Event().wait()


async def nested(depth: int) -> None:
    await (nested(depth - 1) if depth else asyncio.Event().wait())


async def test_tasks_are_grouped_by_coroutine_with_the_place_of_their_own_code() -> None:
    async with console_app({}) as browser, tasks(3):
        await blocks_of(browser, "tasks")
        groups = rows(await blocks_of(browser, "tasks"), "Tasks by coroutine")
    (group,) = [each for each in groups if each["coroutine"]["text"] == f"{__name__}.waits_outside"]
    assert (group["worker"], group["tasks"]) == ("1", 3)
    assert group["seen for"] > 0
    assert group["suspended in"].startswith(f"waits_inside ({__file__}:")


async def test_stacks_are_shown_on_demand_without_local_variables() -> None:
    async with console_app({}) as browser, tasks(MAX_STACKS + 5):
        assert not [each for each in await blocks_of(browser, "tasks") if each["type"] == "code"]
        target = f"tasks?coroutine={__name__}.waits_outside"
        found = [each for each in await blocks_of(browser, target) if each["type"] == "code"]
        html = await browser.get(f"/-/{target}")
    assert len(found) == MAX_STACKS
    assert [line.partition(" (")[0] for line in found[0]["text"].splitlines()] == [
        "waits_outside",
        "waits_inside",
        "Event.wait",
    ]
    assert b"&lt;b&gt;" in html.body
    assert b"<b>" not in html.body
    assert LEAK.encode() not in html.body
    assert LEAK not in str(found)


async def test_a_name_that_is_gone_is_said() -> None:
    async with console_app({}) as browser:
        first = (await blocks_of(browser, "tasks?coroutine=unknown"))[0]
    assert first == {"type": "text", "text": "No task or thread of this name runs any more."}


async def test_threads_have_stacks() -> None:
    begun, end = threading.Event(), threading.Event()

    def works() -> None:
        begun.set()
        end.wait()

    thread = threading.Thread(target=works, name="test worker", daemon=True)
    thread.start()
    begun.wait()
    try:
        async with console_app({}) as browser:
            found = await blocks_of(browser, "tasks?thread=test+worker")
    finally:
        end.set()
        thread.join()
    (shown,) = [row for row in rows(found, "Threads") if row["thread"]["text"] == "test worker"]
    assert shown["daemon"] is True
    assert "works (" in shown["runs"]
    assert found[0]["title"] == "Worker 1, thread test worker"
    assert found[0]["text"].splitlines()[0].startswith("Thread._bootstrap (")


async def test_a_stack_is_bounded() -> None:
    task = asyncio.create_task(nested(MAX_FRAMES * 2))
    await asyncio.sleep(0)
    try:
        assert len([*suspended_frames(task)]) == MAX_FRAMES
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_an_ended_task_is_forgotten() -> None:
    watch = TaskWatch()
    async with tasks(2):
        assert watch.describe("")["groups"][f"{__name__}.waits_outside"]["count"] == 2
    assert f"{__name__}.waits_outside" not in watch.describe("")["groups"]
