"""The operator page that the commands use."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from scalekit import create_app
from scalekit.contracts.consumers import Consumers
from scalekit.testing import ReceivedResponse, request, running
from scalekit.testing.conformance import bare_application
from scalekit_queue.pause_page import PATH
from scalekit_queue.service import SERVICE
from tests.queue.harness import AnyMessage, consumers_target

pytestmark = pytest.mark.anyio
JSON = {"content-type": "application/json", "user-agent": "scalekit queue pause of ada"}
PAUSE = {"action": "pause", "queue": "work", "for": "1h"}
Call = Callable[..., Awaitable[ReceivedResponse]]


@asynccontextmanager
async def paused_page(
    table: dict[str, Any], *, with_consumers: bool = True
) -> AsyncGenerator[tuple[Call, Callable[[], float | None]], None]:
    """Yield a function that calls the page, and one that returns the rest of the pause of ``work``."""
    consumers = Consumers()

    @consumers.on("work")
    async def work(message: AnyMessage) -> None:
        raise NotImplementedError

    queue = {**table, "consumers": consumers_target(consumers)} if with_consumers else table
    app = create_app(
        {"plugins": {"queue": queue}, "server": {"operator_networks": ["127.0.0.1"]}}, app=bare_application
    )
    async with running(app) as state:

        async def call(body: object = None, **more: Any) -> ReceivedResponse:
            content = {} if body is None else {"method": "POST", "body": orjson.dumps(body), "headers": JSON}
            return await request(app, PATH, state=state, **{**content, **more})

        yield call, lambda: app.context.get(SERVICE).pauses.remaining("work")


async def test_a_consumer_is_paused_shown_and_resumed(
    sqlite_table: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with paused_page(sqlite_table) as (call, remaining):
        assert orjson.loads((await call()).body) == {"paused": {}}
        found = orjson.loads((await call(PAUSE)).body)["paused"]
        assert 3500 < found["work"]["remaining_seconds"] <= 3600
        assert remaining() is not None
        assert orjson.loads((await call({"action": "resume", "queue": "work"})).body) == {"paused": {}}
        assert remaining() is None
    lines = [each.getMessage() for each in caplog.records if "by 127.0.0.1" in each.getMessage()]
    assert lines == [
        f"the consumer of work {event} by 127.0.0.1 ('scalekit queue pause of ada')"
        for event in ("paused for 1h", "resumed")
    ]
    assert {each.levelno for each in caplog.records if "by 127.0.0.1" in each.getMessage()} == {logging.WARNING}


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({**PAUSE, "queue": "other"}, "no consumer of 'other'; expected work"),
        ({**PAUSE, "queue": None}, "no consumer of None; expected work"),
        ({**PAUSE, "for": "8d"}, "for: expected a duration above zero and up to 7d, got '8d'"),
        ({**PAUSE, "action": "stop"}, "expected a JSON object such as"),
        ({**PAUSE, "until": "x"}, "expected a JSON object such as"),
        ([], "expected a JSON object such as"),
    ],
)
async def test_a_malformed_change_names_the_remedy(sqlite_table: dict[str, Any], change: object, detail: str) -> None:
    async with paused_page(sqlite_table) as (call, remaining):
        refused = await call(change)
        assert refused.status == 400
        assert orjson.loads(refused.body)["detail"].startswith(detail)
        assert remaining() is None


async def test_only_operators_change_consumers_and_only_with_json(sqlite_table: dict[str, Any]) -> None:
    async with paused_page(sqlite_table) as (call, remaining):
        assert (await call(PAUSE, client=("10.0.0.1", 1))).status == 403
        assert (await call(PAUSE, headers={"content-type": "text/plain"})).status == 415
        assert remaining() is None


async def test_without_consumers_the_page_names_the_remedy(sqlite_table: dict[str, Any]) -> None:
    async with paused_page(sqlite_table, with_consumers=False) as (call, _):
        refused = await call(PAUSE)
        assert refused.status == 404
        assert "set plugins.queue.consumers" in orjson.loads(refused.body)["detail"]
