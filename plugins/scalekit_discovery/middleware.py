"""Remember which request is served, for the calls that are made on its behalf."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from scalekit.deadline import DEADLINE, deadline_asked
from scalekit_discovery.passing_on import SERVED


class DiscoveryMiddleware:
    """Let calls know the request on whose behalf they are made, and until when its caller waits."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve, with the request or websocket at hand."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        served = SERVED.set(scope)
        deadline = DEADLINE.set(deadline_asked(scope["headers"]))
        try:
            await self.app(scope, receive, send)
        finally:
            DEADLINE.reset(deadline)
            SERVED.reset(served)
