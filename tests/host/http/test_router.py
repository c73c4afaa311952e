from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from scalekit import ManagementRoute, PluginError
from scalekit.http.router import ManagementListener, PluginRoutes, plugin_app, refuse_conflicts
from tests.host.asgi import Conversation, behind, http_scope, respond

pytestmark = pytest.mark.anyio


async def page(request: Request) -> Response:
    return PlainTextResponse(f"plugin {request.url.path} {request.path_params}")


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    scopes.append(scope)
    await respond(send, b"application")


scopes: list[Scope] = []

ROUTES: list[BaseRoute] = [
    Route("/metrics", page),
    Route("/auth/{name}", page, methods=["POST"]),
    Mount("/static", routes=[Route("/{file}", page)]),
]


async def ask(path: str, method: str = "GET", **more: object) -> Conversation:
    client = Conversation()
    scopes.clear()
    await client.run(behind(application, PluginRoutes(ROUTES)), http_scope(path, method, **more))  # type: ignore[arg-type]
    return client


@pytest.mark.parametrize(
    ("path", "method", "status", "body"),
    [
        ("/metrics", "GET", 200, b"plugin /metrics {}"),
        ("/auth/x", "POST", 200, b"plugin /auth/x {'name': 'x'}"),
        ("/static/a.css", "GET", 200, b"plugin /static/a.css {'file': 'a.css'}"),
        ("/", "GET", 200, b"application"),
        ("/metrics/", "GET", 200, b"application"),
        ("/metric", "GET", 200, b"application"),
        ("/auth", "GET", 200, b"application"),
        ("/auth/x/y", "POST", 200, b"application"),
        ("/authx/y", "POST", 200, b"application"),
        ("//metrics", "GET", 200, b"application"),
        ("*", "OPTIONS", 200, b"application"),
    ],
)
async def test_the_path_decides_which_application_responds(path: str, method: str, status: int, body: bytes) -> None:
    client = await ask(path, method)
    assert (client.status, client.body) == (status, body)


@pytest.mark.parametrize("path", ["/static/a\nb", "/static/\n", "/static/a/b", "/static/"])
async def test_no_path_below_a_mount_reaches_the_application(path: str) -> None:
    client = await ask(path)
    assert (client.status, scopes) == (404, [])


async def test_errors_of_plugin_routes_are_problems() -> None:
    client = await ask("/metrics", "POST")
    assert client.status == 405
    assert b'"status":405' in client.body
    assert (b"content-type", b"application/problem+json") in client.sent[0]["headers"]
    assert (b"allow", b"GET, HEAD") in client.sent[0]["headers"] or (b"allow", b"HEAD, GET") in client.sent[0][
        "headers"
    ]


@pytest.mark.parametrize("path", ["/", "/auth/x/y", "/authx"])
async def test_the_scope_of_the_application_is_unchanged(path: str) -> None:
    await ask(path)
    assert scopes == [http_scope(path)]


async def test_a_plugins_application_changes_only_a_copy_of_the_scope() -> None:
    scope = http_scope("/metrics")
    await Conversation().run(behind(application, PluginRoutes(ROUTES)), scope)
    assert scope == http_scope("/metrics")


async def test_the_prefix_of_a_proxy_is_ignored() -> None:
    assert (await ask("/shop/metrics", root_path="/shop")).body.startswith(b"plugin")
    assert (await ask("/metrics", root_path="/shop")).body.startswith(b"plugin")
    assert (await ask("/shopmetrics", root_path="/shop")).body == b"application"


async def test_the_port_of_the_connection_decides_whether_operators_pages_are_served() -> None:
    pages = Starlette(routes=[Route("/metrics", page)])
    listener = behind(application, ManagementListener(pages, 9100))
    for port, expected in ((9100, b"plugin /metrics {}"), (8000, b"application")):
        client = Conversation()
        headers = [(b"host", b"x:9100"), (b"x-forwarded-port", b"9100")]
        await client.run(listener, http_scope("/metrics", headers=headers, server=("127.0.0.1", port)))
        assert client.body == expected


@pytest.mark.parametrize(("path", "status"), [("/metrics", 200), ("/metrics/", 404)])
async def test_operators_pages_are_at_their_exact_path(path: str, status: int) -> None:
    client = Conversation()
    await client.run(plugin_app([ManagementRoute("/metrics", page)]), http_scope(path))
    assert client.status == status


async def socket_page(socket: WebSocket) -> None:
    raise AssertionError


def test_two_plugins_with_one_path_are_refused() -> None:
    with pytest.raises(PluginError, match="both 'a' and 'b' have a route /x; turn one off"):
        refuse_conflicts({"a": [Route("/x", page)], "b": [WebSocketRoute("/x", socket_page)]}, {})
    with pytest.raises(PluginError, match="both 'the host' and 'a' have a route /health"):
        refuse_conflicts({"a": [ManagementRoute("/health", page)]}, {"/health": "the host"})
    refuse_conflicts({"a": [Route("/x", page), WebSocketRoute("/x", socket_page)]}, {})


@pytest.mark.parametrize("route", [Route("/", page), Mount("", routes=[])])
def test_plugins_must_not_claim_the_root(route: BaseRoute) -> None:
    with pytest.raises(PluginError, match="belongs to the application"):
        refuse_conflicts({"a": [route]}, {})


async def test_a_client_that_leaves_within_its_body_is_no_failure() -> None:
    async def read(request: Request) -> Response:
        return PlainTextResponse(await request.body())

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await plugin_app([Route("/form", read, methods=["POST"])])(http_scope("/form", "POST"), receive, send)
    assert sent[0]["status"] == 400
