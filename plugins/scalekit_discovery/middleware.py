"""Remember which request is served, for the calls that are made on its behalf."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from scalekit_discovery.passing_on import SERVED, serve


class DiscoveryMiddleware:
    """Let calls know the request on whose behalf they are made."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve, with the request or websocket at hand."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        token = SERVED.set(serve(scope))
        try:
            await self.app(scope, receive, send)
        finally:
            SERVED.reset(token)
