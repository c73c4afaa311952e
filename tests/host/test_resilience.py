"""What is gone for the moment is answered as 503, whatever the framework."""

from __future__ import annotations

import logging
from typing import Any

import fastapi
import litestar
import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from scalekit import create_app
from scalekit.resilience import Unavailable
from scalekit.testing import request, running

pytestmark = pytest.mark.anyio


async def bare(scope: Scope, receive: Receive, send: Send) -> None:
    raise Unavailable("the shop's database is gone", retry_after=2.1)


async def handler(request: object) -> None:
    raise Unavailable("the shop's database is gone", retry_after=2.1)


def on_fastapi() -> ASGIApp:
    app = fastapi.FastAPI()

    @app.get("/")
    async def root() -> None:
        raise Unavailable("the shop's database is gone", retry_after=2.1)

    return app


def on_litestar() -> Any:
    @litestar.get("/")
    async def root() -> None:
        raise Unavailable("the shop's database is gone", retry_after=2.1)

    return litestar.Litestar([root])


@pytest.mark.parametrize(
    "app",
    [bare, Starlette(routes=[Route("/", handler)]), on_fastapi(), on_litestar()],
    ids=["bare", "Starlette", "FastAPI", "Litestar"],
)
async def test_it_is_a_503_with_the_time_to_wait_and_the_reason(app: ASGIApp) -> None:
    host = create_app({}, app=app)
    async with running(host) as state:
        answer = await request(host, "/", state=state)
    assert answer.status == 503
    assert answer.header("retry-after") == "3"
    assert b"the shop's database is gone" in answer.body


async def test_what_observes_sees_an_answer_and_no_error(caplog: pytest.LogCaptureFixture) -> None:
    host = create_app({"plugins": {"metrics": {}}}, app=bare)
    async with running(host) as state:
        await request(host, "/", state=state)
        page = (await request(host, "/metrics", state=state)).body.decode()
    assert 'http_request_duration_seconds_count{method="GET",route="unmatched",status="503"} 1\n' in page
    assert "http_exceptions_total{" not in page
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_after_the_answer_has_begun_the_connection_is_cut() -> None:
    async def late(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise Unavailable("gone in the middle")

    host = create_app({}, app=late)
    async with running(host) as state:
        with pytest.raises(Unavailable, match="gone in the middle"):
            await request(host, "/", state=state)
