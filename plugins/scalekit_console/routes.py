"""The routes of pages, their JSON, live streams, actions, login and assets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from scalekit import ManagementRoute
from scalekit.pages import ConsolePage, PageAction
from scalekit_console.console import ConsoleServer
from scalekit_console.layout import INDEX
from scalekit_console.mcp import McpServer

PREFIX = "/-/"
HOST_PAGES = (INDEX, "memory", "log-level")
"""Pages whose paths have routes of the host, which has served JSON there before and lets the console show them."""

Handler = Callable[[Request], Awaitable[Response]]


def console_routes(server: ConsoleServer, *, mcp: bool) -> list[ManagementRoute]:
    """Return all routes of *server*, with *mcp* that of the tools for agents."""
    routes = [ManagementRoute(f"{PREFIX}assets/{{name}}", server.assets.respond)]
    if server.access.has_login:
        routes += [
            ManagementRoute(f"{PREFIX}login", server.login.show),
            ManagementRoute(f"{PREFIX}login", server.login.submit, methods=["POST"]),
            ManagementRoute(f"{PREFIX}logout", server.login.end, methods=["POST"]),
        ]
    if mcp:
        routes.append(ManagementRoute(f"{PREFIX}mcp", McpServer(server).respond, methods=["POST"]))
    for page in server.pages:
        routes += _page_routes(server, page)
    return routes


def _page_routes(server: ConsoleServer, page: ConsolePage) -> list[ManagementRoute]:
    async def show(request: Request) -> Response:
        return await server.respond(request, page.name)

    async def show_json(request: Request) -> Response:
        return await server.respond_with_json(request, page.name)

    async def stream(request: Request) -> Response:
        return await server.stream(request, page.name)

    path = f"{PREFIX}{page.name}"
    routes = [ManagementRoute(f"{path}.json", show_json)]
    if page.name not in HOST_PAGES:
        routes.append(ManagementRoute(path, show))
    if page.live:
        routes.append(ManagementRoute(f"{path}/events", stream))
    actions = [
        ManagementRoute(f"{path}/{action.name}", _action(server, page, action), methods=["POST"])
        for action in page.actions
    ]
    return [*routes, *actions]


def _action(server: ConsoleServer, page: ConsolePage, action: PageAction) -> Handler:
    async def act(request: Request) -> Response:
        return await server.act(request, page, action)

    return act
