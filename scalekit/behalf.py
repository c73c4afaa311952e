"""Let what is done on behalf of a request carry the request's identity and its deadline."""

from __future__ import annotations

from collections.abc import Awaitable

from starlette.types import ASGIApp, Receive, Scope, Send

from scalekit.deadline import DEADLINE, deadline_asked
from scalekit.identity import CURRENT, Identity, identity_of


class OnBehalf:
    """Set CURRENT and DEADLINE while a request or websocket is served, where nobody has yet.

    For plugins that send messages or calls: ``Layered(Layer.DATA, Middleware(OnBehalf))``. However many bring it, it
    stands in the chain once.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve the request."""
        if scope["type"] in ("http", "websocket"):
            identity = identity_of(scope)
            deadline = deadline_asked(scope["headers"])
            if CURRENT.get() is not identity or DEADLINE.get() != deadline:
                return self._serve(identity, deadline, scope, receive, send)
        return self.app(scope, receive, send)

    async def _serve(
        self, identity: Identity, deadline: float | None, scope: Scope, receive: Receive, send: Send
    ) -> None:
        served, until = CURRENT.set(identity), DEADLINE.set(deadline)
        try:
            await self.app(scope, receive, send)
        finally:
            DEADLINE.reset(until)
            CURRENT.reset(served)
