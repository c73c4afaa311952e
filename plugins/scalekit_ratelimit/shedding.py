"""Refuse at once what would only wait."""

from __future__ import annotations

from time import perf_counter

from starlette.types import ASGIApp, Receive, Scope, Send

from scalekit.problem import refuse
from scalekit.routes import route_path
from scalekit_ratelimit.concurrency import Concurrency
from scalekit_ratelimit.metrics import Metrics
from scalekit_ratelimit.policies import Policies


class Shedder:
    """The limit of requests in flight, and whose turn it is."""

    def __init__(self, concurrency: Concurrency, policies: Policies, retry_after: float, metrics: Metrics) -> None:
        self.concurrency = concurrency
        self.retry_after = str(max(1, -int(-retry_after // 1)))
        self.metrics = metrics
        self._policies = policies

    def priority(self, scope: Scope) -> str:
        """Return the highest priority of the policies that are for *scope*."""
        path = scope["path"] if not scope.get("root_path") else route_path(scope)
        return self._policies.priority(path, scope["method"])


class SheddingSlot:
    """Holds the shedder while it is started."""

    __slots__ = ("shedder",)

    def __init__(self) -> None:
        self.shedder: Shedder | None = None


class SheddingMiddleware:
    """Answer 503 where too many requests are in flight; a websocket, which stays, is none of them."""

    def __init__(self, app: ASGIApp, slot: SheddingSlot) -> None:
        self.app = app
        self.slot = slot

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request in, or refuse it."""
        shedder = self.slot.shedder
        if shedder is None or scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        priority = shedder.priority(scope)
        concurrency = shedder.concurrency
        if not concurrency.enter(priority):
            shedder.metrics.shed(priority)
            headers = {"retry-after": shedder.retry_after}
            await refuse(scope, send, 503, "too many requests are in flight", headers=headers)
            return
        began = perf_counter()
        seconds: float | None = None
        try:
            await self.app(scope, receive, send)
            seconds = perf_counter() - began
        finally:
            concurrency.leave(seconds)
