"""Whether a middleware of Starlette or FastAPI has passed on a copy of the scope, as ASGI recommends.

A user that the application has authenticated is then in the copy alone. The scope of the request shows only how far it
went itself: to the application, or to the last route that has left its name in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from inspect import isroutine
from typing import Any

from starlette.types import Scope

DEEPEST = 20
"""Levels of middleware and mounts that are looked into."""


def is_copied(scope: Scope) -> bool:
    """Tell whether somebody inside of Starlette may have passed on a copy of *scope*, or has answered by itself."""
    if "litestar_app" in scope:
        return False
    if "route" in scope:
        return may_copy(getattr(scope["route"], "app", None), DEEPEST)
    if "router" in scope and "endpoint" in scope:  # FastAPI does not name routes of Starlette's
        endpoint = scope["endpoint"]
        found = [route.app for route in _plain_routes(scope["router"], DEEPEST) if route.endpoint is endpoint]
        return any(may_copy(app, DEEPEST) for app in found or [endpoint])
    return "app" in scope and "router" not in scope and hasattr(scope["app"], "router")


def may_copy(app: Any, depth: int) -> bool:
    """Tell whether *app*, to which the last route that is seen in a scope leads, may have passed on a copy of it.

    That is a middleware of a route or a mount which is not Starlette's own, or an application with routes of its own,
    for one of those would be the last route.
    """
    if isroutine(app) or isinstance(app, type):
        return False
    if hasattr(app, "routes"):
        return True
    if not hasattr(app, "app"):
        return False
    is_known = str(getattr(type(app).__call__, "__module__", "")).startswith(("starlette.", "fastapi."))
    return not is_known or not depth or may_copy(app.app, depth - 1)


def _plain_routes(app: Any, depth: int) -> Iterator[Any]:
    """Yield the routes of functions below *app*, with those of included routers and mounts."""
    for route in _listed(app) if depth else ():
        if hasattr(route, "effective_route_contexts"):
            yield from (each.starlette_route for each in route.effective_route_contexts() if each.starlette_route)
        elif hasattr(route, "endpoint"):
            yield route
        elif hasattr(route, "app"):
            yield from _plain_routes(route, depth - 1)


def _listed(app: Any) -> Iterable[Any]:
    for _ in range(DEEPEST):
        routes = getattr(app, "routes", None)
        if isinstance(routes, list | tuple):
            return routes
        app = getattr(app, "app", None)
    return ()
