"""Find the template of the route that served a request, such as ``/shops/{shop}/orders/{id}``.

Paths contain ids and are unbounded in number; there is one template per route. Starlette and FastAPI store in the scope
the chosen endpoint, but only the innermost part of its template. So the tree of routes is walked once, from the
outermost router in the scope, and the template of each endpoint is stored. When an endpoint has several templates, the
path decides. Litestar stores the template itself; Django stores neither, and its requests have no template.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, Protocol

from starlette.routing import BaseRoute, Host, Match, Mount
from starlette.types import Scope

from scalekit.context import Key
from scalekit.http.request_line import route_path

ROUTE_TEMPLATE: Key[Callable[[Scope], str]] = Key("route template")
"""Returns the template of the route that the application has set in a scope, empty without one."""

MAX_WALKS = 100
"""Walks of the tree at most; each unknown endpoint causes one."""
MAX_ENDPOINTS = 10_000
MAX_DEPTH = 32

_GROUP = re.compile(r"\(\?P<\w+>")


@dataclass(frozen=True)
class _Node:
    """The template of one endpoint; *inner* is None for a route, and for a mount whether its routes are known."""

    template: str
    pattern: str
    inner: bool | None = None

    @cached_property
    def expression(self) -> re.Pattern[str]:
        # Levels may repeat a parameter's name; a regular expression must not repeat a group's.
        nameless = _GROUP.sub("(?:", self.pattern)
        return re.compile(nameless if self.inner is None else f"{nameless}(?:/.*)?")

    def of(self, scope: Scope) -> str:
        """Return the template of *scope*, which this endpoint served."""
        if self.inner is None:
            return self.template
        below = scope.get("path_template")
        if below:
            return f"{self.template}{below}"
        return "" if self.inner else f"{self.template}/{{path}}"


class PluginRouteTable(Protocol):
    """The routes of plugins: *exact* paths, and *patterns* with the first *segments* of their paths."""

    exact: set[str]
    patterns: list[BaseRoute]
    segments: set[str]


class RouteTemplates:
    """The templates of the routes of an application and of *plugins*.

    ``by_endpoint_id`` has the template of each endpoint with exactly one, by ``id(endpoint)``, for fast look-ups.
    """

    def __init__(self, plugins: PluginRouteTable | None = None) -> None:
        self._plugins = plugins
        self.by_endpoint_id: dict[int, str] = {}
        self._nodes: dict[int, dict[str, _Node]] = {}
        self._referenced: list[object] = []  # keeps ids unique: an id may be reused once its object is deleted
        self._walks = 0

    def of(self, scope: Scope) -> str:
        """Return the template of the route that served *scope*, empty without one."""
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
        """Store the templates of every endpoint of the router of *scope*."""
        if self._walks >= MAX_WALKS:
            return
        self._walks += 1
        tree = _walk(getattr(scope.get("router"), "routes", ()), "", "", MAX_DEPTH)
        for found, node in islice(tree, MAX_ENDPOINTS):  # a tree that contains itself is infinite
            self._add(found, node)
        if id(endpoint) not in self._nodes:  # not in the tree: do not walk again
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
    """Yield each endpoint below *routes* with its node; *prefix* and *pattern* are those of the outer mounts."""
    for route in routes if depth else ():
        if hasattr(route, "effective_route_contexts"):  # FastAPI's include_router replaces routes by it
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


def _routes_of(app: object) -> list[BaseRoute]:
    """Return the routes of *app*, which middleware may wrap; empty when it is not a Starlette application."""
    for _ in range(MAX_DEPTH):
        routes = getattr(app, "routes", None)
        if isinstance(routes, list):
            return routes if all(isinstance(route, BaseRoute) for route in routes) else []
        app = getattr(app, "app", None)
    return []


def _path(scope: Scope) -> str:
    """Return the path of *scope* without the proxy's prefix; mounts have extended ``root_path`` meanwhile."""
    return route_path({"path": scope["path"], "root_path": scope.get("app_root_path", scope.get("root_path", ""))})


def _of_plugins(plugins: PluginRouteTable, scope: Scope) -> str:
    path = route_path(scope)
    if path in plugins.exact:
        return path
    if path.partition("/")[2].partition("/")[0] not in plugins.segments:
        return ""
    matching = (route for route in plugins.patterns if route.matches(scope)[0] is not Match.NONE)
    return next((getattr(route, "path_format", "") for route in matching), "")
