"""Let what a request publishes carry its identity and its deadline."""

from __future__ import annotations

from collections.abc import Awaitable

from starlette.types import ASGIApp, Receive, Scope, Send

from scalekit.deadline import DEADLINE, deadline_asked
from scalekit.identity import CURRENT, identity_of


class QueueMiddleware:
    """Set CURRENT where no observer has, and DEADLINE where the caller says how long it waits."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve the request."""
        if scope["type"] in ("http", "websocket"):
            if CURRENT.get() is None:
                CURRENT.set(identity_of(scope))  # servers give each request a context of its own
            deadline = deadline_asked(scope["headers"])
            if deadline != DEADLINE.get():
                return self._serve_until(deadline, scope, receive, send)
        return self.app(scope, receive, send)

    async def _serve_until(self, deadline: float | None, scope: Scope, receive: Receive, send: Send) -> None:
        before = DEADLINE.set(deadline)
        try:
            await self.app(scope, receive, send)
        finally:
            DEADLINE.reset(before)
