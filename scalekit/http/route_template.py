"""Name the route that served a request by its template, such as ``/shops/{shop}/orders/{id}``.

A path holds ids and so has no bound; its template has one for each route. Starlette and FastAPI leave in the scope
which endpoint was chosen, but only the innermost piece of its path. So the tree of routes is walked, once, from the
outermost router in the scope, and the whole template of each endpoint is kept. An endpoint that is reached by several
templates is told apart by the path. Litestar leaves its template itself; an application that leaves nothing, such as
Django, has none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, Protocol

from starlette.routing import BaseRoute, Host, Match, Mount
from starlette.types import Scope

from scalekit.http.request_line import route_path

MAX_WALKS = 100
"""How often the tree is walked, at most: each time an endpoint comes that is not known yet."""
MAX_ENDPOINTS = 10_000
MAX_DEPTH = 32

_GROUP = re.compile(r"\(\?P<\w+>")


@dataclass(frozen=True)
class _Node:
    """Where one endpoint is; *inner* tells for a mount whether routes are known below it, None for a route."""

    template: str
    pattern: str
    inner: bool | None = None

    @cached_property
    def expression(self) -> re.Pattern[str]:
        # Levels may repeat a parameter's name, which a regular expression may not.
        nameless = _GROUP.sub("(?:", self.pattern)
        return re.compile(nameless if self.inner is None else f"{nameless}(?:/.*)?")

    def of(self, scope: Scope) -> str:
        """Return the template of *scope*, which came to this place."""
        if self.inner is None:
            return self.template
        below = scope.get("path_template")
        if below:
            return f"{self.template}{below}"
        return "" if self.inner else f"{self.template}/{{path}}"


class PluginRouteTable(Protocol):
    """The routes of plugins: *exact* paths, and those with parameters, by the first of their *segments*."""

    exact: set[str]
    open: list[BaseRoute]
    segments: set[str]


class RouteTemplates:
    """The templates of an application's routes, and of those that *plugins* bring.

    ``known`` has the template of each endpoint that has only one, by the endpoint's id: for those who are in a hurry.
    """

    def __init__(self, plugins: PluginRouteTable | None = None) -> None:
        self._plugins = plugins
        self.by_endpoint_id: dict[int, str] = {}
        self._nodes: dict[int, dict[str, _Node]] = {}
        self._referenced: list[object] = []  # an id is an object's own only as long as that is there
        self._walks = 0

    def of(self, scope: Scope) -> str:
        """Return the template of the route that served *scope*, once it has been served; empty when none did."""
        endpoint = scope.get("endpoint")
        if endpoint is None:
            return self._without_endpoint(scope)
        found = self.by_endpoint_id.get(id(endpoint))
        return self._resolve(scope, endpoint) if found is None else found

    def _without_endpoint(self, scope: Scope) -> str:
        template: str | None = scope.get("path_template")
        if template is not None:
            return template
        return "" if self._plugins is None else _of_plugins(self._plugins, scope)

    def _resolve(self, scope: Scope, endpoint: object) -> str:
        nodes = self._nodes.get(id(endpoint))
        if nodes is None:
            self._walk(scope, endpoint)
            nodes = self._nodes.get(id(endpoint), {})
        if len(nodes) < 2:
            return next((node.of(scope) for node in nodes.values()), "")
        path = _path(scope)
        return next((node.of(scope) for node in nodes.values() if node.expression.fullmatch(path)), "")

    def _walk(self, scope: Scope, endpoint: object) -> None:
        """Learn the places of every endpoint that the router of *scope* leads to."""
        if self._walks >= MAX_WALKS:
            return
        self._walks += 1
        tree = _walk(getattr(scope.get("router"), "routes", ()), "", "", MAX_DEPTH)
        for found, node in islice(tree, MAX_ENDPOINTS):  # a tree that contains itself has no end
            self._add(found, node)
        if id(endpoint) not in self._nodes:  # not in the tree: look no more
            self._referenced.append(endpoint)
            self.by_endpoint_id[id(endpoint)] = ""

    def _add(self, endpoint: object, node: _Node) -> None:
        nodes = self._nodes.setdefault(id(endpoint), {})
        if node.template not in nodes:
            self._referenced.append(endpoint)
            nodes[node.template] = node
        if len(nodes) == 1 and node.inner is None:
            self.by_endpoint_id[id(endpoint)] = node.template
        else:
            self.by_endpoint_id.pop(id(endpoint), None)


def _walk(routes: Iterable[Any], prefix: str, pattern: str, depth: int) -> Iterator[tuple[object, _Node]]:
    """Yield each endpoint below *routes* with its place, which *prefix* and *pattern* lead to."""
    for route in routes if depth else ():
        if hasattr(route, "effective_route_contexts"):  # what FastAPI's include_router leaves in place of the routes
            included = [each.starlette_route or each for each in route.effective_route_contexts()]
            yield from _walk(included, prefix, pattern, depth - 1)
        elif isinstance(route, Mount | Host):
            yield from _walk_below(route, prefix, pattern, depth)
        elif getattr(route, "endpoint", None) is not None and hasattr(route, "path_regex"):
            whole = pattern + route.path_regex.pattern.removeprefix("^").removesuffix("$")
            yield route.endpoint, _Node(prefix + route.path_format, whole)


def _walk_below(route: Mount | Host, prefix: str, pattern: str, depth: int) -> Iterator[tuple[object, _Node]]:
    if isinstance(route, Mount):
        prefix += route.path_format.removesuffix("/{path}")
        pattern += route.path_regex.pattern.removeprefix("^").removesuffix("/(?P<path>.*)$")
    inner = _routes_of(route.app)
    yield route.app, _Node(prefix, pattern, bool(inner))
    yield from _walk(inner, prefix, pattern, depth - 1)


def _routes_of(app: Any) -> list[BaseRoute]:
    """Return the routes of *app*, which may be inside middleware; none when it is no application of Starlette's."""
    for _ in range(MAX_DEPTH):
        routes = getattr(app, "routes", None)
        if isinstance(routes, list):
            return routes if all(isinstance(route, BaseRoute) for route in routes) else []
        app = getattr(app, "app", None)
    return []


def _path(scope: Scope) -> str:
    """Return the path of *scope* below what a proxy has taken off; mounts have made root_path longer since."""
    return route_path({"path": scope["path"], "root_path": scope.get("app_root_path", scope.get("root_path", ""))})


def _of_plugins(plugins: PluginRouteTable, scope: Scope) -> str:
    path = route_path(scope)
    if path in plugins.exact:
        return path
    if path.partition("/")[2].partition("/")[0] not in plugins.segments:
        return ""
    matching = (route for route in plugins.open if route.matches(scope)[0] is not Match.NONE)
    return next((getattr(route, "path_format", "") for route in matching), "")
