"""Django's tasks run in consumers, and their results are read by any request."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from django.test.utils import override_settings

from scalekit import ResourceError
from scalekit.contracts import DATABASE, QUEUE, Consumers, PublishFailed
from scalekit_queue.django import execution, task_consumers
from scalekit_queue.django.api import InvalidTask, TaskResultDoesNotExist, signals
from scalekit_queue.jobs.task_results import TaskResultStore
from tests.integration.applications.on_django import TASKS
from tests.processes import HOST, free_ports
from tests.queue.conftest import Tables
from tests.queue.django import application as shop
from tests.queue.harness import LIMIT, consumers_target

pytestmark = pytest.mark.anyio
CONSUMERS = consumers_target(task_consumers())


def serve(tables: Tables, **more: Any) -> Any:
    others = {name: table for name, table in tables.items() if name != "queue"}
    return shop.serve({**tables["queue"], **more}, CONSUMERS, **others)


async def finished(task: Any, identifier: str) -> Any:
    """Return the result of a task once it has finished."""
    return await result_when(task, identifier, lambda result: result.is_finished)


async def result_when(task: Any, identifier: str, condition: Callable[[Any], object]) -> Any:
    async with asyncio.timeout(LIMIT):
        while not condition(result := await task.aget_result(identifier)):
            await asyncio.sleep(0.02)
    return result


async def test_views_enqueue_and_other_requests_read_the_result(tables: Tables) -> None:
    began = datetime.now(UTC)
    async with serve(tables) as app:
        response = await app.get("/place?first=41")
        identifier = orjson.loads(response.body)["id"]
        result = await finished(shop.add, identifier)
        shown = orjson.loads((await app.get(f"/show/{identifier}")).body)
    assert (result.return_value, result.args, result.kwargs, result.errors) == (42, [41], {"second": 1}, [])
    assert (result.task, result.backend, result.id, result.attempts) == (shop.add, "default", identifier, 1)
    assert began <= result.enqueued_at <= result.started_at == result.last_attempted_at <= result.finished_at
    assert shown == {"status": "SUCCESSFUL", "args": [41], "kwargs": {"second": 1}}


async def test_asynchronous_tasks_receive_their_context(sqlite_table: dict[str, Any]) -> None:
    async with serve({"queue": sqlite_table}) as app:
        identifier = orjson.loads((await app.get("/place-async?name=ada")).body)["id"]
        result = await finished(shop.describe, identifier)
    assert result.return_value == {"name": "ada", "attempt": 1, "status": "RUNNING"}
    assert result.task.queue_name == "mail"


async def test_a_failed_task_is_retried_and_shows_each_error(tables: Tables) -> None:
    async with serve(tables):
        failing, recovering = await shop.fail.aenqueue("no \0\u2028 text"), await shop.fail_once.aenqueue()
        result = await finished(shop.fail, failing.id)
        recovered = await finished(shop.fail_once, recovering.id)
        await failing.arefresh()
    assert (result.status, result.attempts, len(result.errors)) == ("FAILED", 2, 2)
    assert failing.errors == result.errors
    assert result.errors[0].exception_class is LookupError
    assert result.errors[0].traceback.startswith("Traceback")
    assert "LookupError: no " in result.errors[0].traceback
    with pytest.raises(ValueError, match="Task failed"):
        _ = result.return_value
    assert (recovered.return_value, recovered.attempts) == ("builtins.ZeroDivisionError", 2)
    assert recovered.started_at < recovered.last_attempted_at


async def test_a_task_that_calls_exit_has_failed_and_the_process_goes_on(sqlite_table: dict[str, Any]) -> None:
    async with serve({"queue": sqlite_table}):
        for each in (shop.leave_thread, shop.leave_loop):
            result = await finished(each, (await each.aenqueue()).id)
            assert (result.status, result.errors[-1].exception_class) == ("FAILED", RuntimeError)
            assert "the task called sys.exit(3)" in result.errors[-1].traceback
        assert (await finished(shop.add, (await shop.add.aenqueue(1)).id)).return_value == 1


async def test_a_result_is_ready_then_running_then_successful(sqlite_table: dict[str, Any]) -> None:
    shop.opened.clear()
    async with serve({"queue": sqlite_table}):
        soon = datetime.now(UTC) + timedelta(milliseconds=300)
        deferred = shop.wait_opened.using(run_after=soon, priority=7)
        enqueued = await deferred.aenqueue()
        ready = await shop.wait_opened.aget_result(enqueued.id)
        running = await result_when(shop.wait_opened, enqueued.id, lambda result: result.worker_ids)
        shop.opened.set()
        result = await finished(shop.wait_opened, enqueued.id)
    assert (ready.status, ready.task, ready.is_finished) == ("READY", deferred, False)
    assert (running.status, running.finished_at, result.return_value) == ("RUNNING", None, True)
    assert result.started_at >= soon


async def test_a_task_has_failed_that_times_out_or_returns_no_json(sqlite_table: dict[str, Any]) -> None:
    options = {"retry": [], "timeout": "100ms"}
    with override_settings(TASKS={"default": {**TASKS["default"], "OPTIONS": options}}):
        target = consumers_target(task_consumers())
        async with shop.serve(sqlite_table, target):
            late, wrong = await shop.sleep.aenqueue(60), await shop.return_object.aenqueue()
            timed_out, refused = await finished(shop.sleep, late.id), await finished(shop.return_object, wrong.id)
    assert [each.exception_class for each in timed_out.errors] == [TimeoutError]
    assert [each.exception_class for each in refused.errors] == [TypeError]


async def test_a_cancelled_task_has_failed(sqlite_table: dict[str, Any]) -> None:
    async with serve({"queue": sqlite_table}) as app:
        enqueued = await shop.sleep.aenqueue(60)
        await result_when(shop.sleep, enqueued.id, lambda result: result.worker_ids)
        assert await app.host.context.get(QUEUE).cancel(enqueued.id)
        result = await finished(shop.sleep, enqueued.id)
    assert [each.exception_class for each in result.errors] == [asyncio.CancelledError]


async def test_tasks_enqueue_tasks(sqlite_table: dict[str, Any]) -> None:
    async with serve({"queue": sqlite_table}):
        first = await finished(shop.enqueue_another, (await shop.enqueue_another.aenqueue()).id)
        assert (await finished(shop.add, first.return_value)).return_value == 5


async def test_signals_are_sent_once_for_each_state(sqlite_table: dict[str, Any]) -> None:
    seen: list[tuple[str, str]] = []
    receivers = {
        name: lambda name=name, **values: seen.append((name, str(values["task_result"].status)))
        for name in ("task_enqueued", "task_started", "task_finished")
    }
    for name, receiver in receivers.items():
        getattr(signals, name).connect(receiver)
    try:
        async with serve({"queue": sqlite_table}):
            await finished(shop.fail, (await shop.fail.aenqueue("x")).id)
            await finished(shop.add, (await shop.add.aenqueue(1)).id)
    finally:
        for name, receiver in receivers.items():
            getattr(signals, name).disconnect(receiver)
    enqueued, finish = ("task_enqueued", "READY"), "task_finished"
    started = ("task_started", "RUNNING")
    assert seen == [enqueued, started, started, (finish, "FAILED"), enqueued, started, (finish, "SUCCESSFUL")]


async def test_tasks_are_enqueued_inside_a_request_with_its_transaction(tables: Tables) -> None:
    if "pool" not in tables:
        tables = {**tables, "pool": {"url": "sqlite:///:memory:"}}
    async with serve({**tables, "idempotency": {}}) as app:
        headers = {"idempotency-key": "a"}
        first, second = [await app.get("/place?first=1", method="POST", headers=headers) for _ in range(2)]
        assert first.body == second.body
        assert (await finished(shop.add, orjson.loads(first.body)["id"])).return_value == 2


async def test_what_cannot_be_enqueued_is_refused(
    sqlite_table: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InvalidTask, match="30 days"):
        shop.add.using(run_after=datetime.now(UTC) + timedelta(days=31))
    with pytest.raises(InvalidTask, match="'none' is not valid"):
        shop.add.using(queue_name="none")
    with pytest.raises(ResourceError, match="no queue runs in this process"):
        shop.add.enqueue(1)
    async with serve({"queue": sqlite_table}) as app:
        with pytest.raises(TypeError, match="Unsupported type"):
            await shop.add.aenqueue(object())
        with pytest.raises(ValueError, match="max_body"):
            await shop.fail.aenqueue("x" * 2**25)
        for value in ("\ud800", float("nan")):
            with pytest.raises(ValueError, match="JSON cannot represent"):
                await shop.fail.aenqueue(value)
        response = await app.get("/place-blocking")
        assert response.status == 500
        assert "would block the event loop" in caplog.text
        with pytest.raises(TaskResultDoesNotExist):
            await shop.add.aget_result("unknown\0")
    async with shop.serve(sqlite_table, consumers_target(Consumers())):
        with pytest.raises(ResourceError, match=r"'django\.default\.default' of this task have no consumer"):
            await shop.add.aenqueue(1)


async def test_an_attempt_waits_while_the_store_of_results_is_unavailable(
    sqlite_table: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    add_attempt, failures = TaskResultStore.add_attempt, [OSError("gone"), OSError("gone")]

    async def fail_at_first(*arguments: Any) -> list[Any]:
        if failures:
            raise failures.pop()
        return await add_attempt(*arguments)

    monkeypatch.setattr(TaskResultStore, "add_attempt", fail_at_first)
    monkeypatch.setattr(execution, "RETRY_DELAY", 0.01)
    async with serve({"queue": sqlite_table}):
        result = await finished(shop.add, (await shop.add.aenqueue(1)).id)
    assert (result.return_value, result.attempts, failures) == (1, 1, [])


async def test_a_failure_that_cannot_be_recorded_is_that_of_the_message(
    sqlite_table: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    add_attempt = TaskResultStore.add_attempt

    async def fail_to_record_errors(*arguments: Any) -> list[Any]:
        if "error" in arguments[3]:
            raise OSError("gone")
        return await add_attempt(*arguments)

    monkeypatch.setattr(TaskResultStore, "add_attempt", fail_to_record_errors)
    async with serve({"queue": sqlite_table}):
        result = await finished(shop.fail, (await shop.fail.aenqueue("broken")).id)
    assert (result.status, result.attempts) == ("FAILED", 2)
    assert [(each.exception_class, each.traceback) for each in result.errors] == [(RuntimeError, "LookupError: broken")]


async def test_a_task_that_is_gone_fails_and_has_no_result(
    sqlite_table: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve({"queue": sqlite_table}) as app:
        soon = datetime.now(UTC) + timedelta(milliseconds=200)
        enqueued = await shop.add.using(run_after=soon).aenqueue(1)
        monkeypatch.setattr(shop, "add", None)
        queue = app.host.context.get(QUEUE)
        async with asyncio.timeout(LIMIT):
            while (status := await queue.status(enqueued.id)) is None or not status.state.is_final:
                await asyncio.sleep(0.02)
        with pytest.raises(TaskResultDoesNotExist, match="is no task"):
            await enqueued.arefresh()
    assert status.error.startswith("ImportError: tests.queue.django.application.add is no task")


async def test_a_task_that_cannot_be_stored_is_not_enqueued(tmp_path: Path, no_start_wait: None) -> None:
    (port,) = free_ports(1)
    tables = {"queue": {"url": f"amqp://guest:guest@{HOST}:{port}/"}, "pool": {"url": f"sqlite:///{tmp_path}/shop.db"}}
    async with serve(tables) as app:
        with pytest.raises(PublishFailed) as failure:
            await shop.add.aenqueue(1)
        count = await app.host.context.get(DATABASE).fetch_val("SELECT count(*) FROM scalekit_queue_jobs_task_results")
    assert (failure.value.maybe_sent, count) == (False, 0)


async def test_the_call_of_a_task_is_kept_as_long_as_its_result(sqlite_table: dict[str, Any]) -> None:
    async with serve({"queue": sqlite_table}):
        ids = [(await task.aenqueue(*arguments)).id for task, *arguments in ((shop.add, 1), (shop.fail, "x"))]
        for task, identifier in zip((shop.add, shop.fail), ids, strict=True):
            await finished(task, identifier)
        with closing(sqlite3.connect(sqlite_table["url"].removeprefix("sqlite:///"))) as file:
            expires = dict(file.execute("SELECT id, expires FROM jobs_task_results").fetchall())
    day = 86400
    assert all(day - 60 < expires[identifier] - time.time() < day + 60 for identifier in ids), expires
