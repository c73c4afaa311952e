"""Route requests for plugins' paths to a small application, and all others directly to the user's application.

A router tries one route after the other, which costs a request that matches none more than the rest of the host. So a
table decides: exact paths of plugins, and the first segment of paths with parameters. Other requests reach the
application with their scope unchanged.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Mount, Route, WebSocketRoute
from starlette.types import ASGIApp, Scope

from scalekit.context import Key
from scalekit.errors import PluginError, Unavailable
from scalekit.http.exception_handlers import on_unavailable
from scalekit.http.exchange import Exchange
from scalekit.http.filter import Decision, Filter
from scalekit.http.path_filters import PathFilter
from scalekit.http.problem import on_http_exception


class ManagementRoute(Route):
    """A page for operators, served on the management address, or on the public one without it."""


class ManagementListener(Filter):
    """Serve only the operators' *pages* on the management address: a TCP *port*, or the path of a Unix socket."""

    def __init__(self, pages: ASGIApp, port: int | str) -> None:
        self.pages = pages
        self.port = port
        self._item = 1 if isinstance(port, int) else 0

    def on_request(self, exchange: Exchange) -> Decision:
        """Decide by the local address of the connection, which no header can change."""
        server = exchange.scope.get("server")
        if server is None or server[self._item] != self.port:
            return None
        return partial(_serve, self.pages, exchange, exchange.scope)

    on_open = on_request


OPERATORS = "/-"
"""The prefix of operator pages, outside of all layers: no plugin can reject an operator's request."""


def is_for_operators(route: BaseRoute) -> bool:
    """Return whether *route* is one of the operator pages below ``/-/``."""
    return path_of(route).startswith(f"{OPERATORS}/")


IS_PLUGIN_REQUEST: Key[Callable[[Exchange], bool]] = Key("is plugin request")
"""Returns whether a route of a plugin serves the request, not the application; provided if plugins have routes."""


class PluginRoutes(PathFilter):
    """Serve *routes* with *app*, by default a Starlette application of these routes."""

    def __init__(self, routes: Sequence[BaseRoute], app: ASGIApp | None = None) -> None:
        self.prefix = OPERATORS if all(map(is_for_operators, routes)) else ""
        self.app = plugin_app(routes) if app is None else app
        self.exact = {path_of(route) for route in routes if "{" not in path_of(route) and not isinstance(route, Mount)}
        self.patterns = [route for route in routes if path_of(route) not in self.exact]
        self.segments = {path_of(route).split("/", 2)[1] for route in self.patterns}

    def on_request(self, exchange: Exchange) -> Decision:
        """Decide by the path; the plugins' application receives a copy of the scope that it may change."""
        return partial(_serve, self.app, exchange, dict(exchange.scope)) if self.serves(exchange) else None

    on_open = on_request

    def serves(self, exchange: Exchange) -> bool:
        """Return whether one of the routes has the path of *exchange*."""
        path = exchange.route_path
        return path in self.exact or (bool(self.segments) and self._matches(path, exchange.scope))

    def _matches(self, path: str, scope: Scope) -> bool:
        if path.partition("/")[2].partition("/")[0] not in self.segments:
            return False
        return any(_matches(route, path, scope) for route in self.patterns)


def _matches(route: BaseRoute, path: str, scope: Scope) -> bool:
    """Return whether *route* serves *path*; a mount every path below its own, also those with a line feed."""
    if isinstance(route, Mount) and "{" not in route.path:
        return path.startswith(f"{route.path}/")
    return route.matches(scope)[0] is not Match.NONE


def _serve(own: ASGIApp, exchange: Exchange, scope: Scope, app: ASGIApp) -> Awaitable[None]:
    """Serve with *own* instead of the inner application *app*."""
    return own(scope, exchange.receive, exchange.send)


def plugin_app(routes: Sequence[BaseRoute]) -> Starlette:
    """Return a Starlette application of *routes* whose errors are problem responses."""
    handlers = {
        HTTPException: on_http_exception,
        Unavailable: on_unavailable,
        ClientDisconnect: _on_disconnect,
    }
    application = Starlette(routes=routes, exception_handlers=handlers)
    application.router.redirect_slashes = False
    return application


async def _on_disconnect(request: Request, error: Exception) -> Response:
    """Return a response that nobody receives: a client that leaves is no fault of the service."""
    return Response(status_code=400)


def path_of(route: BaseRoute) -> str:
    """Return the path of *route* as its plugin declares it."""
    return getattr(route, "path", "")


def refuse_conflicts(routes: Mapping[str, Iterable[BaseRoute]], host_paths: Mapping[str, str]) -> None:
    """Raise PluginError when two plugins, or a plugin and the host (*host_paths*), have the same path."""
    owners = dict(host_paths)
    for plugin, items in routes.items():
        for route in items:
            if not isinstance(route, Route | WebSocketRoute | Mount):
                raise PluginError(f"plugin {plugin!r}: routes must be Route, WebSocketRoute or Mount, got {route!r}")
            path = path_of(route)
            if not path.startswith("/") or path == "/":
                raise PluginError(f"plugin {plugin!r}: {path!r} belongs to the application; choose a path below it")
            if owners.setdefault(path, plugin) != plugin:
                raise PluginError(f"both {owners[path]!r} and {plugin!r} have a route {path}; turn one off")
