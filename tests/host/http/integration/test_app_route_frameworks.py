"""`scalekit routes` lists the routes of every supported framework."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, WebSocket
from litestar import Litestar, get, websocket
from litestar import WebSocket as LitestarSocket
from litestar.params import FromPath
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Host, Mount, Route, Router, WebSocketRoute
from starlette.types import Receive, Scope, Send

from scalekit.http.app_routes import list_routes
from tests.integration.applications import bare_asgi as bare_asgi
from tests.integration.applications import on_django, on_fastapi, on_litestar, on_starlette


def endpoint(request: Any) -> PlainTextResponse:
    return PlainTextResponse("")


async def opaque(scope: Scope, receive: Receive, send: Send) -> None:
    """Do nothing, as an application without a route table."""


def fastapi() -> FastAPI:
    inner = APIRouter(prefix="/v1")

    @inner.get("/items/{number}")
    def item(number: int) -> int:
        return number

    @inner.websocket("/socket")
    async def socket(socket: WebSocket) -> None:
        await socket.close()

    outer = APIRouter(prefix="/api")
    outer.include_router(inner, prefix="/deep")
    outer.mount("/files", Starlette(routes=[Route("/{name}", endpoint)]))

    @outer.post("/own")
    def own() -> int:
        return 1

    below = FastAPI(openapi_url=None)
    below.include_router(inner)
    app = FastAPI(openapi_url=None)
    app.include_router(outer, prefix="/root")
    app.mount("/below", below)
    return app


def starlette() -> Starlette:
    routes = [
        Route("/", endpoint),
        Mount("/api", routes=[Mount("/v1", routes=[Route("/data", endpoint, methods=["POST"])])]),
        Mount("/inside", app=CORSMiddleware(Starlette(routes=[Route("/x", endpoint)]))),
        Mount("/router", app=Router([WebSocketRoute("/ws", endpoint)])),
        Mount("/opaque", app=opaque),
        Host("shop.example", app=Router([Route("/cart", endpoint)])),
    ]
    return Starlette(routes=routes)


def litestar() -> Litestar:
    @get("/items/{number:int}")
    async def item(number: FromPath[int]) -> int:
        return number

    @websocket("/socket")
    async def socket(socket: LitestarSocket[Any, Any, Any]) -> None:
        await socket.close()

    return Litestar([item, socket], openapi_config=None)


ROUTES: dict[str, tuple[Any, list[tuple[str, str]]]] = {
    "FastAPI": (
        fastapi,
        [
            ("/root/api/deep/v1/items/{number}", "GET"),
            ("/root/api/deep/v1/socket", "WEBSOCKET"),
            ("/root/files/{name}", "GET, HEAD"),
            ("/root/api/own", "POST"),
            ("/below/v1/items/{number}", "GET"),
            ("/below/v1/socket", "WEBSOCKET"),
        ],
    ),
    "Starlette": (
        starlette,
        [
            ("/", "GET, HEAD"),
            ("/api/v1/data", "POST"),
            ("/inside/x", "GET, HEAD"),
            ("/router/ws", "WEBSOCKET"),
            ("/opaque", "*"),
            ("shop.example/cart", "GET, HEAD"),
        ],
    ),
    "Litestar": (litestar, [("/items/{number:int}", "GET, OPTIONS"), ("/socket", "WEBSOCKET")]),
}


@pytest.mark.parametrize("framework", ROUTES)
@pytest.mark.parametrize("inside", [False, True])
def test_every_route_is_listed(framework: str, inside: bool) -> None:
    make, expected = ROUTES[framework]
    app: Any = CORSMiddleware(CORSMiddleware(make())) if inside else make()
    assert sorted(list_routes(app)) == sorted(expected)


@pytest.mark.parametrize("application", [on_fastapi, on_litestar, on_starlette, on_django])
def test_no_row_is_blank(application: Any) -> None:
    rows = list_routes(application.make() if hasattr(application, "make") else application.app)
    assert any("/inner/" in path for path, _ in rows)
    assert all(path and methods for path, methods in rows)


def test_regular_expressions_of_django_are_listed_as_paths() -> None:
    paths = [path for path, _ in list_routes(on_django.make())]
    assert "/old/(?P<year>[0-9]{4})/$" in paths


def test_werkzeug_rules_are_listed() -> None:
    rules = [
        SimpleNamespace(rule="/items/<int:number>", methods={"GET", "HEAD"}, websocket=False),
        SimpleNamespace(rule="/socket", methods=set(), websocket=True),
    ]
    app: Any = SimpleNamespace(url_map=SimpleNamespace(iter_rules=lambda: rules))
    assert list_routes(app) == [("/items/<int:number>", "GET, HEAD"), ("/socket", "WEBSOCKET")]


def test_applications_by_scope_type_are_listed() -> None:
    app: Any = SimpleNamespace(application_mapping={"http": CORSMiddleware(starlette()), "websocket": opaque})
    assert list_routes(app) == list_routes(starlette())


def test_an_application_without_a_route_table_has_no_routes() -> None:
    assert list_routes(opaque) == list_routes(bare_asgi.app) == []


def test_a_tree_that_contains_itself_is_cut_off() -> None:
    router = Router()
    router.routes.append(Mount("/again", app=router))
    assert list_routes(router)
