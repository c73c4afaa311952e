"""Send plugins' routes to a small application of their own, and everything else straight to the author's.

Routers try one route after the other, which costs a request that matches none of them more than all of the host does.
So the way is chosen by a table: exact paths of plugins, and for their routes with parameters the first segment. What is
not there never meets a router of ours, and its scope is not touched.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping, Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Match, Mount, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from scalekit.errors import PluginError
from scalekit.frameworks import on_unavailable
from scalekit.problem import on_http_exception
from scalekit.resilience import Unavailable


class ManagementRoute(Route):
    """A page for operators: on the management address where there is one, else on the public one."""


class ManagementListener:
    """Serve operators' *pages* on the management port and *app* on every other."""

    def __init__(self, app: ASGIApp, pages: ASGIApp, port: int) -> None:
        self.app = app
        self.pages = pages
        self.port = port

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Choose by the port that the connection came in on, which no header can change."""
        server = scope.get("server")
        chosen = self.pages if server is not None and server[1] == self.port else self.app
        return chosen(scope, receive, send)


OPERATORS = "/-"
"""Below it are pages for operators, outside of every plugin's layer: what refuses a visitor does not shut them out."""


def is_for_operators(route: BaseRoute) -> bool:
    """Tell whether *route* is one of the pages below ``/-/``."""
    return path_of(route).startswith(f"{OPERATORS}/")


class PluginRoutes:
    """Serve *routes* within *guards*; what none of them matches goes on to *app*."""

    def __init__(self, app: ASGIApp, routes: Sequence[BaseRoute], guards: Sequence[Middleware] = ()) -> None:
        self.app = app
        self.routes: ASGIApp = small_application(routes)
        for factory, args, kwargs in reversed(guards):
            self.routes = factory(self.routes, *args, **kwargs)
        self.exact = {path_of(route) for route in routes if "{" not in path_of(route) and not isinstance(route, Mount)}
        self.open = [route for route in routes if path_of(route) not in self.exact]
        self.segments = {path_of(route).split("/", 2)[1] for route in self.open}

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Choose by the path; a plugin's application gets a scope of its own to write on."""
        path = route_path(scope)
        if path in self.exact or (self.segments and self._matches(path, scope)):
            return self.routes(dict(scope), receive, send)
        return self.app(scope, receive, send)

    def _matches(self, path: str, scope: Scope) -> bool:
        if path.partition("/")[2].partition("/")[0] not in self.segments:
            return False
        return any(route.matches(scope)[0] is not Match.NONE for route in self.open)


def route_path(scope: Scope) -> str:
    """Return the path of *scope* below the prefix that a proxy or a mount has taken off."""
    path: str = scope["path"]
    prefix = scope.get("root_path")
    if not prefix or not path.startswith(prefix):
        return path
    below = path[len(prefix) :]
    return below if below.startswith("/") else path if below else "/"


def small_application(routes: Sequence[BaseRoute]) -> Starlette:
    """Return an application of nothing but *routes*, whose errors are problems."""
    handlers = {HTTPException: on_http_exception, Unavailable: on_unavailable}
    application = Starlette(routes=routes, exception_handlers=handlers)
    application.router.redirect_slashes = False
    return application


def path_of(route: BaseRoute) -> str:
    """Return the path of *route* as its plugin wrote it."""
    return getattr(route, "path", "")


def refuse_conflicts(routes: Mapping[str, Iterable[BaseRoute]], taken: Mapping[str, str]) -> None:
    """Raise PluginError when two plugins, or a plugin and the host (*taken*), claim the same path."""
    owners = dict(taken)
    for plugin, items in routes.items():
        for route in items:
            if not isinstance(route, Route | WebSocketRoute | Mount):
                raise PluginError(f"plugin {plugin!r}: routes must be Route, WebSocketRoute or Mount, got {route!r}")
            path = path_of(route)
            if not path.startswith("/") or path == "/":
                raise PluginError(f"plugin {plugin!r}: {path!r} is the application's own; choose a path below it")
            if owners.setdefault(path, plugin) != plugin:
                raise PluginError(f"the path {path} is claimed by both {owners[path]!r} and {plugin!r}; turn one off")
