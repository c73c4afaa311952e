"""The limits that a handler counts by, and the 429 that takes the place of its response where one is reached."""

from __future__ import annotations

from collections.abc import Awaitable
from contextvars import ContextVar

from starlette.types import ASGIApp, Message

from scalekit import Exchange, LocalResponse, ProblemError, local_response
from scalekit_ratelimit.headers import Header, HitResults, add_limit_headers, drop_legacy_headers, too_many_requests
from scalekit_ratelimit.limit_checks import in_force, is_allowed
from scalekit_ratelimit.limiter import Limiter

LIMIT_HEADERS = "scalekit_ratelimit"
"""Where the scope has the list of headers that go out with the response, outside of a cache."""

STARTS = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})


class Exceeded(ProblemError):
    """Ends a handler whose limit is reached; the client gets its response, whatever the framework makes of this."""


class RequestLimits:
    """The limits of one request; *headers* are those that go out with its response, outside of a cache."""

    def __init__(self, limits: Limiter, exchange: Exchange, headers: list[Header]) -> None:
        self.limits = limits
        self.scope = exchange.scope
        self._exchange = exchange
        self._headers = headers
        self._refusal: LocalResponse | None = None
        self._started = False
        self._responded = False

    async def serve(self, app: ASGIApp) -> None:
        """Serve the request with *app*."""
        exchange = self._exchange
        exchange.set_context(CURRENT, self)
        try:
            await app(exchange.scope, exchange.receive, self._send)
        except Exceeded as exceeded:
            if self._started:
                raise RuntimeError("a limit was counted after the response had begun: count before it") from exceeded
            await self._refuse()

    def note(self, counts: HitResults, told: bool) -> None:
        """Record *counts*; raises Exceeded where one refuses. Clients hear of the others when they are to be *told*."""
        limits = self.limits
        enforced = in_force(counts, limits.metrics, self.scope)
        legacy = limits.policies.legacy
        if not is_allowed(enforced):
            response = too_many_requests(enforced, legacy)
            drop_legacy_headers(self._headers)
            self._refusal = local_response(response)
            raise Exceeded(response)
        if told:
            add_limit_headers(self._headers, enforced, legacy)

    def _send(self, message: Message) -> Awaitable[None]:
        if self._refusal is None:
            self._started = self._started or message["type"] in STARTS
        elif not self._started:
            return self._refuse()
        return self._exchange.send(message)

    async def _refuse(self) -> None:
        """Send the 429, once: what a framework makes of it is dropped."""
        if self._refusal is not None and not self._responded:
            self._responded = True
            await self._exchange.respond(self._refusal)


CURRENT: ContextVar[RequestLimits | None] = ContextVar("scalekit_ratelimit", default=None)
"""The limits of the request that is served here."""
