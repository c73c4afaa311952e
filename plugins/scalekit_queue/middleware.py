"""Let what a request publishes carry its identity."""

from __future__ import annotations

from collections.abc import Awaitable

from starlette.types import ASGIApp, Receive, Scope, Send

from scalekit.identity import CURRENT, identity_of


class QueueMiddleware:
    """Set CURRENT where no observer has; servers give each request a context of its own."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve the request."""
        if scope["type"] in ("http", "websocket") and CURRENT.get() is None:
            CURRENT.set(identity_of(scope))
        return self.app(scope, receive, send)
