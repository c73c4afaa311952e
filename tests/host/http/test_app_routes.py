from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, WebSocket
from litestar import Litestar, get
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from scalekit import create_app
from scalekit.http.app_routes import AppRoute, list_routes
from scalekit.testing.conformance import bare_application
from tests.integration.applications import on_django


async def page(request: Request) -> Response:
    return Response()


async def socket(websocket: WebSocket) -> None:
    await websocket.close()


class Wrapping:
    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


def starlette() -> Starlette:
    inner = Starlette(routes=[Route("/{name}", page, methods=["POST"])])
    files = Mount("/files", Wrapping(bare_application))
    return Starlette(
        routes=[Route("/health", page), WebSocketRoute("/ws", socket), Mount("/in", Wrapping(inner)), files]
    )


def fastapi() -> FastAPI:
    app = FastAPI(openapi_url=None)
    items, parts = APIRouter(prefix="/items"), APIRouter()

    @parts.get("/{number}")
    async def part(number: int) -> int:
        return number

    @parts.websocket("/live")
    async def live(websocket: WebSocket) -> None:
        await websocket.close()

    items.include_router(parts, prefix="/parts")
    app.include_router(items, prefix="/v1")
    app.include_router(items)
    app.mount("/shop", starlette())
    return app


def litestar() -> Any:
    @get("/health")
    async def health() -> None: ...

    return Litestar([health], openapi_config=None, logging_config=None)


def test_every_route_of_starlette_is_listed_also_below_mounts_and_middleware() -> None:
    assert list_routes(Wrapping(starlette())) == [
        AppRoute("/health", "GET, HEAD"),
        AppRoute("/ws", "WEBSOCKET"),
        AppRoute("/in/{name}", "POST"),
        AppRoute("/files", "*"),
    ]


def test_every_route_of_fastapi_is_listed_also_of_included_routers() -> None:
    assert list_routes(fastapi())[:5] == [
        AppRoute("/v1/items/parts/{number}", "GET"),
        AppRoute("/v1/items/parts/live", "WEBSOCKET"),
        AppRoute("/items/parts/{number}", "GET"),
        AppRoute("/items/parts/live", "WEBSOCKET"),
        AppRoute("/shop/health", "GET, HEAD"),
    ]


def test_the_routes_of_litestar_and_django_are_listed_and_a_bare_application_has_none() -> None:
    assert list_routes(litestar()) == [AppRoute("/health", "GET, OPTIONS")]
    assert AppRoute("/inner/<int:number>", "*") in list_routes(on_django.make())
    assert list_routes(bare_application) == []


@pytest.mark.parametrize("make", [starlette, litestar])
def test_a_route_hidden_by_a_health_page_logs_a_warning(make: Any, caplog: pytest.LogCaptureFixture) -> None:
    create_app({}, app=make())
    (record,) = caplog.records
    assert record.getMessage().startswith(
        "the application's route /health never receives a request: the host serves this path; set"
    )
    caplog.clear()
    create_app({"health": {"path": "/-/health"}}, app=make())
    create_app({"server": {"management_address": "127.0.0.1:9100"}}, app=make())
    assert caplog.text == ""


def test_a_route_hidden_by_a_plugin_logs_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    routes = [Route(path, page) for path in ("/visits/today", "/visits/{who}", "/visits", "/other")]
    create_app({"plugins": {"visits": {}}}, app=Starlette(routes=routes))
    warned = [record.getMessage() for record in caplog.records]
    assert len(warned) == 2
    assert warned[0].startswith(
        "the application's route /visits/today never receives a request: 'visits' serves /visits/{name}"
    )
    assert "/visits/{who}" in warned[1]


def test_a_mount_hidden_by_a_static_folder_logs_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    routes = [Mount("/static", bare_application), Route("/static", page), Mount("/statics", bare_application)]
    for application, warnings in ((Starlette(routes=routes), 1), (Starlette(routes=routes[1:]), 0)):
        caplog.clear()
        create_app({"app": {"static": {"/static": [str(tmp_path)]}}}, app=application)
        assert len(caplog.records) == warnings
    create_app({"app": {"static": {"/static": [str(tmp_path)]}}}, app=Starlette(routes=routes))
    assert "route /static never receives a request: 'host' serves /static; change one" in caplog.text
