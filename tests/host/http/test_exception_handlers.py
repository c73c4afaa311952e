"""Unavailable becomes a 503 in every framework."""

from __future__ import annotations

import json
import logging
from typing import Any

import fastapi
import litestar
import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from scalekit import create_app
from scalekit.errors import DETAIL, Unavailable
from scalekit.testing import request, running

REASON = "no connection to the shop's database at 10.0.0.5:5432"

pytestmark = pytest.mark.anyio


async def bare(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "http"
    raise Unavailable(REASON, retry_after=2.1)


async def handler(request: object) -> None:
    raise Unavailable(REASON, retry_after=2.1)


def on_fastapi() -> ASGIApp:
    app = fastapi.FastAPI()

    @app.get("/")
    async def root() -> None:
        raise Unavailable(REASON, retry_after=2.1)

    return app


def on_litestar() -> Any:
    @litestar.get("/")
    async def root() -> None:
        raise Unavailable(REASON, retry_after=2.1)

    return litestar.Litestar([root])


class Around:
    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


def on_starlette() -> Starlette:
    return Starlette(routes=[Route("/", handler)])


APPLICATIONS = {
    "bare": bare,
    "Starlette": on_starlette(),
    "FastAPI": on_fastapi(),
    "Litestar": on_litestar(),
    "mounted": Starlette(routes=[Mount("/", on_starlette())]),
    "mounted in FastAPI": fastapi.FastAPI(routes=[Mount("/", Around(on_starlette()))]),
    "in middleware": Around(Around(on_starlette())),
}


@pytest.mark.parametrize("app", APPLICATIONS.values(), ids=APPLICATIONS)
async def test_unavailable_is_a_503_with_retry_after_and_its_reason_only_in_the_log(
    app: ASGIApp, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "scalekit")
    host = create_app({}, app=app)
    async with running(host) as state:
        response = await request(host, "/", state=state)
    assert response.status == 503
    assert response.header("retry-after") == "3"
    assert REASON.encode() not in response.body
    assert DETAIL.encode() in response.body
    if not isinstance(app, litestar.Litestar):  # it has its own error format
        assert response.header("content-type") == "application/problem+json"
        assert json.loads(response.body) == {
            "type": "about:blank",
            "title": "Service Unavailable",
            "status": 503,
            "detail": DETAIL,
        }
        assert REASON in caplog.text


async def test_a_detail_for_clients_is_sent() -> None:
    async def closed(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        raise Unavailable(REASON, detail="the shop opens at nine")

    host = create_app({}, app=closed)
    async with running(host) as state:
        response = await request(host, "/", state=state)
    assert json.loads(response.body)["detail"] == "the shop opens at nine"


@pytest.mark.parametrize("kind", [503, HTTPException, Unavailable])
async def test_a_handler_of_the_application_is_not_replaced(kind: Any) -> None:
    def on_error(request: object, error: Exception) -> PlainTextResponse:
        return PlainTextResponse("come again", 503)

    host = create_app({}, app=Starlette(routes=[Route("/", handler)], exception_handlers={kind: on_error}))
    async with running(host) as state:
        response = await request(host, "/", state=state)
    assert response.body == b"come again"


async def test_metrics_count_a_response_and_no_exception(caplog: pytest.LogCaptureFixture) -> None:
    host = create_app({"plugins": {"metrics": {}}}, app=bare)
    async with running(host) as state:
        await request(host, "/", state=state)
        page = (await request(host, "/metrics", state=state)).body.decode()
    assert 'http_request_duration_seconds_count{method="GET",route="unmatched",status="503"} 1\n' in page
    assert "http_exceptions_total{" not in page
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_after_the_response_has_started_the_connection_is_closed() -> None:
    async def late(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise Unavailable("gone in the middle")

    host = create_app({}, app=late)
    async with running(host) as state:
        with pytest.raises(Unavailable, match="gone in the middle"):
            await request(host, "/", state=state)
