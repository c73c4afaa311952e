"""Let the pool know for whom a connection is used."""

from __future__ import annotations

from collections.abc import Awaitable

from starlette.types import ASGIApp, Receive, Scope, Send

from scalekit.identity import request_id
from scalekit.route import RouteTemplates
from scalekit_pool.watching import ORIGIN


class ServedRequest:
    """The request that is being served; its route and id are worked out when somebody asks."""

    __slots__ = ("_scope", "_templates")

    def __init__(self, scope: Scope, templates: RouteTemplates) -> None:
        self._scope = scope
        self._templates = templates

    @property
    def route(self) -> str:
        """The template of its route, or its path while no route is known."""
        return self._templates.of(self._scope) or str(self._scope.get("path", ""))

    @property
    def request_id(self) -> str:
        """Its id."""
        return request_id(self._scope)


class PoolMiddleware:
    """Note each request and websocket in the context that it is served in."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.templates = RouteTemplates(app)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Pass everything on; servers give each request a context of its own, so nothing has to be taken back."""
        if scope["type"] != "lifespan":
            ORIGIN.set(ServedRequest(scope, self.templates))
        return self.app(scope, receive, send)
