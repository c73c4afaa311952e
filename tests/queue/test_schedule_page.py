"""The operator page of schedules, which the commands use."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from scalekit import create_app
from scalekit.contracts import Consumers
from scalekit.testing import ReceivedResponse, running
from scalekit.testing import request as send_request
from scalekit.testing.conformance import bare_application
from scalekit_queue.schedule_page import NO_SCHEDULES, PATH
from tests.queue.conftest import POSTGRES
from tests.queue.harness import LIMIT, consumers_target
from tests.servers import Postgres

pytestmark = pytest.mark.anyio
JSON = {"content-type": "application/json", "user-agent": "scalekit queue schedules of ada"}
Call = Callable[..., Awaitable[ReceivedResponse]]


@asynccontextmanager
async def schedule_page(
    table: dict[str, Any], *, with_schedule: bool = True, pool: dict[str, Any] | None = None
) -> AsyncGenerator[Call, None]:
    """Yield a function that calls the page of a service with the schedule ``work``, whose runs do not end."""
    consumers = Consumers()

    if with_schedule:

        @consumers.every("7d")
        async def work() -> None:
            await asyncio.Event().wait()

    app = create_app(
        {
            "plugins": {
                "queue": {**table, "consumers": consumers_target(consumers), "drain_timeout": "10ms"},
                **({} if pool is None else {"pool": pool}),
            },
            "server": {"operator_networks": ["127.0.0.1"]},
        },
        app=bare_application,
    )
    async with running(app) as state:

        async def call(body: object = None, **more: Any) -> ReceivedResponse:
            content = {} if body is None else {"method": "POST", "body": orjson.dumps(body), "headers": JSON}
            return await send_request(app, PATH, state=state, **{**content, **more})

        yield call


async def described(call: Call) -> dict[str, Any]:
    (work,) = orjson.loads((await call()).body)["schedules"]
    found: dict[str, Any] = work
    return found


async def test_a_schedule_is_shown_paused_resumed_and_triggered(
    sqlite_table: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with schedule_page(sqlite_table) as call:
        async with asyncio.timeout(LIMIT):
            while not (await described(call))["next"]:
                await asyncio.sleep(0.01)
        paused = orjson.loads((await call({"action": "pause", "schedule": "work"})).body)["schedules"][0]
        assert (paused["state"], paused["next"], paused["last"], paused["duration"]) == ("paused", "", "", None)
        await call({"action": "resume", "schedule": "work"})
        assert (await described(call))["state"] == "active"
        triggered = orjson.loads((await call({"action": "trigger", "schedule": "work"})).body)["schedules"][0]
        assert triggered["outcome"] == "running"
        assert triggered["last"]
        again = await call({"action": "trigger", "schedule": "work"})
        assert again.status == 400
        assert b"work is running; trigger it when it has ended" in again.body
    lines = [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]
    assert "schedule paused work by 127.0.0.1 ('scalekit queue schedules of ada')" in lines


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"action": "pause"},
        {"action": "stop", "schedule": "work"},
        {"action": "pause", "schedule": 1},
        {"action": "pause", "schedule": "other"},
        {"action": "pause", "schedule": "work", "for": "1h"},
    ],
)
async def test_an_invalid_change_is_refused_with_the_remedy(sqlite_table: dict[str, Any], body: object) -> None:
    async with schedule_page(sqlite_table) as call:
        response = await call(body)
    assert response.status == 400
    assert b"expected" in response.body


async def test_strangers_are_refused_and_a_service_without_schedules_has_no_page(sqlite_table: dict[str, Any]) -> None:
    async with schedule_page(sqlite_table, with_schedule=False) as call:
        assert (await call(client=("203.0.113.1", 1))).status == 403
        response = await call()
    assert response.status == 404
    assert NO_SCHEDULES.encode() in response.body


@pytest.mark.parametrize("store", ["file", POSTGRES])
async def test_a_process_that_does_not_consume_changes_schedules(
    store: str, request: pytest.FixtureRequest, sqlite_table: dict[str, Any]
) -> None:
    table, pool = sqlite_table, None
    if store == "postgresql":
        server: Postgres = request.getfixturevalue("shared_postgres")
        server.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        table, pool = {"url": "database:"}, {"url": server.url}
    async with schedule_page({**table, "consume_in": "workers"}, pool=pool) as call:
        assert (await call({"action": "trigger", "schedule": "work"})).status == 200
        assert (await described(call))["outcome"] == "running"
        assert (await described(call))["next"] == "", "no process has begun the schedule"
