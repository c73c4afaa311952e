"""The prefix that an application removes from its paths, such as FastAPI's ``root_path``.

Such an application serves ``/v1/admin`` as ``/admin``, whether or not a proxy has removed ``/v1``. Rules for paths must
remove the prefix in the same way.
"""

from __future__ import annotations

import sys

from starlette.routing import Host, Mount
from starlette.types import ASGIApp

from scalekit.http.exchange import Exchange
from scalekit.http.filter import Decision, Filter

MAX_DEPTH = 20
"""Levels of middleware and mounts that are searched."""

ADDED_KEY = "scalekit.root_path"
"""The key of a scope whose root_path AddRootPath has set."""


class AddRootPath(Filter):
    """Set ``root_path`` to *prefix*, which the application strips, for all filters; a server's own takes precedence."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    def on_request(self, exchange: Exchange) -> Decision:
        """Set ``root_path`` when the server has not."""
        scope = exchange.scope
        if not scope.get("root_path"):
            scope["root_path"] = self.prefix
            scope[ADDED_KEY] = True
        return None

    on_open = on_request


class RemoveRootPath(Filter):
    """Restore the scope of the server for the application."""

    def on_application(self, exchange: Exchange) -> None:
        """Reset the ``root_path`` that AddRootPath has set."""
        if exchange.scope.pop(ADDED_KEY, False):
            exchange.scope["root_path"] = ""


def root_path_of(app: ASGIApp) -> str:
    """Return the prefix that *app* removes from its paths, empty without one."""
    return _find(app, MAX_DEPTH)


def _find(app: object, depth: int) -> str:
    if app is None or not depth:
        return ""
    if type(app).__module__.startswith("django.") and "django.conf" in sys.modules:
        return str(sys.modules["django.conf"].settings.FORCE_SCRIPT_NAME or "").rstrip("/")
    prefix = getattr(app, "root_path", None)
    if isinstance(prefix, str) and prefix:
        return prefix.rstrip("/")
    routes = getattr(app, "routes", None)
    if not isinstance(routes, list):  # middleware around an application
        return _find(getattr(app, "app", None), depth - 1)
    mounted = [
        route.app for route in routes if isinstance(route, Host) or (isinstance(route, Mount) and not route.path)
    ]
    return next((found for each in mounted if (found := _find(each, depth - 1))), "")
