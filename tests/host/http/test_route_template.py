from __future__ import annotations

from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from litestar import Litestar, get
from litestar import Router as LitestarRouter
from litestar.params import FromPath
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Host, Mount, Route, Router, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from scalekit.http import route_template as route
from scalekit.http.route_template import RouteTemplates
from scalekit.http.router import PluginRoutes
from tests.host.asgi import Conversation, behind, http_scope, respond
from tests.integration.applications import on_django

pytestmark = pytest.mark.anyio


class Passing:
    """Middleware around a mounted application."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


async def page(request: Request) -> Response:
    return PlainTextResponse(str(request.path_params))


async def other_page(request: Request) -> Response:
    return PlainTextResponse("another")


async def socket(websocket: WebSocket) -> None:
    await websocket.close()


async def bare(scope: Scope, receive: Receive, send: Send) -> None:
    await respond(send)


def starlette() -> Starlette:
    shared = Starlette(routes=[Route("/leaf/{id:int}", other_page)])
    return Starlette(
        routes=[
            Route("/", page),
            Route("/users/{user:int}", page),
            Route("/files/{path:path}", page, methods=["GET"]),
            Mount("/shops/{id}", routes=[Route("/orders/{id}", page), Mount("/deep", routes=[Route("/", page)])]),
            Mount("/first", app=shared),
            Mount("/second/{tenant}", app=Passing(shared), middleware=[Middleware(Passing)]),
            Mount("/bare", app=bare),
            Mount("/static", app=StaticFiles(directory="tests/host")),
            Host("api.example.org", app=Router(routes=[Route("/of-host/{id}", page)])),
            WebSocketRoute("/sockets/{name}", socket),
        ]
    )


def fastapi() -> FastAPI:
    router = APIRouter()

    @router.get("/items/{item}")
    async def item(item: int) -> int:
        return item

    router.add_route("/plain/{item}", page)
    router.mount("/mounted", Starlette(routes=[Route("/leaf/{id}", other_page)]))
    nested = APIRouter(prefix="/nested/{key}")
    nested.include_router(router, prefix="/in")
    inner = FastAPI()
    inner.include_router(router, prefix="/again")
    app = FastAPI()
    app.include_router(router, prefix="/one")
    app.include_router(router, prefix="/two")
    app.include_router(nested)
    app.mount("/sub/{tenant}", inner)
    app.add_api_route("/direct/{name}", _named)
    return app


async def _named(name: str) -> str:
    return name


def litestar() -> Any:
    @get("/items/{item:int}")
    async def item(item: FromPath[int]) -> str:
        return str(item)

    @get("/")
    async def root() -> str:
        return ""

    return Litestar([root, LitestarRouter("/v1", route_handlers=[item])])


async def served(app: ASGIApp, path: str, **more: Any) -> tuple[int | None, Scope]:
    scope = http_scope(path, **more)
    client = Conversation()
    client.chunk(b"")
    await client.run(app, scope)
    return client.status, scope


async def template(app: ASGIApp, path: str, templates: RouteTemplates | None = None, **more: Any) -> str:
    _, scope = await served(app, path, **more)
    return (templates or RouteTemplates()).of(scope)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", "/"),
        ("/users/7", "/users/{user}"),
        ("/users/seven", ""),
        ("/files/a/b/c", "/files/{path}"),
        ("/shops/7/orders/9", "/shops/{id}/orders/{id}"),
        ("/shops/7/deep/", "/shops/{id}/deep/"),
        ("/shops/7/nowhere", ""),
        ("/first/leaf/1", "/first/leaf/{id}"),
        ("/second/t/leaf/1", "/second/{tenant}/leaf/{id}"),
        ("/second/t/nowhere", ""),
        ("/bare/a/b", "/bare/{path}"),
        ("/static/asgi.py", "/static/{path}"),
        ("/nowhere", ""),
        ("/users/7/", ""),  # a redirect, which no route serves
    ],
)
@pytest.mark.parametrize("root_path", ["", "/prefix"])
async def test_starlette_across_mounts_and_what_they_share(path: str, expected: str, root_path: str) -> None:
    app = starlette()
    assert await template(app, root_path + path, root_path=root_path) == expected
    assert await template(Passing(app), root_path + path, root_path=root_path) == expected


async def test_a_method_not_allowed_has_the_template_of_its_route() -> None:
    status, scope = await served(starlette(), "/files/a", method="POST")
    assert (status, RouteTemplates().of(scope)) == (405, "/files/{path}")


async def test_routes_of_a_host_and_websockets() -> None:
    app = starlette()
    scope = http_scope("/of-host/1")
    scope["headers"] = [(b"host", b"api.example.org")]
    client = Conversation()
    await client.run(app, scope)
    assert RouteTemplates().of(scope) == "/of-host/{id}"
    scope = http_scope("/sockets/x", type="websocket")
    client.to_app.put_nowait({"type": "websocket.connect"})
    await client.run(app, scope)
    assert RouteTemplates().of(scope) == "/sockets/{name}"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/direct/x", "/direct/{name}"),
        ("/one/items/1", "/one/items/{item}"),
        ("/two/items/1", "/two/items/{item}"),
        ("/two/items/no-number", "/two/items/{item}"),
        ("/nested/k/in/items/1", "/nested/{key}/in/items/{item}"),
        ("/one/plain/1", "/one/plain/{item}"),
        ("/two/mounted/leaf/1", "/two/mounted/leaf/{id}"),
        ("/sub/t/again/items/1", "/sub/{tenant}/again/items/{item}"),
        ("/sub/t/docs", "/sub/{tenant}/docs"),
        ("/docs", "/docs"),
        ("/sub/t/nowhere", ""),
        ("/nowhere", ""),
    ],
)
async def test_fastapi_with_routers_included_twice_and_mounted_applications(path: str, expected: str) -> None:
    app = fastapi()
    templates = RouteTemplates()
    for _ in range(2):
        assert await template(app, path, templates) == expected


@pytest.mark.parametrize(
    ("path", "expected"), [("/", "/"), ("/v1/items/3", "/v1/items/{item}"), ("/v1/items/x", ""), ("/nowhere", "")]
)
async def test_litestar(path: str, expected: str) -> None:
    assert await template(litestar(), path) == expected


async def test_litestar_mounted_in_starlette() -> None:
    app = Starlette(routes=[Mount("/lite/{tenant}", app=litestar())])
    assert await template(app, "/lite/t/v1/items/3") == "/lite/{tenant}/v1/items/{item}"


async def test_applications_without_an_endpoint_in_the_scope_have_no_template() -> None:
    assert await template(bare, "/anything") == ""
    assert await template(on_django.make(), "/inner/5") == ""


async def test_routes_of_plugins_are_found_behind_their_filter() -> None:
    routes = [Route("/metrics", page), Route("/visits/{name}", page), Mount("/-/pages", routes=[Route("/{x}", page)])]
    own = PluginRoutes(routes)
    app = behind(starlette(), own)
    templates = RouteTemplates(own)
    for path, expected in {
        "/metrics": "/metrics",
        "/visits/9": "/visits/{name}",
        "/visits/9/more": "",
        "/-/pages/x": "/-/pages/{path}",
        "/users/7": "/users/{user}",
        "/nowhere": "",
    }.items():
        assert await template(app, path, templates) == expected
    assert await template(app, "/prefix/metrics", templates, root_path="/prefix") == "/metrics"


async def test_routes_added_at_run_time_are_found() -> None:
    app = starlette()
    templates = RouteTemplates()
    assert await template(app, "/users/1", templates) == "/users/{user}"
    app.router.routes.append(Route("/later/{x}", Passing(bare)))
    assert await template(app, "/later/1", templates) == "/later/{x}"


async def test_a_function_that_gets_a_second_route_keeps_its_first() -> None:
    app = Starlette(routes=[Route("/one/{x}", page)])
    templates = RouteTemplates()
    assert await template(app, "/one/1", templates) == "/one/{x}"
    app.router.routes += [Route("/two/{x}", page), Route("/three", Passing(bare))]
    await template(app, "/three", templates)
    assert await template(app, "/one/1", templates) == "/one/{x}"
    assert await template(app, "/two/1", templates) == "/two/{x}"


async def test_endpoints_created_per_request_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(route, "MAX_WALKS", 5)
    templates = RouteTemplates()
    apps = []
    for _ in range(50):
        app = Router(routes=[Route("/{x}", Passing(bare))])
        apps.append(app)
        await template(app, "/a", templates)
    assert templates._walks == 5
    assert len(templates._referenced) == 5


async def test_an_infinite_tree_is_walked_to_a_maximum_depth() -> None:
    app = Starlette(routes=[Route("/leaf", page)])
    app.mount("/again", app)
    app.mount("/and-again", app)
    assert await template(app, "/again/again/leaf") == "/again/again/leaf"
